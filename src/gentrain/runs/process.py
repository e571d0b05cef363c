"""Whose process a training runs in."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ClassVar

# environment variables: the number of a cell's parent process, set in the process of a sweep's
# cell; and set where a training is built and checked, and does not begin
PARENT, CHECK = "GENTRAIN_CELL_PARENT", "GENTRAIN_CHECK_ONLY"


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
