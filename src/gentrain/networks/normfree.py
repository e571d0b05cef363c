"""The networks of R3GAN (Huang et al., 2024): residual, without any normalisation, started by fix-up initialisation (Zhang et al., 2019).

A stage works at one side length: blocks of 1x1, grouped 3x3 and 1x1 convolutions; between stages a bilinear change of size.
Generator and critic mirror each other.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from gentrain.config.types import Count
from gentrain.layers.activation import LeakyReLU
from gentrain.networks import base
from gentrain.networks.dcgan import halvings


class Generator(base.Generator):
    """(B, latent) -> a learned small map, its channels scaled by z -> stages, the side doubling between -> (B, *shape)."""

    def __init__(
        self,
        shape: list[int],
        latent: Count = 64,
        width: Count = 64,
        blocks: Count = 2,
        groups: Count = 16,
        norm: Literal["none"] = "none",
        prior: base.Prior = "normal",
    ) -> None:
        side, ups = halvings(shape)
        total = blocks * (ups + 1)
        layers: list[nn.Module] = [Basis(latent, width, side), stage(width, blocks, groups, total)]
        for _ in range(ups):
            layers += [
                nn.Upsample(scale_factor=2, mode="bilinear"),
                stage(width, blocks, groups, total),
            ]
        super().__init__(nn.Sequential(*layers, nn.Conv2d(width, shape[0], 1)), latent, prior)


class Critic(base.Critic):
    """(B, *shape) -> stages, the side halving between them -> a depthwise convolution over the last map -> score."""

    def __init__(
        self,
        shape: list[int],
        width: Count = 64,
        blocks: Count = 2,
        groups: Count = 16,
        norm: Literal["none"] = "none",
    ) -> None:
        side, downs = halvings(shape)
        total = blocks * (downs + 1)
        layers: list[nn.Module] = [nn.Conv2d(shape[0], width, 1)]
        for _ in range(downs):
            # the mean of 2 x 2 pixels is the bilinear halving
            layers += [stage(width, blocks, groups, total), nn.AvgPool2d(2)]
        layers += [
            stage(width, blocks, groups, total),
            nn.Conv2d(width, width, side, groups=width, bias=False),
            nn.Flatten(),
        ]
        super().__init__(nn.Sequential(*layers), width)


def stage(width: int, blocks: int, groups: int, total: int) -> nn.Module:
    return nn.Sequential(*(Block(width, groups, total) for _ in range(blocks)))


class Block(nn.Module):
    """x + conv1x1(act(groupconv3x3(act(conv1x1(x))))), twice as wide inside.

    Fix-up: the last convolution starts at zero, the first two are He-initialised and divided by L^(1/4), L the number of blocks.
    """

    def __init__(self, width: int, groups: int, total: int) -> None:
        super().__init__()
        inner = 2 * width
        groups = math.gcd(groups, inner)
        first, middle, last = (
            nn.Conv2d(width, inner, 1),
            nn.Conv2d(inner, inner, 3, padding=1, groups=groups),
            nn.Conv2d(inner, width, 1),
        )
        for conv in (first, middle):
            nn.init.kaiming_normal_(conv.weight, a=0.2)
            with torch.no_grad():
                conv.weight.mul_(total**-0.25)
        nn.init.zeros_(last.weight)
        for conv in (first, middle, last):
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
        self.residual = nn.Sequential(first, LeakyReLU(0.2), middle, LeakyReLU(0.2), last)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.residual(x)


class Basis(nn.Module):
    """(B, latent) -> (B, width, side, side): a learned map whose channels z scales."""

    def __init__(self, latent: int, width: int, side: int) -> None:
        super().__init__()
        self.basis = nn.Parameter(torch.randn(width, side, side))
        self.scale = nn.Linear(latent, width, bias=False)
        nn.init.normal_(self.scale.weight, 0, latent**-0.5)

    def forward(self, z: Tensor) -> Tensor:
        return self.basis * self.scale(z)[:, :, None, None]
