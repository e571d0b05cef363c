"""Whose process a training runs in."""

from collections.abc import Iterator
from contextlib import contextmanager


class Process:
    """The process that trains."""

    own = True  # it is gentrain's own, and a second Ctrl-C may end it


@contextmanager
def embedded() -> Iterator[None]:
    """Inside, the process is somebody else's: only the training may be ended."""
    before, Process.own = Process.own, False
    try:
        yield
    finally:
        Process.own = before
