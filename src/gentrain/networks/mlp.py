"""Multilayer perceptrons: the networks of the first GAN, for images and for points in the plane.

Goodfellow et al., "Generative adversarial nets", 2014.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from gentrain.config.types import Count, NonNegative, Share, Whole
from gentrain.layers.activation import LeakyReLU, ReLU
from gentrain.layers.normalization import Norm, norm1d
from gentrain.networks import base


class Generator(base.Generator):
    """Hidden layers of linear, norm and ReLU, then a linear layer and tanh.

    Args:
        shape: shape of a sample, (C, H, W) or (D,).
        latent: length of the noise.
        width: units of a hidden layer.
        depth: number of hidden layers.
        norm: after each hidden linear layer.
        prior: distribution of the noise.
    """

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
        size = latent
        for _ in range(depth):
            layers += [nn.Linear(size, width), norm1d(norm, width), nn.ReLU()]
            size = width
        layers += [nn.Linear(width, math.prod(shape)), nn.Tanh(), nn.Unflatten(1, tuple(shape))]
        super().__init__(nn.Sequential(*layers), latent, prior)


class Critic(base.Critic):
    """Hidden layers of linear, norm, LeakyReLU 0.2 and dropout, then a linear layer to the score.

    Args:
        shape: shape of a sample, (C, H, W) or (D,).
        width: units of a hidden layer.
        depth: number of hidden layers.
        norm: after each hidden linear layer; maxout layers have none.
        dropout: share of units that are dropped in training.
        maxout: linear maps of a maxout unit; 0 uses LeakyReLU instead.
    """

    flattens = True

    def __init__(
        self,
        shape: list[int],
        width: Count = 512,
        depth: Count = 2,
        norm: Norm = "none",
        dropout: Share = 0.0,
        maxout: Whole = 0,
    ) -> None:
        layers: list[nn.Module] = [nn.Flatten()]
        size = math.prod(shape)
        for _ in range(depth):
            hidden: nn.Module
            if maxout:
                hidden = Maxout(size, width, maxout)
            else:
                hidden = nn.Sequential(nn.Linear(size, width), norm1d(norm, width), LeakyReLU(0.2))
            layers += [hidden, nn.Dropout(dropout)]
            size = width
        super().__init__(nn.Sequential(*layers), width, points=len(shape) == 1)


class Maxout(nn.Module):
    """The largest of several linear maps: max over k of W_k x + b_k.

    Goodfellow et al., "Maxout networks", 2013; the first GAN's discriminator consists of them.

    Args:
        inputs: length of the input.
        outputs: number of units.
        pieces: linear maps of a unit.
    """

    def __init__(self, inputs: int, outputs: int, pieces: int) -> None:
        super().__init__()
        self.linear, self.pieces = nn.Linear(inputs, outputs * pieces), pieces

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs) -> (B, outputs)."""
        return self.linear(x).unflatten(1, (-1, self.pieces)).amax(2)


class SoftplusGenerator(base.Generator):
    """The generator of semi-supervised MNIST (Salimans et al., 2016): softplus and batch norm.

    Batch norm has shifts and no gains; the last layer learns the length and the direction of its
    weights. The authors' output is a sigmoid: tanh(a / 2) = 2 sigmoid(a) - 1.

    Args:
        shape: shape of a sample, (C, H, W) or (D,).
        latent: length of the noise.
        width: units of a hidden layer.
        depth: number of hidden layers.
        prior: distribution of the noise.
    """

    def __init__(
        self,
        shape: list[int],
        latent: Count = 100,
        width: Count = 500,
        depth: Count = 2,
        prior: base.Prior = "uniform",
    ) -> None:
        layers: list[nn.Module] = []
        for inputs in (latent, *[width] * (depth - 1)):
            norm = nn.BatchNorm1d(width)
            norm.weight.requires_grad = False
            layers += [nn.Linear(inputs, width, bias=False), norm, nn.Softplus()]
        last = nn.utils.parametrizations.weight_norm(nn.Linear(width, math.prod(shape)))
        nn.init.constant_(last.parametrizations.weight.original0, 0.5)  # type: ignore[union-attr]
        layers += [last, nn.Tanh(), nn.Unflatten(1, tuple(shape))]
        super().__init__(nn.Sequential(*layers), latent, prior)


class NoisyCritic(base.Critic):
    """The critic of semi-supervised MNIST (Salimans et al., 2016): five ReLU layers with noise.

    Gaussian noise is added before every layer. The features are those before the last noise. The
    layers have width, width / 2 and three times width / 4 units; in the paper 1000, 500, 250, 250,
    250.

    Args:
        shape: shape of a sample, (C, H, W) or (D,).
        width: units of the first layer.
        input_noise: standard deviation of the noise on the input. The default is twice the paper's
            0.3, since pixels are in [-1, 1] here and in [0, 1] there.
        noise: standard deviation of the noise before every other layer.
        weight_norm: learn the direction of a unit's weights, w = g v / |v|, and keep their length
            g, as the paper does.
        norm: there is none.
    """

    flattens = True
    norms = ("none",)

    def __init__(
        self,
        shape: list[int],
        width: Count = 1000,
        input_noise: NonNegative = 0.6,
        noise: NonNegative = 0.5,
        weight_norm: bool = False,
        norm: base.NoNorm = "none",
    ) -> None:
        layers: list[nn.Module] = [nn.Flatten(), GaussianNoise(input_noise)]
        sizes = [math.prod(shape), width, *(max(1, width // part) for part in (2, 4, 4, 4))]
        for inputs, outputs in pairwise(sizes):
            layers += [rectified_linear(inputs, outputs, weight_norm), ReLU(), GaussianNoise(noise)]
        neck = layers.pop()
        super().__init__(nn.Sequential(*layers), sizes[-1], points=len(shape) == 1, neck=neck)

    @torch.no_grad()
    def init_from_batch(self, x: Tensor) -> None:
        """Give every unit mean 0 and variance 1 before its rectifier (Salimans & Kingma, 2016)."""
        for layer in self.body.children():
            match layer:
                case nn.Linear():
                    standardise(layer, x)
            x = layer(x)


def standardise(layer: nn.Linear, x: Tensor) -> None:
    """Shift and scale a linear layer: its outputs have mean 0 and variance 1 on x (B, F)."""
    sd, mean = torch.std_mean(layer(x), 0, correction=0)
    sd = sd.clamp(min=1e-6)
    lengths = ("weight", "original", "original0")  # original0: g of weight norm
    rows = next(p for name, p in layer.named_parameters() if name.endswith(lengths))
    rows.div_(sd[:, None])
    layer.bias.sub_(mean).div_(sd)


def rectified_linear(inputs: int, outputs: int, weight_norm: bool) -> nn.Linear:
    """A linear layer whose outputs, rectified, are of the size of its inputs (He et al., 2015).

    So every layer has the same ratio of signal to noise at the start.
    """
    linear = nn.Linear(inputs, outputs)
    nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")
    nn.init.zeros_(linear.bias)
    if weight_norm:
        nn.utils.parametrizations.weight_norm(linear)
        linear.parametrizations.weight.original0.requires_grad = False  # type: ignore[union-attr]
    return linear


class GaussianNoise(nn.Module):
    """x + sd * u with u ~ N(0, 1) in training; x in evaluation.

    Args:
        sd: standard deviation.
    """

    def __init__(self, sd: float) -> None:
        super().__init__()
        self.sd = sd

    def forward(self, x: Tensor) -> Tensor:
        """(B, ...) -> (B, ...)."""
        return x + self.sd * torch.randn_like(x) if self.training else x
