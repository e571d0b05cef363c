"""The equalised learning rate of progressive GANs (Karras, Aila, Laine & Lehtinen, 2018)."""

from __future__ import annotations

import math

import torch.nn.utils.parametrize as parametrize
from torch import Tensor, nn


def equalized(layer: nn.Linear | nn.Conv2d, gain: float = math.sqrt(2)) -> nn.Module:
    """The layer, with weights drawn from N(0, 1) and multiplied by He's constant at run time: w = gain / sqrt(fan_in) * w^.

    Adam's step on w^ is of the same size whatever the layer's fan-in, so every layer learns at the same relative speed.
    """
    nn.init.normal_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    fan_in = layer.weight[0].numel()
    return parametrize.register_parametrization(layer, "weight", Scale(gain / math.sqrt(fan_in)))


class Scale(nn.Module):
    """w^ -> c * w^"""

    def __init__(self, c: float) -> None:
        super().__init__()
        self.c = c

    def forward(self, weight: Tensor) -> Tensor:
        return self.c * weight

    def extra_repr(self) -> str:
        return f"{self.c:.4g}"
