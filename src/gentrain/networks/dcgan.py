"""Deep convolutional GAN: strided convolutions down, transposed ones up, no pooling, no hidden MLP.

Radford, Metz & Chintala, "Unsupervised representation learning with deep convolutional generative
adversarial networks", 2016.
"""

from __future__ import annotations

import math
from itertools import pairwise

from torch import nn

from gentrain.config.types import Count
from gentrain.errors import UserError
from gentrain.layers.activation import LeakyReLU
from gentrain.layers.normalization import Norm, norm2d
from gentrain.networks import base

LONGEST = 7  # pixels of a side of the smallest map
MAX_FACTOR = 8  # channels grow from width to MAX_FACTOR * width


class Generator(base.Generator):
    """Noise to a small map of many channels; each stage doubles the side and halves the channels.

    Every layer but the last has a norm and ReLU; the last has tanh.

    Args:
        shape: (C, H, W) of an image.
        latent: length of the noise.
        width: channels before the last layer.
        norm: after every layer but the last.
        prior: distribution of the noise.
    """

    def __init__(
        self,
        shape: list[int],
        latent: Count = 100,
        width: Count = 64,
        norm: Norm = "batch",
        prior: base.Prior = "normal",
    ) -> None:
        smallest, doublings = halvings(shape)
        channels = stage_channels(width, doublings)[::-1]
        bias = norm != "batch"
        layers: list[nn.Module] = [
            nn.Unflatten(1, (latent, 1, 1)),
            nn.ConvTranspose2d(latent, channels[0], smallest, bias=bias),
            norm2d(norm, channels[0]),
            nn.ReLU(),
        ]
        for inputs, outputs in pairwise(channels):
            layers += [
                nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=bias),
                norm2d(norm, outputs),
                nn.ReLU(),
            ]
        layers += [nn.ConvTranspose2d(channels[-1], shape[0], 4, 2, 1), nn.Tanh()]
        super().__init__(base.gaussian_init(nn.Sequential(*layers)), latent, prior)


class Critic(base.Critic):
    """Each stage halves the side and doubles the channels; the last map is the features.

    Every convolution but the first has a norm; all have LeakyReLU 0.2.

    Args:
        shape: (C, H, W) of an image.
        width: channels after the first layer.
        norm: after every layer but the first.
    """

    def __init__(self, shape: list[int], width: Count = 64, norm: Norm = "batch") -> None:
        smallest, downs = halvings(shape)
        channels = stage_channels(width, downs)
        layers: list[nn.Module] = [nn.Conv2d(shape[0], channels[0], 4, 2, 1), LeakyReLU(0.2)]
        for inputs, outputs in pairwise(channels):
            layers += [
                nn.Conv2d(inputs, outputs, 4, 2, 1, bias=norm != "batch"),
                norm2d(norm, outputs),
                LeakyReLU(0.2),
            ]
        super().__init__(nn.Sequential(*layers, nn.Flatten()), channels[-1] * math.prod(smallest))
        self.last_map = (channels[-1], *smallest)
        base.gaussian_init(self)


def stage_channels(width: int, stages: int) -> list[int]:
    """Channels of each stage, from the image inwards: they double, up to MAX_FACTOR * width.

    >>> stage_channels(64, 5)
    [64, 128, 256, 512, 512]
    """
    return [width * min(2**i, MAX_FACTOR) for i in range(stages)]


def halvings(shape: list[int], instead: str = "mlp") -> tuple[tuple[int, int], int]:
    """Height and width of the smallest map, and how many halvings lead from an image to it.

    Args:
        shape: (C, H, W) of an image.
        instead: the network for other shapes.

    Raises:
        UserError: for points, and unless the longer side is 2^k * (4 to 7) and the other
            2^k * (1 to 7), k >= 1.

    >>> halvings([3, 64, 64]), halvings([3, 32, 48])
    (((4, 4), 4), ((4, 6), 3))
    """
    base.require_image(shape, instead)
    height, width = shape[1:]
    n = 0
    while max(height, width) > LONGEST and height % 2 == width % 2 == 0:
        height, width, n = height // 2, width // 2, n + 1
    if not n or max(height, width) > LONGEST:
        raise UserError(
            "these convolutional networks make images whose longer side is 2^k * (4 to 7), and "
            f"the other 2^k * (1 to 7), not {shape} (network, data.size); "
            f"set data.size=28|32|64|128|[32,48]|[64,96], or network={instead}"
        )
    return (height, width), n
