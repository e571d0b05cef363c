"""Multilayer perceptrons: the networks of the first GAN, for images and for points in the plane.

Goodfellow et al., "Generative adversarial nets", 2014.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from gentrain.config.types import Count, NonNegative, Positive, Share, Whole
from gentrain.errors import UserError
from gentrain.layers.activation import LeakyReLU, MaxPieces, ReLU
from gentrain.layers.lipschitz_bound import LipschitzBounded, WeightLimits, lipschitz_bound
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
        bounded: samples are in [-1, 1]; without it there is no tanh.
    """

    def __init__(
        self,
        shape: list[int],
        latent: Count = 100,
        width: Count = 512,
        depth: Count = 2,
        norm: Norm = "none",
        prior: base.Prior = "normal",
        bounded: bool = True,
    ) -> None:
        layers: list[nn.Module] = []
        size = latent
        for _ in range(depth):
            layers += [nn.Linear(size, width), norm1d(norm, width), nn.ReLU()]
            size = width
        last = nn.Tanh() if bounded else nn.Identity()
        layers += [nn.Linear(width, math.prod(shape)), last, nn.Unflatten(1, tuple(shape))]
        super().__init__(nn.Sequential(*layers), latent, prior)


class Perceptron(base.Critic):
    """A critic that flattens samples, and may see a code beside each (see `LateCode`)."""

    body: Any
    code: int = 0  # length of the code; 0 for samples alone

    @classmethod
    def with_codes(
        cls, backbone: base.Backbone[Any], latent: int, width: int | None
    ) -> base.Critic:
        """The same perceptron, whose second layer sees the code as well."""
        if width is not None:
            raise UserError(
                "a perceptron has no layers of its own for codes: they join its second layer "
                "(model.joint_width, network); write model.joint_width=null, and set "
                "model.critic.width"
            )
        return backbone(code=latent)

    def widen(self, m: int) -> None:
        if not self.code:
            super().widen(m)
            return
        for layer, seen in self.body.input_layers():
            base.replace(self.body, layer, self.resized(layer, layer.in_features + (m - 1) * seen))

    def widened(self, layer: Any, m: int) -> nn.Module:
        return self.resized(layer, m * layer.in_features)

    def resized(self, layer: nn.Linear, inputs: int) -> nn.Module:
        """A layer of the same kind with another number of inputs, and weights of the same scale."""
        return base.init_like(nn.Linear(inputs, layer.out_features), layer)


class Critic(Perceptron):
    """Hidden layers of linear, norm, LeakyReLU 0.2 and dropout, then a linear layer to the score.

    Args:
        shape: shape of a sample, (C, H, W) or (D,).
        width: units of a hidden layer.
        depth: number of hidden layers.
        norm: after each hidden linear layer; maxout layers have none.
        dropout: share of units that are dropped in training.
        maxout: linear maps of a maxout unit; 0 uses LeakyReLU instead.
        input_dropout: share of the sample's values that are dropped in training.
        input_scale: factor of the sample's values. Points whose clusters are narrow beside the
            square [-1, 1]^2 need a large one: without it the score is too smooth in the first
            thousands of steps to tell a point near a cluster from one in it.
        code: length of a code beside each sample, which joins at the second hidden layer (BiGAN);
            inputs are then flat pairs. 0 is for samples alone.

    Raises:
        UserError: for maxout layers with a norm.
    """

    def __init__(
        self,
        shape: list[int],
        width: Count = 512,
        depth: Count = 2,
        norm: Norm = "none",
        dropout: Share = 0.0,
        maxout: Whole = 0,
        input_dropout: Share = 0.0,
        input_scale: Positive = 1.0,
        code: Whole = 0,
    ) -> None:
        if maxout and norm != "none":
            raise UserError(
                "maxout layers have no norm (model.critic.norm, model.encoder_norm, "
                "model.critic.maxout); write model.critic.norm=none and model.encoder_norm=null, "
                "or model.critic.maxout=0"
            )
        pixels = math.prod(shape)
        first: list[nn.Module] = [nn.Flatten()]
        if input_scale != 1:
            first.append(Scale(input_scale))
        if input_dropout:
            first.append(nn.Dropout(input_dropout))
        rest: list[nn.Module] = []
        size, joining = pixels, min(2, depth)  # the layer at which a code joins
        for number in range(1, depth + 1):
            inputs = size + code if number == joining else size
            hidden: nn.Module
            if maxout:
                hidden = Maxout(inputs, width, maxout)
            else:
                linear = nn.Linear(inputs, width)
                hidden = nn.Sequential(linear, norm1d(norm, width), LeakyReLU(0.2))
            (first if number < joining else rest).extend([hidden, nn.Dropout(dropout)])
            size = width
        layers = LateCode(first, rest, pixels, code) if code else nn.Sequential(*first, *rest)
        super().__init__(layers, width, points=bool(code) or len(shape) != 3)
        self.code = code


