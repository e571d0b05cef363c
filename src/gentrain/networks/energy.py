"""Energy networks, (B, *shape) -> (B,).

They are smooth (SiLU), so that chains can follow their gradient, and have no norms, so that samples
stay independent.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from gentrain.config.types import Count, Positive
from gentrain.networks.dcgan import halvings


class MLP(nn.Module):
    """A perceptron: shape -> width x depth -> energy.

    Args:
        shape: shape of an image or a point.
        width: hidden units of each layer.
        depth: the number of hidden layers.
        scale: multiplies the first layer's weights and biases at the start. Networks learn coarse
            shapes long before fine ones (Rahaman et al., "On the Spectral Bias of Neural Networks",
            2019); a larger scale makes fine shapes coarse.
    """

    def __init__(
        self, shape: list[int], width: Count = 256, depth: Count = 3, scale: Positive = 1.0
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Flatten()]
        for inputs, outputs in pairwise([math.prod(shape), *[width] * depth]):
            layers += [nn.Linear(inputs, outputs), nn.SiLU()]
        self.body = nn.Sequential(*layers, nn.Linear(width, 1))
        with torch.no_grad():
            for p in layers[1].parameters():
                p.mul_(scale)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x).squeeze(1)


class Conv(nn.Module):
    """Strided convolutions that halve the side and double the channels, and one hidden layer.

    Args:
        shape: (C, H, W) of images.
        width: channels of the first convolution; the hidden layer has 8 times as many units.
        spectral_norm: divide the weights of each layer but the last by their largest singular value
            (Miyato et al., 2018).
        unit_pixels: the first layer sees pixels in [0, 1] instead of [-1, 1].
    """

    def __init__(
        self,
        shape: list[int],
        width: Count = 32,
        spectral_norm: bool = False,
        unit_pixels: bool = False,
    ) -> None:
        super().__init__()
        self.unit_pixels = unit_pixels
        smallest, downs = halvings(shape, "energy_mlp")
        layers: list[nn.Module] = []
        channels = [shape[0], *(width * 2**i for i in range(downs))]
        for above, below in pairwise(channels):
            layers += [nn.Conv2d(above, below, 4, 2, 1), nn.SiLU()]
        layers += [
            nn.Flatten(),
            nn.Linear(channels[-1] * math.prod(smallest), 8 * width),
            nn.SiLU(),
            nn.Linear(8 * width, 1),
        ]
        self.body = nn.Sequential(*layers)
        if spectral_norm:
            for layer in self.body[:-1]:
                if layer.state_dict():
                    parametrizations.spectral_norm(layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.body((x + 1) / 2 if self.unit_pixels else x).squeeze(1)
