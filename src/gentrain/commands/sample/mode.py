"""What a sample mode is: one class, whose constructor's arguments are its options.

A preset in `conf/mode/` names the class and sets the options.
"""

from __future__ import annotations

import itertools
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import Field
from torch import Tensor

from gentrain.capability import Capability, require
from gentrain.commands.sample.session import BLOCK, SampleSession
from gentrain.commands.sample.writer import Output
from gentrain.data.grids import annotated, tile, unit
from gentrain.errors import UserError

Steps = Annotated[int, Field(ge=2)]
Index = Annotated[int, Field(ge=0, lt=100_000)]


class Mode(ABC):
    """One way to draw from a finished run.

    A subclass declares what it needs of a run; `check` refuses any other.
    """

    requires: ClassVar[tuple[type[Capability], ...]] = ()  # what the model must be able to do
    # of the options that all modes share, those that change what it draws or keeps
    reads: ClassVar[tuple[str, ...]] = ("seed", "labels", "mean", "temperature", "save")
    points: ClassVar[bool] = False  # it can show points in the plane
    sounds: ClassVar[bool] = False  # it can show sounds, by `data.as_images`
    needs_labels: ClassVar[bool] = False  # samples must be made for given labels
    noise: Literal["any", "normal"] | None = None  # the prior that it needs, if it chooses noise
    noise_remedy: ClassVar[str] = "choose mode=grid"  # what to do where the prior is another

    @property
    def name(self) -> str:
        """The name after "mode=": ClassGrid is class_grid."""
        return re.sub(r"(?<!^)(?=[A-Z])", "_", type(self).__name__).lower()

    def check(self, session: SampleSession) -> None:
        """Refuse a run that this mode does not fit, before anything is written.

        Raises:
            UserError: with the reason and what to choose instead.
        """
        things = session.data.things
        if not {"points": self.points, "sounds": self.sounds}.get(things, True):
            raise UserError(
                f"mode={self.name} shows images, and data={session.data.name} gives {things} "
                "(mode); choose mode=grid"
            )
        for capability in self.requires:
            require(session.model, capability, f"mode={self.name}")
        if self.needs_labels and session.classes is None:
            labelled, kind = session.model.labelled, session.data.label_kind
            without, instead = ("classes", kind.mode) if labelled else ("labels", "mode=grid")
            raise UserError(
                f"mode={self.name} has a row a class, and this model has no {without} (mode); "
                f"choose {instead}"
            )
        if self.noise and session.prior is None:
            raise UserError(
                f"this model has no noise to choose (mode={self.name}); choose mode=grid"
            )
        if self.noise == "normal" and session.prior != "normal":
            raise UserError(
                f"mode={self.name} is of normal noise, and this generator's is {session.prior} "
                f"(mode); {self.noise_remedy}"
            )

    def read(self, session: SampleSession) -> tuple[str, ...]:
        """The shared options that it reads of this run."""
        return self.reads

    def refuse_unread(self, session: SampleSession, typed: Iterable[str]) -> None:
        """Refuse options that would change nothing.

        Args:
            session: the run.
            typed: the shared options that the user gave.

        Raises:
            UserError: for the first that this mode does not read.
        """
        read = self.read(session)
        if unread := [key for key in typed if key not in read]:
            raise UserError(
                f"{unread[0]} changes nothing with mode={self.name} of this run ({unread[0]}); "
                "leave it out"
            )

    @abstractmethod
    def draw(self, session: SampleSession, out: Output) -> dict[str, Any]:
        """Draw, write pictures and images, and return what the record shall say."""


class Words(NamedTuple):
    """What a picture says of its images.

    Args:
        title: the line above.
        rows: a word for each row; empty for none.
        heads: a word for each column.
    """

    title: str
    rows: list[str]
    heads: list[str]


def draw_table(
    session: SampleSession,
    out: Output,
    name: str,
    z: Tensor,
    labels: Tensor | None,
    words: Words,
) -> None:
    """Draw the images of z (n, ...), keep them, and show them in a table with words."""
    images = session.data.as_images(keep(session, out, z, labels))
    out.picture(name, annotated(images, words.rows, words.heads, words.title))


def row_names(session: SampleSession, labels: Tensor | None, names: list[str]) -> list[str]:
    """The names of rows, each with the name of its class where there are labels (n, ...)."""
    if labels is None:
        return names
    kind = session.data.label_kind
    classes = session.class_names or [f"class {name}" for name in session.label_names]
    return [f"{kind.text(y, classes)}: {name}" for y, name in zip(labels, names, strict=True)]


def number(value: float) -> str:
    """A number above an image, of at most three decimals.

    >>> [number(value) for value in (-2.0, 0.125, 11.25, -0.0001)]
    ['-2', '0.125', '11.25', '0']
    """
    return f"{round(value, 3) + 0.0:.6g}"


def keep(session: SampleSession, out: Output, z: Tensor, labels: Tensor | None) -> Tensor:
    """Draw the images of z (n, ...) and keep them as `save` says; returns all of them."""
    ys = itertools.repeat(None) if labels is None else labels.split(BLOCK)
    batches = zip(session.parts(z, labels), ys, strict=False)
    return out.images(batches, len(z), len(z))


def repeat_labels(labels: Tensor | None, times: int) -> Tensor | None:
    """Each label (n, ...) several times in a row: (n * times, ...)."""
    return None if labels is None else labels.repeat_interleave(times, 0)


def table(images: Tensor, columns: int) -> Tensor:
    """(B, C, H, W) in [-1, 1] -> one picture (3, H', W') in [0, 1], `columns` to a row."""
    return tile(unit(images), columns)
