"""The networks of progressive GANs: both players grow with the resolution.

Karras, Aila, Laine & Lehtinen, "Progressive growing of GANs for improved quality, stability, and
variation", 2018.

A level is a resolution: 7, 14, 28 px for images of 28 px; 4, 8, 16, 32 px for 32 px. A level fades
in while alpha rises from 0 to 1,

    G(z) = (1 - alpha) up(rgb_old(h)) + alpha rgb_new(block(h)),      and D mirrors it.

The generator always gives images of the full size, by nearest up-sampling, and the critic averages
any larger image down to its level. So data, scores and samples do not depend on levels.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gentrain.config.types import Count
from gentrain.layers.activation import LeakyReLU
from gentrain.layers.equalized import equalized
from gentrain.layers.lipschitz_bound import LipschitzBounded, WeightLimits, lipschitz_bound
from gentrain.layers.minibatch import MinibatchStddev
from gentrain.layers.normalization import PixelNorm
from gentrain.networks import base
from gentrain.networks.dcgan import halvings


class Growing(nn.Module):
    """A network with levels, grown to `level`, whose newest level counts by `alpha`.

    It is fully grown until `grow` is called. The level is in the checkpoint.

    Args:
        shape: (C, H, W) of the images at the last level.
    """

    alpha: Tensor

    def __init__(self, shape: list[int]) -> None:
        super().__init__()
        smallest, doublings = halvings(shape)
        self.smallest = smallest
        self.sides = [max(smallest) * 2**i for i in range(doublings + 1)]
        self.level = doublings
        self.register_buffer("alpha", torch.ones(()))

    def grow(self, level: int, alpha: float) -> None:
        """Go to a level, of which `alpha` in [0, 1] has faded in."""
        self.level = level
        self.alpha.fill_(alpha)

    @property
    def stage(self) -> tuple[int, bool]:
        """The level, and whether it still fades in."""
        return self.level, bool(self.alpha < 1)

    @property
    def side(self) -> int:
        """The longer side of the level's images."""
        return self.sides[self.level]

    def blend(self, old: Tensor, new: Tensor) -> Tensor:
        """(1 - alpha) old + alpha new."""
        return torch.lerp(old, new, self.alpha.to(new.dtype))

    def get_extra_state(self) -> int:
        return self.level

    def set_extra_state(self, state: int) -> None:
        self.level = state


class Generator(base.Generator):
    """(B, latent) -> (B, *shape), without a tanh.

    Args:
        shape: (C, H, W).
        latent: length of the noise.
        width: channels up to 32 px; they halve with every doubling above.
        prior: distribution of the noise.
    """

    grows = True

    def __init__(
        self,
        shape: list[int],
        latent: Count = 512,
        width: Count = 512,
        prior: base.Prior = "normal",
    ) -> None:
        super().__init__(GeneratorBody(shape, latent, width), latent, prior)


class Critic(base.Critic):
    """(B, *shape), or any smaller level of it, -> scores (B,).

    Args:
        shape: (C, H, W).
        width: channels up to 32 px.
        group: samples of a group, whose standard deviation the last block sees.
        norm: there is none.
    """

    grows = True
    norms = ("none",)

    def __init__(
        self,
        shape: list[int],
        width: Count = 512,
        group: Count = 4,
        norm: base.NoNorm = "none",
    ) -> None:
        super().__init__(CriticBody(shape, width, group), width)
        self.head = equalized(self.head, gain=1.0)

    def input_layers(self) -> list[nn.Module]:
        return [layer[0] for layer in self.body.from_image]  # type: ignore[union-attr]

    def widened(self, layer: Any, m: int) -> nn.Module:
        return equalized(base.with_inputs(layer, m))

    def widened_head(self, extra: int) -> nn.Module:
        return equalized(nn.Linear(self.size + extra, 1), gain=1.0)


