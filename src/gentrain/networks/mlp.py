"""Multilayer perceptrons: the networks of the first GAN, and of everything in the plane."""

from __future__ import annotations

import math

from torch import Tensor, nn

from ..layers.activation import LeakyReLU
from ..layers.normalization import Norm, norm1d
from ..schema import Count
from . import base


class Generator(base.Generator):
    """latent -> width x depth (ReLU) -> shape (tanh)."""

    def __init__(
        self, shape: list[int], latent: Count = 100, width: Count = 512, depth: Count = 2, norm: Norm = "none", prior: base.Prior = "normal"
    ) -> None:
        layers: list[nn.Module] = []
        for i in range(depth):
            layers += [nn.Linear(latent if i == 0 else width, width), norm1d(norm, width), nn.ReLU()]
        body = nn.Sequential(*layers, nn.Linear(width, math.prod(shape)), nn.Tanh(), nn.Unflatten(1, tuple(shape)))
        super().__init__(body, latent, prior)


class Critic(base.Critic):
    """shape -> width x depth (LeakyReLU 0.2, dropout) -> score."""

    def __init__(
        self, shape: list[int], width: Count = 512, depth: Count = 2, norm: Norm = "none", dropout: float = 0.0, maxout: int = 0
    ) -> None:
        layers: list[nn.Module] = [nn.Flatten()]
        size = math.prod(shape)
        for _ in range(depth):
            hidden = Maxout(size, width, maxout) if maxout else nn.Sequential(nn.Linear(size, width), norm1d(norm, width), LeakyReLU(0.2))
            layers += [hidden, nn.Dropout(dropout)]
            size = width
        super().__init__(nn.Sequential(*layers), width, points=len(shape) == 1)


class Maxout(nn.Module):
    """The largest of `pieces` linear maps (Goodfellow et al., 2013), as in the first GAN's discriminator."""

    def __init__(self, inputs: int, outputs: int, pieces: int) -> None:
        super().__init__()
        self.linear, self.pieces = nn.Linear(inputs, outputs * pieces), pieces

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x).unflatten(1, (-1, self.pieces)).amax(2)
