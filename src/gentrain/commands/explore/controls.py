"""What a user can move on the page of `gentrain explore`: each control knows its widget."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Control(ABC):
    """One control, and the name that stands beside it."""

    label: str

    @abstractmethod
    def ask(self, page: Any) -> Any:
        """Its value now.

        Args:
            page: Streamlit, or whatever has its functions.
        """


@dataclass(frozen=True)
class Slider(Control):
    """A number between two others; steps that are whole numbers give whole numbers."""

    low: float
    high: float
    value: float
    step: float

    def ask(self, page: Any) -> float:
        return page.slider(self.label, self.low, self.high, self.value, self.step)


@dataclass(frozen=True)
class Number(Control):
    """A whole number from 0 to 2**32 - 1."""

    value: int = 0

    def ask(self, page: Any) -> int:
        return int(page.number_input(self.label, 0, 2**32 - 1, self.value, 1))


@dataclass(frozen=True)
class Choice(Control):
    """One of several words, the first by default."""

    options: Sequence[str]

    def ask(self, page: Any) -> str:
        return str(page.selectbox(self.label, list(self.options)))


@dataclass(frozen=True)
class Toggle(Control):
    """Yes or no."""

    value: bool = False

    def ask(self, page: Any) -> bool:
        return bool(page.toggle(self.label, self.value))


@dataclass(frozen=True)
class Words(Control):
    """A line of text."""

    def ask(self, page: Any) -> str:
        return str(page.text_input(self.label)).strip()


@dataclass(frozen=True)
class Upload(Control):
    """The bytes of a picture of the user's; None without one."""

    endings: Sequence[str]

    def ask(self, page: Any) -> bytes | None:
        file = page.file_uploader(self.label, [ending.removeprefix(".") for ending in self.endings])
        return None if file is None else file.getvalue()
