"""Normalising flows: invertible maps f with a known log |det df/dz|, and densities made of them.

log p(v) = log N(f(v); 0, I) + log |det df/dv|
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from gentrain.layers.lazy_buffers import LazyBuffers
from gentrain.models.base import (
    Batch,
    Encodes,
    HasLogProb,
    HasTemperature,
    MakesImagesOfNoise,
    eval_mode,
)
from gentrain.models.density import DensityModel, temperature_protocol
from gentrain.models.objective import Objective
from gentrain.models.pixels import Pixels
from gentrain.streams import normal

Pair = tuple[Tensor, Tensor]  # values, and a log-determinant (B,)


class Flow(nn.Module, ABC):
    """An invertible map of vectors (B, D).

    Its parameters may depend on `context` numbers of each sample.
    """

    context: int = 0
    sequential: bool = False  # its inverse takes many passes
    reference_size: int = 0  # training samples that `set_statistics` wants; 0 for none

    @abstractmethod
    def forward(self, z: Tensor, context: Tensor | None = None) -> Pair:
        """z (B, D), context (B, context) -> f(z) and log |det df/dz| (B,)."""

    @abstractmethod
    def inverse(self, z: Tensor, context: Tensor | None = None) -> Pair:
        """z (B, D), context (B, context) -> f^-1(z) and log |det df^-1/dz| (B,)."""

    def init_from_batch(self, z: Tensor) -> None:
        """Look at a first batch (B, D), before the first update."""

    def set_statistics(self, z: Tensor) -> None:
        """Look at training data (N, D) with the present weights, in eval mode."""


class Reversed(Flow):
    """The inverse of a flow, as a flow.

    Args:
        shape: shape of the data.
        flow: makes a flow of `latent` numbers, as many as `shape` has.
    """

    def __init__(self, shape: list[int], flow: Callable[..., Flow]) -> None:
        super().__init__()
        self.flow = flow(latent=math.prod(shape))

    def forward(self, z: Tensor, context: Tensor | None = None) -> Pair:
        return self.flow.inverse(z, context)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> Pair:
        return self.flow(z, context)


class Standardised(Flow):
    """(x - mean) / sd of each value, then a flow, which so starts near the data.

    Mean and standard deviation are those of the first batch, and stay fixed.

    Args:
        shape: shape of the data.
        flow: makes a flow of that shape.
    """

    mean: Tensor
    sd: Tensor

    def __init__(self, shape: list[int], flow: Callable[..., Flow]) -> None:
        super().__init__()
        self.flow = flow(shape=shape)
        self.sequential = self.flow.sequential
        self.reference_size = self.flow.reference_size
        self.register_buffer("mean", torch.zeros(math.prod(shape)))
        self.register_buffer("sd", torch.ones(math.prod(shape)))

    def init_from_batch(self, z: Tensor) -> None:
        self.mean.copy_(z.mean(0))
        # a single sample has no standard deviation
        self.sd.copy_(z.std(0).nan_to_num(1.0).clamp_min(1e-3))

    def set_statistics(self, z: Tensor) -> None:
        self.flow.set_statistics((z - self.mean) / self.sd)

    def forward(self, z: Tensor, context: Tensor | None = None) -> Pair:
        z, log_det = self.flow((z - self.mean) / self.sd, context)
        return z, log_det - self.sd.log().sum()

    def inverse(self, z: Tensor, context: Tensor | None = None) -> Pair:
        z, log_det = self.flow.inverse(z, context)
        return self.mean + self.sd * z, log_det + self.sd.log().sum()


class Reference(LazyBuffers):
    """Training data, whose statistics a flow wants before it is used with new weights."""

    data: Tensor | None  # (N, D)
    outdated: Tensor | None  # whether the weights may have changed since the last look

    def __init__(self) -> None:
        super().__init__()
        self.register_lazy_buffers("data", "outdated")

    def keep(self, data: Tensor) -> None:
        """Keep training data (N, D)."""
        self.data = data
        self.outdated = torch.ones((), dtype=torch.long, device=data.device)

    def outdate(self) -> None:
        """Say that the weights are about to change."""
        if self.outdated is not None:
            self.outdated.fill_(1)

    def show(self, flow: Flow) -> None:
        """Let a flow look at the data, if the weights have changed since it did."""
        if self.data is not None and self.outdated is not None and self.outdated:
            flow.set_statistics(self.data)
            self.outdated.fill_(0)


class FlowDensity(DensityModel, MakesImagesOfNoise, Encodes, HasLogProb, HasTemperature):
    """The density of data under a flow f from data to noise; a sample is f^-1 of noise.

    At the temperature T it is f^-1(T u), u ~ N(0, I), as in Glow (Kingma & Dhariwal, 2018).

    Args:
        flow: makes a flow of the data's `shape`.
        pixels: logit for 8-bit images, real for points.
        shape: (C, H, W) of images, or (D,) of points.
    """

    takes: ClassVar = ("density",)
    exact = True

    def __init__(self, flow: Callable[..., Flow], pixels: Pixels, shape: list[int]) -> None:
        # before the pixels are looked at: a flow for other data names the preset that fits
        made = flow(shape=list(shape))
        super().__init__(pixels, shape)
        self.flow = made
        self.sequential = self.flow.sequential
        self.reference, self.init_images = Reference(), self.flow.reference_size

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        if not mode:
            self.reference.show(self.flow)
        return self

    def log_prob(self, v: Tensor) -> Tensor:
        u, log_det = self.flow(v.flatten(1))
        return log_normal(u) + log_det

    def init_from_data(self, batch: Batch) -> None:
        self.reference.keep(self.pixels(batch[0])[0].flatten(1))

    def init_from_batch(self, batch: Batch) -> None:
        with torch.no_grad():
            self.flow.init_from_batch(self.pixels(batch[0])[0].flatten(1))

    def objective(self, batch: Batch) -> Objective:
        self.reference.outdate()
        v, log_det = self.pixels(batch[0])
        log_p = self.log_prob(v)
        return Objective({"nll": -(log_p + log_det).mean()}, {"nll_of_values": -log_p.mean()})

    def log_likelihood_of_values(self, v: Tensor, y: Tensor | None, samples: int) -> Tensor:
        return self.log_prob(v)

    def protocol(self, samples: int) -> dict[str, Any]:
        of = "dequantised values" if len(self.shape) == 3 else "points"
        return {"likelihood": f"exact, of the {of}", "pixels": self.pixels.name}

    def noise(self, n: int, device: torch.device | str) -> Tensor:
        return normal(torch.empty(n, math.prod(self.shape), device=device))

    def encode(self, x: Tensor) -> Tensor:
        """f(v) of the modelled values of images, which are dequantised: (B, D)."""
        with eval_mode(self):
            return self.flow(self.pixels(x)[0].flatten(1))[0]

    def images_of(self, z: Tensor, batch: Batch) -> Tensor:
        return self.pixels.inverse(self.flow.inverse(z)[0].unflatten(1, self.shape))

    def sample(self, batch: Batch, noise: Tensor | None = None) -> Tensor:
        with eval_mode(self):
            u = self.noise(len(batch[0]), batch[0].device) if noise is None else noise
            return self.images_of(self.temperature * u, batch)

    def sample_protocol(self) -> dict[str, Any]:
        return temperature_protocol(self)


def log_normal(u: Tensor) -> Tensor:
    """log N(u; 0, I) of vectors u (B, D), (B,)."""
    return -0.5 * (u.square() + math.log(2 * math.pi)).sum(1)
