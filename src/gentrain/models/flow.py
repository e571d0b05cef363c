"""Normalising flows: invertible maps f with the logarithm of |det df/dz|, composed one after the other, and densities made of them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..density import Batch, Density, judged
from ..layers.masked import MADE
from ..objective import Objective
from ..pixels import Pixels
from ..schema import Count, Whole


class Flow(nn.Module, ABC):
    """z (B, D) -> (f(z), log |det df/dz| (B,)). `context` numbers of each sample (B, context) may set its parameters."""

    context: int = 0

    @abstractmethod
    def forward(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]: ...

    def inverse(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """The way back, where there is one."""
        raise NotImplementedError(f"{type(self).__name__} has no closed inverse")


class Planar(Flow):
    """f(z) = z + u^ tanh(w . z + b), `layers` times (Rezende & Mohamed, 2015), u, w and b of each sample from its context.

    u^ = u + (m(w . u) - w . u) w / ||w||^2 with m(t) = -1 + softplus(t) keeps w . u^ >= -1, so that f is invertible;
    |det| = |1 + (1 - tanh^2(w . z + b)) w . u^|. There is no closed inverse: a posterior, not a density of data.
    """

    def __init__(self, latent: Count, layers: Count = 10) -> None:
        super().__init__()
        self.latent, self.layers = latent, layers
        self.context = layers * (2 * latent + 1)

    def forward(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        assert context is not None
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


class InverseAutoregressive(Flow):
    """IAF (Kingma, Salimans, Jozefowicz, Chen, Sutskever & Welling, 2016): z_i <- s_i z_i + (1 - s_i) m_i, with m_i and s_i = sigmoid(a_i)
    functions of z_0 ... z_(i-1) and of the context; log |det| = sum log s_i. One pass from noise to code. `layers` maps, the order of the
    values reversed between them. s starts at sigmoid(2), near the identity (a forget gate that is open).
    """

    def __init__(self, latent: Count, layers: Count = 4, width: Count = 320, depth: Count = 1, context: Whole = 0) -> None:
        super().__init__()
        self.context = context
        self.maps = nn.ModuleList(MADE(latent, 2, max(width, latent), depth, context) for _ in range(layers))

    def forward(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        total = z.new_zeros(len(z))
        for made in self.maps:
            m, a = made(z, context).unbind(1)
            gate = torch.sigmoid(a + 2)
            z = (gate * z + (1 - gate) * m).flip(1)
            total = total + F.logsigmoid(a + 2).sum(1)
        return z, total

    def inverse(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """One value after the other."""

        def fill(i: int, parameters: Tensor) -> Tensor:
            gate = torch.sigmoid(parameters[:, 1] + 2)
            return (given[:, i] - (1 - gate) * parameters[:, 0]) / gate

        for made in reversed(self.maps):
            given = z.flip(1)
            z = made.one_by_one(fill, given, context)  # type: ignore[operator]
        return z


class MaskedAutoregressive(Flow):
    """MAF (Papamakarios, Pavlakou & Murray, 2017): u_i = (x_i - m_i) exp(-a_i), m_i and a_i functions of x_0 ... x_(i-1);
    log |det du/dx| = -sum a_i. One pass from data to noise, as many as there are values back. The order is reversed between the maps.
    """

    def __init__(self, size: Count, layers: Count = 5, width: Count = 1024, depth: Count = 1) -> None:
        super().__init__()
        self.maps = nn.ModuleList(MADE(size, 2, max(width, size), depth) for _ in range(layers))

    def forward(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        total = z.new_zeros(len(z))
        for made in self.maps:
            m, a = made(z).unbind(1)
            z = ((z - m) * torch.exp(-a)).flip(1)
            total = total - a.sum(1)
        return z, total

    def inverse(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        def fill(i: int, parameters: Tensor) -> Tensor:
            return given[:, i] * torch.exp(parameters[:, 1]) + parameters[:, 0]

        for made in reversed(self.maps):
            given = z.flip(1)
            z = made.one_by_one(fill, given)  # type: ignore[operator]
        return z


class FlowDensity(Density):
    """log p(v) = log N(f(v); 0, I) + log |det df/dv|, f a flow from data to noise; samples are f^-1 of noise."""

    def __init__(self, flow: Callable[..., Flow], pixels: Pixels, shape: list[int]) -> None:
        super().__init__(pixels)
        self.flow, self.shape = flow(size=math.prod(shape)), list(shape)

    def log_prob(self, v: Tensor) -> Tensor:
        u, log_det = self.flow(v.flatten(1))
        return -0.5 * (u.square() + math.log(2 * math.pi)).sum(1) + log_det

    def objective(self, batch: Batch) -> Objective:
        v, log_det = self.pixels(batch[0])
        log_p = self.log_prob(v)
        return Objective({"nll": -(log_p + log_det).mean()}, {"nll_of_values": -log_p.mean()})

    def log_likelihood(self, batch: Batch, samples: int) -> Tensor:
        with judged(self):
            v, log_det = self.pixels(batch[0])
            return self.log_prob(v) + log_det

    def protocol(self, samples: int) -> dict[str, Any]:
        return {"likelihood": "exact, of the dequantised values", "pixels": self.pixels.name}

    def noise(self, n: int, device: torch.device | str) -> Tensor:
        return torch.randn(n, math.prod(self.shape), device=device)

    def sample(self, batch: Batch, noise: Tensor | None = None) -> Tensor:
        with judged(self):
            u = self.noise(len(batch[0]), batch[0].device) if noise is None else noise
            return self.pixels.inverse(self.flow.inverse(u).unflatten(1, self.shape))
