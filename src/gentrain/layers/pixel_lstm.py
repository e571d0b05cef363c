"""LSTMs over images (van den Oord, Kalchbrenner & Kavukcuoglu, "Pixel Recurrent Neural Networks", 2016), whose states go from row to row,
or from diagonal to diagonal:

    o, f, i = sigmoid, g = tanh  of  K_is * x + K_ss * h_before       c = f c_before + i g       h = o tanh(c)

K_is, input-to-state, is masked (B) and computed for all pixels at once; K_ss, state-to-state, sees earlier pixels alone, all of their
channels. Maps (B, features, H, W) -> (B, width, H, W); `colours` groups of channels, as in `causal.py`. States begin at zero.
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
from gentrain.layers.causal import CausalConv2d, ConvCache, grouped, pointwise


class PixelLSTM(nn.Module, ABC):
    beyond: ClassVar[int] = 0  # columns that its maps must have beyond the right edge of the image

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor: ...

    @abstractmethod
    def begin(self, n: int, width: int) -> LSTMCache: ...


class LSTMCache(ABC):
    """The states that n images in the making need, of `width` pixels a row."""

    @abstractmethod
    def next_row(self) -> None:
        """Before each row, the first included."""

    @abstractmethod
    def step(self, j: int, x: Tensor) -> Tensor:
        """x (n, features) at pixel j of the row -> (n, width)."""


def cell(z: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """Sums of the four gates (..., 4 width) and the cell before (..., width) -> h and c."""
    gates, g = z.split([3 * c.shape[-1], c.shape[-1]], -1)
    o, f, i = torch.sigmoid(gates).chunk(3, -1)
    c = f * c + i * torch.tanh(g)
    return o * torch.tanh(c), c


# --- rows -----------------------------------------------------------------------------------------------------------------------


class RowLSTM(PixelLSTM):
    """From the top row to the bottom one, all pixels of a row at once: K_ss is `kernel` wide on the row above, so that the context of a
    pixel is a triangle; K_is is as wide on the row itself, masked.
    """

    def __init__(self, features: int, width: int, colours: int, kernel: Count = 3) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise UserError(
                f"a kernel {kernel} wide has no middle (model.network.lstm.kernel); give an odd number"
            )
        self.width = width
        self.input = CausalConv2d(
            grouped(features, colours), grouped(width, colours).repeat(4), side=kernel // 2
        )
        # from h of the pixels above, from left to right, to the gates
        self.state = nn.Parameter(
            torch.empty(4 * width, kernel * width).uniform_(-1, 1) / math.sqrt(kernel * width)
        )

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
        return F.linear(
            torch.cat([padded[:, k : k + W] for k in range(2 * side + 1)], 2), self.state
        )

    def begin(self, n: int, width: int) -> LSTMCache:
        return RowCache(self, n, width)


class RowCache(LSTMCache):
    """h and c of the row above and of the row itself, (n, pixels of a row, width); K_ss * h of the row above."""

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


# --- diagonals ------------------------------------------------------------------------------------------------------------------


class DiagonalBiLSTM(PixelLSTM):
    """From both upper corners to the opposite ones. The state of pixel (i, j) comes from (i, j - 1) and (i - 1, j), of the other direction
    from (i, j + 1) and (i - 1, j): K_ss is 2 x 1 on the skewed map, whose row i is shifted i pixels to the right, and in whose columns all
    pixels are computed at once. K_is is 1 x 1.

    (i, j + 1) lies in the future: the map from right to left is moved down by one row before it is added to the one from left to right.
    What it brings to row i is of maps at row i - 1, which mask A has kept from their own pixels: that of the last pixel but one. So
    the maps have one column more, behind the last pixel, and pixel (i, j) sees all pixels before it.
    """

    beyond = 1

    def __init__(self, features: int, width: int, colours: int) -> None:
        super().__init__()
        self.width = width
        self.input = CausalConv2d(grouped(features, colours), grouped(width, colours).repeat(8))
        # of each direction, from (h of the pixel above, h of the pixel beside) to the gates
        self.state = nn.Parameter(
            torch.empty(2, 2 * width, 4 * width).uniform_(-1, 1) / math.sqrt(2 * width)
        )

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.input(x).permute(0, 2, 3, 1).chunk(2, 3)  # (B, H, W, 4 width) each
        h = self.scan(torch.stack([left, right.flip(2)]))
        down = F.pad(h[1].flip(2), (0, 0, 0, 0, 1, 0))[:, :-1]
        return (h[0] + down).permute(0, 3, 1, 2)

    def scan(self, z: Tensor) -> Tensor:
        """Gates' sums from the input (2, B, H, W, 4 width) -> h (2, B, H, W, width), both directions as if from left to right."""
        H, W = z.shape[2:4]
        h = c = z.new_zeros(
            *z.shape[:2], 1, self.width
        )  # of the column before: rows first - 1 to last, where row -1 is zero
        columns = []
        for d, column in enumerate(skew(z).unbind(3)):
            first, last = max(0, d - W + 1), min(d, H - 1)  # rows that column d crosses
            grown = (0, 0, 0, int(d < H))  # a row that begins here has nothing on its left
            h, c = F.pad(h, grown), F.pad(c, grown)
            before = torch.cat([h[:, :, :-1], h[:, :, 1:]], 3)  # (2, B, rows, above and beside)
            sums = torch.bmm(before.flatten(1, 2), self.state).view(*before.shape[:3], -1)
            h, c = cell(column[:, :, first : last + 1] + sums, c[:, :, 1:])
            columns.append(F.pad(h, (0, 0, first, H - 1 - last)))
            if (
                d < W - 1
            ):  # the next column begins at row 0, and above it is nothing; later ones begin a row lower
                h, c = F.pad(h, (0, 0, 1, 0)), F.pad(c, (0, 0, 1, 0))
        return unskew(torch.stack(columns, 3))

    def begin(self, n: int, width: int) -> LSTMCache:
        return DiagonalCache(self, n, width)


