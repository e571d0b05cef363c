"""The visible units of a restricted Boltzmann machine: binary or Gaussian."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gentrain.config.types import Positive
from gentrain.models.energy.base import log_odds
from gentrain.models.pixels import Binary, Pixels, real_values
from gentrain.streams import normal, uniform


class Visible(nn.Module, ABC):
    """Visible units given a = W h: p(v | a) = exp(-E_vis(v; b) + (v / s) . a) / Z_vis.

    They are independent of each other.
    """

    binary: ClassVar[bool] = False
    scale: float = 1.0  # s

    @abstractmethod
    def pixels(self, shape: list[int]) -> Pixels:
        """What the units are, for images or points of a shape."""

    @abstractmethod
    def energy(self, v: Tensor, b: Tensor) -> Tensor:
        """E_vis (n,) of values v (n, D)."""

    @abstractmethod
    def log_partition(self, b: Tensor, a: Tensor) -> Tensor:
        """log Z_vis = log sum_v exp(-E_vis(v; b) + (v / s) . a), (n,), for a (n, D)."""

    @abstractmethod
    def mean(self, b: Tensor, a: Tensor) -> Tensor:
        """The means (n, D), for a (n, D)."""

    @abstractmethod
    def draw(self, b: Tensor, a: Tensor) -> Tensor:
        """Random values (n, D), for a (n, D)."""

    @abstractmethod
    def bias(self, v: Tensor) -> Tensor:
        """b (D,) of independent units with the means of data v (n, D)."""


class BinaryUnits(Visible):
    """v in {0, 1}, E_vis = -b . v.

    Args:
        threshold: see `Binary`.
    """

    binary = True

    def __init__(self, threshold: bool = False) -> None:
        super().__init__()
        self.threshold = threshold

    def pixels(self, shape: list[int]) -> Pixels:
        return Binary(self.threshold)

    def energy(self, v: Tensor, b: Tensor) -> Tensor:
        return -(v @ b)

    def log_partition(self, b: Tensor, a: Tensor) -> Tensor:
        return F.softplus(b + a).sum(1)

    def mean(self, b: Tensor, a: Tensor) -> Tensor:
        return torch.sigmoid(b + a)

    def draw(self, b: Tensor, a: Tensor) -> Tensor:
        return bernoulli(b + a)

    def bias(self, v: Tensor) -> Tensor:
        return log_odds(v)


class GaussianUnits(Visible):
    """Real v, E_vis = |v - b|^2 / (2 s^2), so that v given h is N(b + s W h, s^2).

    Images are dequantised; see `Dequantised`.

    Args:
        sd: s, of pixels in [-1, 1]; fixed.
    """

    def __init__(self, sd: Positive = 0.3) -> None:
        super().__init__()
        self.scale = sd

    def pixels(self, shape: list[int]) -> Pixels:
        return real_values(shape)

    def energy(self, v: Tensor, b: Tensor) -> Tensor:
        return (v - b).square().sum(1) / (2 * self.scale**2)

    def log_partition(self, b: Tensor, a: Tensor) -> Tensor:
        constant = math.log(2 * math.pi) / 2
        return (a.square() / 2 + b * a / self.scale + math.log(self.scale) + constant).sum(1)

    def mean(self, b: Tensor, a: Tensor) -> Tensor:
        return b + self.scale * a

    def draw(self, b: Tensor, a: Tensor) -> Tensor:
        mean = self.mean(b, a)
        return mean + self.scale * normal(mean)

    def bias(self, v: Tensor) -> Tensor:
        return v.mean(0)


def bernoulli(logits: Tensor) -> Tensor:
    """1 with probability sigmoid(logits), and 0 otherwise."""
    return (uniform(logits) < torch.sigmoid(logits)).to(logits.dtype)
