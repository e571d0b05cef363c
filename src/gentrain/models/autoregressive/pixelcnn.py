"""PixelCNN, and Gated PixelCNN, which has no blind spot.

- van den Oord, Kalchbrenner & Kavukcuoglu, "Pixel Recurrent Neural Networks", 2016.
- van den Oord, Kalchbrenner, Vinyals, Espeholt, Graves & Kavukcuoglu, "Conditional Image Generation
  with PixelCNN Decoders", 2016.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gentrain.config.types import Count, Whole
from gentrain.layers.causal import (
    CausalConv2d,
    ConvCache,
    UpwardConv2d,
    group_of_channels,
    pointwise,
)
from gentrain.models.autoregressive.networks import (
    Causal,
    SamplingCache,
    head_at_pixel,
    refuse_labels,
    require_odd,
)

# --- PixelCNN -------------------------------------------------------------------------------------


class PixelCNN(Causal):
    """PixelCNN: a convolution with mask A, then residual blocks with mask B.

    Stacked masks leave a blind spot, above on the right: pixels of the past that are never seen.

    Args:
        shape: (C, H, W) of images.
        values: how many values one colour of a pixel can take.
        width: half the channels.
        depth: the number of residual blocks.
        kernel: the width of their kernels; odd.
        first: the width of the first kernel; odd.
        classes: must be 0; it sees no label.
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
        require_odd(kernel, "kernel")
        require_odd(first, "first")
        refuse_labels(self, classes)
        features, side = group_of_channels(2 * width, shape[0]), first // 2
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

    def sampling_cache(self, n: int, y: Tensor | None = None) -> SamplingCache:
        return PixelCNNCache(self, n)


class ResidualBlock(nn.Module):
    """x + convolutions with half the channels: 1 x 1, `kernel` x `kernel`, 1 x 1, ReLU before each.

    (B, 2 width, H, W) -> the same.
    """

    def __init__(self, width: int, kernel: int, colours: int) -> None:
        super().__init__()
        wide, narrow = group_of_channels(2 * width, colours), group_of_channels(width, colours)
        side = kernel // 2
        self.narrow, self.wide = CausalConv2d(wide, narrow), CausalConv2d(narrow, wide)
        self.spatial = CausalConv2d(narrow, narrow, side, side)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.wide(F.relu(self.spatial(F.relu(self.narrow(F.relu(x))))))


class PixelCNNCache(SamplingCache):
    """The last rows of the input of every spatial convolution."""

    def __init__(self, network: PixelCNN, n: int) -> None:
        pixels = network.shape[2]
        self.network, self.last = network, head_at_pixel(network.last)
        self.first = ConvCache(network.first, n, pixels)
        self.blocks = [
            (pointwise(b.narrow), ConvCache(b.spatial, n, pixels), pointwise(b.wide))
            for b in network.blocks
        ]

    def next_row(self) -> None:
        for cache in (self.first, *(spatial for _, spatial, _ in self.blocks)):
            cache.next_row()

    def set_pixel(self, j: int, x: Tensor) -> None:
        self.first.set_pixel(j, x)

    def logits(self, j: int) -> Tensor:
        h = self.first.pixel(j)
        for narrow, spatial, wide in self.blocks:
            h = h + wide(F.relu(spatial.step(j, F.relu(narrow(F.relu(h))))))
        return self.network.as_logits(self.last(h))


# --- Gated PixelCNN -------------------------------------------------------------------------------


