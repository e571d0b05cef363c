"""Density estimation using Real NVP (Dinh, Sohl-Dickstein & Bengio, 2017): a flow of affine couplings, as cheap there as back.

A coupling leaves one part of the values as it is (mask b = 1), and scales and shifts the others by functions of that part,

    y = b x + (1 - b) (x exp(s(b x)) + t(b x)),        log |det dy/dx| = sum of (1 - b) s(b x),

with any networks as s and t. Masks alternate: checkerboards over places; after a squeeze (each 2 x 2 square of places becomes four times
the channels) halves of the channels. After that half of the values are done, and the rest goes on to the next scale.

Here s and t are one residual network with weight normalisation. The paper has batch norm as well, in these networks and between the
couplings; there is none here, so that a batch's density is that of its samples, in training too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from gentrain.config.types import Count, Whole
from gentrain.errors import UserError
from gentrain.models.flow.base import Flow, Pair

# the four places of a square, those of one colour of a checkerboard first
ORDER, BACK = [0, 3, 1, 2], [0, 2, 3, 1]


class RealNVP(Flow):
    """Images (C, H, W) of an even side, and points (D,).

    Args:
        shape: of the data.
        width: channels of the couplings' networks at the images' own scale, twice as many after each squeeze.
        blocks: residual blocks of each network.
        scales: squeezes, of images: each has three checkerboards before and three halves of channels after it; four checkerboards end it.
        couplings: of points, which have one scale, and masks of every second value in turn.
        units: of their networks.
    """

    def __init__(
        self,
        shape: list[int],
        width: Count = 32,
        blocks: Count = 4,
        scales: Whole = 1,
        couplings: Count = 8,
        units: Count = 64,
    ) -> None:
        super().__init__()
        self.shape, self.levels = list(shape), nn.ModuleList()
        if len(shape) != 3:
            network = partial(ResidualNetwork, nn.Linear, units, blocks)
            every_second = torch.arange(math.prod(shape)) % 2 == 0
            self.last = Couplings(network, [every_second, ~every_second], couplings)
            return
        channels, side = shape[0], shape[1]
        if side % 2**scales:
            most = (side & -side).bit_length() - 1
            raise UserError(
                f"a side of {side} cannot be halved {scales} times (model.flow.scales); at most {most}, or another data.size"
            )
        for scale in range(scales):
            before = Couplings(
                convolutional(width * 2**scale, blocks), checkerboards(channels, side), 3
            )
            channels, side = 4 * channels, side // 2
            self.levels.append(
                Level(
                    before,
                    Couplings(convolutional(width * 2 ** (scale + 1), blocks), halves(channels), 3),
                )
            )
            channels //= 2
        self.last = Couplings(
            convolutional(width * 2**scales, blocks), checkerboards(channels, side), 4
        )

    def forward(self, z: Tensor, context: Tensor | None = None) -> Pair:
        x, done, total = z.unflatten(1, self.shape), [], z.new_zeros(len(z))
        for level in self.levels:
            x, before = level.before(x)  # type: ignore[operator]
            x, after = level.after(squeeze(x))  # type: ignore[operator]
            out, x = x.chunk(2, 1)
            done.append(out.flatten(1))
            total = total + before + after
        x, log_det = self.last(x)
        return torch.cat([*done, x.flatten(1)], 1), total + log_det

    def inverse(self, z: Tensor, context: Tensor | None = None) -> Pair:
        *done, x = z.split(self.sizes(z.shape[1]), 1)
        (x, total), levels = (
            self.last.inverse(x.unflatten(1, self.shape_of(len(self.levels)))),
            list(self.levels),
        )
        for depth in reversed(range(len(levels))):
            level: Any = levels[depth]
            c, h, w = self.shape_of(depth)
            x = torch.cat([done[depth].unflatten(1, (2 * c, h // 2, w // 2)), x], 1)
            x, after = level.after.inverse(x)
            x, before = level.before.inverse(unsqueeze(x))
            total = total + after + before
        return x.flatten(1), total

    def sizes(self, values: int) -> list[int]:
        """How many values each scale has done, and the last has."""
        each = [values // 2 ** (depth + 1) for depth in range(len(self.levels))]
        return [*each, values - sum(each)]

    def shape_of(self, depth: int) -> list[int]:
        """Of what reaches a scale: twice the channels and half the side at each."""
        return (
            self.shape
            if not depth
            else [self.shape[0] * 2**depth, self.shape[1] >> depth, self.shape[2] >> depth]
        )


class Level(nn.Module):
    """One scale: couplings before its squeeze, and after."""

    def __init__(self, before: Couplings, after: Couplings) -> None:
        super().__init__()
        self.before, self.after = before, after


class Couplings(Flow):
    """`count` couplings with the masks in turn."""

    def __init__(
        self, network: Callable[[Tensor], nn.Module], masks: list[Tensor], count: int
    ) -> None:
        super().__init__()
        self.each = nn.ModuleList(Coupling(network, masks[i % len(masks)]) for i in range(count))

    def forward(self, z: Tensor, context: Tensor | None = None) -> Pair:
        total = z.new_zeros(len(z))
        for coupling in self.each:
            z, log_det = coupling(z)
            total = total + log_det
        return z, total

    def inverse(self, z: Tensor, context: Tensor | None = None) -> Pair:
        total = z.new_zeros(len(z))
        for coupling in reversed(self.each):
            z, log_det = coupling.inverse(z)  # type: ignore[operator]
            total = total + log_det
        return z, total


class Coupling(Flow):
    """y = b x + (1 - b) (x exp(s) + t), s = c tanh(.) with a learned bound c of each channel. (B, *shape), mask b of that shape."""

    mask: Tensor

    def __init__(self, network: Callable[[Tensor], nn.Module], mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask.to(torch.get_default_dtype()))
        self.network = network(mask)
        self.bound = nn.Parameter(torch.ones(len(mask), *[1] * (mask.ndim - 1)))

    def forward(self, z: Tensor, context: Tensor | None = None) -> Pair:
        s, t = self.of(z)
        return z * torch.exp(s) + t, s.flatten(1).sum(1)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> Pair:
        s, t = self.of(z)
        return (z - t) * torch.exp(-s), -s.flatten(1).sum(1)

    def of(self, z: Tensor) -> Pair:
        """s and t, zero where the mask is 1; the same on both sides of the coupling."""
        s, t = self.network(self.mask * z).chunk(2, 1)
        return (1 - self.mask) * self.bound * torch.tanh(s), (1 - self.mask) * t


class ResidualNetwork(nn.Module):
    """What a mask shows, and the mask -> s and t: a layer, `blocks` times x + layer(relu(layer(relu(x)))), and a last layer from zero,
    so that a coupling begins as the identity. `layer` is a linear or a convolutional one; all but the last have weight normalisation.
    """

    mask: Tensor

    def __init__(
        self, layer: Callable[[int, int], nn.Module], width: int, blocks: int, mask: Tensor
    ) -> None:
        super().__init__()
        self.register_buffer("mask", mask.to(torch.get_default_dtype()))
        channels, places = (
            len(mask),
            mask.ndim > 1,
        )  # which of several places are shown, a convolution cannot know
        self.first = weight_norm(layer(channels + (channels if places else 0), width))
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.ReLU(),
                weight_norm(layer(width, width)),
                nn.ReLU(),
                weight_norm(layer(width, width)),
            )
            for _ in range(blocks)
        )
        self.last = layer(width, 2 * channels)
        for weights in self.last.parameters():
            nn.init.zeros_(weights)

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim > 2:
            x = torch.cat([x, self.mask.expand(len(x), *x.shape[1:])], 1)
        x = self.first(x)
        for block in self.blocks:
            x = x + block(x)
        return self.last(torch.relu(x))


def convolutional(width: int, blocks: int) -> Callable[[Tensor], nn.Module]:
    return partial(ResidualNetwork, partial(nn.Conv2d, kernel_size=3, padding=1), width, blocks)


def checkerboards(channels: int, side: int) -> list[Tensor]:
    """Both, (C, side, side)."""
    black = (torch.arange(side)[:, None] + torch.arange(side)) % 2 == 0
    return [black.expand(channels, -1, -1).clone(), (~black).expand(channels, -1, -1).clone()]


def halves(channels: int) -> list[Tensor]:
    """Both, (C, 1, 1)."""
    first = (torch.arange(channels) < channels // 2).view(-1, 1, 1)
    return [first, ~first]


def squeeze(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, 4C, H/2, W/2): all channels of one place of each square, then of its diagonal neighbour, then of the others."""
    squares = x.unflatten(2, (-1, 2)).unflatten(4, (-1, 2))  # (B, C, H/2, 2, W/2, 2)
    return squares.permute(0, 3, 5, 1, 2, 4).flatten(1, 2)[:, ORDER].flatten(1, 2)


def unsqueeze(x: Tensor) -> Tensor:
    squares = x.unflatten(1, (4, -1))[:, BACK].unflatten(1, (2, 2))  # (B, 2, 2, C, H/2, W/2)
    return squares.permute(0, 3, 4, 1, 5, 2).flatten(2, 3).flatten(3, 4)
