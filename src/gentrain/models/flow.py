"""Normalising flows: invertible maps f with the logarithm of |det df/dz|, composed one after the other."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..schema import Count


class Flow(nn.Module, ABC):
    """z (B, D) -> (f(z), log |det df/dz| (B,)). `context` numbers of each sample (B, context) may set its parameters."""

    context: int = 0

    @abstractmethod
    def forward(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]: ...


class Planar(Flow):
    """f(z) = z + u^ tanh(w . z + b), `layers` times (Rezende & Mohamed, 2015), u, w and b of each sample from its context.

    u^ = u + (m(w . u) - w . u) w / ||w||^2 with m(t) = -1 + softplus(t) keeps w . u^ >= -1, so that f is invertible;
    |det| = |1 + (1 - tanh^2(w . z + b)) w . u^|. There is no closed inverse: a posterior, not a density of data.
    """

    def __init__(self, latent: Count, layers: Count = 10) -> None:
        super().__init__()
        self.latent, self.layers = latent, layers
        self.context = layers * (2 * latent + 1)

    def forward(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        total = z.new_zeros(len(z))
        for parameters in context.chunk(self.layers, 1):
            u, w, b = parameters.split([self.latent, self.latent, 1], 1)
            z, log_det = planar(z, u, w, b)
            total = total + log_det
        return z, total


def planar(z: Tensor, u: Tensor, w: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """One planar map of each sample: z, u, w (B, D), b (B, 1)."""
    inner = (w * u).sum(1, keepdim=True)
    # m(t) - t = softplus(t) - 1 - t = softplus(-t) - 1
    u = u + (F.softplus(-inner) - 1) * w / (w.square().sum(1, keepdim=True) + 1e-8)
    h = torch.tanh((w * z).sum(1, keepdim=True) + b)
    det = 1 + (1 - h.square()) * (w * u).sum(1, keepdim=True)
    return z + u * h, det.clamp_min(1e-8).log().squeeze(1)
