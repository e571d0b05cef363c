"""What is modelled of an image: black and white pixels, 256 levels, or real numbers.

The choice sets the unit of a likelihood, so nats of different choices must not be compared.
Images come in [-1, 1]; the level k of an 8-bit pixel is 2 k / 255 - 1. A map says what values it
gives, and of which data; a model says which values it takes. `check_values` compares the two when
a model is built, and `Pixels.check_data` the stored images when it meets its data.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Collection
from typing import Annotated, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from gentrain.config.types import Share
from gentrain.data.base import Data
from gentrain.data.mnist_static import PAGE
from gentrain.errors import UserError
from gentrain.streams import bernoulli, uniform

# "binary": 0 and 1; "levels": whole numbers; "signs": -1 and 1; "density": real numbers of which a
# density is defined; "unchanged": real numbers that may lie on 256 points, where it has no bound
Values = str
Shown = Literal["images", "sounds", "points"]  # 8-bit images, sounds, or points


class Pixels(nn.Module, ABC):
    """A map from images in [-1, 1] to modelled values, and back."""

    name: str  # part of the protocol of every likelihood
    gives: ClassVar[Values]
    of: ClassVar[frozenset[Shown]] = frozenset({"images"})  # the data for which it is defined
    # log p(v) + log |det dv/dx| is a log-probability of discrete pixels, or a bound of one. Only
    # then are bits per dimension defined: a density of real numbers has no bits.
    discrete: ClassVar[bool] = True
    values: int | None = None  # values are 0 to values - 1; None for real numbers

    @property
    def unit(self) -> str:
        """The unit of -log p(v) - log |det dv/dx|."""
        bits = "; bits_per_dim = nats / (D ln 2)"
        return f"nats an image{bits}" if self.discrete else "nats an image, of a density"

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

    gives: ClassVar = "binary"
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
                "grey (static); choose data=mnist_static data.root=DIR, with the files of "
                f"{PAGE}"
            )
        if data.black_and_white and not self.static:
            raise UserError(
                f"images of data={data.name} are black and white already (static); choose "
                "pixels=binary_static, likelihood=bernoulli_static, visible=binary_static or "
                "model.static=true"
            )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        brightness = (x + 1) / 2
        if self.threshold or self.static:
            values = (brightness > 0.5).to(x.dtype)
        else:
            values = bernoulli(brightness.clamp(0, 1))
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

    gives: ClassVar = "levels"
    values: int

    def __init__(self, values: Annotated[int, Field(ge=2, le=256)] = 256) -> None:
        super().__init__()
        self.values, self.name = values, f"{values} levels"

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return ((x + 1) / 2 * (self.values - 1)).round(), x.new_zeros(len(x))

    def inverse(self, v: Tensor) -> Tensor:
        return 2 * v / (self.values - 1) - 1


class Unchanged(Pixels):
    """Images and points as they are.

    8-bit pixels lie on 256 points, where a density may be as large as one likes. So this is for
    models that print no likelihood of images.

    Args:
        bounded: samples are images, which end at -1 and 1; points do not.
    """

    gives: ClassVar = "unchanged"
    of: ClassVar = frozenset({"images", "points"})
    name = "real numbers in [-1, 1]"
    discrete = False

    def __init__(self, bounded: bool = True) -> None:
        super().__init__()
        self.bounded = bounded

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x.new_zeros(len(x))

    def inverse(self, v: Tensor) -> Tensor:
        return v.clamp(-1, 1) if self.bounded else v


class Real(Unchanged):
    """Points, unchanged: nats are of a density, and may be negative."""

    gives: ClassVar = "density"
    of: ClassVar = frozenset({"points"})
    name = "real numbers"

    def __init__(self) -> None:
        super().__init__(bounded=False)


class Dequantised(Pixels):
    """Uniform dequantisation (Theis, van den Oord & Bethge, 2016), in [-1, 1].

        v = 2 (k + u) / 256 - 1,   u ~ U[0, 1),     log |dv/dk| = -log 128    for each pixel

    E log p(v) + log |det| is a lower bound of the log-probability of the 8-bit image.
    """

    gives: ClassVar = "density"
    name = "uniformly dequantised"

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        k = ((x + 1) * 127.5).round()
        log_det = x.new_full((len(x),), -math.log(128) * x[0].numel())
        return (k + uniform(k)) / 128 - 1, log_det

    def inverse(self, v: Tensor) -> Tensor:
        return ((v + 1) * 128).floor().clamp(0, 255) / 127.5 - 1


class Logit(Pixels):
    """Uniform dequantisation and the logit transform (Dinh, Sohl-Dickstein & Bengio, 2017).

        v = logit(s),   s = alpha + (1 - 2 alpha) (k + u) / 256,   u ~ U[0, 1)
        log |dv/dk| = log(1 - 2 alpha) - log 256 - log s - log(1 - s)    for each pixel

    E log p(v) + log |det| is a lower bound of the log-probability of the 8-bit image.

    Args:
        alpha: how far s stays from 0 and 1.
    """

    gives: ClassVar = "density"

    def __init__(self, alpha: Share = 0.05) -> None:
        super().__init__()
        self.alpha = alpha
        self.name = f"uniformly dequantised, logit with alpha = {alpha:g}"

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        k = ((x + 1) * 127.5).round()
        s = self.alpha + (1 - 2 * self.alpha) * (k + uniform(k)) / 256
        v = torch.logit(s)
        # log s + log(1 - s) = -softplus(-v) - softplus(v)
        slope = F.softplus(v) + F.softplus(-v) + math.log(1 - 2 * self.alpha) - math.log(256)
        return v, slope.flatten(1).sum(1)

    def inverse(self, v: Tensor) -> Tensor:
        k = ((torch.sigmoid(v) - self.alpha) / (1 - 2 * self.alpha) * 256).floor().clamp(0, 255)
        return k / 127.5 - 1


NOUNS: dict[Values, str] = {
    "binary": "black and white",
    "levels": "levels",
    "signs": "signs",
    "density": "real numbers with a density",
    "unchanged": "real numbers without a density",
}
CHOICES: dict[str, type[Pixels]] = {  # names in conf/pixels, without variants such as logit_wide
    "binary": Binary,
    "levels": Levels,
    "logit": Logit,
    "real": Real,
}


KINDS: dict[int, Shown] = {1: "points", 2: "sounds", 3: "images"}  # by the length of a shape


def shown(shape: Collection[int]) -> Shown:
    """What data of a shape are: (C, H, W) of images, (C, L) of sounds, or (D,) of points."""
    return KINDS[len(shape)]


def real_values(shape: Collection[int]) -> Pixels:
    """Real numbers of which a density is defined: dequantised images, or points as they are."""
    return Dequantised() if shown(shape) == "images" else Real()


def check_values(
    pixels: Pixels, shape: Collection[int], takes: Collection[Values], remedy: str | None = None
) -> None:
    """Refuse a map that is not defined for the data, or whose values the model does not take.

    Args:
        pixels: the map.
        shape: (C, H, W) of images, (C, L) of sounds, or (D,) of points.
        takes: the values that the model takes.
        remedy: what to do where the user did not choose the map; None to name maps that fit.

    Raises:
        UserError: naming the map, the data and the remedy.
    """
    data = shown(shape)
    if data in pixels.of and pixels.gives in takes:
        return
    if remedy is None:
        fitting = [
            name for name, kind in CHOICES.items() if kind.gives in takes and data in kind.of
        ]
        names = " or ".join(f"pixels={name}" for name in fitting)
        remedy = f"add {names}" if names else "choose images, such as data=mnist_5k"
    gives, taken = NOUNS[pixels.gives], " or ".join(NOUNS[value] for value in takes)
    why = (
        f"this choice of pixels is for {' and '.join(sorted(pixels.of))}, and the data are {data}"
        if data not in pixels.of
        else f"this model takes {taken}, and this choice of pixels gives {gives}"
    )
    raise UserError(f"{why} (pixels); {remedy}")
