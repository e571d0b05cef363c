"""What of an image a density models: black or white, 256 levels, or real numbers; and what a nat of it is worth.

Images come in [-1, 1], which is 2 k / 255 - 1 for the level k of a pixel.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from gentrain.config.types import Share


class Pixels(nn.Module, ABC):
    """A map from images in [-1, 1] to modelled values, and back."""

    name: str
    of_levels: ClassVar[bool] = True  # of 8-bit images
    values: int | None = None  # 0 to values - 1; None for real numbers

    @abstractmethod
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Values v, and log |det dv/dx| in nats an image (B,) in the units in which log p is reported. May draw random numbers."""

    @abstractmethod
    def inverse(self, v: Tensor) -> Tensor:
        """Images in [-1, 1]."""

    def scaled(self, v: Tensor) -> Tensor:
        """Values as a network wants them: those of finitely many are in [0, 1]."""
        return v if self.values is None else v / (self.values - 1)


class Binary(Pixels):
    """0 or 1. Dynamic binarisation draws anew each time: 1 with the probability of the pixel's brightness (Salakhutdinov & Murray, 2008).

    With `threshold`, bright pixels are 1: another benchmark, whose nats must not be compared.
    """

    values = 2

    def __init__(self, threshold: bool = False) -> None:
        super().__init__()
        self.threshold = threshold
        self.name = "binarised at 1/2" if threshold else "dynamically binarised"

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        brightness = (x + 1) / 2
        values = (
            (brightness > 0.5).to(x.dtype)
            if self.threshold
            else torch.bernoulli(brightness.clamp(0, 1))
        )
        return values, x.new_zeros(len(x))

    def inverse(self, v: Tensor) -> Tensor:
        return 2 * v - 1


class Levels(Pixels):
    """The level itself, 0 to 255: log p is of 8-bit images, -log2 p / D its bits a dimension. With fewer `values`, of the nearest level."""

    values: int

    def __init__(self, values: Annotated[int, Field(ge=2, le=256)] = 256) -> None:
        super().__init__()
        self.values, self.name = values, f"{values} levels"

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return ((x + 1) / 2 * (self.values - 1)).round(), x.new_zeros(len(x))

    def inverse(self, v: Tensor) -> Tensor:
        return 2 * v / (self.values - 1) - 1


class Real(Pixels):
    """Real numbers in [-1, 1], as they come: nats of a density, which may be negative."""

    name = "real numbers in [-1, 1]"
    of_levels = False

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x.new_zeros(len(x))

    def inverse(self, v: Tensor) -> Tensor:
        return v.clamp(-1, 1)


class Logit(Pixels):
    """Uniformly dequantised, into logit space (Dinh et al., 2017): v = logit(alpha + (1 - 2 alpha) (k + u) / 256), u ~ U[0, 1).

    With s the argument of the logit, log |dv/dk| = log(1 - 2 alpha) - log 256 - log s - log(1 - s) a pixel: so E log p(v) + log |det|
    bounds the log-probability of the 8-bit image from below.
    """

    def __init__(self, alpha: Share = 0.05) -> None:
        super().__init__()
        self.alpha = alpha
        self.name = f"uniformly dequantised, logit with alpha = {alpha:g}"

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        k = ((x + 1) * 127.5).round()
        s = self.alpha + (1 - 2 * self.alpha) * (k + torch.rand_like(k)) / 256
        v = torch.logit(s)
        # log s + log(1 - s) = -softplus(-v) - softplus(v)
        slope = F.softplus(v) + F.softplus(-v) + math.log(1 - 2 * self.alpha) - math.log(256)
        return v, slope.flatten(1).sum(1)

    def inverse(self, v: Tensor) -> Tensor:
        k = ((torch.sigmoid(v) - self.alpha) / (1 - 2 * self.alpha) * 256).floor().clamp(0, 255)
        return k / 127.5 - 1
