"""Encoders and decoders: images to the two vectors of a Gaussian over codes, codes to the parameters of a likelihood over images.

With `classes`, both see the label: its one-hot beside a vector, as planes beside the channels of an image.
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
    """(B, *shape) -> features -> mean and log-variance (B, latent) each, and `context` more numbers for what follows.

    Labels (n B,), n times as many as there are images, are tried on the whole batch n times in turn.
    """

    def __init__(self, features: int, latent: int, classes: int, context: int) -> None:
        super().__init__()
        self.latent, self.classes, self.context = latent, classes, context
        self.head = nn.Linear(features, 2 * latent + context)

    @abstractmethod
    def features(self, v: Tensor, y: Tensor | None) -> Tensor:
        """(n B, features)"""

    def forward(self, v: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        mean, log_variance, context = self.head(self.features(v, y)).split(
            [self.latent, self.latent, self.context], 1
        )
        return mean, log_variance, context


class Decoder(nn.Module):
    """(B, latent) -> (B, parameters, *shape)."""

    def __init__(self, body: nn.Module, latent: int, classes: int) -> None:
        super().__init__()
        self.body, self.latent, self.classes = body, latent, classes

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        return self.body(concat_label(z, y, self.classes))


def concat_label(x: Tensor, y: Tensor | None, classes: int) -> Tensor:
    """The label's one-hot (or a distribution over labels) as more channels; nothing for 0 classes."""
    if not classes:
        return x
    assert y is not None
    planes: Any = F.one_hot(y, classes).to(x.dtype) if y.ndim == 1 else y
    return torch.cat(
        [x, planes.view(*planes.shape, *[1] * (x.ndim - 2)).expand(-1, -1, *x.shape[2:])], 1
    )


def again(x: Tensor, rows: int) -> Tensor:
    """The whole batch, again and again, until there are so many rows."""
    return x if len(x) == rows else x.repeat(rows // len(x), *[1] * (x.ndim - 1))


class MLPEncoder(Encoder):
    """shape -> width x depth (tanh). The label is an input of the first layer, whose sums over pixels serve all labels that are tried."""

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
        self.rest = nn.Sequential(nn.Tanh(), *hidden(width, width, depth - 1))
        if self.label is not None:
            nn.init.uniform_(
                self.label.weight, -1, 1
            )  # one input of an image's many is a label's: it must be heard

    def features(self, v: Tensor, y: Tensor | None) -> Tensor:
        h = self.first(v.flatten(1))
        if self.label is not None:
            assert y is not None
            h = again(h, len(y)) + (
                self.label(y) if y.ndim == 1 else y @ self.label.weight
            )  # or a distribution over labels
        return self.rest(h)


class MLPDecoder(Decoder):
    """latent -> width x depth (tanh) -> parameters."""

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
        body = nn.Sequential(
            *hidden(latent + classes, width, depth), last, nn.Unflatten(1, (parameters, *shape))
        )
        super().__init__(body, latent, classes)


def hidden(size: int, width: int, depth: int) -> list[nn.Module]:
    return [
        layer
        for i in range(depth)
        for layer in (nn.Linear(size if i == 0 else width, width), nn.Tanh())
    ]


class ConvEncoder(Encoder):
    """Half the side and twice the channels, again and again (ELU), then `hidden` features."""

    def __init__(
        self,
        shape: list[int],
        latent: Count = 40,
        width: Count = 32,
        hidden: Count = 256,
        classes: Whole = 0,
        context: Whole = 0,
    ) -> None:
        side, downs = halvings(shape)
        channels = [shape[0] + classes, *(width * 2**i for i in range(downs))]
        layers: list[nn.Module] = []
        for above, below in pairwise(channels):
            layers += [nn.Conv2d(above, below, 4, 2, 1), nn.ELU()]
        layers += [nn.Flatten(), nn.Linear(channels[-1] * side * side, hidden), nn.ELU()]
        super().__init__(hidden, latent, classes, context)
        self.body = nn.Sequential(*layers)

    def features(self, v: Tensor, y: Tensor | None) -> Tensor:
        return self.body(concat_label(again(v, len(y)) if y is not None else v, y, self.classes))


class ConvDecoder(Decoder):
    """The way back."""

    def __init__(
        self,
        shape: list[int],
        latent: Count = 40,
        width: Count = 32,
        hidden: Count = 256,
        parameters: Count = 1,
        classes: Whole = 0,
    ) -> None:
        side, ups = halvings(shape)
        channels = [width * 2**i for i in reversed(range(ups))]
        layers: list[nn.Module] = [
            nn.Linear(latent + classes, hidden),
            nn.ELU(),
            nn.Linear(hidden, channels[0] * side * side),
            nn.ELU(),
        ]
        layers += [nn.Unflatten(1, (channels[0], side, side))]
        for above, below in pairwise([*channels, channels[-1]]):
            layers += [nn.ConvTranspose2d(above, below, 4, 2, 1), nn.ELU()]
        layers += [
            nn.Conv2d(channels[-1], parameters * shape[0], 3, padding=1),
            nn.Unflatten(1, (parameters, shape[0])),
        ]
        super().__init__(nn.Sequential(*layers), latent, classes)
