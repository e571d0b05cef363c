"""What every dashboard does beside drawing curves."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Dashboard(ABC):
    """A logger that shows pictures and plays sounds, and that is closed at the end of a run."""

    @abstractmethod
    def show(self, name: str, path: Path, step: int, caption: str) -> None:
        """Show a picture.

        Args:
            name: what it shows, such as "samples".
            path: the file.
            step: generator steps made so far.
            caption: one line below it.
        """

    def play_sound(  # noqa: B027 (few dashboards can)
        self, name: str, path: Path, step: int, caption: str
    ) -> None:
        """Offer a sound to be heard, where that is possible.

        Args:
            name: what it is, such as "samples".
            path: a .wav file.
            step: generator steps made so far.
            caption: one line below it.
        """

    def alert(self, title: str, text: str) -> None:  # noqa: B027 (few dashboards can)
        """Send a message to those who follow the run, where that is possible."""

    @abstractmethod
    def close(self, summary: Mapping[str, Any], exit_status: int) -> None:
        """End the run.

        Args:
            summary: what is not the newest value of a curve, such as `best/quality/fid`.
            exit_status: exit status of the run.
        """

    def advice(self) -> str | None:
        """One line on how to look at the run, said after `close` of a run that is kept."""
        return None
