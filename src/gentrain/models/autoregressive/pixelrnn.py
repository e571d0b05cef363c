"""PixelRNN (van den Oord, Kalchbrenner & Kavukcuoglu, "Pixel Recurrent Neural Networks", 2016)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gentrain.config.types import Count, Whole
from gentrain.layers.causal import CausalConv2d, ConvCache, group_of_channels, pointwise
from gentrain.layers.pixel_lstm import LSTMCache, PixelLSTM
from gentrain.models.autoregressive.networks import (
    Causal,
    SamplingCache,
    head_at_pixel,
    refuse_labels,
    require_odd,
)


class PixelRNN(Causal):
    """A convolution with mask A, then residual LSTM layers.

    Each LSTM of `width` is mapped to 2 `width` features and added to its own input.

    Args:
        shape: (C, H, W) of images.
        values: how many values one colour of a pixel can take.
        lstm: makes a Row LSTM or a Diagonal BiLSTM of (features, width, colours).
        width: features of each LSTM.
        depth: the number of LSTMs.
        first: the width of the first kernel; odd.
        classes: must be 0; it sees no label.
    """

    def __init__(
        self,
        shape: list[int],
        values: int,
        lstm: Callable[..., PixelLSTM],
        width: Count = 16,
        depth: Count = 7,
        first: Count = 7,
        classes: Whole = 0,
    ) -> None:
        super().__init__(shape, values)
        require_odd(first, "first")
        refuse_labels(self, classes)
        wide, side = group_of_channels(2 * width, shape[0]), first // 2
        self.first = CausalConv2d(self.colours, wide, side, side, strict=True)
        lstms: list[PixelLSTM] = [
            lstm(features=2 * width, width=width, colours=shape[0]) for _ in range(depth)
        ]
        self.lstms: Any = nn.ModuleList(lstms)
        self.extra_columns: int = lstms[0].extra_columns
        self.outs: Any = nn.ModuleList(
            CausalConv2d(group_of_channels(width, shape[0]), wide) for _ in range(depth)
        )
        self.last = self.head(2 * width)
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        h = self.first(F.pad(x, (0, self.extra_columns)))
        h = h.contiguous(memory_format=torch.channels_last)
        for lstm, out in zip(self.lstms, self.outs, strict=True):
            h = h + out(lstm(h))
        return self.as_logits(self.last(h[..., : x.shape[3]]))

    def sampling_cache(self, n: int, y: Tensor | None = None) -> SamplingCache:
        return PixelRNNCache(self, n)


class PixelRNNCache(SamplingCache):
    """The last rows of the first convolution's input, and the states of every LSTM."""

    def __init__(self, network: PixelRNN, n: int) -> None:
        pixels = network.shape[2] + network.extra_columns
        self.network, self.last = network, head_at_pixel(network.last)
        self.first = ConvCache(network.first, n, pixels)
        self.lstms: list[LSTMCache] = [lstm.sampling_cache(n, pixels) for lstm in network.lstms]
        self.outs = [pointwise(out) for out in network.outs]
        self.started = False

    def next_row(self) -> None:
        # the row before is complete, so its columns beyond the image can be computed
        for j in range(self.network.extra_columns if self.started else 0):
            self.features(self.network.shape[2] + j)
        self.started = True
        self.first.next_row()
        for lstm in self.lstms:
            lstm.next_row()

    def set_pixel(self, j: int, x: Tensor) -> None:
        self.first.set_pixel(j, x)

    def features(self, j: int) -> Tensor:
        """(n, 2 width) at column j of the row."""
        h = self.first.pixel(j)
        for lstm, out in zip(self.lstms, self.outs, strict=True):
            h = h + out(lstm.step(j, h))
        return h

    def logits(self, j: int) -> Tensor:
        return self.network.as_logits(self.last(self.features(j)))
