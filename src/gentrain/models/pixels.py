"""What is modelled of an image: black and white pixels, 256 levels, or real numbers.

The choice sets the unit of a likelihood, so nats of different choices must not be compared.
Images come in [-1, 1]; the level k of an 8-bit pixel is 2 k / 255 - 1.
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
from gentrain.data.base import Data
from gentrain.data.mnist_static import PAGE
from gentrain.errors import UserError


class Pixels(nn.Module, ABC):
    """A map from images in [-1, 1] to modelled values, and back."""

    name: str  # part of the protocol of every likelihood
    of_levels: ClassVar[bool] = True  # defined for 8-bit images, not for points in the plane
    values: int | None = None  # values are 0 to values - 1; None for real numbers

    @abstractmethod
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Images (B, ...) -> values v of the same shape, and log |det dv/dx| (B,) in nats.

        It may draw random numbers.
        """

    @abstractmethod
    def inverse(self, v: Tensor) -> Tensor:
        """Values -> images in [-1, 1]."""

    def check_data(self, data: Data) -> None:
        """Refuse images that these values are not those of. Raises UserError."""

    def scaled(self, v: Tensor) -> Tensor:
        """Values as the input of a network: those of a finite set are scaled to [0, 1]."""
        return v if self.values is None else v / (self.values - 1)


class Binary(Pixels):
    """Pixels that are 0 or 1.

    Dynamic binarisation (Salakhutdinov & Murray, 2008) draws anew each time: a pixel is 1 with the
    probability of its brightness. Static binarisation (Larochelle & Murray, 2011) is that of fixed
    files, which data=mnist_static reads. These are three benchmarks, and their nats differ.

    Args:
        threshold: bright pixels are always 1 instead.
        static: the images are black and white as they are stored.
    """

    values = 2

    def __init__(self, threshold: bool = False, static: bool = False) -> None:
        super().__init__()
        if threshold and static:
            raise UserError(
                "pixels are binarised at a threshold or as their file has them (threshold, "
                "static); choose one"
            )
        self.threshold, self.static = threshold, static
        fixed = "statically binarised" if static else "dynamically binarised"
        self.name = "binarised at 1/2" if threshold else fixed

    def check_data(self, data: Data) -> None:
        if self.static and not data.black_and_white:
            raise UserError(
                f"statically binarised pixels are those of fixed files, and data={data.name} is "
                "grey (pixels=binary_static); choose data=mnist_static data.root=DIR, with the "
                f"files of {PAGE}"
            )
        if data.black_and_white and not self.static:
            raise UserError(
                f"images of data={data.name} are black and white already (pixels, likelihood, "
                "visible); choose pixels=binary_static, likelihood=bernoulli_static or "
                "visible=binary_static"
            )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        brightness = (x + 1) / 2
        if self.threshold or self.static:
            values = (brightness > 0.5).to(x.dtype)
        else:
            values = torch.bernoulli(brightness.clamp(0, 1))
        return values, x.new_zeros(len(x))

    def inverse(self, v: Tensor) -> Tensor:
        return 2 * v - 1


class Levels(Pixels):
    """Discrete levels, 0 to 255 for 8-bit images: -log2 p / D is in bits per dimension.

    Args:
        values: the number of levels; with fewer than 256 a pixel takes the nearest.

    >>> Levels()(torch.tensor([[-1.0, 1.0]]))[0]
    tensor([[  0., 255.]])
    """

    values: int

    def __init__(self, values: Annotated[int, Field(ge=2, le=256)] = 256) -> None:
        super().__init__()
        self.values, self.name = values, f"{values} levels"

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return ((x + 1) / 2 * (self.values - 1)).round(), x.new_zeros(len(x))

    def inverse(self, v: Tensor) -> Tensor:
        return 2 * v / (self.values - 1) - 1


class Real(Pixels):
    """Real numbers in [-1, 1], unchanged: nats are of a density, and may be negative."""

    name = "real numbers in [-1, 1]"
    of_levels = False

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x.new_zeros(len(x))

    def inverse(self, v: Tensor) -> Tensor:
        return v.clamp(-1, 1)


class Logit(Pixels):
    """Uniform dequantisation and the logit transform (Dinh, Sohl-Dickstein & Bengio, 2017).

        v = logit(s),   s = alpha + (1 - 2 alpha) (k + u) / 256,   u ~ U[0, 1)
        log |dv/dk| = log(1 - 2 alpha) - log 256 - log s - log(1 - s)    for each pixel

    E log p(v) + log |det| is a lower bound of the log-probability of the 8-bit image.

    Args:
        alpha: how far s stays from 0 and 1.
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
