"""Deep convolutional GAN (Radford, Metz & Chintala, 2016): strided convolutions down, transposed ones up, no pooling, no hidden MLP."""

from __future__ import annotations

from itertools import pairwise

from torch import nn

from gentrain.config.types import Count
from gentrain.errors import UserError
from gentrain.layers.activation import LeakyReLU
from gentrain.layers.normalization import Norm, norm2d
from gentrain.networks import base

MOST = 8  # channels grow from width to MOST * width


class Generator(base.Generator):
    """(B, latent) -> a small map of many channels -> twice the side, half the channels, again and again -> (B, *shape), tanh.

    Batch norm everywhere but after the last layer; ReLU.
    """

    def __init__(
        self,
        shape: list[int],
        latent: Count = 100,
        width: Count = 64,
        norm: Norm = "batch",
        prior: base.Prior = "normal",
    ) -> None:
        side, ups = halvings(shape)
        channels = [width * min(2**i, MOST) for i in reversed(range(ups))]
        layers: list[nn.Module] = [nn.Unflatten(1, (latent, 1, 1))]
        layers += [
            nn.ConvTranspose2d(latent, channels[0], side, bias=norm != "batch"),
            norm2d(norm, channels[0]),
            nn.ReLU(),
        ]
        for above, below in pairwise(channels):
            layers += [
                nn.ConvTranspose2d(above, below, 4, 2, 1, bias=norm != "batch"),
                norm2d(norm, below),
                nn.ReLU(),
            ]
        layers += [nn.ConvTranspose2d(channels[-1], shape[0], 4, 2, 1), nn.Tanh()]
        super().__init__(base.gaussian_init(nn.Sequential(*layers)), latent, prior)


class Critic(base.Critic):
    """(B, *shape) -> half the side, twice the channels, again and again -> features -> score. Norm everywhere but in the first layer."""

    def __init__(self, shape: list[int], width: Count = 64, norm: Norm = "batch") -> None:
        side, downs = halvings(shape)
        channels = [width * min(2**i, MOST) for i in range(downs)]
        layers: list[nn.Module] = [nn.Conv2d(shape[0], channels[0], 4, 2, 1), LeakyReLU(0.2)]
        for above, below in pairwise(channels):
            layers += [
                nn.Conv2d(above, below, 4, 2, 1, bias=norm != "batch"),
                norm2d(norm, below),
                LeakyReLU(0.2),
            ]
        super().__init__(nn.Sequential(*layers, nn.Flatten()), channels[-1] * side * side)
        base.gaussian_init(self)


def halvings(shape: list[int]) -> tuple[int, int]:
    """(smallest side, number of halvings), or a refusal of a shape that these networks cannot make."""
    square = len(shape) == 3 and shape[1] == shape[2]
    side, n = base.stages(shape[1]) if square else (0, 0)
    if not n or side > 7:
        raise UserError(
            f"these convolutional networks make square images whose side is 2^k * (4 to 7), not {shape} (network, data.size); "
            "set data.size=28|32|64|128, or network=mlp"
        )
    return side, n
