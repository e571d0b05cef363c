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
from ..errors import UserError
from ..layers.masked import MADE
from ..objective import Objective
from ..pixels import Pixels
from ..schema import Count, Positive, Whole

Pair = tuple[Tensor, Tensor]


class Flow(nn.Module, ABC):
    """z (B, D) -> (f(z), log |det df/dz| (B,)), and the way back. `context` numbers of each sample (B, context) may set its parameters."""

    context: int = 0
    sequential: bool = False  # its inverse is no single pass

    @abstractmethod
    def forward(self, z: Tensor, context: Tensor | None = None) -> Pair: ...

    @abstractmethod
    def inverse(self, z: Tensor, context: Tensor | None = None) -> Pair:
        """z -> (f^-1(z), log |det df^-1/dz|)."""

    def begin(self, z: Tensor) -> None:
        """Before the first step, with a first batch."""


class Reversed(Flow):
    """A flow read from its other end. `flow` makes one of `latent` numbers: `shape` in all."""

    def __init__(self, shape: list[int], flow: Callable[..., Flow]) -> None:
        super().__init__()
        self.flow = flow(latent=math.prod(shape))

    def forward(self, z: Tensor, context: Tensor | None = None) -> Pair:
        return self.flow.inverse(z, context)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> Pair:
        return self.flow(z, context)


class Standardised(Flow):
    """(x - mean) / sd of each value, mean and sd those of the first batch for ever; then a flow, which so begins near the data."""

    mean: Tensor
    sd: Tensor

    def __init__(self, shape: list[int], flow: Callable[..., Flow]) -> None:
        super().__init__()
        self.flow = flow(shape=shape)
        self.sequential = self.flow.sequential
        self.register_buffer("mean", torch.zeros(math.prod(shape)))
        self.register_buffer("sd", torch.ones(math.prod(shape)))

    def begin(self, z: Tensor) -> None:
        self.mean.copy_(z.mean(0))
        self.sd.copy_(z.std(0).nan_to_num(1.0).clamp_min(1e-3))  # of one sample there is none

    def forward(self, z: Tensor, context: Tensor | None = None) -> Pair:
        z, log_det = self.flow((z - self.mean) / self.sd, context)
        return z, log_det - self.sd.log().sum()

    def inverse(self, z: Tensor, context: Tensor | None = None) -> Pair:
        z, log_det = self.flow.inverse(z, context)
        return self.mean + self.sd * z, log_det + self.sd.log().sum()


# --- planar maps ------------------------------------------------------------------------------------------------------------------


class Planar(Flow):
    """f(z) = z + u^ tanh(w . z + b), `layers` times (Rezende & Mohamed, 2015), u, w and b of each sample from its context.

    u^ = u + (m(w . u) - w . u) w / ||w||^2 with m(t) = -1 + softplus(t) keeps w . u^ >= -1, so that f is invertible;
    |det| = |1 + (1 - tanh^2(w . z + b)) w . u^|. There is no closed inverse: `inverse` solves for one number a map, without gradient.
    """

    sequential = True

    def __init__(self, latent: Count, layers: Count = 10) -> None:
        super().__init__()
        self.latent, self.layers = latent, layers
        self.context = layers * (2 * latent + 1)

    def forward(self, z: Tensor, context: Tensor | None = None) -> Pair:
        total = z.new_zeros(len(z))
        for given in self.maps(context):
            z, log_det = bent_planar(z, *given)
            total = total + log_det
        return z, total

    @torch.no_grad()
    def inverse(self, z: Tensor, context: Tensor | None = None) -> Pair:
        total = z.new_zeros(len(z))
        for given in reversed(self.maps(context)):
            z, log_det = planar_inverse(z, *given)
            total = total + log_det
        return z, total

    def maps(self, context: Tensor | None) -> list[tuple[Tensor, ...]]:
        """u^ and w (B, latent), b and w . u^ (B, 1) of every map."""
        assert context is not None
        u, w, b = context.view(len(context), self.layers, -1).split([self.latent, self.latent, 1], 2)
        u = bent(u, w)
        return list(zip(u.unbind(1), w.unbind(1), b.unbind(1), dot(w, u).unbind(1), strict=True))


class PlanarMaps(Flow):
    """Planar maps with parameters of their own, the same for every sample."""

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
    u = bent(u, w)
    return bent_planar(z, u, w, b, dot(w, u))


def bent_planar(z: Tensor, u: Tensor, w: Tensor, b: Tensor, slope: Tensor) -> Pair:
    """With u^ in the place of u, and w . u^."""
    h = torch.tanh(dot(w, z) + b)
    return z + u * h, planar_log_det(h, slope)


