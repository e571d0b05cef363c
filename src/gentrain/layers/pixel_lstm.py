"""LSTMs over images (van den Oord, Kalchbrenner & Kavukcuoglu, "Pixel Recurrent Neural Networks",
2016).

Their states go from row to row, or from diagonal to diagonal:

    o, f, i = sigmoid,  g = tanh  of  K_is * x + K_ss * h_before
    c = f c_before + i g
    h = o tanh(c)

K_is, input-to-state, is masked (mask B) and computed for all pixels at once. K_ss, state-to-state,
sees only earlier pixels, and all of their channels. Maps are (B, features, H, W) ->
(B, width, H, W), with the colours' groups of channels of `causal`. States start at zero.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gentrain.config.types import Count
from gentrain.errors import UserError
from gentrain.layers.causal import CausalConv2d, ConvCache, group_of_channels, pointwise


class PixelLSTM(nn.Module, ABC):
    """An LSTM over the pixels of a map."""

    extra_columns: ClassVar[int] = 0  # columns that its maps need beyond the image's right edge

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """(B, features, H, W) -> (B, width, H, W)."""

    @abstractmethod
    def sampling_cache(self, n: int, width: int) -> LSTMCache:
        """The states of n images that are being drawn, with `width` pixels a row."""


class LSTMCache(ABC):
    """The states of an LSTM for n images that are being drawn."""

    @abstractmethod
    def next_row(self) -> None:
        """Called before the first pixel of every row, including the first row."""

    @abstractmethod
    def step(self, j: int, x: Tensor) -> Tensor:
        """x (n, features) at pixel j of the row -> (n, width)."""


def cell(z: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """The sums of the four gates (..., 4 width) and the cell before (..., width) -> h and c."""
    gates, g = z.split([3 * c.shape[-1], c.shape[-1]], -1)
    o, f, i = torch.sigmoid(gates).chunk(3, -1)
    c = f * c + i * torch.tanh(g)
    return o * torch.tanh(c), c


# --- rows -----------------------------------------------------------------------------------------


class RowLSTM(PixelLSTM):
    """The Row LSTM: from the top row to the bottom one, all pixels of a row at once.

    K_ss is `kernel` wide on the row above, so that a pixel's context is a triangle. K_is has the
    same width on the row itself, and is masked.

    Args:
        features: channels of the input.
        width: channels of the output.
        colours: number of colours of an image.
        kernel: odd.
    """

    def __init__(self, features: int, width: int, colours: int, kernel: Count = 3) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise UserError(
                f"a kernel {kernel} wide has no middle (model.network.lstm.kernel); "
                "give an odd number"
            )
        self.width = width
        gates = group_of_channels(width, colours).repeat(4)
        self.input = CausalConv2d(group_of_channels(features, colours), gates, side=kernel // 2)
        # from h of the pixels above, from left to right, to the gates
        weights = torch.empty(4 * width, kernel * width).uniform_(-1, 1)
        self.state = nn.Parameter(weights / math.sqrt(kernel * width))

    def forward(self, x: Tensor) -> Tensor:
        z = self.input(x).permute(0, 2, 3, 1)  # (B, H, W, 4 width)
        h = c = z.new_zeros(len(x), x.shape[3], self.width)
        rows = []
        for row in z.unbind(1):
            h, c = cell(row + self.sums(h), c)
            rows.append(h)
        return torch.stack(rows, 1).permute(0, 3, 1, 2)

    def sums(self, h: Tensor) -> Tensor:
        """K_ss * h of a row, (B, W, width) -> (B, W, 4 width)."""
        W, side = h.shape[1], self.state.shape[1] // self.width // 2
        padded = F.pad(h, (0, 0, side, side))
        windows = torch.cat([padded[:, k : k + W] for k in range(2 * side + 1)], 2)
        return F.linear(windows, self.state)

    def sampling_cache(self, n: int, width: int) -> LSTMCache:
        return RowCache(self, n, width)


class RowCache(LSTMCache):
    """h and c of the row above and of the row itself (n, W, width), and K_ss * h of that above."""

    def __init__(self, lstm: RowLSTM, n: int, width: int) -> None:
        self.lstm, self.input = lstm, ConvCache(lstm.input, n, width)
        self.above = self.h = self.c = self.input.rows.new_zeros(n, width, lstm.width)

    def next_row(self) -> None:
        self.input.next_row()
        self.sums, self.above = self.lstm.sums(self.h), self.c
        self.h, self.c = torch.empty_like(self.h), torch.empty_like(self.c)

    def step(self, j: int, x: Tensor) -> Tensor:
        h, self.c[:, j] = cell(self.input.step(j, x) + self.sums[:, j], self.above[:, j])
        self.h[:, j] = h
        return h


# --- diagonals ------------------------------------------------------------------------------------


class DiagonalBiLSTM(PixelLSTM):
    """The Diagonal BiLSTM: from both upper corners to the opposite ones.

    The state of pixel (i, j) comes from (i, j - 1) and (i - 1, j), and in the other direction from
    (i, j + 1) and (i - 1, j). K_ss is 2 x 1 on the skewed map, whose row i is shifted by i pixels
    to the right, so that all pixels of a column are computed at once. K_is is 1 x 1.

    Since (i, j + 1) is later in raster order, the right-to-left map is shifted down by one row
    before it is added to the left-to-right one. What it brings to row i comes from maps at row
    i - 1, which mask A hides from their own pixels, so that the last pixel of that row would be
    missing. Therefore the maps have one more column, behind the last pixel, and pixel (i, j) sees
    all pixels before it.

    Args:
        features: channels of the input.
        width: channels of the output.
        colours: number of colours of an image.
    """

    extra_columns = 1

    def __init__(self, features: int, width: int, colours: int) -> None:
        super().__init__()
        self.width = width
        gates = group_of_channels(width, colours).repeat(8)
        self.input = CausalConv2d(group_of_channels(features, colours), gates)
        # for each direction, from (h of the pixel above, h of the pixel beside) to the gates
        weights = torch.empty(2, 2 * width, 4 * width).uniform_(-1, 1)
        self.state = nn.Parameter(weights / math.sqrt(2 * width))

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.input(x).permute(0, 2, 3, 1).chunk(2, 3)  # (B, H, W, 4 width) each
        h = self.scan(torch.stack([left, right.flip(2)]))
        down = F.pad(h[1].flip(2), (0, 0, 0, 0, 1, 0))[:, :-1]
        return (h[0] + down).permute(0, 3, 1, 2)

    def scan(self, z: Tensor) -> Tensor:
        """The gates' sums of the input (2, B, H, W, 4 width) -> h (2, B, H, W, width).

        Both directions run from left to right.
        """
        H, W = z.shape[2:4]
        # of the column before: rows first - 1 to last, where row -1 is zero
        h = c = z.new_zeros(*z.shape[:2], 1, self.width)
        columns = []
        for d, column in enumerate(skew(z).unbind(3)):
            first, last = max(0, d - W + 1), min(d, H - 1)  # the rows that column d crosses
            # a row that starts here has nothing on its left
            grown = (0, 0, 0, int(d < H))
            h, c = F.pad(h, grown), F.pad(c, grown)
            before = torch.cat([h[:, :, :-1], h[:, :, 1:]], 3)  # (2, B, rows, above and beside)
            sums = torch.bmm(before.flatten(1, 2), self.state).view(*before.shape[:3], -1)
            h, c = cell(column[:, :, first : last + 1] + sums, c[:, :, 1:])
            columns.append(F.pad(h, (0, 0, first, H - 1 - last)))
            if d < W - 1:
                # the next column starts at row 0 with nothing above it; later ones start lower
                h, c = F.pad(h, (0, 0, 1, 0)), F.pad(c, (0, 0, 1, 0))
        return unskew(torch.stack(columns, 3))

    def sampling_cache(self, n: int, width: int) -> LSTMCache:
        return DiagonalCache(self, n, width)


def skew(x: Tensor) -> Tensor:
    """Shift row i to the right by i, (..., H, W, C) -> (..., H, W + H - 1, C)."""
    H, W = x.shape[-3:-1]
    return F.pad(x, (0, 0, 0, H)).flatten(-3, -2)[..., :-H, :].unflatten(-2, (H, W + H - 1))


def unskew(x: Tensor) -> Tensor:
    """The inverse of `skew`."""
    H, wide = x.shape[-3:-1]
    shifted = F.pad(x.flatten(-3, -2), (0, 0, 0, H)).unflatten(-2, (H, wide + 1))
    return shifted[..., : wide + 1 - H, :]


class DiagonalCache(LSTMCache):
    """The states of the row itself and of the row above.

    `h` and `c` run from left to right, (n, 1 + W, width), where pixel -1 is zero. `right` is h of
    the row above from right to left, computed once that row is complete.
    """

    def __init__(self, lstm: DiagonalBiLSTM, n: int, width: int) -> None:
        self.input, self.state = pointwise(lstm.input), lstm.state
        self.h = self.c = self.above = lstm.state.new_zeros(n, 1 + width, lstm.width)
        self.right = self.h[:, 1:]
        self.sums: Tensor | None = None  # the gates' sums of the row, from right to left

    def next_row(self) -> None:
        if self.sums is not None:
            self.right = self.right_to_left(self.sums)
        self.above, self.h, self.c = self.h, torch.zeros_like(self.h), torch.zeros_like(self.c)
        self.sums = self.h.new_zeros(*self.right.shape[:2], 4 * self.right.shape[2])

    def right_to_left(self, sums: Tensor) -> Tensor:
        """h (n, W, width) of a complete row from right to left, from its gates' sums."""
        row = torch.empty_like(self.right)
        h = c = torch.zeros_like(row[:, 0])
        for j in reversed(range(row.shape[1])):
            h, c = self.next(1, sums[:, j], self.right[:, j], h, c)
            row[:, j] = h
        return row

    def next(
        self, direction: int, sums: Tensor, above: Tensor, h: Tensor, c: Tensor
    ) -> tuple[Tensor, Tensor]:
        """h and c of a pixel, from h of that above and from h and c of that beside."""
        return cell(torch.addmm(sums, torch.cat([above, h], 1), self.state[direction]), c)

    def step(self, j: int, x: Tensor) -> Tensor:
        assert self.sums is not None
        sums, self.sums[:, j] = self.input(x).chunk(2, 1)
        h, self.c[:, j + 1] = self.next(0, sums, self.above[:, j + 1], self.h[:, j], self.c[:, j])
        self.h[:, j + 1] = h
        return h + self.right[:, j]
