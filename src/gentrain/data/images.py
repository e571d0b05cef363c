"""Square images of one size, and what is done to them for training."""

from dataclasses import dataclass
from typing import Any

import torch

from gentrain.data.arrays import CHUNK, ArrayDataset, to_bytes, to_float
from gentrain.data.base import Data
from gentrain.data.batches import generator
from gentrain.data.checks import ensure, is_count
from gentrain.data.degrade import DEGRADATIONS, Degradation, source_shape


@dataclass(kw_only=True, eq=False, repr=False)
class Images(Data):
    """Square images of `size` pixels; images of another size are resized once.

    `degrade` makes sources of them (see degrade.py). For training they are made of each batch, so
    that random holes are always new. Those that `load` gives are the same at each call, and are
    kept in memory.

    Args:
        size: pixels of a side.
        degrade: a name in `DEGRADATIONS`; null for none.
        jitter: enlarge training images, and their sources, by so many pixels, and cut `size` out
            at a random place.
        The other arguments are those of `Data`.
    """

    size: int = 28
    degrade: str | None = None
    jitter: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        ensure(
            is_count(self.size),
            f"size must be a whole number >= 1, not {self.size!r} (data.size); e.g. 32",
        )
        square = (self.shape[0], self.size, self.size)
        ensure(
            self.shape == square,
            f"shape {self.shape} is not that of the size, {square} (data.shape); "
            "set data.size instead",
        )
        self.check_degrade()
        self.check_jitter()

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
        count, draws = len(samples.images), degradation.draws
        numbers = torch.rand(count, draws, generator=generator(0, "degrade", split))
        pairs = zip(samples.images.split(CHUNK), numbers.split(CHUNK), strict=True)
        sources = [to_bytes(degradation.make(to_float(images), drawn)) for images, drawn in pairs]
        return samples._replace(sources=torch.cat(sources))
