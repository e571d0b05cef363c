"""Mixtures of Gaussians in the plane: toys on which the coverage of modes can be counted.

A ring of 8 (Metz, Poole, Pfau, Sohl-Dickstein, "Unrolled Generative Adversarial Networks", 2017:
radius 2, deviation 0.02) and a grid of 25 (Srivastava et al., "VEEGAN", 2017: spacing 2, deviation
0.05). With y uniform over the modes and z ~ N(0, 1), a point is

    x = scale * (centre[y] + std * z),    scale = 1 / (max |centre| + 10 std),

so that every point lies in (-1, 1), as pixels do. `modes()` and `sd` are in these scaled units.
"""

import math
from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from gentrain.data.arrays import ArrayDataset
from gentrain.data.base import Data
from gentrain.data.batches import generator
from gentrain.data.capabilities import HasModes
from gentrain.data.checks import ensure, is_count
from gentrain.data.validation import samples_of


@dataclass(kw_only=True, eq=False, repr=False)
class Gaussians(Data, HasModes):
    """Points of a mixture; labels are the numbers of the modes.

    Args:
        std: deviation of one mode, in the units of the paper.
        n: points for "train"; "test" has a tenth as many, and "validation" the share `validation`
            as many. All are fresh draws.
        draw_seed: which points are drawn. It is not the run's seed, so that runs with other seeds
            share the data.
        The other arguments are those of `Data`.
    """

    from_seed = True
    std: float
    n: int = 100_000
    draw_seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        ensure(
            is_count(self.n, 10),
            f"n must be a whole number >= 10, not {self.n!r} (data.n); e.g. 100000",
        )
        ensure(
            0 < self.std < math.inf,
            f"the deviation of a mode must be above 0, not {self.std!r} (data.std); e.g. 0.05",
        )
        ensure(not self.flip, "points have no left and right (data.flip); write false")

    @abstractmethod
    def centres(self) -> Tensor:
        """float32 (K, 2): the modes in the units of the paper."""

    @property
    def scale(self) -> float:
        """From the units of the paper to those of the points."""
        return 1 / (float(self.centres().abs().max()) + 10 * self.std)

    @property
    def sd(self) -> float:
        return self.scale * self.std

    def modes(self) -> Tensor:
        return self.scale * self.centres()

    @property
    def reads_validation(self) -> bool:
        return True

    def read(self, split: str) -> ArrayDataset:
        count = samples_of(split, self.n, self.validation, self.name)
        draws = generator(self.draw_seed, type(self).__name__, split)
        labels = torch.randint(len(self.centres()), (count,), generator=draws)
        return ArrayDataset(
            self.modes()[labels] + self.sd * torch.randn(count, 2, generator=draws), labels
        )


@dataclass(kw_only=True, eq=False, repr=False)
class GaussianRing(Gaussians):
    """`classes` modes at equal angles on a circle."""

    classes: int | None = 8
    radius: float = 2.0
    std: float = 0.02

    def __post_init__(self) -> None:
        ensure(
            is_count(self.classes),
            f"the ring needs a whole number >= 1 of modes, not {self.classes!r} (data.classes); "
            "e.g. 8",
        )
        ensure(
            0 < self.radius < math.inf,
            f"the radius must be above 0, not {self.radius!r} (data.radius); e.g. 2",
        )
        super().__post_init__()

    def centres(self) -> Tensor:
        angles = 2 * math.pi * torch.arange(self.classes or 0) / (self.classes or 1)
        return self.radius * torch.stack([angles.cos(), angles.sin()], 1)


@dataclass(kw_only=True, eq=False, repr=False)
class GaussianGrid(Gaussians):
    """`classes` modes on a square grid, 5 x 5 by default."""

    classes: int | None = 25
    spacing: float = 2.0
    std: float = 0.05

    def __post_init__(self) -> None:
        side = math.isqrt(self.classes) if is_count(self.classes) and self.classes else 0
        ensure(
            side > 0 and side**2 == self.classes,
            f"a grid has a square number of modes, not {self.classes!r} (data.classes); e.g. 25",
        )
        ensure(
            0 < self.spacing < math.inf,
            f"the spacing must be above 0, not {self.spacing!r} (data.spacing); e.g. 2",
        )
        super().__post_init__()

    def centres(self) -> Tensor:
        side = math.isqrt(self.classes or 0)
        line = self.spacing * (torch.arange(side) - (side - 1) / 2)
        return torch.cartesian_prod(line, line)
