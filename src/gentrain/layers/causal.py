"""Masked convolutions (van den Oord, Kalchbrenner & Kavukcuoglu, "Pixel Recurrent Neural Networks", 2016): a map whose value at a pixel
sees the pixels above, and those to the left in its own row; never what comes later in the order of a raster.

Colours have an order as well: R before G before B. The channels of a map are divided into as many groups as an image has colours, and
at the pixel itself a group sees the groups before its own (mask A), or those and its own (mask B). Mask A comes once, first.

What a layer does to whole images, its cache does to one pixel after the other, for images in the making: same weights, same sums.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def grouped(channels: int, groups: int) -> Tensor:
    """The group, 0 to groups - 1, of each of a map's channels."""
    return torch.arange(channels) * groups // channels


class EdgedConv2d(nn.Conv2d):
    """(B, inputs, H, W) -> (B, outputs, H, W): a kernel that reaches so many pixels up, to the left and to the right, and none down. Zeros
    lie beyond the edges.
    """

    def __init__(
        self, inputs: int, outputs: int, above: int = 0, left: int = 0, right: int = 0
    ) -> None:
        super().__init__(inputs, outputs, (above + 1, left + 1 + right))
        self.above, self.left, self.right = above, left, right

    def kernel(self) -> Tensor:
        return self.weight

    def forward(self, x: Tensor) -> Tensor:
        if self.above or self.left or self.right:
            x = F.pad(x, (self.left, self.right, self.above, 0))
        return F.conv2d(x, self.kernel(), self.bias)


class CausalConv2d(EdgedConv2d):
    """`seen` and `given`: the groups of the input's and of the output's channels. `above` rows and `side` columns on each side; with
    above = 0, on the left alone. `strict` is mask A.

    What never sees anything is cut off the kernel, and not multiplied: the rows below, and in a single row the columns on the right.
    """

    mask: Tensor | None

    def __init__(
        self, seen: Tensor, given: Tensor, above: int = 0, side: int = 0, strict: bool = False
    ) -> None:
        super().__init__(len(seen), len(given), above, side, side if above else 0)
        mask = torch.ones_like(self.weight)
        mask[:, :, above, side + 1 :] = 0
        own = given[:, None] > seen[None] if strict else given[:, None] >= seen[None]
        mask[:, :, above, side] = own.to(mask)
        self.register_buffer("mask", None if mask.all() else mask, persistent=False)

    def kernel(self) -> Tensor:
        return self.weight if self.mask is None else self.weight * self.mask


class ConvCache:
    """The last rows of a convolution's input, of images in the making: (n, above + 1, left + width + right, inputs)."""

    def __init__(self, conv: EdgedConv2d, n: int, width: int) -> None:
        self.left, self.columns, self.bias, self.four = (
            conv.left,
            conv.kernel_size[1],
            conv.bias,
            conv.kernel(),
        )
        self.flat = self.four.permute(0, 2, 3, 1).flatten(
            1
        )  # as the windows are: rows, columns, channels
        self.rows = self.flat.new_zeros(
            n, conv.above + 1, conv.left + width + conv.right, conv.in_channels
        )

    def put(self, j: int, x: Tensor) -> None:
        """x (n, inputs): the input at pixel j of the current row."""
        self.rows[:, -1, self.left + j] = x

    def pixel(self, j: int) -> Tensor:
        """(n, outputs): the output there."""
        return F.linear(self.rows[:, :, j : j + self.columns].flatten(1), self.flat, self.bias)

    def step(self, j: int, x: Tensor) -> Tensor:
        self.put(j, x)
        return self.pixel(j)

    def row(self, x: Tensor) -> Tensor:
        """x (n, width, inputs), a row that is whole -> the output's whole row, (n, width, outputs); then the next row begins."""
        self.rows[:, -1, self.left : self.left + x.shape[1]] = x
        out = (
            F.conv2d(self.rows.permute(0, 3, 1, 2), self.four, self.bias).squeeze(2).transpose(1, 2)
        )
        self.next_row()
        return out

    def next_row(self) -> None:
        self.rows = torch.cat([self.rows[:, 1:], torch.zeros_like(self.rows[:, :1])], 1)


def pointwise(conv: EdgedConv2d) -> Callable[[Tensor], Tensor]:
    """A convolution of single pixels, at one pixel or at many: (..., inputs) -> (..., outputs)."""
    return partial(F.linear, weight=conv.kernel()[:, :, 0, 0], bias=conv.bias)
