"""PixelRNN (van den Oord, Kalchbrenner & Kavukcuoglu, 2016)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gentrain.config.types import Count, Whole
from gentrain.layers.causal import CausalConv2d, ConvCache, grouped, pointwise
from gentrain.layers.pixel_lstm import LSTMCache, PixelLSTM
from gentrain.models.autoregressive.networks import (
    Causal,
    SamplingCache,
    at_pixel,
    odd,
    without_labels,
)


class PixelRNN(Causal):
    """PixelRNN (van den Oord, Kalchbrenner & Kavukcuoglu, 2016): one convolution with mask A, `first` wide, of 2 `width` features; `depth`
    LSTMs of `width`, each brought to 2 `width` features and added to its own input. `lstm` makes them.
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
        odd(first, "first")
        without_labels(self, classes)
        wide, side = grouped(2 * width, shape[0]), first // 2
        self.first = CausalConv2d(self.colours, wide, side, side, strict=True)
        lstms: list[PixelLSTM] = [
            lstm(features=2 * width, width=width, colours=shape[0]) for _ in range(depth)
        ]
        self.lstms: Any = nn.ModuleList(lstms)
        self.beyond: int = lstms[0].beyond
        self.outs: Any = nn.ModuleList(
            CausalConv2d(grouped(width, shape[0]), wide) for _ in range(depth)
        )
        self.last = self.head(2 * width)
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        h = self.first(F.pad(x, (0, self.beyond))).contiguous(memory_format=torch.channels_last)
        for lstm, out in zip(self.lstms, self.outs, strict=True):
            h = h + out(lstm(h))
        return self.as_logits(self.last(h[..., : x.shape[3]]))

    def begin(self, n: int, y: Tensor | None = None) -> SamplingCache:
        return PixelRNNCache(self, n)


class PixelRNNCache(SamplingCache):
    def __init__(self, network: PixelRNN, n: int) -> None:
        pixels = network.shape[2] + network.beyond
        self.network, self.first, self.last = (
            network,
            ConvCache(network.first, n, pixels),
            at_pixel(network.last),
        )
        self.lstms: list[LSTMCache] = [lstm.begin(n, pixels) for lstm in network.lstms]
        self.outs = [pointwise(out) for out in network.outs]
        self.begun = False

    def next_row(self) -> None:
        for j in range(
            self.network.beyond if self.begun else 0
        ):  # the row is whole: what lies behind it
            self.features(self.network.shape[2] + j)
        self.begun = True
        self.first.next_row()
        for lstm in self.lstms:
            lstm.next_row()

    def put(self, j: int, x: Tensor) -> None:
        self.first.put(j, x)

    def features(self, j: int) -> Tensor:
        h = self.first.pixel(j)
        for lstm, out in zip(self.lstms, self.outs, strict=True):
            h = h + out(lstm.step(j, h))
        return h

    def logits(self, j: int) -> Tensor:
        return self.network.as_logits(self.last(self.features(j)))
