"""Layers that depend on a condition: a label, or any vector."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn


class ConditionalBatchNorm(nn.Module):
    """Conditional batch norm (Dumoulin et al., 2017; de Vries et al., 2017).

        (1 + gain(c)) * (x - mean) / sd + shift(c)

    Args:
        channels: number of channels of x (B, channels, H, W).
        table: makes, from `channels`, a map of the condition to one number per channel: an
            embedding of labels (B,), or a linear map of vectors (B, D). It is called twice, for
            gain and for shift.
    """

    def __init__(self, channels: int, table: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.gain, self.shift = table(channels), table(channels)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        gain = self.gain(condition)[:, :, None, None]
        shift = self.shift(condition)[:, :, None, None]
        return (1 + gain) * self.norm(x) + shift


def per_class(classes: int) -> Callable[[int], nn.Module]:
    """Make an embedding of `classes` labels that starts at zero, as plain batch norm."""

    def table(channels: int) -> nn.Module:
        embedding = nn.Embedding(classes, channels)
        nn.init.zeros_(embedding.weight)
        return embedding

    return table
