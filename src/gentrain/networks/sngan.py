"""The standard convolutional networks of SN-GAN, for images of 28, 32, 64 and 128 pixels.

Miyato, Kataoka, Koyama & Yoshida, "Spectral normalization for generative adversarial networks",
2018, table 3. The residual networks of the same paper are in `resnet`.
"""

from __future__ import annotations

import math
from itertools import pairwise

from torch import nn

from gentrain.config.types import Count
from gentrain.layers.activation import LeakyReLU
from gentrain.layers.normalization import Norm, norm2d
from gentrain.networks import base
from gentrain.networks.dcgan import halvings, stage_channels

SLOPE = 0.1


class Generator(base.Generator):
    """A linear layer to the smallest map, 4x4 transposed convolutions of stride 2, and a 3x3 one.

    Every layer but the last has a norm and ReLU; the last has tanh.

    Args:
        shape: (C, H, W) of an image.
        latent: length of the noise.
        width: channels before the last layer; each halving of the side doubles them.
        norm: after every layer but the last.
        prior: distribution of the noise.
    """

    def __init__(
        self,
        shape: list[int],
        latent: Count = 128,
        width: Count = 64,
        norm: Norm = "batch",
        prior: base.Prior = "normal",
    ) -> None:
        smallest, doublings = halvings(shape)
        channels = stage_channels(width, doublings + 1)[::-1]
        layers: list[nn.Module] = [
            nn.Linear(latent, channels[0] * math.prod(smallest)),
            nn.Unflatten(1, (channels[0], *smallest)),
            norm2d(norm, channels[0]),
            nn.ReLU(),
        ]
        for inputs, outputs in pairwise(channels):
            layers += [
                nn.ConvTranspose2d(inputs, outputs, 4, 2, 1),
                norm2d(norm, outputs),
                nn.ReLU(),
            ]
        layers += [nn.Conv2d(channels[-1], shape[0], 3, padding=1), nn.Tanh()]
        super().__init__(base.gaussian_init(nn.Sequential(*layers)), latent, prior)


class Critic(base.Critic):
    """Pairs of a 3x3 and a 4x4 convolution of stride 2, then one more 3x3 convolution.

    Each pair has twice the channels of the one before. All have LeakyReLU 0.1; the last map is the
    features.

    Args:
        shape: (C, H, W) of an image.
        width: channels of the first pair.
        norm: after every layer but the first.
    """

    def __init__(self, shape: list[int], width: Count = 64, norm: Norm = "none") -> None:
        smallest, downs = halvings(shape)
        *pairs, last = stage_channels(width, downs + 1)
        layers: list[nn.Module] = []
        size = shape[0]
        for channels in pairs:
            layers += convolution(size, channels, 3, 1, norm if layers else "none")
            layers += convolution(channels, channels, 4, 2, norm)
            size = channels
        layers += convolution(size, last, 3, 1, norm)
        super().__init__(nn.Sequential(*layers, nn.Flatten()), last * math.prod(smallest))
        self.last_map = (last, *smallest)
        base.gaussian_init(self)


def convolution(inputs: int, outputs: int, kernel: int, stride: int, norm: Norm) -> list[nn.Module]:
    """A convolution, its norm and its rectifier."""
    layer = nn.Conv2d(inputs, outputs, kernel, stride, 1)
    return [layer, norm2d(norm, outputs), LeakyReLU(SLOPE)]