class GatedPixelCNN(Causal):
    """Gated PixelCNN: two stacks of layers, so that no pixel of the past is hidden.

    The vertical stack sees all rows above. The horizontal stack sees its own row on the left, and
    the vertical stack. With the label y each layer is

        tanh(W_f * x + V_f y) sigmoid(W_g * x + V_g y).

    The image enters the vertical stack shifted down by one row. So do all of its maps, and row i of
    a map sees the rows of the image above i.

    Args:
        shape: (C, H, W) of images.
        values: how many values one colour of a pixel can take.
        width: channels of each stack.
        depth: the number of layers.
        kernel: the width of their kernels, which are half as high; odd.
        first: the width of the first kernels; odd.
        classes: the number of labels it sees; 0 for none.
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
        require_odd(kernel, "kernel")
        require_odd(first, "first")
        side, groups = first // 2, group_of_channels(width, shape[0])
        vertical = UpwardConv2d(shape[0], width, max(side - 1, 0), side, side)
        horizontal = CausalConv2d(self.colours, groups, side=side, strict=True)
        self.first: Any = nn.ModuleDict(
            {"vertical": vertical, "horizontal": horizontal, "down": UpwardConv2d(width, width)}
        )
        self.layers: Any = nn.ModuleList(
            GatedLayer(width, kernel, shape[0], classes) for _ in range(depth)
        )
        self.last = self.head(width)
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        above = F.pad(x, (0, 0, 1, 0))[:, :, :-1]
        v = self.first["vertical"](above).contiguous(memory_format=torch.channels_last)
        h = self.first["horizontal"](x).contiguous(memory_format=torch.channels_last)
        h = h + self.first["down"](v)
        for layer in self.layers:
            v, h = layer(v, h, y)
        return self.as_logits(self.last(h))

    def sampling_cache(self, n: int, y: Tensor | None = None) -> SamplingCache:
        return GatedCache(self, n, y)


class GatedLayer(nn.Module):
    """A layer of both stacks: maps (B, width, H, W), vertical and horizontal -> the same."""

    def __init__(self, width: int, kernel: int, colours: int, classes: int) -> None:
        super().__init__()
        groups, reach = group_of_channels(width, colours), kernel // 2
        self.vertical = UpwardConv2d(width, 2 * width, reach, reach, reach)
        self.horizontal = CausalConv2d(groups, groups.repeat(2), side=reach)
        self.down = UpwardConv2d(2 * width, 2 * width)
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
    """tanh(a) sigmoid(b) of the two halves of z along a dimension."""
    a, b = z.chunk(2, dim)
    return torch.tanh(a) * torch.sigmoid(b)


class GatedCache(SamplingCache):
    """The vertical stack advances by rows, and the horizontal one by pixels.

    Of a row of the vertical stack it keeps what each layer of the horizontal one takes.
    """

    def __init__(self, network: GatedPixelCNN, n: int, y: Tensor | None) -> None:
        pixels = network.shape[2]
        self.network, self.last = network, head_at_pixel(network.last)
        self.vertical, self.horizontal = (
            ConvCache(network.first[name], n, pixels) for name in ("vertical", "horizontal")
        )
        self.down = pointwise(network.first["down"])
        self.layers = [GatedLayerCache(layer, n, pixels, y) for layer in network.layers]
        # the current row of the image; zeros before the first one
        self.row = self.vertical.rows.new_zeros(n, pixels, network.shape[0])

    def next_row(self) -> None:
        v = self.vertical.row(self.row)
        self.row = torch.zeros_like(self.row)
        self.from_above = self.down(v)
        for layer in self.layers:
            v = layer.next_row(v)
        self.horizontal.next_row()

    def set_pixel(self, j: int, x: Tensor) -> None:
        self.row[:, j] = x
        self.horizontal.set_pixel(j, x)

    def logits(self, j: int) -> Tensor:
        h = self.horizontal.pixel(j) + self.from_above[:, j]
        for layer in self.layers:
            h = layer.step(j, h)
        return self.network.as_logits(self.last(h))


class GatedLayerCache:
    """The cache of one layer."""

    def __init__(self, layer: GatedLayer, n: int, pixels: int, y: Tensor | None) -> None:
        self.vertical = ConvCache(layer.vertical, n, pixels)
        self.horizontal = ConvCache(layer.horizontal, n, pixels)
        self.down, self.out = pointwise(layer.down), pointwise(layer.out)
        self.labels = layer.label(y).chunk(2, 1) if layer.label is not None else None

    def next_row(self, v: Tensor) -> Tensor:
        """A row of the vertical map (n, pixels, width) -> that of the next layer."""
        above = self.vertical.row(v)
        self.from_above = self.down(above)
        if self.labels is not None:
            of_v, of_h = self.labels
            above, self.from_above = above + of_v[:, None], self.from_above + of_h[:, None]
        self.horizontal.next_row()
        return gated(above, 2)

    def step(self, j: int, h: Tensor) -> Tensor:
        """The horizontal map (n, width) at pixel j -> that of the next layer."""
        return h + self.out(gated(self.horizontal.step(j, h) + self.from_above[:, j], 1))
