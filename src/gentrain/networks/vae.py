"""Encoders and decoders of variational autoencoders.

An encoder maps images to the mean and log-variance of a Gaussian over codes, a decoder maps codes
to the parameters of a likelihood. With `classes` both see the label: a perceptron as a one-hot
input, a convolutional network as further channels.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gentrain.config.types import Count, Whole
from gentrain.networks.dcgan import halvings


class Encoder(nn.Module, ABC):
    """(B, *shape) -> features -> mean and log-variance (B, latent), and context (B, context).

    Labels (n B,), n times as many as images, give n codes of each image, for the whole batch n
    times in turn.

    Args:
        features: inputs of the last layer.
        latent: the size of a code.
        classes: the number of labels it sees; 0 for none.
        context: further outputs, the parameters of a flow.
    """

    def __init__(self, features: int, latent: int, classes: int, context: int) -> None:
        super().__init__()
        self.latent, self.classes, self.context = latent, classes, context
        self.head = nn.Linear(features, 2 * latent + context)

    @abstractmethod
    def features(self, v: Tensor, y: Tensor | None) -> Tensor:
        """Values (B, *shape) and labels (n B,) -> (n B, features)."""

    def forward(self, v: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        mean, log_variance, context = self.head(self.features(v, y)).split(
            [self.latent, self.latent, self.context], 1
        )
        return mean, log_variance, context


class Decoder(nn.Module):
    """Codes (B, latent) and labels (B,) -> (B, parameters, *shape).

    Args:
        body: the network, of codes with the label's one-hot appended.
        shape: shape of an image.
        latent: the size of a code.
        classes: the number of labels it sees; 0 for none.
    """

    def __init__(self, body: nn.Module, shape: list[int], latent: int, classes: int) -> None:
        super().__init__()
        self.body, self.shape, self.latent, self.classes = body, list(shape), latent, classes

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        return self.body(concat_label(z, y, self.classes))


def concat_label(x: Tensor, y: Tensor | None, classes: int) -> Tensor:
    """Append the label's one-hot as channels, constant over places; nothing for 0 classes.

    Args:
        x: (B, C, ...).
        y: labels (B,), or distributions over labels (B, classes).
        classes: the number of labels.
    """
    if not classes:
        return x
    assert y is not None
    planes: Any = F.one_hot(y, classes).to(x.dtype) if y.ndim == 1 else y
    planes = planes.view(*planes.shape, *[1] * (x.ndim - 2))
    return torch.cat([x, planes.expand(-1, -1, *x.shape[2:])], 1)


def repeat_batch(x: Tensor, rows: int) -> Tensor:
    """The whole batch again and again, until it has so many rows."""
    return x if len(x) == rows else x.repeat(rows // len(x), *[1] * (x.ndim - 1))


def hidden_layers(size: int, width: int, depth: int) -> list[nn.Module]:
    """`depth` linear layers of `width` units, each with tanh, on `size` inputs."""
    return [
        layer
        for i in range(depth)
        for layer in (nn.Linear(size if i == 0 else width, width), nn.Tanh())
    ]


class MLPEncoder(Encoder):
    """A perceptron: shape -> width x depth (tanh).

    The label is an input of the first layer, whose sums over pixels serve all labels of an image.

    Args:
        shape: shape of an image.
        latent: the size of a code.
        width: hidden units of each layer.
        depth: the number of hidden layers.
        classes: the number of labels it sees; 0 for none.
        context: further outputs, the parameters of a flow.
    """

    def __init__(
        self,
        shape: list[int],
        latent: Count = 40,
        width: Count = 400,
        depth: Count = 2,
        classes: Whole = 0,
        context: Whole = 0,
    ) -> None:
        super().__init__(width, latent, classes, context)
        self.first = nn.Linear(math.prod(shape), width)
        self.label = nn.Embedding(classes, width) if classes else None
        self.rest = nn.Sequential(nn.Tanh(), *hidden_layers(width, width, depth - 1))
        if self.label is not None:
            # the label is one input among hundreds of pixels, so its weights start larger
            nn.init.uniform_(self.label.weight, -1, 1)

    def features(self, v: Tensor, y: Tensor | None) -> Tensor:
        h = self.first(v.flatten(1))
        if self.label is not None:
            assert y is not None
            # y may also be a distribution over labels
            of_label = self.label(y) if y.ndim == 1 else y @ self.label.weight
            h = repeat_batch(h, len(y)) + of_label
        return self.rest(h)


class MLPDecoder(Decoder):
    """A perceptron: latent -> width x depth (tanh) -> parameters of each value.

    Args:
        shape: shape of an image.
        latent: the size of a code.
        width: hidden units of each layer.
        depth: the number of hidden layers.
        parameters: number of parameters of the likelihood, for each value.
        classes: the number of labels it sees; 0 for none.
    """

    def __init__(
        self,
        shape: list[int],
        latent: Count = 40,
        width: Count = 400,
        depth: Count = 2,
        parameters: Count = 1,
        classes: Whole = 0,
    ) -> None:
        last = nn.Linear(width, parameters * math.prod(shape))
        layers = hidden_layers(latent + classes, width, depth)
        body = nn.Sequential(*layers, last, nn.Unflatten(1, (parameters, *shape)))
        super().__init__(body, shape, latent, classes)


class ConvEncoder(Encoder):
    """Strided convolutions that halve the side and double the channels (ELU), and a hidden layer.

    Args:
        shape: (C, H, W) of images.
        latent: the size of a code.
        width: channels of the first convolution.
        hidden: units of the hidden layer.
        classes: the number of labels it sees; 0 for none.
        context: further outputs, the parameters of a flow.
    """

    def __init__(
        self,
        shape: list[int],
        latent: Count = 40,
        width: Count = 32,
        hidden: Count = 256,
        classes: Whole = 0,
        context: Whole = 0,
    ) -> None:
        smallest, downs = halvings(shape, "vae_mlp")
        channels = [shape[0] + classes, *(width * 2**i for i in range(downs))]
        layers: list[nn.Module] = []
        for above, below in pairwise(channels):
            layers += [nn.Conv2d(above, below, 4, 2, 1), nn.ELU()]
        layers += [nn.Flatten(), nn.Linear(channels[-1] * math.prod(smallest), hidden), nn.ELU()]
        super().__init__(hidden, latent, classes, context)
        self.body = nn.Sequential(*layers)

    def features(self, v: Tensor, y: Tensor | None) -> Tensor:
        if y is not None:
            v = repeat_batch(v, len(y))
        return self.body(concat_label(v, y, self.classes))


class ConvDecoder(Decoder):
    """The mirror image of `ConvEncoder`, with transposed convolutions.

    Args:
        shape: (C, H, W) of images.
        latent: the size of a code.
        width: channels of the last transposed convolution.
        hidden: units of the hidden layer.
        parameters: number of parameters of the likelihood, for each value.
        classes: the number of labels it sees; 0 for none.
    """

    def __init__(
        self,
        shape: list[int],
        latent: Count = 40,
        width: Count = 32,
        hidden: Count = 256,
        parameters: Count = 1,
        classes: Whole = 0,
    ) -> None:
        smallest, ups = halvings(shape, "vae_mlp")
        channels = [width * 2**i for i in reversed(range(ups))]
        layers: list[nn.Module] = [
            nn.Linear(latent + classes, hidden),
            nn.ELU(),
            nn.Linear(hidden, channels[0] * math.prod(smallest)),
            nn.ELU(),
            nn.Unflatten(1, (channels[0], *smallest)),
        ]
        for above, below in pairwise([*channels, channels[-1]]):
            layers += [nn.ConvTranspose2d(above, below, 4, 2, 1), nn.ELU()]
        layers += [
            nn.Conv2d(channels[-1], parameters * shape[0], 3, padding=1),
            nn.Unflatten(1, (parameters, shape[0])),
        ]
        super().__init__(nn.Sequential(*layers), shape, latent, classes)
