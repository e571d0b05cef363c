"""Multilayer perceptrons: the networks of the first GAN, and of everything in the plane."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from gentrain.config.types import Count
from gentrain.layers.activation import LeakyReLU, ReLU
from gentrain.layers.normalization import Norm, norm1d
from gentrain.networks import base


class Generator(base.Generator):
    """latent -> width x depth (ReLU) -> shape (tanh)."""

    def __init__(
        self,
        shape: list[int],
        latent: Count = 100,
        width: Count = 512,
        depth: Count = 2,
        norm: Norm = "none",
        prior: base.Prior = "normal",
    ) -> None:
        layers: list[nn.Module] = []
        for i in range(depth):
            layers += [
                nn.Linear(latent if i == 0 else width, width),
                norm1d(norm, width),
                nn.ReLU(),
            ]
        body = nn.Sequential(
            *layers, nn.Linear(width, math.prod(shape)), nn.Tanh(), nn.Unflatten(1, tuple(shape))
        )
        super().__init__(body, latent, prior)


class Critic(base.Critic):
    """shape -> width x depth (LeakyReLU 0.2, dropout) -> score."""

    flattens = True

    def __init__(
        self,
        shape: list[int],
        width: Count = 512,
        depth: Count = 2,
        norm: Norm = "none",
        dropout: float = 0.0,
        maxout: int = 0,
    ) -> None:
        layers: list[nn.Module] = [nn.Flatten()]
        size = math.prod(shape)
        for _ in range(depth):
            hidden = (
                Maxout(size, width, maxout)
                if maxout
                else nn.Sequential(nn.Linear(size, width), norm1d(norm, width), LeakyReLU(0.2))
            )
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


class NoisyCritic(base.Critic):
    """The critic of semi-supervised MNIST in Salimans et al. (2016): five rectified layers with Gaussian noise before each of them.

    width, width / 2, and three times width / 4 units (1000, 500, 250, 250, 250 in the paper), and noise before the last layer as well.
    `input_noise` is for pixels in [-1, 1]: twice the paper's 0.3 in [0, 1]. `weight_norm` is the paper's as well: a unit learns the
    direction of its weights, w = g v / |v|, and keeps their length g.
    """

    def __init__(
        self,
        shape: list[int],
        width: Count = 1000,
        input_noise: float = 0.6,
        noise: float = 0.5,
        weight_norm: bool = False,
    ) -> None:
        layers: list[nn.Module] = [nn.Flatten(), GaussianNoise(input_noise)]
        sizes = [math.prod(shape), width, *(max(1, width // part) for part in (2, 4, 4, 4))]
        for inputs, outputs in pairwise(sizes):
            linear = nn.Linear(inputs, outputs)
            nn.init.kaiming_normal_(
                linear.weight, nonlinearity="relu"
            )  # activations of the size of the noise's
            nn.init.zeros_(linear.bias)
            if weight_norm:
                nn.utils.parametrizations.weight_norm(
                    linear
                ).parametrizations.weight.original0.requires_grad = False
            layers += [linear, ReLU(), GaussianNoise(noise)]
        super().__init__(nn.Sequential(*layers), sizes[-1], points=len(shape) == 1)


class GaussianNoise(nn.Module):
    """x + sd * u, u ~ N(0, 1), while training."""

    def __init__(self, sd: float) -> None:
        super().__init__()
        self.sd = sd

    def forward(self, x: Tensor) -> Tensor:
        return x + self.sd * torch.randn_like(x) if self.training else x
