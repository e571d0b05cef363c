"""Networks that give at each pixel, for each colour, the distribution of its value given all values before it.

Whole images in one pass, (B, C, H, W) -> (B, values, C, H, W) logits; or, for images in the making, a pixel at a time: `begin`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

from gentrain.errors import UserError
from gentrain.layers.causal import CausalConv2d, EdgedConv2d, grouped, pointwise


class SamplingCache(ABC):
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
    def begin(self, n: int, y: Tensor | None = None) -> SamplingCache:
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


class UncachedSampling(SamplingCache):
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
        raise UserError(
            f"{type(network).__name__} sees no label (model.conditional); choose model=gated_pixelcnn, or give false"
        )


def odd(number: int, key: str) -> None:
    if number % 2 == 0:
        raise UserError(
            f"a kernel {number} wide has no middle (model.network.{key}); give an odd number"
        )


# --- PixelCNN -------------------------------------------------------------------------------------------------------------------