class GeneratorBody(Growing):
    """The generator's body: normalised noise, the smallest map, then blocks of (up, 3x3, 3x3).

    LeakyReLU 0.2 and pixel norm follow each 3x3 convolution.

    Args:
        shape: (C, H, W) of the images at the last level.
        latent: length of the noise.
        width: channels up to 32 px.
    """

    def __init__(self, shape: list[int], latent: int, width: int) -> None:
        super().__init__(shape)
        channels, smallest = level_channels(self.sides, width), self.smallest
        self.full = shape[1:]
        self.first = nn.Sequential(
            PixelNorm(),
            equalized(nn.Linear(latent, channels[0] * math.prod(smallest))),
            nn.Unflatten(1, (channels[0], *smallest)),
            LeakyReLU(0.2),
            PixelNorm(),
            *conv(channels[0], channels[0]),
            PixelNorm(),
        )
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Upsample(scale_factor=2), *conv(c, d), PixelNorm(), *conv(d, d), PixelNorm()
            )
            for c, d in pairwise(channels)
        )
        self.to_image = nn.ModuleList(
            equalized(nn.Conv2d(c, shape[0], 1), gain=1.0) for c in channels
        )

    def forward(self, z: Tensor) -> Tensor:
        """(B, latent) -> (B, *shape)."""
        h, level = self.first(z), self.level
        for block in self.blocks[: max(level - 1, 0)]:
            h = block(h)
        if level:
            old = doubled(self.to_image[level - 1](h))
            image = self.blend(old, self.to_image[level](self.blocks[level - 1](h)))
        else:
            image = self.to_image[0](h)
        return F.interpolate(image, size=self.full)


class CriticBody(Growing, LipschitzBounded):
    """The critic's body, the generator's mirror: 1x1 from the image, blocks of (3x3, 3x3, mean).

    The last block sees the minibatch standard deviation, and ends in features.

    Args:
        shape: (C, H, W) of the images at the last level.
        width: channels up to 32 px, and the number of features.
        group: samples of a group of the minibatch standard deviation.
    """

    def __init__(self, shape: list[int], width: int, group: int) -> None:
        super().__init__(shape)
        channels, smallest = level_channels(self.sides, width), self.smallest
        self.from_image = nn.ModuleList(
            nn.Sequential(equalized(nn.Conv2d(shape[0], c, 1)), LeakyReLU(0.2)) for c in channels
        )
        self.blocks = nn.ModuleList(
            nn.Sequential(*conv(d, d), *conv(d, c), nn.AvgPool2d(2)) for c, d in pairwise(channels)
        )
        self.last = nn.Sequential(
            MinibatchStddev(group),
            *conv(channels[0] + 1, channels[0]),
            nn.Flatten(),
            equalized(nn.Linear(channels[0] * math.prod(smallest), width)),
            LeakyReLU(0.2),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) of the level's size or a larger one -> (B, width)."""
        x, level = average_pool_to(x, self.side), self.level
        h = self.from_image[level](x)
        if level:
            h = self.blend(self.from_image[level - 1](halved(x)), self.blocks[level - 1](h))
        for i in reversed(range(level - 1)):
            h = self.blocks[i](h)
        return self.last(h)

    def lipschitz_bound(self, limits: WeightLimits) -> float:
        """The largest of all levels, and so of blends; means of pixels have K <= 1."""
        later, levels = lipschitz_bound(self.last, limits), list[float]()
        for i, first in enumerate(self.from_image):
            levels.append(lipschitz_bound(first, limits) * later)
            if i < len(self.blocks):
                later *= lipschitz_bound(self.blocks[i], limits)
        return max(levels)


def level_channels(sides: list[int], width: int) -> list[int]:
    """Channels of each level; in the paper 512 up to 32 px, then 256, 128 ...

    >>> level_channels([4, 8, 16, 32, 64, 128], 512)
    [512, 512, 512, 512, 256, 128]
    """
    return [max(1, min(width, width * 32 // side)) for side in sides]


def conv(inputs: int, outputs: int) -> tuple[nn.Module, nn.Module]:
    """A 3x3 convolution and its LeakyReLU."""
    return equalized(nn.Conv2d(inputs, outputs, 3, padding=1)), LeakyReLU(0.2)


def doubled(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, C, 2 H, 2 W), by repetition."""
    return F.interpolate(x, scale_factor=2)


def halved(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, C, H / 2, W / 2), by means of 2 x 2."""
    return F.avg_pool2d(x, 2)


def average_pool_to(x: Tensor, side: int) -> Tensor:
    """Make the longer side of (B, C, H, W) so long by means of squares.

    It inverts nearest up-sampling.
    """
    longer = max(x.shape[-2:])
    return F.avg_pool2d(x, longer // side) if longer != side else x
