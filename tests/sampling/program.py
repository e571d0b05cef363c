"""What the program said, and what it has to say."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Done(NamedTuple):
    status: int
    stdout: str
    stderr: str


Program = Callable[..., Done]


def fine(done: Done) -> None:
    assert done.status == 0 and done.stderr == "", done


def refused(done: Done, *words: str, status: int = 2) -> None:
    """One line with all the words, and a remedy."""
    assert done.status == status and done.stdout == "", done
    assert (
        done.stderr.startswith("gentrain: error: ")
        and done.stderr.count("\n") == 1
        and "; " in done.stderr
    ), done.stderr
    assert not [word for word in words if word not in done.stderr], done.stderr
