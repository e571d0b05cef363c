"""Layers that a condition steers: a label, or any vector."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn


class ConditionalBatchNorm(nn.Module):
    """(1 + gain(c)) * (x - mean) / sd + shift(c) (Dumoulin et al., 2017; de Vries et al., 2017).

    `table(channels)` makes the gain's map, and the shift's, from a condition to one number per channel: an embedding of labels (B,),
    or a linear map of vectors (B, D). Gains are around 1, shifts around 0.
    """

    def __init__(self, channels: int, table: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.gain, self.shift = table(channels), table(channels)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        gain, shift = (
            self.gain(condition)[:, :, None, None],
            self.shift(condition)[:, :, None, None],
        )
        return (1 + gain) * self.norm(x) + shift


def per_class(classes: int) -> Callable[[int], nn.Module]:
    """A table with a row for each class, which starts at zero: at first the norm is plain batch norm."""

    def table(channels: int) -> nn.Module:
        embedding = nn.Embedding(classes, channels)
        nn.init.zeros_(embedding.weight)
        return embedding

    return table
