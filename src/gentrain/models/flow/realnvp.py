"""RealNVP (Dinh, Sohl-Dickstein & Bengio, "Density Estimation Using Real NVP", 2017).

A flow of affine couplings, as cheap in one direction as in the other. A coupling keeps one part of
the values (mask b = 1), and scales and shifts the others by functions of that part:

    y = b x + (1 - b) (x exp(s(b x)) + t(b x)),        log |det dy/dx| = sum of (1 - b) s(b x)

s and t may be any networks. Masks alternate: checkerboards over places, and after a squeeze (each
2 x 2 square of places becomes four times the channels) halves of the channels. Then half of the
values are finished, and the rest goes on to the next scale.

Here s and t are the two outputs of one residual network with weight normalisation. The paper also
has batch norm, in these networks and between the couplings. It is left out, so that the density of
a batch is that of its samples in training as well.
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

# the four places of a square, those of one colour of a checkerboard first, and the inverse order
ORDER, BACK = [0, 3, 1, 2], [0, 2, 3, 1]

MakeNetwork = Callable[[Tensor], nn.Module]  # the network of a coupling with a given mask


class RealNVP(Flow):
    """A multi-scale RealNVP for images (C, H, W) of even sides.

    Each scale has three checkerboard couplings, a squeeze and three channel couplings. Four
    checkerboard couplings come last.

    Args:
        shape: (C, H, W) of images.
        width: channels of the coupling networks at the full resolution, doubled by each squeeze.
        blocks: residual blocks of each coupling network.
        scales: the number of squeezes.

    Raises:
        UserError: for points, and when a side cannot be halved `scales` times.
    """

    def __init__(
        self,
        shape: list[int],
        width: Count = 32,
        blocks: Count = 4,
        scales: Whole = 1,
    ) -> None:
        super().__init__()
        if len(shape) != 3:
            raise UserError(
                f"this flow is for images, and samples have the shape {list(shape)} (model); "
                "choose model=realnvp_points"
            )
        self.shape, self.levels = list(shape), nn.ModuleList()
        channels, sides = shape[0], shape[1:]
        refuse_odd_sides(sides, scales)
        for scale in range(scales):
            network = convolutional(width * 2**scale, blocks)
            before = Couplings(network, checkerboards(channels, sides), 3)
            channels, sides = 4 * channels, [side // 2 for side in sides]
            network = convolutional(width * 2 ** (scale + 1), blocks)
            self.levels.append(Level(before, Couplings(network, halves(channels), 3)))
            channels //= 2
        network = convolutional(width * 2**scales, blocks)
        self.last = Couplings(network, checkerboards(channels, sides), 4)

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
        x, total = self.last.inverse(x.unflatten(1, self.shape_at(len(self.levels))))
        for depth in reversed(range(len(self.levels))):
            level: Any = self.levels[depth]
            c, h, w = self.shape_at(depth)
            x = torch.cat([done[depth].unflatten(1, (2 * c, h // 2, w // 2)), x], 1)
            x, after = level.after.inverse(x)
            x, before = level.before.inverse(unsqueeze(x))
            total = total + after + before
        return x.flatten(1), total

    def sizes(self, values: int) -> list[int]:
        """The number of values that each scale finishes; those of the last couplings come last."""
        each = [values // 2 ** (depth + 1) for depth in range(len(self.levels))]
        return [*each, values - sum(each)]

    def shape_at(self, depth: int) -> list[int]:
        """The shape that reaches a scale: at each, twice the channels and half the side."""
        if not depth:
            return self.shape
        return [self.shape[0] * 2**depth, self.shape[1] >> depth, self.shape[2] >> depth]


class Level(nn.Module):
    """One scale: its couplings before the squeeze, and those after it."""

    def __init__(self, before: Couplings, after: Couplings) -> None:
        super().__init__()
        self.before, self.after = before, after


class Couplings(Flow):
    """`count` couplings, with the masks in turn."""

    def __init__(self, network: MakeNetwork, masks: list[Tensor], count: int) -> None:
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


class RealNVPOfPoints(Couplings):
    """RealNVP of points (D,): couplings that mask every second value in turn.

    Args:
        shape: (D,) of points.
        couplings: the number of couplings.
        width: units of the hidden layers of each coupling network.
        blocks: residual blocks of each coupling network.

    Raises:
        UserError: for images.
    """

    def __init__(
        self, shape: list[int], couplings: Count = 8, width: Count = 64, blocks: Count = 4
    ) -> None:
        if len(shape) != 1:
            raise UserError(
                f"this flow is for points, and samples have the shape {list(shape)} (model); "
                "choose model=realnvp"
            )
        every_second = torch.arange(shape[0]) % 2 == 0
        network = partial(ResidualNetwork, nn.Linear, width, blocks)
        super().__init__(network, [every_second, ~every_second], couplings)


class Coupling(Flow):
    """y = b x + (1 - b) (x exp(s) + t), where s = c tanh(.) with a learned bound c per channel.

    Args:
        network: makes the network of s and t.
        mask: b, which broadcasts over a sample's shape (C, H, W) or (D,).
    """

    mask: Tensor

    def __init__(self, network: MakeNetwork, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask.to(torch.get_default_dtype()))
        self.network = network(mask)
        self.bound = nn.Parameter(torch.ones(len(mask), *[1] * (mask.ndim - 1)))

    def forward(self, z: Tensor, context: Tensor | None = None) -> Pair:
        s, t = self.scale_and_shift(z)
        return z * torch.exp(s) + t, s.flatten(1).sum(1)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> Pair:
        s, t = self.scale_and_shift(z)
        return (z - t) * torch.exp(-s), -s.flatten(1).sum(1)

    def scale_and_shift(self, z: Tensor) -> Pair:
        """s and t, zero where the mask is 1; a coupling's input and output give the same."""
        s, t = self.network(self.mask * z).chunk(2, 1)
        return (1 - self.mask) * self.bound * torch.tanh(s), (1 - self.mask) * t


