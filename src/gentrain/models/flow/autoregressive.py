"""Autoregressive flows: masked (MAF) and inverse (IAF)."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gentrain.config.types import Count, Positive, Whole
from gentrain.layers.masked import MADE
from gentrain.models.flow.base import Flow, Pair


class Autoregressive(Flow):
    """`layers` maps, of each value a function with parameters that are functions of the values before it, and of the context; the order
    of the values is reversed between them. One pass there, and back one value after the other.

    A logarithm of a slope is a free number a; with a `bound` c it is c tanh(a / c). Far from the data a grows without end, and exp(a) of
    one map is what the next one sees: a few maps overflow.
    """

    sequential = True

    def __init__(
        self,
        size: int,
        layers: int,
        width: int,
        depth: int,
        context: int = 0,
        bound: float | None = None,
    ) -> None:
        super().__init__()
        self.context, self.bound = context, bound
        self.maps = nn.ModuleList(
            MADE(size, 2, max(width, size), depth, context) for _ in range(layers)
        )

    @abstractmethod
    def there(self, z: Tensor, first: Tensor, second: Tensor) -> Pair:
        """Values, and both parameters of each (all of one shape) -> what becomes of them, and the logarithms of the slopes."""

    @abstractmethod
    def back(self, z: Tensor, first: Tensor, second: Tensor) -> Pair: ...

    def slope(self, a: Tensor) -> Tensor:
        return a if self.bound is None else self.bound * torch.tanh(a / self.bound)

    def forward(self, z: Tensor, context: Tensor | None = None) -> Pair:
        total = z.new_zeros(len(z))
        for made in self.maps:
            z, slopes = self.there(z, *made(z, context).unbind(1))
            z, total = z.flip(1), total + slopes.sum(1)
        return z, total

    def inverse(self, z: Tensor, context: Tensor | None = None) -> Pair:
        """Without gradients from what was computed before (`MADE.one_by_one`); with them, whom a cache would spoil, in whole passes."""
        total, way = z.new_zeros(len(z)), self.passes if torch.is_grad_enabled() else self.cached
        for made in reversed(self.maps):
            z, log_det = way(made, z.flip(1), context)
            total = total + log_det
        return z, total

    def cached(self, made: Any, z: Tensor, context: Tensor | None) -> Pair:
        slopes = []

        def fill(i: int, parameters: Tensor) -> Tensor:
            x, slope = self.back(z[:, i], *parameters.unbind(1))
            slopes.append(slope)
            return x

        x = made.one_by_one(fill, z, context)
        return x, torch.stack(slopes).sum(0)

    def passes(self, made: Any, z: Tensor, context: Tensor | None) -> Pair:
        """As many passes as values: after the k-th, the first k are right."""
        x, slopes, place = (
            torch.zeros_like(z),
            torch.zeros_like(z),
            torch.arange(z.shape[1], device=z.device),
        )
        for k in range(z.shape[1]):
            x, slopes = self.back(z, *made(x, context).unbind(1))
            x = torch.where(place <= k, x, 0.0)
        return x, slopes.sum(1)


class InverseAutoregressive(Autoregressive):
    """IAF (Kingma, Salimans, Jozefowicz, Chen, Sutskever & Welling, 2016), from noise: z_i <- s_i z_i + (1 - s_i) m_i, with m_i and
    s_i = sigmoid(a_i + 2) functions of z_0 ... z_(i-1) and of the context; log |det| = sum log s_i. It starts near the identity (a forget
    gate that is open), and no slope is above 1. Where not `gated`, z_i <- exp(a_i) z_i + m_i (Papamakarios et al., 2017), any slope.
    """

    def __init__(
        self,
        latent: Count,
        layers: Count = 4,
        width: Count = 320,
        depth: Count = 1,
        context: Whole = 0,
        gated: bool = True,
        bound: Positive | None = None,
    ) -> None:
        super().__init__(latent, layers, width, depth, context, bound)
        self.gated = gated

    def there(self, z: Tensor, first: Tensor, second: Tensor) -> Pair:
        if self.gated:
            gate = torch.sigmoid(second + 2)
            return gate * z + (1 - gate) * first, F.logsigmoid(second + 2)
        a = self.slope(second)
        return z * torch.exp(a) + first, a

    def back(self, z: Tensor, first: Tensor, second: Tensor) -> Pair:
        if self.gated:
            gate = torch.sigmoid(second + 2)
            return (z - (1 - gate) * first) / gate, -F.logsigmoid(second + 2)
        a = self.slope(second)
        return (z - first) * torch.exp(-a), -a


class MaskedAutoregressive(Autoregressive):
    """MAF (Papamakarios, Pavlakou & Murray, 2017), from data: u_i = (x_i - m_i) exp(-a_i), m_i and a_i functions of x_0 ... x_(i-1);
    log |det du/dx| = -sum a_i. The paper has no `bound`.
    """

    def __init__(
        self,
        shape: list[int],
        layers: Count = 5,
        width: Count = 1024,
        depth: Count = 1,
        bound: Positive | None = None,
    ) -> None:
        super().__init__(math.prod(shape), layers, width, depth, bound=bound)

    def there(self, z: Tensor, first: Tensor, second: Tensor) -> Pair:
        a = self.slope(second)
        return (z - first) * torch.exp(-a), -a

    def back(self, z: Tensor, first: Tensor, second: Tensor) -> Pair:
        a = self.slope(second)
        return z * torch.exp(a) + first, a


# --- densities --------------------------------------------------------------------------------------------------------------------
