"""Residual generators whose batch norms depend on the label, with optional self-attention.

Miyato & Koyama, "cGANs with projection discriminator", 2018; Zhang, Goodfellow, Metaxas & Odena,
"Self-attention generative adversarial networks" (SAGAN), 2019.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

from torch import Tensor, nn

from gentrain.config.types import Count, Whole
from gentrain.layers.attention import SelfAttention, nearest
from gentrain.layers.conditional import ConditionalBatchNorm, per_class
from gentrain.networks import base
from gentrain.networks.dcgan import halvings
from gentrain.networks.resnet import generator_channels, glorot_init

ConditionMap = Callable[[int], nn.Module]  # channels -> a map from a condition to these channels


class Generator(base.Generator):
    """G(z, y): the label chooses the gains and shifts of every block's batch norms.

    Args:
        shape: (C, H, W) of an image.
        classes: number of labels.
        latent: length of the noise.
        width: channels of the last block; see `resnet.generator_channels`.
        attention: longer side of the map that attends to itself; the nearest that the network has
            is taken, and 0 means no attention.
        prior: distribution of the noise.
    """

    conditional = True

    def __init__(
        self,
        shape: list[int],
        classes: Count,
        latent: Count = 128,
        width: Count = 64,
        attention: Whole = 0,
        prior: base.Prior = "normal",
    ) -> None:
        body = ConditionalBody(shape, latent, width, per_class(classes), attention)
        super().__init__(body, latent, prior)
        self.blocks = halvings(shape)[1]
        glorot_init(self)

    def forward(self, z: Tensor, y: Tensor) -> Tensor:  # type: ignore[override]
        """(B, latent), (B,) -> (B, *shape)."""
        return self.body(z, [y] * self.blocks)


class ConditionalBody(nn.Module):
    """A linear layer, a conditional block for each doubling, then batch norm, ReLU, 3x3 and tanh.

    Args:
        shape: (C, H, W) of an image.
        inputs: length of the input.
        width: channels of the last block.
        condition_map: makes the maps from a condition to gains and to shifts.
        attention: see `Generator`.
    """

    def __init__(
        self,
        shape: list[int],
        inputs: int,
        width: int,
        condition_map: ConditionMap,
        attention: int = 0,
    ) -> None:
        super().__init__()
        smallest, ups = halvings(shape)
        channels = generator_channels(shape, width)
        self.first = nn.Sequential(
            nn.Linear(inputs, channels[0] * math.prod(smallest)),
            nn.Unflatten(1, (channels[0], *smallest)),
        )
        self.blocks = nn.ModuleList(UpBlock(c, d, condition_map) for c, d in pairwise(channels))
        self.last = nn.Sequential(
            nn.BatchNorm2d(channels[-1]),
            nn.ReLU(),
            nn.Conv2d(channels[-1], shape[0], 3, padding=1),
            nn.Tanh(),
        )
        # never at the image's own side: attention takes memory with the square of its pixels
        sides = [max(smallest) * 2 ** (i + 1) for i in range(max(1, ups - 1))]
        self.attended = nearest(attention, sides)
        self.attention = (
            nn.Identity() if self.attended is None else SelfAttention(channels[self.attended + 1])
        )

    def forward(self, x: Tensor, conditions: Sequence[Tensor]) -> Tensor:
        """(B, inputs) and a condition (B, ...) for each block -> (B, *shape)."""
        h = self.first(x)
        for i, (block, condition) in enumerate(zip(self.blocks, conditions, strict=True)):
            h = block(h, condition)
            if i == self.attended:
                h = self.attention(h)
        return self.last(h)


class UpBlock(nn.Module):
    """`resnet.UpBlock` with conditional batch norms.

    Args:
        inputs, outputs: channels.
        condition_map: makes the maps from a condition to gains and to shifts.
    """

    def __init__(self, inputs: int, outputs: int, condition_map: ConditionMap) -> None:
        super().__init__()
        self.norms = nn.ModuleList(
            [
                ConditionalBatchNorm(inputs, condition_map),
                ConditionalBatchNorm(outputs, condition_map),
            ]
        )
        self.residual = nn.ModuleList(
            [nn.Conv2d(inputs, outputs, 3, padding=1), nn.Conv2d(outputs, outputs, 3, padding=1)]
        )
        self.shortcut = nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(inputs, outputs, 1))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """(B, inputs, H, W), (B, ...) -> (B, outputs, 2 H, 2 W)."""
        h = self.norms[0](x, condition).relu()
        h = self.residual[0](nn.functional.interpolate(h, scale_factor=2))
        h = self.residual[1](self.norms[1](h, condition).relu())
        return self.shortcut(x) + h
