"""Images of one size, and what is done to them for training."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gentrain.config.types import Size
from gentrain.data.arrays import (
    CHUNK,
    LOOKED_AT,
    ArrayDataset,
    looked_at,
    to_bytes,
    to_float,
)
from gentrain.data.base import Data
from gentrain.data.batches import generator
from gentrain.data.checks import ensure, has_type, is_count
from gentrain.data.degrade import DEGRADATIONS, Degradation, source_shape

log = logging.getLogger("gentrain")

DARK = 80  # of 255; pictures without any brighter pixel are not of the range that was assumed


@dataclass(kw_only=True, eq=False, repr=False)
class Images(Data):
    """Images of `size` pixels; images of another size are resized once.

    `degrade` makes sources of them (see degrade.py). For training they are made of each batch, so
    that random holes are always new. Those that `load` gives are the same at each call, and are
    kept in memory.

    Args:
        size: pixels of a side, or [HEIGHT, WIDTH].
        degrade: a name in `DEGRADATIONS`; null for none.
        jitter: enlarge training images, and their sources, by so many pixels a side, and cut
            `size` out at a random place.
        The other arguments are those of `Data`.
    """

    size: Size = 28
    degrade: str | None = None
    jitter: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        said = (self.shape[0], *self.sides)
        ensure(
            self.shape == said,
            f"shape {self.shape} is not that of the size, {said} (data.shape); "
            "set data.size instead",
        )
        self.check_degrade()
        self.check_jitter()

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return sides_of(self.size)

    def check_jitter(self) -> None:
        """Refuse a jitter that is no number, or that sources of another size cannot take."""
        ensure(
            is_count(self.jitter, 0),
            f"jitter must be a whole number >= 0, not {self.jitter!r} (data.jitter); "
            "e.g. 30 at 256 pixels",
        )
        stored = self.source_shape if self.degrade is None else None
        ensure(
            not self.jitter or stored is None or stored[1:] == self.shape[1:],
            f"sources of {self.source_shape} cannot be cropped as images of {self.shape} are "
            "(data.jitter); write 0",
        )

    def check_degrade(self) -> None:
        """Refuse a degradation that there is not, or that these images cannot take."""
        if self.degrade is None:
            return
        known = ", ".join(DEGRADATIONS)
        ensure(
            self.degrade in DEGRADATIONS,
            f"degrade is {self.degrade!r} (data.degrade); write one of {known}, or null",
        )
        channels, height, width = self.shape
        reason = DEGRADATIONS[self.degrade].refuses(channels, height, width)
        ensure(
            not reason,
            f"images of data={self.name} cannot take {self.degrade}, {reason} (data.degrade); "
            f"choose another of {known}",
        )
        made = source_shape(self.shape, self.degrade)
        ensure(
            self.source_shape == tuple(made or ()),
            f"data={self.name} has sources already, of {self.source_shape}, and {self.degrade} "
            "makes others (data.degrade); write null",
        )

    @property
    def degradation(self) -> Degradation | None:
        return DEGRADATIONS[self.degrade] if self.degrade else None

    @property
    def stream_options(self) -> dict[str, Any]:
        return {"jitter": self.jitter}

    def finished(self, samples: ArrayDataset, split: str) -> ArrayDataset:
        """The samples with the sources that `degrade` makes.

        The random numbers of the degradation depend on the split alone.
        """
        if (degradation := self.degradation) is None:
            return samples
        count = len(samples.images)
        numbers = torch.rand(count, degradation.draws, generator=generator(0, "degrade", split))
        pairs = zip(samples.images.split(CHUNK), numbers.split(CHUNK), strict=True)
        sources = [to_bytes(degradation.make(to_float(images), draws)) for images, draws in pairs]
        return samples._replace(sources=torch.cat(sources))

    def warn_of_darkness(self, images: Tensor, where: str) -> None:
        """Warn where no picture comes near the largest value, as of 12 bits in 16."""
        brightest = max(int(some.max()) for some in looked_at(images, LOOKED_AT))
        self.say_once(
            f"{where}: the pictures are dark, no pixel is above {brightest} of 255 "
            "(data.range); give the values that are black and white, such as "
            "data.range=[0,4095] for 12 bits of 16",
            brightest < DARK,
            logging.WARNING,
        )


def sides_of(size: Any) -> tuple[int, int]:
    """Height and width of a size, which is a number or a pair.

    Raises:
        UserError: for what is neither.

    >>> sides_of(32), sides_of([32, 48])
    ((32, 32), (32, 48))
    """
    match size:
        case [_, _]:
            sides = list(size)
        case _:
            sides = [size, size]
    ensure(
        all(map(is_count, sides)),
        f"size must be a whole number >= 1, or two of them, [HEIGHT,WIDTH], not {size!r} "
        "(data.size); e.g. 32 or [32,48]",
    )
    return sides[0], sides[1]


def check_range(values: Sequence[float] | None) -> None:
    """Refuse what is not two numbers, the lower one first."""
    if values is None:
        return
    pair = list(values) if not isinstance(values, str) else []
    ensure(
        len(pair) == 2 and all(has_type(each, float) for each in pair) and pair[0] < pair[1],
        f"range is {values!r} (data.range); give the values of black and white, e.g. [0,4095]",
    )
