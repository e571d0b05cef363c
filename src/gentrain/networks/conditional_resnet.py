"""Residual generators whose batch norm is conditional (Miyato & Koyama, 2018), with self-attention (SAGAN) where it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from gentrain.config.types import Count, Whole
from gentrain.layers.attention import SelfAttention, nearest
from gentrain.layers.conditional import ConditionalBatchNorm, per_class
from gentrain.networks import base
from gentrain.networks.dcgan import halvings
from gentrain.networks.resnet import glorot_init, widths

Table = Callable[[int], nn.Module]


class Generator(base.Generator):
    """G(z, y): (B, latent), (B,) -> (B, *shape), tanh; the label chooses the gains and shifts of every block.

    `width` is the last block's channels; `attention` the side of the map that attends to itself (the nearest there is; 0: none).
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
        super().__init__(Stack(shape, latent, width, per_class(classes), attention), latent, prior)
        self.blocks = halvings(shape)[1]
        glorot_init(self)

    def forward(self, z: Tensor, y: Tensor) -> Tensor:  # type: ignore[override]
        return self.body(z, [y] * self.blocks)


class Stack(nn.Module):
    """(B, inputs) -> linear -> one up-sampling block per doubling, each with a condition of its own -> batch norm, ReLU, 3x3, tanh."""

    def __init__(
        self, shape: list[int], inputs: int, width: int, table: Table, attention: int = 0
    ) -> None:
        super().__init__()
        side, ups = halvings(shape)
        channels = widths(shape, width)
        self.first = nn.Sequential(
            nn.Linear(inputs, channels[0] * side * side), nn.Unflatten(1, (channels[0], side, side))
        )
        self.blocks = nn.ModuleList(
            UpBlock(channels[i], channels[i + 1], table) for i in range(ups)
        )
        self.last = nn.Sequential(
            nn.BatchNorm2d(channels[-1]),
            nn.ReLU(),
            nn.Conv2d(channels[-1], shape[0], 3, padding=1),
            nn.Tanh(),
        )
        # never at the image's own side, whose map has the square of the places
        self.attended = nearest(attention, [side * 2 ** (i + 1) for i in range(max(1, ups - 1))])
        self.attention = (
            nn.Identity() if self.attended is None else SelfAttention(channels[self.attended + 1])
        )

    def forward(self, x: Tensor, conditions: Sequence[Tensor]) -> Tensor:
        h = self.first(x)
        for i, (block, condition) in enumerate(zip(self.blocks, conditions, strict=True)):
            h = block(h, condition)
            if i == self.attended:
                h = self.attention(h)
        return self.last(h)


class UpBlock(nn.Module):
    """x -> up(x) by 1x1 convolution + norm(c), ReLU, up, 3x3, norm(c), ReLU, 3x3"""

    def __init__(self, inputs: int, outputs: int, table: Table) -> None:
        super().__init__()
        self.norms = nn.ModuleList(
            [ConditionalBatchNorm(inputs, table), ConditionalBatchNorm(outputs, table)]
        )
        self.residual = nn.ModuleList(
            [nn.Conv2d(inputs, outputs, 3, padding=1), nn.Conv2d(outputs, outputs, 3, padding=1)]
        )
        self.shortcut = nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(inputs, outputs, 1))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        h = self.norms[0](x, condition).relu()
        h = self.residual[0](nn.functional.interpolate(h, scale_factor=2))
        h = self.residual[1](self.norms[1](h, condition).relu())
        return self.shortcut(x) + h
