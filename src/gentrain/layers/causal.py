"""Masked convolutions (van den Oord, Kalchbrenner & Kavukcuoglu, "Pixel Recurrent Neural Networks",
2016).

A pixel of the output sees the pixels above and those to the left in its row, never one that comes
later in raster order. Colours are ordered as well: R before G before B. The channels of a map are
divided into as many groups as an image has colours. At the pixel itself a group sees the groups
before its own (mask A), or those and its own (mask B). Mask A comes once, first.

A `ConvCache` computes one pixel after the other for images that are being drawn, with the same
weights and the same sums.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def group_of_channels(channels: int, groups: int) -> Tensor:
    """The group, 0 to groups - 1, of each channel of a map.

    >>> group_of_channels(6, 3)
    tensor([0, 0, 1, 1, 2, 2])
    """
    return torch.arange(channels) * groups // channels


class UpwardConv2d(nn.Conv2d):
    """A convolution whose kernel reaches up, left and right by given numbers of pixels, never down.

    (B, inputs, H, W) -> (B, outputs, H, W), zero-padded.

    Args:
        inputs: input channels.
        outputs: output channels.
        above: rows above.
        left: columns on the left.
        right: columns on the right.
    """

    def __init__(
        self, inputs: int, outputs: int, above: int = 0, left: int = 0, right: int = 0
    ) -> None:
        super().__init__(inputs, outputs, (above + 1, left + 1 + right))
        self.above, self.left, self.right = above, left, right

    def kernel(self) -> Tensor:
        """The weights that are used, (outputs, inputs, above + 1, left + 1 + right)."""
        return self.weight

    def forward(self, x: Tensor) -> Tensor:
        if self.above or self.left or self.right:
            x = F.pad(x, (self.left, self.right, self.above, 0))
        return F.conv2d(x, self.kernel(), self.bias)


class CausalConv2d(UpwardConv2d):
    """A masked convolution of grouped channels.

    What is masked for all channels is left out of the kernel: the rows below, and the columns on
    the right in a single row.

    Args:
        seen: the group of each input channel.
        given: the group of each output channel.
        above: rows above.
        side: columns on each side; with above = 0, on the left alone.
        strict: mask A; otherwise mask B.
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
    """The last rows of a convolution's input, for n images that are being drawn.

    `rows` is (n, above + 1, left + width + right, inputs).

    Args:
        conv: the convolution.
        n: the number of images.
        width: pixels of a row.
    """

    def __init__(self, conv: UpwardConv2d, n: int, width: int) -> None:
        self.left, self.columns, self.bias = conv.left, conv.kernel_size[1], conv.bias
        self.kernel = conv.kernel()
        # in the order of a window of `rows`: rows, columns, channels
        self.flat = self.kernel.permute(0, 2, 3, 1).flatten(1)
        columns = conv.left + width + conv.right
        self.rows = self.flat.new_zeros(n, conv.above + 1, columns, conv.in_channels)

    def set_pixel(self, j: int, x: Tensor) -> None:
        """Set the input at pixel j of the row to x (n, inputs)."""
        self.rows[:, -1, self.left + j] = x

    def pixel(self, j: int) -> Tensor:
        """The output at pixel j of the row, (n, outputs)."""
        return F.linear(self.rows[:, :, j : j + self.columns].flatten(1), self.flat, self.bias)

    def step(self, j: int, x: Tensor) -> Tensor:
        """Set the input at pixel j to x (n, inputs) -> the output there, (n, outputs)."""
        self.set_pixel(j, x)
        return self.pixel(j)

    def row(self, x: Tensor) -> Tensor:
        """A whole row of the input (n, width, inputs) -> that of the output; go to the next row."""
        self.rows[:, -1, self.left : self.left + x.shape[1]] = x
        out = F.conv2d(self.rows.permute(0, 3, 1, 2), self.kernel, self.bias)
        self.next_row()
        return out.squeeze(2).transpose(1, 2)

    def next_row(self) -> None:
        """Go to the next row, whose pixels are zero."""
        self.rows = torch.cat([self.rows[:, 1:], torch.zeros_like(self.rows[:, :1])], 1)


def pointwise(conv: UpwardConv2d) -> Callable[[Tensor], Tensor]:
    """A 1 x 1 convolution at one pixel or at many: (..., inputs) -> (..., outputs)."""
    return partial(F.linear, weight=conv.kernel()[:, :, 0, 0], bias=conv.bias)
