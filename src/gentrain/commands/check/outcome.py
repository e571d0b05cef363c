"""What a check says: it passes, fails or is skipped, in one line."""

from __future__ import annotations

import contextlib
import logging
import traceback
import warnings
from collections.abc import Callable, Iterator

from gentrain.config.plugins import place_in
from gentrain.errors import Interrupted, Unavailable

WIDTH = 12  # columns of the name of a check
STOPS = (Interrupted, Unavailable)  # what ends the command, and is no fault of what is checked


class Fault(Exception):
    """What is checked breaks its contract; the message says where, and what to do."""


class Skipped(Exception):
    """What is checked cannot be checked here; the message says why."""


class Report:
    """The lines of all checks, which are printed as they come."""

    def __init__(self) -> None:
        self.failures = self.passes = self.skips = 0

    def heading(self, option: str, targets: str) -> None:
        """Print the line above the checks of an option."""
        print(f"{option}  ({targets})", flush=True)

    def run(self, name: str, check: Callable[[], str]) -> bool:
        """Run one check and print its line.

        Args:
            name: what is checked.
            check: returns what was found; raises Fault or Skipped. Any other exception is a fault,
                too, but for those that are no fault of what is checked.

        Returns:
            Whether the next checks can go on.
        """
        try:
            found = check()
        except STOPS:
            raise
        except Skipped as reason:
            self.skipped(name, str(reason))
            return True
        except Exception as error:
            self.failed(name, told(error))
            return False
        self.passes += 1
        self.line("pass", name, found)
        return True

    def failed(self, name: str, reason: str) -> None:
        """Print the line of a check that has failed."""
        self.failures += 1
        self.line("FAIL", name, reason)

    def skipped(self, name: str, reason: str) -> None:
        """Print the line of a check that was not made."""
        self.skips += 1
        self.line("skip", name, reason)

    def line(self, verdict: str, name: str, text: str) -> None:
        """Print one line."""
        print(f"  {verdict}  {name:<{WIDTH}}  {' '.join(text.split())}".rstrip(), flush=True)

    def conclusion(self) -> str:
        """The last line."""
        return f"{self.passes} passed, {self.failures} failed, {self.skips} skipped"


def told(error: Exception) -> str:
    """An exception in one line; of one in the plugin's own code, with the place."""
    text = " ".join(str(error).split())
    match error:
        case Fault():
            return text
    if (place := place_in(error)) is not None:
        return f"{type(error).__name__}: {text}, in {place}"
    if "(" in text and ";" in text:  # a UserError says what to do
        return text
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {text[:300]}, in {frame.filename}:{frame.lineno}"


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Leave out what a training says of itself; warnings of the checked code are its own affair."""
    logger = logging.getLogger("gentrain")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
