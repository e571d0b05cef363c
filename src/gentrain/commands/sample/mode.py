"""What a mode of drawing is. A mode is one class: its constructor's arguments are its options (conf/mode/*.yaml)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Annotated, Any, ClassVar

from pydantic import Field
from torch import Tensor
from torchvision.utils import make_grid

from gentrain.commands.sample.session import BLOCK, SampleSession
from gentrain.commands.sample.writer import Output
from gentrain.data.grids import unit
from gentrain.errors import UserError

Steps = Annotated[int, Field(ge=2)]


class Mode(ABC):
    """One way to draw. `check` refuses, by a UserError, a run that it does not fit; `draw` returns what the record shall say."""

    points: ClassVar[bool] = False  # it can show points in the plane

    def check(self, studio: SampleSession) -> None:
        if studio.points and not self.points:
            raise UserError(
                f"mode={self.name} shows images, and data={studio.data.name} gives points (mode); choose mode=grid"
            )

    @abstractmethod
    def draw(self, studio: SampleSession, out: Output) -> dict[str, Any]: ...

    @property
    def name(self) -> str:
        from gentrain.adversarial.regularizer import snake

        return snake(type(self).__name__)

    def needs_noise(self, studio: SampleSession) -> None:
        if studio.prior is None:
            raise UserError(
                f"this model has no noise to choose (mode={self.name}); choose mode=grid"
            )

    def needs_normal_noise(self, studio: SampleSession, remedy: str = "choose mode=grid") -> None:
        self.needs_noise(studio)
        if studio.prior != "normal":
            raise UserError(
                f"mode={self.name} is of normal noise, and this generator's is {studio.prior} (mode); {remedy}"
            )


def draw_table(
    studio: SampleSession, out: Output, name: str, z: Tensor, labels: Tensor | None, columns: int
) -> None:
    out.picture(name, table(keep(studio, out, z, labels), columns))


def keep(studio: SampleSession, out: Output, z: Tensor, labels: Tensor | None) -> Tensor:
    """The images of z, all of them, kept as `save` says."""
    ys = labels.split(BLOCK) if labels is not None else [None] * -(-len(z) // BLOCK)
    batches = ((studio.images(part, y), y) for part, y in zip(z.split(BLOCK), ys, strict=True))
    return out.images(batches, len(z), len(z))


def repeated(labels: Tensor | None, times: int) -> Tensor | None:
    return None if labels is None else labels.repeat_interleave(times)


def table(images: Tensor, columns: int) -> Tensor:
    """(B, C, H, W) in [-1, 1] -> one picture, `columns` to a row."""
    return make_grid(unit(images), nrow=columns)