def planar_inverse(z: Tensor, u: Tensor, w: Tensor, b: Tensor, slope: Tensor) -> Pair:
    """z = x + u^ tanh(t + b), t = w . x: so w . z = t + (w . u^) tanh(t + b), which rises with t, and |t - w . z| <= |w . u^|: bisected."""
    goal = dot(w, z)
    low, high = goal - slope.abs(), goal + slope.abs()
    for _ in range(torch.finfo(z.dtype).bits):
        middle = (low + high) / 2
        over = middle + slope * torch.tanh(middle + b) > goal
        low, high = torch.where(over, low, middle), torch.where(over, middle, high)
    h = torch.tanh((low + high) / 2 + b)
    return z - u * h, -planar_log_det(h, slope)


def bent(u: Tensor, w: Tensor) -> Tensor:
    """u^, the nearest to u with w . u^ = m(w . u)."""
    # m(t) - t = softplus(t) - 1 - t = softplus(-t) - 1
    return u + (F.softplus(-dot(w, u)) - 1) * w / (w.square().sum(-1, keepdim=True) + 1e-8)


def dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(-1, keepdim=True)


def planar_log_det(h: Tensor, slope: Tensor) -> Tensor:
    return (1 + (1 - h.square()) * slope).clamp_min(1e-8).log().squeeze(-1)


# --- autoregressive maps ----------------------------------------------------------------------------------------------------------


class Autoregressive(Flow):
    """`layers` maps, of each value a function with parameters that are functions of the values before it, and of the context; the order
    of the values is reversed between them. One pass there, and back one value after the other.

    A logarithm of a slope is a free number a; with a `bound` c it is c tanh(a / c). Far from the data a grows without end, and exp(a) of
    one map is what the next one sees: a few maps overflow.
    """

    sequential = True

    def __init__(self, size: int, layers: int, width: int, depth: int, context: int = 0, bound: float | None = None) -> None:
        super().__init__()
        self.context, self.bound = context, bound
        self.maps = nn.ModuleList(MADE(size, 2, max(width, size), depth, context) for _ in range(layers))

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
        x, slopes, place = torch.zeros_like(z), torch.zeros_like(z), torch.arange(z.shape[1], device=z.device)
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

    def __init__(self, shape: list[int], layers: Count = 5, width: Count = 1024, depth: Count = 1, bound: Positive | None = None) -> None:
        super().__init__(math.prod(shape), layers, width, depth, bound=bound)

    def there(self, z: Tensor, first: Tensor, second: Tensor) -> Pair:
        a = self.slope(second)
        return (z - first) * torch.exp(-a), -a

    def back(self, z: Tensor, first: Tensor, second: Tensor) -> Pair:
        a = self.slope(second)
        return z * torch.exp(a) + first, a


# --- densities --------------------------------------------------------------------------------------------------------------------


class FlowDensity(Density):
    """log p(v) = log N(f(v); 0, I) + log |det df/dv|, f a flow from data to noise; samples are f^-1 of noise."""

    def __init__(self, flow: Callable[..., Flow], pixels: Pixels, shape: list[int]) -> None:
        super().__init__(pixels)
        if pixels.of_levels != (len(shape) == 3):
            is_of, are, remedy = ("8-bit images", "points", "real") if pixels.of_levels else ("points", "8-bit images", "logit")
            raise UserError(f"this choice of pixels is for {is_of}, and the data are {are} (pixels); add pixels={remedy}")
        self.flow, self.shape = flow(shape=list(shape)), list(shape)
        self.sequential = self.flow.sequential

    def log_prob(self, v: Tensor) -> Tensor:
        """(B,) nats of modelled values, images or points."""
        u, log_det = self.flow(v.flatten(1))
        return log_normal(u) + log_det

    def begin(self, batch: Batch) -> None:
        with torch.no_grad():
            self.flow.begin(self.pixels(batch[0])[0].flatten(1))

    def objective(self, batch: Batch) -> Objective:
        v, log_det = self.pixels(batch[0])
        log_p = self.log_prob(v)
        return Objective({"nll": -(log_p + log_det).mean()}, {"nll_of_values": -log_p.mean()})

    def log_likelihood(self, batch: Batch, samples: int) -> Tensor:
        with judged(self):
            v, log_det = self.pixels(batch[0])
            return self.log_prob(v) + log_det

    def protocol(self, samples: int) -> dict[str, Any]:
        return {"likelihood": f"exact, of the {'dequantised values' if self.pixels.of_levels else 'points'}", "pixels": self.pixels.name}

    def noise(self, n: int, device: torch.device | str) -> Tensor:
        return torch.randn(n, math.prod(self.shape), device=device)

    def sample(self, batch: Batch, noise: Tensor | None = None) -> Tensor:
        with judged(self):
            u = self.noise(len(batch[0]), batch[0].device) if noise is None else noise
            return self.pixels.inverse(self.flow.inverse(u)[0].unflatten(1, self.shape))


def log_normal(u: Tensor) -> Tensor:
    """log N(u; 0, I), (B,)"""
    return -0.5 * (u.square() + math.log(2 * math.pi)).sum(1)
