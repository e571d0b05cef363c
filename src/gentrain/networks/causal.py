"""Networks that give at each pixel, for each colour, the distribution of its value given all values before it.

Whole images in one pass, (B, C, H, W) -> (B, values, C, H, W) logits; or, for images in the making, a pixel at a time: `begin`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import UserError
from ..layers.causal import CausalConv2d, ConvCache, EdgedConv2d, grouped, pointwise
from ..layers.pixel_lstm import LSTMPast, PixelLSTM
from ..schema import Count, Whole


class Past(ABC):
    """What a network keeps of n images that are made row by row, from left to right: enough that a pixel costs what the pixel needs."""

    @abstractmethod
    def next_row(self) -> None:
        """Before the first pixel of every row, the first included."""

    @abstractmethod
    def logits(self, j: int) -> Tensor:
        """(n, values, C) at pixel j of the current row; right for a colour once those before it are put."""

    @abstractmethod
    def put(self, j: int, x: Tensor) -> None:
        """x (n, C), the network's input at pixel j, as far as it is known."""


class Causal(nn.Module, ABC):
    """`shape` (C, H, W), `values` that one colour of a pixel can take; with `classes`, the label is seen."""

    def __init__(self, shape: list[int], values: int, classes: int = 0) -> None:
        super().__init__()
        self.shape, self.values, self.classes = list(shape), values, classes
        self.colours = torch.arange(shape[0])  # the groups of an image's channels
        self.outputs = 1 if values == 2 else values  # of two values, the logit of the second

    @abstractmethod
    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """x (B, C, H, W) in [-1, 1] -> logits (B, values, C, H, W)."""

    @abstractmethod
    def begin(self, n: int, y: Tensor | None = None) -> Past:
        """For n images, of labels y."""

    def head(self, width: int) -> nn.Sequential:
        """Two convolutions of single pixels, each after a rectifier: the features' groups become the colours."""
        features = grouped(width, self.shape[0])
        last = CausalConv2d(features, self.colours.repeat(self.outputs))
        return nn.Sequential(nn.ReLU(), CausalConv2d(features, features), nn.ReLU(), last)

    def as_logits(self, out: Tensor) -> Tensor:
        """(B, outputs * C, ...) -> (B, values, C, ...)"""
        out = out.unflatten(1, (self.outputs, self.shape[0]))
        return torch.cat([torch.zeros_like(out), out], 1) if self.values == 2 else out


class Naive(Past):
    """Any network, and nothing kept but the image: all its pixels are computed for one."""

    def __init__(self, network: Causal, n: int, y: Tensor | None = None) -> None:
        self.network, self.y, self.i = network, y, -1
        self.x = next(network.parameters()).new_zeros(n, *network.shape)

    def next_row(self) -> None:
        self.i += 1

    def put(self, j: int, x: Tensor) -> None:
        self.x[:, :, self.i, j] = x

    def logits(self, j: int) -> Tensor:
        return self.network(self.x, self.y)[:, :, :, self.i, j]


def at_pixel(head: nn.Sequential) -> Callable[[Tensor], Tensor]:
    """A head for one pixel: (n, features) -> (n, outputs)."""
    layers = [pointwise(layer) if isinstance(layer, EdgedConv2d) else layer for layer in head]

    def apply(h: Tensor) -> Tensor:
        for layer in layers:
            h = layer(h)
        return h

    return apply


def without_labels(network: Causal, classes: int) -> None:
    if classes:
        raise UserError(f"{type(network).__name__} sees no label (model.conditional); choose model=gated_pixelcnn, or give false")


def odd(number: int, key: str) -> None:
    if number % 2 == 0:
        raise UserError(f"a kernel {number} wide has no middle (model.network.{key}); give an odd number")


# --- PixelCNN -------------------------------------------------------------------------------------------------------------------


class PixelCNN(Causal):
    """PixelCNN (van den Oord, Kalchbrenner & Kavukcuoglu, "Pixel Recurrent Neural Networks", 2016): one convolution with mask A, `first`
    wide, then `depth` residual blocks with mask B, of 2 `width` channels.

    Stacked masks leave a blind spot, above on the right: a pixel there is past, and yet never seen.
    """

    def __init__(
        self, shape: list[int], values: int, width: Count = 32, depth: Count = 15, kernel: Count = 3, first: Count = 7, classes: Whole = 0
    ) -> None:
        super().__init__(shape, values)
        odd(kernel, "kernel")
        odd(first, "first")
        without_labels(self, classes)
        features, side = grouped(2 * width, shape[0]), first // 2
        self.first = CausalConv2d(self.colours, features, side, side, strict=True)
        self.blocks: Any = nn.ModuleList(ResidualBlock(width, kernel, shape[0]) for _ in range(depth))
        self.last = self.head(2 * width)
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        h = self.first(x).contiguous(memory_format=torch.channels_last)
        for block in self.blocks:
            h = block(h)
        return self.as_logits(self.last(h))

    def begin(self, n: int, y: Tensor | None = None) -> Past:
        return PixelCNNPast(self, n)


