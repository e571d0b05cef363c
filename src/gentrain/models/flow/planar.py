"""Planar flows (Rezende & Mohamed, "Variational Inference with Normalizing Flows", 2015).

    f(z) = z + u^ tanh(w . z + b),        |det df/dz| = |1 + (1 - tanh^2(w . z + b)) w . u^|

f is invertible if w . u^ >= -1, which holds for

    u^ = u + (m(w . u) - w . u) w / ||w||^2,        m(t) = -1 + softplus(t).

The inverse has no closed form; it is found by bisection of one number for each map.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gentrain.config.types import Count
from gentrain.models.flow.base import Flow, Pair


class Planar(Flow):
    """Planar maps of an approximate posterior: each sample has its own, from its context.

    `inverse` keeps no gradient.

    Args:
        latent: D, the size of z.
        layers: the number of maps.
    """

    sequential = True

    def __init__(self, latent: Count, layers: Count = 10) -> None:
        super().__init__()
        self.latent, self.layers = latent, layers
        self.context = layers * (2 * latent + 1)

    def forward(self, z: Tensor, context: Tensor | None = None) -> Pair:
        total = z.new_zeros(len(z))
        for parameters in self.maps(context):
            z, log_det = constrained_planar(z, *parameters)
            total = total + log_det
        return z, total

    @torch.no_grad()
    def inverse(self, z: Tensor, context: Tensor | None = None) -> Pair:
        total = z.new_zeros(len(z))
        for parameters in reversed(self.maps(context)):
            z, log_det = planar_inverse(z, *parameters)
            total = total + log_det
        return z, total

    def maps(self, context: Tensor | None) -> list[tuple[Tensor, ...]]:
        """u^ and w (B, latent), b and w . u^ (B, 1) of every map."""
        assert context is not None
        parameters = context.view(len(context), self.layers, -1)
        u, w, b = parameters.split([self.latent, self.latent, 1], 2)
        u = constrained_u(u, w)
        return list(zip(u.unbind(1), w.unbind(1), b.unbind(1), dot(w, u).unbind(1), strict=True))


class PlanarMaps(Flow):
    """Planar maps with learned parameters, the same for every sample.

    Args:
        shape: shape of the data.
        layers: the number of maps.
    """

    sequential = True

    def __init__(self, shape: list[int], layers: Count = 32) -> None:
        super().__init__()
        self.flow = Planar(math.prod(shape), layers)
        self.given = nn.Parameter(torch.randn(1, self.flow.context) / math.sqrt(math.prod(shape)))

    def forward(self, z: Tensor, context: Tensor | None = None) -> Pair:
        return self.flow(z, self.given)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> Pair:
        return self.flow.inverse(z, self.given)


def planar(z: Tensor, u: Tensor, w: Tensor, b: Tensor) -> Pair:
    """One planar map of each sample: z, u, w (B, D), b (B, 1)."""
    u = constrained_u(u, w)
    return constrained_planar(z, u, w, b, dot(w, u))


def constrained_planar(z: Tensor, u: Tensor, w: Tensor, b: Tensor, slope: Tensor) -> Pair:
    """One planar map, with u^ for `u` and w . u^ for `slope`."""
    h = torch.tanh(dot(w, z) + b)
    return z + u * h, planar_log_det(h, slope)


def planar_inverse(z: Tensor, u: Tensor, w: Tensor, b: Tensor, slope: Tensor) -> Pair:
    """Invert a planar map, with u^ for `u` and w . u^ for `slope`.

    z = x + u^ tanh(t + b) with t = w . x, so w . z = t + (w . u^) tanh(t + b). The right side rises
    with t, and |t - w . z| <= |w . u^|, so that t is found by bisection.
    """
    goal = dot(w, z)
    low, high = goal - slope.abs(), goal + slope.abs()
    for _ in range(torch.finfo(z.dtype).bits):
        middle = (low + high) / 2
        over = middle + slope * torch.tanh(middle + b) > goal
        low, high = torch.where(over, low, middle), torch.where(over, middle, high)
    h = torch.tanh((low + high) / 2 + b)
    return z - u * h, -planar_log_det(h, slope)


def constrained_u(u: Tensor, w: Tensor) -> Tensor:
    """u^, the vector nearest to u with w . u^ = m(w . u)."""
    # m(t) - t = softplus(t) - 1 - t = softplus(-t) - 1
    return u + (F.softplus(-dot(w, u)) - 1) * w / (w.square().sum(-1, keepdim=True) + 1e-8)


def dot(a: Tensor, b: Tensor) -> Tensor:
    """(..., D), (..., D) -> (..., 1)."""
    return (a * b).sum(-1, keepdim=True)


def planar_log_det(h: Tensor, slope: Tensor) -> Tensor:
    """log |det df/dz| from h = tanh(w . z + b) and w . u^, (..., 1) -> (...)."""
    return (1 + (1 - h.square()) * slope).clamp_min(1e-8).log().squeeze(-1)
