"""The networks of ALI for small images: an encoder, a generator, and a critic of pairs.

Dumoulin, Belghazi, Poole, Mastropietro, Lamb, Arjovsky & Courville, "Adversarially learned
inference", 2017, table 4 (CIFAR-10). Convolutions have no padding, which is what takes a side of 28
to 13, 10, 4 and 1. Images of 32 pixels lose four in the outermost layer; those of 28 keep theirs.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from gentrain.config.types import Count, Share
from gentrain.errors import UserError
from gentrain.layers.activation import LeakyReLU, MaxPieces
from gentrain.layers.lipschitz_bound import LipschitzBounded, WeightLimits, lipschitz_bound
from gentrain.layers.normalization import Norm, norm2d
from gentrain.networks import base

SLOPE = 0.1
CLAMP = 0.98  # means of pixels nearer to -1 and 1 would leave tanh no slope
# kernel and stride of the convolutions from an image down to one pixel
LAYERS = ((5, 1), (4, 2), (4, 1), (4, 2), (4, 1))
PIECES = 2  # linear maps of a maxout unit


class Generator(base.Generator):
    """Five transposed convolutions from one pixel up to the image, then two 1x1 convolutions.

    Every layer but the last has a norm and LeakyReLU 0.1; the last has a bias for each pixel, and
    tanh. As in the authors' code, images start as the mean of real ones.

    Args:
        shape: (C, H, W) of an image, of 28 or 32 px.
        latent: length of the noise.
        width: channels of the last layers; 32 in the paper.
        norm: after every layer but the last.
        prior: distribution of the noise.
    """

    def __init__(
        self,
        shape: list[int],
        latent: Count = 64,
        width: Count = 32,
        norm: Norm = "batch",
        prior: base.Prior = "normal",
    ) -> None:
        padding = outer_padding(shape)
        channels = [latent, width * 8, width * 4, width * 2, width, width]
        layers: list[nn.Module] = [nn.Unflatten(1, (latent, 1, 1))]
        for (inputs, outputs), (kernel, stride) in zip(
            pairwise(channels), reversed(LAYERS), strict=True
        ):
            pad = padding if kernel == 5 else 0
            layer = nn.ConvTranspose2d(inputs, outputs, kernel, stride, pad)
            layers += [layer, norm2d(norm, outputs), LeakyReLU(SLOPE)]
        layers += [nn.Conv2d(width, width, 1), norm2d(norm, width), LeakyReLU(SLOPE)]
        layers += [nn.Conv2d(width, shape[0], 1, bias=False), PixelBias(shape), nn.Tanh()]
        super().__init__(base.gaussian_init(nn.Sequential(*layers)), latent, prior)

    @torch.no_grad()
    def init_from_images(self, x: Tensor) -> None:
        for layer in self.body.modules():
            match layer:
                case PixelBias():
                    layer.bias.copy_(x.mean(0).clamp(-CLAMP, CLAMP).atanh())


class PixelBias(nn.Module):
    """x + b with a bias for each value of an image.

    Args:
        shape: (C, H, W) of an image.
    """

    def __init__(self, shape: list[int]) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(*shape))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bias


class Encoder(base.Critic):
    """What maps images to codes: five convolutions down to one pixel, then a 1x1 convolution.

    Every layer has a norm and LeakyReLU 0.1. Its body is BiGAN's encoder.

    Args:
        shape: (C, H, W) of an image, of 28 or 32 px.
        width: channels of the first layer; 32 in the paper.
        norm: after every layer.
    """

    def __init__(self, shape: list[int], width: Count = 32, norm: Norm = "batch") -> None:
        refuse_instance_norm(norm)
        features = 16 * width
        layers: list[nn.Module] = []
        for layer in [*convolutions(shape, width), nn.Conv2d(features, features, 1)]:
            layers += [layer, norm2d(norm, layer.out_channels), LeakyReLU(SLOPE)]
        super().__init__(nn.Sequential(*layers, nn.Flatten()), features)
        base.gaussian_init(self)


class Critic(base.Critic):
    """Five convolutions of maxout units with dropout, down to one pixel.

    Beside codes it is `PairCritic`.

    Args:
        shape: (C, H, W) of an image, of 28 or 32 px.
        width: linear maps of the first layer, which make half as many units, so an even number; 32
            in the paper.
        norm: after every convolution but the first.
        dropout: share of units that are dropped in training.
        input_dropout: share of the inputs that are dropped in training.

    Raises:
        UserError: for an odd width.
    """

    def __init__(
        self,
        shape: list[int],
        width: Count = 32,
        norm: Norm = "none",
        dropout: Share = 0.5,
        input_dropout: Share = 0.2,
    ) -> None:
        refuse_instance_norm(norm)
        refuse_incomplete_units(width, "model.critic.width")
        layers: list[nn.Module] = [nn.Dropout(input_dropout)]
        for number, layer in enumerate(convolutions(shape, width, PIECES)):
            layers += [layer, norm2d(norm if number else "none", layer.out_channels)]
            layers += [MaxPieces(PIECES), nn.Dropout(dropout)]
        super().__init__(nn.Sequential(*layers, nn.Flatten()), 8 * width)
        self.dropout, self.input_dropout = dropout, input_dropout
        base.gaussian_init(self)

    @classmethod
    def with_codes(
        cls, backbone: base.Backbone[Any], latent: int, width: int | None
    ) -> base.Critic:
        """D(x, z) of the paper."""
        return PairCritic(backbone, latent, width)


class PairCritic(base.Critic):
    """D(x, z): maxout layers of the image, of the code, and of both.

    Args:
        backbone: the critic of images, whose last layers the others are as wide as.
        latent: length of a code.
        width: linear maps of a layer that sees both, an even number; None takes twice those of the
            image's last.

    Raises:
        UserError: for an odd width.
    """

    def __init__(self, backbone: base.Backbone[Any], latent: int, width: int | None = None) -> None:
        refuse_incomplete_units(width or PIECES, "model.joint_width")
        image = backbone()
        features, drop = image.size, image.dropout
        size = width or 4 * features
        body = Pair(
            backbone.keywords["shape"],
            image.body,
            nn.Sequential(
                nn.Dropout(image.input_dropout),
                *maxout(latent, 2 * features, drop),
                *maxout(features, 2 * features, drop),
            ),
            nn.Sequential(*maxout(2 * features, size, drop), *maxout(size // 2, size, drop)),
        )
        super().__init__(body, size // 2, points=True)
        base.gaussian_init(self)

    def widen(self, m: int) -> None:
        raise UserError(
            "pairs of an image and a code cannot be packed (tricks=[packing] with this network); "
            "use network=mlp_1024"
        )


class Pair(nn.Module, LipschitzBounded):
    """A flat pair (B, pixels + latent) -> features of both."""

    def __init__(
        self, shape: list[int], image: nn.Module, code: nn.Module, joint: nn.Module
    ) -> None:
        super().__init__()
        self.shape, self.image, self.code, self.joint = tuple(shape), image, code, joint

    def forward(self, pair: Tensor) -> Tensor:
        pixels = torch.Size(self.shape).numel()
        x, z = pair[:, :pixels].unflatten(1, self.shape), pair[:, pixels:]
        return self.joint(torch.cat([self.image(x), self.code(z)], 1))

    def lipschitz_bound(self, limits: WeightLimits) -> float:
        parts = max(lipschitz_bound(part, limits) for part in (self.image, self.code))
        return parts * lipschitz_bound(self.joint, limits)


def convolutions(shape: list[int], width: int, pieces: int = 1) -> list[nn.Conv2d]:
    """The convolutions from an image down to one pixel, of w, 2 w ... 16 w linear maps.

    Args:
        shape: (C, H, W) of an image.
        width: w.
        pieces: linear maps of a unit.
    """
    padding, inputs = outer_padding(shape), shape[0]
    made = []
    for number, (kernel, stride) in enumerate(LAYERS):
        maps = width * 2**number
        made.append(nn.Conv2d(inputs, maps, kernel, stride, padding if kernel == 5 else 0))
        inputs = maps // pieces
    return made


def maxout(inputs: int, maps: int, dropout: float) -> list[nn.Module]:
    """Maxout units of two linear maps each, with dropout after them."""
    return [nn.Linear(inputs, maps), MaxPieces(PIECES), nn.Dropout(dropout)]


def refuse_incomplete_units(maps: int, key: str) -> None:
    """Refuse a number of linear maps that makes no whole number of maxout units.

    Args:
        maps: linear maps of a layer.
        key: the option that gives them.
    """
    if maps % PIECES:
        raise UserError(
            f"a layer of {maps} linear maps makes no whole number of maxout units of {PIECES} "
            f"({key}); give a multiple of {PIECES}"
        )


def refuse_instance_norm(norm: Norm) -> None:
    """Refuse a norm that turns the last map into zero."""
    if norm.startswith("instance"):
        raise UserError(
            "the last map of ALI's networks is a single pixel, which instance norm turns into zero "
            "(model.critic.norm, model.encoder_norm); set layer or none"
        )


def outer_padding(shape: list[int]) -> int:
    """The padding of the outermost layer, which has kernels of 5 pixels.

    Raises:
        UserError: for images of another side than 28 or 32.

    >>> outer_padding([1, 28, 28]), outer_padding([3, 32, 32])
    (2, 0)
    """
    padding = {28: 2, 32: 0}
    if len(shape) != 3 or shape[1] != shape[2] or shape[1] not in padding:
        raise UserError(
            f"ALI's networks are for images of 28 or 32 px, not {list(shape)} (network, "
            "data.size); set data.size=28|32, or network=dcgan"
        )
    return padding[shape[1]]
