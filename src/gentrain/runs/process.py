"""Whose process a training runs in."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ClassVar


class Process:
    """The process that trains."""

    own = True  # it is gentrain's own, and a second Ctrl-C may end it
    # runs the words after `gentrain`, and returns the exit status; set where a sweep begins
    main: ClassVar[Callable[[list[str]], int] | None] = None


@contextmanager
def embedded() -> Iterator[None]:
    """Inside, the process is somebody else's: only the training may be ended."""
    before, Process.own = Process.own, False
    try:
        yield
    finally:
        Process.own = before