def skew(x: Tensor) -> Tensor:
    """(..., H, W, C) -> (..., H, W + H - 1, C), row i shifted by i."""
    H, W = x.shape[-3:-1]
    return F.pad(x, (0, 0, 0, H)).flatten(-3, -2)[..., :-H, :].unflatten(-2, (H, W + H - 1))


def unskew(x: Tensor) -> Tensor:
    """The way back."""
    H, wide = x.shape[-3:-1]
    return F.pad(x.flatten(-3, -2), (0, 0, 0, H)).unflatten(-2, (H, wide + 1))[
        ..., : wide + 1 - H, :
    ]


class DiagonalCache(LSTMCache):
    """Of the row itself and the one above: h and c from left to right, (n, 1 + pixels, width), where pixel -1 is zero; of the row above, h
    from right to left, made when the row is whole.
    """

    def __init__(self, lstm: DiagonalBiLSTM, n: int, width: int) -> None:
        self.input, self.state = pointwise(lstm.input), lstm.state
        self.h = self.c = self.above = lstm.state.new_zeros(n, 1 + width, lstm.width)
        self.right = self.h[:, 1:]
        self.sums: Tensor | None = None  # of the row's gates from right to left

    def next_row(self) -> None:
        if self.sums is not None:
            self.right = self.from_the_right(self.sums)
        self.above, self.h, self.c = self.h, torch.zeros_like(self.h), torch.zeros_like(self.c)
        self.sums = self.h.new_zeros(*self.right.shape[:2], 4 * self.right.shape[2])

    def from_the_right(self, sums: Tensor) -> Tensor:
        row = torch.empty_like(self.right)
        h = c = torch.zeros_like(row[:, 0])
        for j in reversed(range(row.shape[1])):
            h, c = self.next(1, sums[:, j], self.right[:, j], h, c)
            row[:, j] = h
        return row

    def next(
        self, direction: int, sums: Tensor, above: Tensor, h: Tensor, c: Tensor
    ) -> tuple[Tensor, Tensor]:
        return cell(torch.addmm(sums, torch.cat([above, h], 1), self.state[direction]), c)

    def step(self, j: int, x: Tensor) -> Tensor:
        assert self.sums is not None
        sums, self.sums[:, j] = self.input(x).chunk(2, 1)
        h, self.c[:, j + 1] = self.next(0, sums, self.above[:, j + 1], self.h[:, j], self.c[:, j])
        self.h[:, j + 1] = h
        return h + self.right[:, j]
