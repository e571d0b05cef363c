"""Normalising flows: invertible maps f with the logarithm of |det df/dz|, composed one after the other, and densities made of them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from gentrain.errors import UserError
from gentrain.models.base import Batch, eval_mode
from gentrain.models.density import Density
from gentrain.models.objective import Objective
from gentrain.models.pixels import Pixels

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


class FlowDensity(Density):
    """log p(v) = log N(f(v); 0, I) + log |det df/dv|, f a flow from data to noise; samples are f^-1 of noise."""

    def __init__(self, flow: Callable[..., Flow], pixels: Pixels, shape: list[int]) -> None:
        super().__init__(pixels)
        if pixels.of_levels != (len(shape) == 3):
            is_of, are, remedy = (
                ("8-bit images", "points", "real")
                if pixels.of_levels
                else ("points", "8-bit images", "logit")
            )
            raise UserError(
                f"this choice of pixels is for {is_of}, and the data are {are} (pixels); add pixels={remedy}"
            )
        self.flow, self.shape = flow(shape=list(shape)), list(shape)
        self.sequential = self.flow.sequential

    def log_prob(self, v: Tensor) -> Tensor:
        """(B,) nats of modelled values, images or points."""
        u, log_det = self.flow(v.flatten(1))
        return log_normal(u) + log_det

    def init_from_batch(self, batch: Batch) -> None:
        with torch.no_grad():
            self.flow.begin(self.pixels(batch[0])[0].flatten(1))

    def objective(self, batch: Batch) -> Objective:
        v, log_det = self.pixels(batch[0])
        log_p = self.log_prob(v)
        return Objective({"nll": -(log_p + log_det).mean()}, {"nll_of_values": -log_p.mean()})

    def log_likelihood(self, batch: Batch, samples: int) -> Tensor:
        with eval_mode(self):
            v, log_det = self.pixels(batch[0])
            return self.log_prob(v) + log_det

    def protocol(self, samples: int) -> dict[str, Any]:
        return {
            "likelihood": f"exact, of the {'dequantised values' if self.pixels.of_levels else 'points'}",
            "pixels": self.pixels.name,
        }

    def noise(self, n: int, device: torch.device | str) -> Tensor:
        return torch.randn(n, math.prod(self.shape), device=device)

    def sample(self, batch: Batch, noise: Tensor | None = None) -> Tensor:
        with eval_mode(self):
            u = self.noise(len(batch[0]), batch[0].device) if noise is None else noise
            return self.pixels.inverse(self.flow.inverse(u)[0].unflatten(1, self.shape))


def log_normal(u: Tensor) -> Tensor:
    """log N(u; 0, I), (B,)"""
    return -0.5 * (u.square() + math.log(2 * math.pi)).sum(1)
