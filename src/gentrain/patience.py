"""A line for what takes long, so that a command is never silent without a reason.

The environment variable GENTRAIN_PATIENCE says how many seconds something may take before its line
comes; 1.5 by default.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from gentrain.errors import UserError

log = logging.getLogger("gentrain")

Item = TypeVar("Item")

SECONDS = 10.0  # between two lines of one thing
IMPORT = 3.0  # seconds that the import of torch and Lightning takes

announced: list[str] = []  # imports of which a line was said


def patience() -> float:
    """Seconds that something may take before a line says what it is.

    Raises:
        UserError: where the environment has no number.
    """
    given = os.environ.get("GENTRAIN_PATIENCE", "1.5")
    try:
        return float(given)
    except ValueError:
        raise UserError(
            f"{given!r} is no number of seconds (GENTRAIN_PATIENCE); give one, or unset it"
        ) from None


def announce_torch() -> None:
    """Say that the import of torch begins, which takes seconds; once in a process."""
    if "torch" in sys.modules or "LOCAL_RANK" in os.environ or patience() >= IMPORT:
        return
    if not announced:
        announced.append("torch")
        print("gentrain: loading torch", file=sys.stderr, flush=True)


@contextmanager
def say_if_slow(what: str) -> Iterator[None]:
    """Log what a block does, unless it is done in a moment.

    Args:
        what: such as "scoring quality=inception".
    """
    if not log.isEnabledFor(logging.INFO):
        yield
        return
    if (seconds := patience()) <= 0:
        log.info("%s", what)
        yield
        return
    timer = threading.Timer(seconds, log.info, ("%s", what))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def counted(
    items: Iterable[Item], total: int, what: str, size: Callable[[Item], int] = lambda item: 1
) -> Iterator[Item]:
    """The same items, with a line every ten seconds of how much is done.

        decoding: 1200/20000, 310 a second, 01:01 left

    Args:
        items: parts of the work.
        total: the size of all parts.
        what: what is done with them.
        size: the size of a part.
    """
    done, began = 0, time.monotonic()
    due = began + min(SECONDS, patience())
    for item in items:
        yield item
        done += size(item)
        if (now := time.monotonic()) >= due and done < total:
            due = now + SECONDS
            rate = done / max(now - began, 1e-9)
            left = clock((total - done) / rate)
            log.info("%s: %s/%s, %s a second, %s left", what, done, total, f"{rate:,.0f}", left)


def clock(seconds: float) -> str:
    """Minutes and seconds, and hours where there are some.

    >>> clock(61), clock(3723)
    ('01:01', '1:02:03')
    """
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes:02}:{rest:02}"