class ResidualNetwork(nn.Module):
    """The masked values, and the mask -> s and t.

    A layer, `blocks` times x + layer(relu(layer(relu(x)))), and a last layer that starts at zero,
    so that a coupling starts as the identity. All layers but the last have weight normalisation.

    Args:
        layer: makes a linear or a convolutional layer from its inputs and outputs.
        width: features of the hidden layers.
        blocks: the number of residual blocks.
        mask: mask of the coupling.
    """

    mask: Tensor

    def __init__(
        self, layer: Callable[[int, int], nn.Module], width: int, blocks: int, mask: Tensor
    ) -> None:
        super().__init__()
        self.register_buffer("mask", mask.to(torch.get_default_dtype()))
        channels = len(mask)
        # a convolution cannot know which places are masked, so it sees the mask as well
        inputs = 2 * channels if mask.ndim > 1 else channels
        self.first = weight_norm(layer(inputs, width))
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


def convolutional(width: int, blocks: int) -> MakeNetwork:
    """Make 3 x 3 convolutional coupling networks."""
    return partial(ResidualNetwork, partial(nn.Conv2d, kernel_size=3, padding=1), width, blocks)


def refuse_odd_sides(sides: list[int], scales: int) -> None:
    """Refuse sides that cannot be halved `scales` times."""
    common = math.gcd(*sides)
    if common % 2**scales:
        most = (common & -common).bit_length() - 1
        raise UserError(
            f"sides of {sides[0]} and {sides[1]} cannot be halved {scales} times "
            f"(model.flow.scales); at most {most}, or another data.size"
        )


def checkerboards(channels: int, sides: list[int]) -> list[Tensor]:
    """Both checkerboard masks, (C, H, W) of sides H and W."""
    height, width = sides
    black = (torch.arange(height)[:, None] + torch.arange(width)) % 2 == 0
    return [black.expand(channels, -1, -1).clone(), (~black).expand(channels, -1, -1).clone()]


def halves(channels: int) -> list[Tensor]:
    """The masks of either half of the channels, (C, 1, 1)."""
    first = (torch.arange(channels) < channels // 2).view(-1, 1, 1)
    return [first, ~first]


def squeeze(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, 4C, H/2, W/2).

    All channels of one place of each 2 x 2 square come first, then those of its diagonal
    neighbour, then those of the other two.
    """
    squares = x.unflatten(2, (-1, 2)).unflatten(4, (-1, 2))  # (B, C, H/2, 2, W/2, 2)
    return squares.permute(0, 3, 5, 1, 2, 4).flatten(1, 2)[:, ORDER].flatten(1, 2)


def unsqueeze(x: Tensor) -> Tensor:
    """The inverse of `squeeze`."""
    squares = x.unflatten(1, (4, -1))[:, BACK].unflatten(1, (2, 2))  # (B, 2, 2, C, H/2, W/2)
    return squares.permute(0, 3, 4, 1, 5, 2).flatten(2, 3).flatten(3, 4)