class ResidualBlock(nn.Module):
    """x + the way through half the channels: 1 x 1, `kernel` x `kernel`, 1 x 1, each after a rectifier."""

    def __init__(self, width: int, kernel: int, colours: int) -> None:
        super().__init__()
        wide, narrow, side = grouped(2 * width, colours), grouped(width, colours), kernel // 2
        self.narrow, self.wide = CausalConv2d(wide, narrow), CausalConv2d(narrow, wide)
        self.spatial = CausalConv2d(narrow, narrow, side, side)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.wide(F.relu(self.spatial(F.relu(self.narrow(F.relu(x))))))


class PixelCNNPast(Past):
    def __init__(self, network: PixelCNN, n: int) -> None:
        pixels = network.shape[2]
        self.network, self.first, self.last = network, ConvCache(network.first, n, pixels), at_pixel(network.last)
        self.blocks = [(pointwise(b.narrow), ConvCache(b.spatial, n, pixels), pointwise(b.wide)) for b in network.blocks]

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
        self, shape: list[int], values: int, width: Count = 32, depth: Count = 8, kernel: Count = 5, first: Count = 7, classes: Whole = 0
    ) -> None:
        super().__init__(shape, values, classes)
        odd(kernel, "kernel")
        odd(first, "first")
        vertical = EdgedConv2d(shape[0], width, max(first // 2 - 1, 0), first // 2, first // 2)
        horizontal = CausalConv2d(self.colours, grouped(width, shape[0]), side=first // 2, strict=True)
        self.first: Any = nn.ModuleDict({"vertical": vertical, "horizontal": horizontal, "down": EdgedConv2d(width, width)})
        self.layers: Any = nn.ModuleList(GatedLayer(width, kernel, shape[0], classes) for _ in range(depth))
        self.last = self.head(width)
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        above = F.pad(x, (0, 0, 1, 0))[:, :, :-1]
        v = self.first["vertical"](above).contiguous(memory_format=torch.channels_last)
        h = self.first["horizontal"](x).contiguous(memory_format=torch.channels_last) + self.first["down"](v)
        for layer in self.layers:
            v, h = layer(v, h, y)
        return self.as_logits(self.last(h))

    def begin(self, n: int, y: Tensor | None = None) -> Past:
        return GatedPast(self, n, y)


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


class GatedPast(Past):
    """The vertical stack advances by rows, and leaves what each layer of the horizontal one takes of it; that one advances by pixels."""

    def __init__(self, network: GatedPixelCNN, n: int, y: Tensor | None) -> None:
        pixels = network.shape[2]
        self.network, self.last = network, at_pixel(network.last)
        self.vertical, self.horizontal = (ConvCache(network.first[name], n, pixels) for name in ("vertical", "horizontal"))
        self.down = pointwise(network.first["down"])
        self.layers = [GatedLayerPast(layer, n, pixels, y) for layer in network.layers]
        self.row = self.vertical.rows.new_zeros(n, pixels, network.shape[0])  # of the image; before the first one, zeros

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


class GatedLayerPast:
    def __init__(self, layer: GatedLayer, n: int, pixels: int, y: Tensor | None) -> None:
        self.vertical, self.horizontal = ConvCache(layer.vertical, n, pixels), ConvCache(layer.horizontal, n, pixels)
        self.down, self.out = pointwise(layer.down), pointwise(layer.out)
        self.labels = layer.label(y).chunk(2, 1) if layer.label is not None else None

    def next_row(self, v: Tensor) -> Tensor:
        """The vertical map's row (n, pixels, width) -> that of the next layer."""
        above = self.vertical.row(v)
        self.from_above = self.down(above)
        if self.labels is not None:
            above, self.from_above = above + self.labels[0][:, None], self.from_above + self.labels[1][:, None]
        self.horizontal.next_row()
        return gated(above, 2)

    def step(self, j: int, h: Tensor) -> Tensor:
        return h + self.out(gated(self.horizontal.step(j, h) + self.from_above[:, j], 1))


# --- PixelRNN ---------------------------------------------------------------------------------------------------------------------


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
        lstms: list[PixelLSTM] = [lstm(features=2 * width, width=width, colours=shape[0]) for _ in range(depth)]
        self.lstms: Any = nn.ModuleList(lstms)
        self.beyond: int = lstms[0].beyond
        self.outs: Any = nn.ModuleList(CausalConv2d(grouped(width, shape[0]), wide) for _ in range(depth))
        self.last = self.head(2 * width)
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        h = self.first(F.pad(x, (0, self.beyond))).contiguous(memory_format=torch.channels_last)
        for lstm, out in zip(self.lstms, self.outs, strict=True):
            h = h + out(lstm(h))
        return self.as_logits(self.last(h[..., : x.shape[3]]))

    def begin(self, n: int, y: Tensor | None = None) -> Past:
        return PixelRNNPast(self, n)


class PixelRNNPast(Past):
    def __init__(self, network: PixelRNN, n: int) -> None:
        pixels = network.shape[2] + network.beyond
        self.network, self.first, self.last = network, ConvCache(network.first, n, pixels), at_pixel(network.last)
        self.lstms: list[LSTMPast] = [lstm.begin(n, pixels) for lstm in network.lstms]
        self.outs = [pointwise(out) for out in network.outs]
        self.begun = False

    def next_row(self) -> None:
        for j in range(self.network.beyond if self.begun else 0):  # the row is whole: what lies behind it
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
