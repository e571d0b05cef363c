"""Toys in the plane for flows and energies: two moons, a checkerboard, rings.

They are those of Grathwohl et al., "FFJORD", 2019. With z ~ N(0, 1), a point is

    x = scale * (place + noise * z),    scale = 1 / (reach + FAR * noise),

so that every point lies in (-1, 1), as pixels do. Labels say which moon, square or ring it is of.
"""

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from gentrain.data.arrays import ArrayDataset
from gentrain.data.base import Data
from gentrain.data.batches import generator
from gentrain.data.checks import ensure, is_count
from gentrain.data.validation import samples_of

FAR = 6  # deviations of the noise that are kept inside: one number in 500 million is farther out


@dataclass(kw_only=True, eq=False, repr=False)
class Plane(Data):
    """Points on a shape of several parts.

    Args:
        noise: deviation, in the units of the places.
        n: points for "train"; "test" has a tenth as many, and "validation" the share `validation`
            as many. All are fresh draws.
        draw_seed: which points are drawn. It is not the run's seed, so that runs with other seeds
            share the data.
        The other arguments are those of `Data`.
    """

    from_seed = True
    reach: ClassVar[float]  # places lie between -reach and reach
    parts: ClassVar[int]
    noise: float
    n: int = 100_000
    draw_seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        ensure(
            self.classes == self.parts,
            f"{self.name} has {self.parts} parts, not {self.classes!r} (data.classes); "
            "leave it out",
        )
        ensure(
            is_count(self.n, 10),
            f"n must be a whole number >= 10, not {self.n!r} (data.n); e.g. 100000",
        )
        ensure(
            0 <= self.noise < math.inf,
            f"the noise must be 0 or above, not {self.noise!r} (data.noise); e.g. 0.05",
        )
        ensure(not self.flip, "points have no left and right (data.flip); write false")

    @abstractmethod
    def places(self, labels: Tensor, u: Tensor, v: Tensor) -> Tensor:
        """The places (N, 2) of points of parts (N,), by two uniform numbers (N,) in [0, 1)."""

    @property
    def scale(self) -> float:
        """From the units of the places to those of the points."""
        return 1 / (self.reach + FAR * self.noise)

    @property
    def reads_validation(self) -> bool:
        return True

    def read(self, split: str) -> ArrayDataset:
        count = samples_of(split, self.n, self.validation, self.name)
        draws = generator(self.draw_seed, type(self).__name__, split)
        labels = torch.randint(self.parts, (count,), generator=draws)
        places = self.places(labels, *torch.rand(2, count, generator=draws))
        return ArrayDataset(
            self.scale * (places + self.noise * torch.randn(count, 2, generator=draws)), labels
        )


@dataclass(kw_only=True, eq=False, repr=False)
class TwoMoons(Plane):
    """Two half circles of radius 1, whose ends lie between those of each other."""

    reach: ClassVar[float] = 1.5
    parts: ClassVar[int] = 2
    classes: int | None = 2
    noise: float = 0.1

    def places(self, labels: Tensor, u: Tensor, v: Tensor) -> Tensor:
        turn = 1 - 2 * labels.float()  # about the origin
        return turn[:, None] * torch.stack(
            [torch.cos(math.pi * u) - 0.5, torch.sin(math.pi * u) - 0.25], 1
        )


@dataclass(kw_only=True, eq=False, repr=False)
class Checkerboard(Plane):
    """The 8 black squares of a board of 4 x 4, each filled evenly."""

    reach: ClassVar[float] = 2.0
    parts: ClassVar[int] = 8
    classes: int | None = 8
    noise: float = 0.0

    def places(self, labels: Tensor, u: Tensor, v: Tensor) -> Tensor:
        row = labels // 2
        return torch.stack([2 * (labels % 2) + row % 2 + u, row + v], 1) - 2


@dataclass(kw_only=True, eq=False, repr=False)
class Rings(Plane):
    """Four circles about the origin, of radius 1/4, 1/2, 3/4 and 1, with as many points each."""

    reach: ClassVar[float] = 1.0
    parts: ClassVar[int] = 4
    classes: int | None = 4
    noise: float = 0.02

    def places(self, labels: Tensor, u: Tensor, v: Tensor) -> Tensor:
        circle = torch.stack([torch.cos(2 * math.pi * u), torch.sin(2 * math.pi * u)], 1)
        return (labels[:, None] + 1) / 4 * circle
