"""PixelCNN and Gated PixelCNN (van den Oord et al., 2016)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gentrain.config.types import Count, Whole
from gentrain.layers.causal import CausalConv2d, ConvCache, EdgedConv2d, grouped, pointwise
from gentrain.models.autoregressive.networks import (
    Causal,
    SamplingCache,
    at_pixel,
    odd,
    without_labels,
)


class PixelCNN(Causal):
    """PixelCNN (van den Oord, Kalchbrenner & Kavukcuoglu, "Pixel Recurrent Neural Networks", 2016): one convolution with mask A, `first`
    wide, then `depth` residual blocks with mask B, of 2 `width` channels.

    Stacked masks leave a blind spot, above on the right: a pixel there is past, and yet never seen.
    """

    def __init__(
        self,
        shape: list[int],
        values: int,
        width: Count = 32,
        depth: Count = 15,
        kernel: Count = 3,
        first: Count = 7,
        classes: Whole = 0,
    ) -> None:
        super().__init__(shape, values)
        odd(kernel, "kernel")
        odd(first, "first")
        without_labels(self, classes)
        features, side = grouped(2 * width, shape[0]), first // 2
        self.first = CausalConv2d(self.colours, features, side, side, strict=True)
        self.blocks: Any = nn.ModuleList(
            ResidualBlock(width, kernel, shape[0]) for _ in range(depth)
        )
        self.last = self.head(2 * width)
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        h = self.first(x).contiguous(memory_format=torch.channels_last)
        for block in self.blocks:
            h = block(h)
        return self.as_logits(self.last(h))

    def begin(self, n: int, y: Tensor | None = None) -> SamplingCache:
        return PixelCNNCache(self, n)


class ResidualBlock(nn.Module):
    """x + the way through half the channels: 1 x 1, `kernel` x `kernel`, 1 x 1, each after a rectifier."""

    def __init__(self, width: int, kernel: int, colours: int) -> None:
        super().__init__()
        wide, narrow, side = grouped(2 * width, colours), grouped(width, colours), kernel // 2
        self.narrow, self.wide = CausalConv2d(wide, narrow), CausalConv2d(narrow, wide)
        self.spatial = CausalConv2d(narrow, narrow, side, side)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.wide(F.relu(self.spatial(F.relu(self.narrow(F.relu(x))))))


class PixelCNNCache(SamplingCache):
    def __init__(self, network: PixelCNN, n: int) -> None:
        pixels = network.shape[2]
        self.network, self.first, self.last = (
            network,
            ConvCache(network.first, n, pixels),
            at_pixel(network.last),
        )
        self.blocks = [
            (pointwise(b.narrow), ConvCache(b.spatial, n, pixels), pointwise(b.wide))
            for b in network.blocks
        ]

    def next_row(self) -> None:
        for cache in (self.first, *(spatial for _, spatial, _ in self.blocks)):
            cache.next_row()

    def put(self, j: int, x: Tensor) -> None:
        self.first.put(j, x)

    def logits(self, j: int) -> Tensor:
        h = self.first.pixel(j)
        for narrow, spatial, wide in self.blocks:
            h = h + wide(F.relu(spatial.step(j, F.relu(narrow(F.relu(h))))))
        return self.network.as_logits(self.last(h))


# --- Gated PixelCNN ---------------------------------------------------------------------------------------------------------------


class GatedPixelCNN(Causal):
    """Gated PixelCNN (van den Oord, Kalchbrenner, Vinyals, Espeholt, Graves & Kavukcuoglu, "Conditional Image Generation with PixelCNN
    Decoders", 2016).

    Two stacks of `depth` layers of `width` channels. The vertical one sees all rows above, by kernels `kernel` wide and half as high; the
    horizontal one sees its own row on the left, and the vertical stack's row. So nothing of the past is hidden, as it is to PixelCNN.
    Each layer is  tanh(W_f * x + V_f y) sigmoid(W_g * x + V_g y),  with y the label.

    The image enters the vertical stack shifted down by one row: so do all its maps, and its row i sees the image's rows above i.
    """

    def __init__(
        self,
        shape: list[int],
        values: int,
        width: Count = 32,
        depth: Count = 8,
        kernel: Count = 5,
        first: Count = 7,
        classes: Whole = 0,
    ) -> None:
        super().__init__(shape, values, classes)
        odd(kernel, "kernel")
        odd(first, "first")
        vertical = EdgedConv2d(shape[0], width, max(first // 2 - 1, 0), first // 2, first // 2)
        horizontal = CausalConv2d(
            self.colours, grouped(width, shape[0]), side=first // 2, strict=True
        )
        self.first: Any = nn.ModuleDict(
            {"vertical": vertical, "horizontal": horizontal, "down": EdgedConv2d(width, width)}
        )
        self.layers: Any = nn.ModuleList(
            GatedLayer(width, kernel, shape[0], classes) for _ in range(depth)
        )
        self.last = self.head(width)
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        above = F.pad(x, (0, 0, 1, 0))[:, :, :-1]
        v = self.first["vertical"](above).contiguous(memory_format=torch.channels_last)
        h = self.first["horizontal"](x).contiguous(memory_format=torch.channels_last) + self.first[
            "down"
        ](v)
        for layer in self.layers:
            v, h = layer(v, h, y)
        return self.as_logits(self.last(h))

    def begin(self, n: int, y: Tensor | None = None) -> SamplingCache:
        return GatedCache(self, n, y)


class GatedLayer(nn.Module):
    """Vertical and horizontal maps (B, width, H, W) each -> the same."""

    def __init__(self, width: int, kernel: int, colours: int, classes: int) -> None:
        super().__init__()
        groups, reach = grouped(width, colours), kernel // 2
        self.vertical = EdgedConv2d(width, 2 * width, reach, reach, reach)
        self.horizontal = CausalConv2d(groups, groups.repeat(2), side=reach)
        self.down = EdgedConv2d(2 * width, 2 * width)
        self.out = CausalConv2d(groups, groups)
        self.label = nn.Embedding(classes, 4 * width) if classes else None

    def forward(self, v: Tensor, h: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        above = self.vertical(v)
        both = self.horizontal(h) + self.down(above)
        if self.label is not None:
            of_v, of_h = self.label(y)[:, :, None, None].chunk(2, 1)
            above, both = above + of_v, both + of_h
        return gated(above, 1), h + self.out(gated(both, 1))


def gated(z: Tensor, dim: int) -> Tensor:
    a, b = z.chunk(2, dim)
    return torch.tanh(a) * torch.sigmoid(b)


class GatedCache(SamplingCache):
    """The vertical stack advances by rows, and leaves what each layer of the horizontal one takes of it; that one advances by pixels."""

    def __init__(self, network: GatedPixelCNN, n: int, y: Tensor | None) -> None:
        pixels = network.shape[2]
        self.network, self.last = network, at_pixel(network.last)
        self.vertical, self.horizontal = (
            ConvCache(network.first[name], n, pixels) for name in ("vertical", "horizontal")
        )
        self.down = pointwise(network.first["down"])
        self.layers = [GatedLayerCache(layer, n, pixels, y) for layer in network.layers]
        self.row = self.vertical.rows.new_zeros(
            n, pixels, network.shape[0]
        )  # of the image; before the first one, zeros

    def next_row(self) -> None:
        v = self.vertical.row(self.row)
        self.row = torch.zeros_like(self.row)
        self.from_above = self.down(v)
        for layer in self.layers:
            v = layer.next_row(v)
        self.horizontal.next_row()

    def put(self, j: int, x: Tensor) -> None:
        self.row[:, j] = x
        self.horizontal.put(j, x)

    def logits(self, j: int) -> Tensor:
        h = self.horizontal.pixel(j) + self.from_above[:, j]
        for layer in self.layers:
            h = layer.step(j, h)
        return self.network.as_logits(self.last(h))


class GatedLayerCache:
    def __init__(self, layer: GatedLayer, n: int, pixels: int, y: Tensor | None) -> None:
        self.vertical, self.horizontal = (
            ConvCache(layer.vertical, n, pixels),
            ConvCache(layer.horizontal, n, pixels),
        )
        self.down, self.out = pointwise(layer.down), pointwise(layer.out)
        self.labels = layer.label(y).chunk(2, 1) if layer.label is not None else None

    def next_row(self, v: Tensor) -> Tensor:
        """The vertical map's row (n, pixels, width) -> that of the next layer."""
        above = self.vertical.row(v)
        self.from_above = self.down(above)
        if self.labels is not None:
            above, self.from_above = (
                above + self.labels[0][:, None],
                self.from_above + self.labels[1][:, None],
            )
        self.horizontal.next_row()
        return gated(above, 2)

    def step(self, j: int, h: Tensor) -> Tensor:
        return h + self.out(gated(self.horizontal.step(j, h) + self.from_above[:, j], 1))


# --- PixelRNN ---------------------------------------------------------------------------------------------------------------------
