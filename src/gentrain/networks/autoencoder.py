"""Critics that are autoencoders: the score is minus the error of reconstruction (EBGAN: Zhao, Mathieu & LeCun, 2017).

E(x) = ||Dec(Enc(x)) - x||, the Euclidean norm over the C * H * W values of one sample (not its square, and no mean over pixels), for
values in [-1, 1]. The score is -E(x), so that here, too, higher means more real. The features are the code Enc(x), flattened.
"""

from __future__ import annotations

import math
from itertools import pairwise

from torch import Tensor, nn

from gentrain.config.types import Count
from gentrain.errors import UserError
from gentrain.layers.activation import LeakyReLU, ReLU
from gentrain.layers.normalization import Norm, norm1d, norm2d
from gentrain.networks import base
from gentrain.networks.dcgan import MOST, halvings


class Autoencoder(base.Critic):
    """(B, *shape) -> code (B, F) -> (B, *shape); the score (B,) is minus the distance between what goes in and what comes out."""

    is_energy = True

    def __init__(
        self, encoder: nn.Module, decoder: nn.Module, features: int, points: bool = False
    ) -> None:
        super().__init__(encoder, features, points)
        self.head = decoder

    def reconstruct(self, x: Tensor) -> Tensor:
        """Dec(Enc(x))."""
        return self.head(self.features(x))

    def energy(self, x: Tensor) -> Tensor:
        """(B,), not negative; with a finite derivative where it is zero."""
        return ((self.reconstruct(x) - x).flatten(1).square().sum(1) + 1e-12).sqrt()

    def forward(self, x: Tensor) -> Tensor:
        return -self.energy(x)

    def widen(self, m: int) -> None:
        raise UserError(
            "an autoencoder reconstructs one sample at a time (tricks=[packing] with model=ebgan); leave the trick out"
        )


class MLP(Autoencoder):
    """shape -> width x (depth - 1) -> code -> width x (depth - 1) -> shape. ReLU; tanh at the end for images, nothing for points."""

    def __init__(
        self,
        shape: list[int],
        width: Count = 1024,
        code: Count = 128,
        depth: Count = 2,
        norm: Norm = "none",
    ) -> None:
        sizes, points = [math.prod(shape), *[width] * (depth - 1), code], len(shape) == 1
        encoder: list[nn.Module] = [nn.Flatten()]
        for inputs, outputs in pairwise(sizes):
            encoder += [nn.Linear(inputs, outputs), norm1d(norm, outputs), ReLU()]
        decoder: list[nn.Module] = []
        for inputs, outputs in pairwise(sizes[:0:-1]):
            decoder += [nn.Linear(inputs, outputs), norm1d(norm, outputs), ReLU()]
        decoder += [
            nn.Linear(sizes[1], sizes[0]),
            nn.Identity() if points else nn.Tanh(),
            nn.Unflatten(1, tuple(shape)),
        ]
        super().__init__(nn.Sequential(*encoder), nn.Sequential(*decoder), code, points)


class DCGAN(Autoencoder):
    """Strided convolutions down, as DCGAN's critic, and transposed ones up again: the paper's networks for faces.

    Norm everywhere but in the first layer and the last.
    """

    def __init__(self, shape: list[int], width: Count = 64, norm: Norm = "none") -> None:
        side, downs = halvings(shape)
        channels, bias = [width * min(2**i, MOST) for i in range(downs)], norm != "batch"
        encoder: list[nn.Module] = [nn.Conv2d(shape[0], channels[0], 4, 2, 1), LeakyReLU(0.2)]
        for above, below in pairwise(channels):
            encoder += [
                nn.Conv2d(above, below, 4, 2, 1, bias=bias),
                norm2d(norm, below),
                LeakyReLU(0.2),
            ]
        decoder: list[nn.Module] = [nn.Unflatten(1, (channels[-1], side, side))]
        for above, below in pairwise(channels[::-1]):
            decoder += [
                nn.ConvTranspose2d(above, below, 4, 2, 1, bias=bias),
                norm2d(norm, below),
                LeakyReLU(0.2),
            ]
        decoder += [nn.ConvTranspose2d(channels[0], shape[0], 4, 2, 1), nn.Tanh()]
        super().__init__(
            nn.Sequential(*encoder, nn.Flatten()),
            nn.Sequential(*decoder),
            channels[-1] * side * side,
        )
        base.gaussian_init(self)
