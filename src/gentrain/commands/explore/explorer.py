"""A finished run behind the page: which panels it offers, and what they draw of given values."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from gentrain.capability import supports
from gentrain.commands.explore.controls import Choice, Control, Number, Slider, Toggle, Words
from gentrain.commands.sample.mode import Mode
from gentrain.commands.sample.session import SampleSession
from gentrain.commands.sample.truncation import truncated
from gentrain.errors import UserError
from gentrain.models.base import DrawsPixels, HasTemperature, fork_rng
from gentrain.runs.reopen import OpenedRun

ALL = "all in turn"  # of the classes
WHOLE = 4.0  # the largest |z| of the slider, where nothing is truncated

Values = Mapping[str, Any]


class Shown(NamedTuple):
    """What a panel draws: pictures (3, H, W) in [0, 1] with a line below each, and a text."""

    pictures: list[tuple[str, Tensor]]
    text: str = ""


class Panel(ABC):
    """One part of the page.

    What it needs of a run is declared by a sample mode, whose `check` is asked.
    """

    title: ClassVar[str]
    about: ClassVar[str]  # one sentence

    @abstractmethod
    def fits(self, session: SampleSession) -> bool:
        """Whether the run can do this."""

    @abstractmethod
    def controls(self, explorer: Explorer) -> dict[str, Control]:
        """What the user can choose, by the keys of the values that `draw` reads."""

    @abstractmethod
    def draw(self, explorer: Explorer, values: Values) -> Shown:
        """Draw for these values. Raises UserError for what does not fit."""


class Explorer:
    """A run, and the panels that its model's capabilities offer.

    Args:
        run: a run that was opened.
        kinds: of panels.
        averaged: draw with the averaged generator, where the run keeps one.

    Raises:
        UserError: for a run that keeps no average.
    """

    def __init__(
        self, run: OpenedRun, kinds: Sequence[type[Panel]], averaged: bool | None = None
    ) -> None:
        self.run, self.averaged = run, averaged
        self.lock = Lock()  # the tabs of a browser share one model and its random numbers
        self.kept: dict[Any, Tensor] = {}  # what takes long and does not change
        self.first = SampleSession(run, averaged)
        self.mean = bool(supports(run.model, DrawsPixels) and run.model.mean)
        self.panels = [panel for panel in (kind() for kind in kinds) if panel.fits(self.first)]

    @property
    def title(self) -> str:
        """What the page is of."""
        names = [self.run.choices.get(group, "") for group in ("model", "data")]
        return " on ".join(name for name in names if name) or self.run.run_dir.name

    @property
    def about(self) -> str:
        """Which run, and which of its weights."""
        weights = "averaged weights" if self.first.averaged else "the last weights"
        return f"{self.run.run_dir} at step {self.run.step}, {weights}"

    # --- what all samples share -------------------------------------------------------------------

    def controls_of_samples(self) -> dict[str, Control]:
        """The seed, and whatever else this model's samples depend on."""
        session, found = self.first, dict[str, Control]()
        found["seed"] = Number("Seed")
        if session.model.labelled and session.classes is not None:
            word = "Domain" if session.is_multi_domain else "Class"
            found["label"] = Choice(word, (ALL, *session.label_names))
        elif session.model.labelled:
            found["text"] = Words("Caption")
        if supports(session.model, HasTemperature):
            found["temperature"] = Slider("Temperature", 0.0, 1.5, 1.0, 0.05)
        if supports(session.model, DrawsPixels):
            found["mean"] = Toggle("Means of the pixels in place of draws", self.mean)
        if session.prior == "normal":
            found["truncation"] = Slider(
                f"Truncation: the largest |z| ({WHOLE:g}: none)", 0.1, WHOLE, WHOLE, 0.1
            )
        return found

    def session(self, values: Values) -> SampleSession:
        """The run, as these values want it drawn."""
        label, text = values.get("label", ALL), values.get("text")
        labels = [text] if text else None if label == ALL else [label]
        mean = self.mean if supports(self.run.model, DrawsPixels) else None
        heat = 1.0 if supports(self.run.model, HasTemperature) else None
        return SampleSession(
            self.run,
            self.averaged,
            values.get("seed", 0),
            labels,
            mean=values.get("mean", mean),
            temperature=values.get("temperature", heat),
        )

    def noise(self, session: SampleSession, n: int, values: Values) -> Tensor:
        """The first n rows of noise of a seed, truncated if the user says so."""
        tau, z = values.get("truncation", WHOLE), session.noise(n)
        with fork_rng(session.seed, torch.device("cpu")):
            return z if tau >= WHOLE else truncated(z, tau)

    def samples(self, session: SampleSession, n: int, values: Values) -> Tensor:
        """The first n samples of a seed."""
        if session.prior is None:
            return torch.cat([images for images, _ in session.stream(n)])
        return session.images(self.noise(session, n, values), session.labels(n))

    # --- drawing ----------------------------------------------------------------------------------

    def draw(self, panel: Panel, values: Values) -> Shown:
        """What a panel shows; one at a time, however many tabs ask."""
        with self.lock, training_streams():
            return panel.draw(self, values)


@contextmanager
def training_streams() -> Iterator[None]:
    """Keep what is drawn from changing the random numbers of the next drawing."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        yield


def offers(session: SampleSession, mode: Mode) -> bool:
    """Whether a sample mode fits a run."""
    try:
        mode.check(session)
    except UserError:
        return False
    return True