class LateCode(nn.Module, LipschitzBounded):
    """Flat pairs (B, pixels + code) -> features, by first(x) joined with z and then the rest.

    Joining a code with a layer's input adds a linear map of it to that layer, as the critic of
    BiGAN's authors does. Packed pairs, (B, m (pixels + code)), are taken apart.

    Args:
        first: layers of the sample alone.
        rest: layers of both.
        pixels: values of a sample.
        code: length of a code.
    """

    def __init__(
        self, first: list[nn.Module], rest: list[nn.Module], pixels: int, code: int
    ) -> None:
        super().__init__()
        self.first, self.rest = nn.Sequential(*first), nn.Sequential(*rest)
        self.pixels, self.code = pixels, code

    def forward(self, pairs: Tensor) -> Tensor:
        """(B, m (pixels + code)) -> (B, F)."""
        each = pairs.unflatten(1, (-1, self.pixels + self.code))
        x, z = each.split([self.pixels, self.code], 2)
        return self.rest(torch.cat([self.first(x.flatten(1)), z.flatten(1)], 1))

    def lipschitz_bound(self, limits: WeightLimits) -> float:
        first = max(lipschitz_bound(self.first, limits), 1.0)
        return first * lipschitz_bound(self.rest, limits)

    def input_layers(self) -> list[tuple[nn.Linear, int]]:
        """The layers that see samples or codes, and how many of their inputs these are."""
        first, second = (
            next((m for m in part.modules() if isinstance(m, nn.Linear)), None)
            for part in (self.first, self.rest)
        )
        assert second is not None
        if first is None:  # one layer sees the sample and the code
            return [(second, self.pixels + self.code)]
        return [(first, self.pixels), (second, self.code)]


class Scale(nn.Module, LipschitzBounded):
    """factor * x.

    Args:
        factor: above 0.
    """

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        """(B, ...) -> (B, ...)."""
        return self.factor * x

    def lipschitz_bound(self, limits: WeightLimits) -> float:
        return self.factor


class Maxout(nn.Module, LipschitzBounded):
    """The largest of several linear maps: max over k of W_k x + b_k.

    Goodfellow et al., "Maxout networks", 2013; the first GAN's discriminator consists of them.

    Args:
        inputs: length of the input.
        outputs: number of units.
        pieces: linear maps of a unit.
    """

    def __init__(self, inputs: int, outputs: int, pieces: int) -> None:
        super().__init__()
        self.linear, self.largest = nn.Linear(inputs, outputs * pieces), MaxPieces(pieces)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs) -> (B, outputs)."""
        return self.largest(self.linear(x))

    def lipschitz_bound(self, limits: WeightLimits) -> float:
        return lipschitz_bound(self.linear, limits)


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
        bounded: samples are in [-1, 1]; without it there is no tanh.
    """

    def __init__(
        self,
        shape: list[int],
        latent: Count = 100,
        width: Count = 500,
        depth: Count = 2,
        prior: base.Prior = "uniform",
        bounded: bool = True,
    ) -> None:
        layers: list[nn.Module] = []
        for inputs in (latent, *[width] * (depth - 1)):
            norm = nn.BatchNorm1d(width)
            norm.weight.requires_grad = False
            layers += [nn.Linear(inputs, width, bias=False), norm, nn.Softplus()]
        last = nn.utils.parametrizations.weight_norm(nn.Linear(width, math.prod(shape)))
        nn.init.constant_(last.parametrizations.weight.original0, 0.5)  # type: ignore[union-attr]
        squash = nn.Tanh() if bounded else nn.Identity()
        layers += [last, squash, nn.Unflatten(1, tuple(shape))]
        super().__init__(nn.Sequential(*layers), latent, prior)


class NoisyCritic(Perceptron):
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
        code: length of a code beside each sample; see `Critic`.
    """

    norms = ("none",)

    def __init__(
        self,
        shape: list[int],
        width: Count = 1000,
        input_noise: NonNegative = 0.6,
        noise: NonNegative = 0.5,
        weight_norm: bool = False,
        norm: base.NoNorm = "none",
        code: Whole = 0,
    ) -> None:
        layers: list[nn.Module] = [nn.Flatten(), GaussianNoise(input_noise)]
        sizes = [math.prod(shape), width, *(max(1, width // part) for part in (2, 4, 4, 4))]
        for number, (inputs, outputs) in enumerate(pairwise(sizes)):
            linear = rectified_linear(inputs + code * (number == 1), outputs, weight_norm)
            layers += [linear, ReLU(), GaussianNoise(noise)]
        neck = layers.pop()
        body = LateCode(layers[:5], layers[5:], sizes[0], code) if code else nn.Sequential(*layers)
        super().__init__(body, sizes[-1], points=bool(code) or len(shape) != 3, neck=neck)
        self.code = code
        self.weight_norm = weight_norm

    def resized(self, layer: nn.Linear, inputs: int) -> nn.Module:
        return rectified_linear(inputs, layer.out_features, self.weight_norm)

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


class GaussianNoise(nn.Module, LipschitzBounded):
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

    def lipschitz_bound(self, limits: WeightLimits) -> float:
        return 1.0
