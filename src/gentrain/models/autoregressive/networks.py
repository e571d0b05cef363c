"""What causal networks have in common: the distribution of each value given all values before it.

A network computes whole images in one pass, (B, C, H, W) -> (B, values, C, H, W) logits. For
sampling, its `sampling_cache` computes one pixel at a time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

from gentrain.errors import UserError
from gentrain.layers.causal import CausalConv2d, group_of_channels, pointwise


class SamplingCache(ABC):
    """What a network keeps of n images that are drawn row by row, from left to right.

    It keeps enough that a pixel costs only what is new for that pixel.
    """

    @abstractmethod
    def next_row(self) -> None:
        """Called before the first pixel of every row, including the first row."""

    @abstractmethod
    def logits(self, j: int) -> Tensor:
        """(n, values, C) at pixel j of the row, valid for a colour once those before it are set."""

    @abstractmethod
    def set_pixel(self, j: int, x: Tensor) -> None:
        """Set pixel j of the row to the network's input x (n, C), as far as it is known."""


class Causal(nn.Module, ABC):
    """A network whose output for a value depends on the values before it.

    Args:
        shape: (C, H, W) of images.
        values: how many values one colour of a pixel can take.
        classes: the number of labels it sees; 0 for none.
    """

    def __init__(self, shape: list[int], values: int, classes: int = 0) -> None:
        super().__init__()
        self.shape, self.values, self.classes = list(shape), values, classes
        self.colours = torch.arange(shape[0])  # the group of each of an image's channels
        self.outputs = 1 if values == 2 else values  # for two values, the logit of the second

    @abstractmethod
    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """x (B, C, H, W) in [-1, 1], labels y (B,) -> logits (B, values, C, H, W)."""

    @abstractmethod
    def sampling_cache(self, n: int, y: Tensor | None = None) -> SamplingCache:
        """The cache of n images with labels y (n,)."""

    def head(self, width: int) -> nn.Sequential:
        """Two 1 x 1 convolutions, each after a ReLU, from features to each colour's outputs."""
        features = group_of_channels(width, self.shape[0])
        last = CausalConv2d(features, self.colours.repeat(self.outputs))
        return nn.Sequential(nn.ReLU(), CausalConv2d(features, features), nn.ReLU(), last)

    def as_logits(self, out: Tensor) -> Tensor:
        """(B, outputs * C, ...) -> (B, values, C, ...)."""
        out = out.unflatten(1, (self.outputs, self.shape[0]))
        return torch.cat([torch.zeros_like(out), out], 1) if self.values == 2 else out


class UncachedSampling(SamplingCache):
    """Works for any network, and keeps only the image: each pixel computes the whole network."""

    def __init__(self, network: Causal, n: int, y: Tensor | None = None) -> None:
        self.network, self.y, self.i = network, y, -1
        self.x = next(network.parameters()).new_zeros(n, *network.shape)

    def next_row(self) -> None:
        self.i += 1

    def set_pixel(self, j: int, x: Tensor) -> None:
        self.x[:, :, self.i, j] = x

    def logits(self, j: int) -> Tensor:
        return self.network(self.x, self.y)[:, :, :, self.i, j]


def head_at_pixel(head: nn.Sequential) -> Callable[[Tensor], Tensor]:
    """A head of `Causal.head` for one pixel: (n, features) -> (n, outputs)."""
    relu, hidden, _, last = head
    first, second = pointwise(hidden), pointwise(last)  # type: ignore[arg-type]

    def apply(h: Tensor) -> Tensor:
        return second(relu(first(relu(h))))

    return apply


def refuse_labels(network: Causal, classes: int) -> None:
    """Refuse labels for a network that sees none."""
    if classes:
        raise UserError(
            f"{type(network).__name__} sees no label (model.conditional); "
            "choose model=gated_pixelcnn, or give false"
        )


def require_odd(kernel: int, key: str) -> None:
    """Refuse a kernel of even width, which has no middle."""
    if kernel % 2 == 0:
        raise UserError(
            f"a kernel {kernel} wide has no middle (model.network.{key}); give an odd number"
        )
