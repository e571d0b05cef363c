"""The networks of R3GAN: residual, without any normalisation, with fix-up initialisation.

Huang et al., "The GAN is dead; long live the GAN! A modern GAN baseline" (R3GAN), 2024; Zhang,
Dauphin & Ma, "Fixup initialization", 2019.

A stage works at one side length. It consists of blocks of 1x1, grouped 3x3 and 1x1 convolutions.
Between stages the low-pass filter of `layers.resample` doubles or halves the side. The critic
mirrors the generator. Weights start from N(0, gain^2 / inputs): the gain is that of the rectifier
inside of a block, 1 elsewhere. Only the rectifiers have biases.
"""

from __future__ import annotations

import math
from typing import TypeVar

import torch
from torch import Tensor, nn

from gentrain.config.types import Count
from gentrain.errors import UserError
from gentrain.layers.activation import LeakyReLU
from gentrain.layers.lipschitz_bound import LipschitzBounded, WeightLimits, lipschitz_bound
from gentrain.layers.resample import Downsample, Upsample
from gentrain.networks import base
from gentrain.networks.dcgan import halvings

Layer = TypeVar("Layer", nn.Conv2d, nn.Linear)


class Generator(base.Generator):
    """A learned small map whose channels the noise scales, then stages, the side doubling between.

    The last layer is a linear map of each pixel.

    Args:
        shape: (C, H, W) of an image.
        latent: length of the noise.
        width: channels between blocks.
        blocks: blocks of a stage.
        groups: number of groups of the 3x3 convolutions, a divisor of 2 width.
        norm: there is none.
        prior: distribution of the noise.
    """

    def __init__(
        self,
        shape: list[int],
        latent: Count = 64,
        width: Count = 64,
        blocks: Count = 2,
        groups: Count = 16,
        norm: base.NoNorm = "none",
        prior: base.Prior = "normal",
    ) -> None:
        smallest, ups = halvings(shape)
        all_blocks = blocks * (ups + 1)
        layers: list[nn.Module] = [
            GenerativeBasis(latent, width, smallest),
            stage(width, blocks, groups, all_blocks),
        ]
        for _ in range(ups):
            layers += [Upsample(), stage(width, blocks, groups, all_blocks)]
        layers.append(scaled(nn.Conv2d(width, shape[0], 1, bias=False)))
        super().__init__(nn.Sequential(*layers), latent, prior)


class Critic(base.Critic):
    """Stages, the side halving between them, then a depthwise convolution over the last map.

    Args:
        shape: (C, H, W) of an image.
        width: channels between blocks.
        blocks: blocks of a stage.
        groups: number of groups of the 3x3 convolutions, a divisor of 2 width.
        norm: there is none.
    """

    norms = ("none",)

    def __init__(
        self,
        shape: list[int],
        width: Count = 64,
        blocks: Count = 2,
        groups: Count = 16,
        norm: base.NoNorm = "none",
    ) -> None:
        smallest, downs = halvings(shape)
        all_blocks = blocks * (downs + 1)
        layers: list[nn.Module] = [scaled(nn.Conv2d(shape[0], width, 1, bias=False))]
        for _ in range(downs):
            layers += [stage(width, blocks, groups, all_blocks), Downsample()]
        layers += [
            stage(width, blocks, groups, all_blocks),
            scaled(nn.Conv2d(width, width, smallest, groups=width, bias=False)),
            nn.Flatten(),
        ]
        head = scaled(nn.Linear(width, 1, bias=False))
        super().__init__(nn.Sequential(*layers), width, head=head)


def scaled(layer: Layer, gain: float = 1.0) -> Layer:
    """Draw weights from N(0, gain^2 / inputs), which keep the variance for gain 1."""
    nn.init.normal_(layer.weight, 0, gain / math.sqrt(layer.weight[0].numel()))
    return layer


def stage(width: int, blocks: int, groups: int, all_blocks: int) -> nn.Module:
    """The blocks of one side length, of a network with `all_blocks` blocks."""
    return nn.Sequential(*(Block(width, groups, all_blocks) for _ in range(blocks)))


class Block(nn.Module, LipschitzBounded):
    """x + conv1x1(act(groupconv3x3(act(conv1x1(x))))), act = LeakyReLU 0.2, twice as wide inside.

    Fix-up: the last convolution starts at zero, and has no bias; the first two have He's weights
    divided by L^(1/4), where L is the number of blocks of the network.

    Args:
        width: channels.
        groups: number of groups of the 3x3 convolution, a divisor of 2 width.
        all_blocks: L.

    Raises:
        UserError: for channels that do not divide into the groups.
    """

    def __init__(self, width: int, groups: int, all_blocks: int) -> None:
        super().__init__()
        inner = 2 * width
        if inner % groups:
            raise UserError(
                f"the {inner} channels inside a block of width {width} make no {groups} equal "
                "groups (model.generator, model.critic: groups, width); give a divisor of "
                f"{inner}"
            )
        gain = nn.init.calculate_gain("leaky_relu", 0.2) * all_blocks**-0.25
        first = scaled(nn.Conv2d(width, inner, 1), gain)
        middle = nn.Conv2d(inner, inner, 3, padding=1, groups=groups)
        scaled(middle, gain)
        last = scaled(nn.Conv2d(inner, width, 1, bias=False), gain=0.0)
        for conv in (first, middle):
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
        self.residual = nn.Sequential(first, LeakyReLU(0.2), middle, LeakyReLU(0.2), last)

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, H, W) -> the same shape."""
        return x + self.residual(x)

    def lipschitz_bound(self, limits: WeightLimits) -> float:
        return 1.0 + lipschitz_bound(self.residual, limits)


class GenerativeBasis(nn.Module):
    """A learned map (width, H, W), whose channels are scaled by a linear map of the noise.

    Args:
        latent: length of the noise.
        width: channels.
        sides: H and W of the map.
    """

    def __init__(self, latent: int, width: int, sides: tuple[int, int]) -> None:
        super().__init__()
        self.basis = nn.Parameter(torch.randn(width, *sides))
        self.scale = scaled(nn.Linear(latent, width, bias=False))

    def forward(self, z: Tensor) -> Tensor:
        """(B, latent) -> (B, width, H, W)."""
        return self.basis * self.scale(z)[:, :, None, None]
