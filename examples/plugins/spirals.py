"""A data set: two spirals in the plane.

Lang & Witbrock, "Learning to tell two spirals apart", 1988. They are drawn evenly along their
length:

    x = r (cos(2 pi turns r + phase), sin(2 pi turns r + phase)),    phase 0 or pi

    gentrain model=realnvp pixels=real data=spirals plugins=spirals --config-dir conf
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gentrain.data.arrays import ArrayDataset
from gentrain.data.base import Data
from gentrain.data.batches import generator
from gentrain.data.checks import ensure, is_count


@dataclass(kw_only=True, eq=False, repr=False)
class Spirals(Data):
    """Points on two spirals, with normal noise; the label says which spiral.

    Args:
        turns: of each spiral.
        noise: its deviation.
        n: points for "train"; "test" has a tenth as many.
    """

    from_seed = True
    turns: float = 1.5
    noise: float = 0.01
    n: int = 20_000

    def __post_init__(self) -> None:
        super().__post_init__()
        # refuse what cannot be, with the key and a remedy, before anything is read
        ensure(is_count(self.n, 10), f"n is {self.n!r} (data.n); give a whole number from 10 on")
        ensure(0 <= self.noise < 0.1, f"noise is {self.noise!r} (data.noise); give 0 to 0.1")

    def read(self, split: str) -> ArrayDataset:
        count = self.n if split == "train" else self.n // 10
        # random numbers of the data set's own: the same points for every seed of a run
        draws = generator(0, "spirals", split)
        labels = torch.randint(2, (count,), generator=draws)
        r = torch.rand(count, generator=draws).sqrt()
        angle = 2 * math.pi * self.turns * r + math.pi * labels
        points: Tensor = r[:, None] * torch.stack([angle.cos(), angle.sin()], 1)
        points = points + self.noise * torch.randn(count, 2, generator=draws)
        # points lie in (-1, 1), as pixels do
        return ArrayDataset((points / (1 + 6 * self.noise)).clamp(-0.999, 0.999), labels)
