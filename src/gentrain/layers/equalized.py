"""The equalised learning rate (Karras, Aila, Laine & Lehtinen, "Progressive Growing of GANs for
Improved Quality, Stability, and Variation", 2018).
"""

from __future__ import annotations

import math

import torch.nn.utils.parametrize as parametrize
from torch import Tensor, nn


def equalized(layer: nn.Linear | nn.Conv2d, gain: float = math.sqrt(2)) -> nn.Module:
    """Draw a layer's weights w^ from N(0, 1), and scale them at run time by He's constant.

        w = gain / sqrt(fan_in) * w^

    Adam's step on w^ has the same size whatever the fan-in, so that all layers learn at the same
    relative speed.

    Args:
        layer: changed in place, and returned.
        gain: sqrt(2) before a ReLU, 1 without one.
    """
    nn.init.normal_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    fan_in = layer.weight[0].numel()
    return parametrize.register_parametrization(layer, "weight", Scale(gain / math.sqrt(fan_in)))


def weight_scales(network: nn.Module) -> dict[int, float]:
    """The factor c of each learned weight w^ with an equalised learning rate, by the weight's id.

    The weight of the network is c w^. What is said of weights, such as a bound of them, is said of
    c w^.
    """
    return {
        id(parametrizations.original): scale.c
        for parametrizations in network.modules()
        if isinstance(parametrizations, parametrize.ParametrizationList)
        for scale in parametrizations
        if isinstance(scale, Scale)
    }


class Scale(nn.Module):
    """w^ -> c * w^."""

    def __init__(self, c: float) -> None:
        super().__init__()
        self.c = c

    def forward(self, weight: Tensor) -> Tensor:
        return self.c * weight

    def extra_repr(self) -> str:
        return f"{self.c:.4g}"
