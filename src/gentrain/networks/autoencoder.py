"""Critics that are autoencoders: the score is minus the error of reconstruction.

Zhao, Mathieu & LeCun, "Energy-based generative adversarial networks" (EBGAN), 2017:

    E(x) = || Dec(Enc(x)) - x ||,

the Euclidean norm over the C * H * W values of one sample in [-1, 1]; it is not squared, and not a
mean over pixels. The score is -E(x), so a higher score means more real here, too. The features are
the code Enc(x), flattened.
"""

from __future__ import annotations

import math
from itertools import pairwise

from torch import Tensor, nn

from gentrain.config.types import Count
from gentrain.errors import UserError
from gentrain.layers.activation import LeakyReLU, ReLU
from gentrain.layers.lipschitz_bound import WeightLimits
from gentrain.layers.normalization import Norm, norm1d, norm2d
from gentrain.networks import base
from gentrain.networks.dcgan import halvings, stage_channels


class Autoencoder(base.Critic):
    """A critic by reconstruction: `body` encodes and `head` decodes.

    Args:
        encoder: (B, *shape) -> codes (B, F).
        decoder: (B, F) -> (B, *shape).
        features: F.
        points: samples are points, not images.
    """

    is_energy = True
    head_kind = "decoder"

    def __init__(
        self, encoder: nn.Module, decoder: nn.Module, features: int, points: bool = False
    ) -> None:
        super().__init__(encoder, features, points)
        self.head = decoder

    def reconstruct(self, x: Tensor) -> Tensor:
        """Dec(Enc(x)), (B, *shape)."""
        return self.head(self.features(x))

    def energy(self, x: Tensor) -> Tensor:
        """E(x) >= 0, (B,). The small constant keeps the derivative finite where E is zero."""
        return ((self.reconstruct(x) - x).flatten(1).square().sum(1) + 1e-12).sqrt()

    def forward(self, x: Tensor) -> Tensor:
        """(B, *shape) -> scores (B,)."""
        return -self.energy(x)

    def lipschitz_bound(self, limits: WeightLimits) -> float:
        """That of Dec(Enc(x)) - x."""
        return super().lipschitz_bound(limits) + 1.0

    def widen(self, m: int) -> None:
        raise UserError(
            "an autoencoder reconstructs one sample at a time (tricks=[packing], network); "
            "leave the trick out, or choose another network="
        )


class MLP(Autoencoder):
    """Linear layers with ReLU down to the code, and mirrored ones up again.

    The last layer has tanh for images, and nothing for points.

    Args:
        shape: shape of a sample, (C, H, W) or (D,).
        width: units of a hidden layer; None where the depth is 1, since there is none.
        code: length of the code.
        depth: linear layers of the encoder, and of the decoder.
        norm: after every layer but the last.

    Raises:
        UserError: for a width of no hidden layer, or a hidden layer without a width.
    """

    def __init__(
        self,
        shape: list[int],
        width: Count | None = 1024,
        code: Count = 128,
        depth: Count = 2,
        norm: Norm = "none",
    ) -> None:
        if (width is None) != (depth == 1):
            raise UserError(
                f"a width of {width} for {depth - 1} hidden layers (model.critic.width, "
                "model.critic.depth); give a width, or null for model.critic.depth=1"
            )
        hidden = [] if width is None else [width] * (depth - 1)
        sizes = [math.prod(shape), *hidden, code]
        encoder: list[nn.Module] = [nn.Flatten()]
        for inputs, outputs in pairwise(sizes):
            encoder += [nn.Linear(inputs, outputs), norm1d(norm, outputs), ReLU()]
        decoder: list[nn.Module] = []
        for inputs, outputs in pairwise(sizes[:0:-1]):
            decoder += [nn.Linear(inputs, outputs), norm1d(norm, outputs), ReLU()]
        decoder += [
            nn.Linear(sizes[1], sizes[0]),
            nn.Identity() if len(shape) == 1 else nn.Tanh(),
            nn.Unflatten(1, tuple(shape)),
        ]
        points = len(shape) != 3
        super().__init__(nn.Sequential(*encoder), nn.Sequential(*decoder), code, points)


class DCGAN(Autoencoder):
    """Strided convolutions down, as in DCGAN's critic, and transposed ones up again.

    They are the paper's networks for faces. The code is the smallest map, flattened. It is no
    bottleneck: at width 64 and 28 px it has 6,272 numbers, and the image 784 per channel.

    Args:
        shape: (C, H, W) of an image.
        width: channels after the first layer.
        norm: after every layer but the first and the last.
    """

    def __init__(self, shape: list[int], width: Count = 64, norm: Norm = "none") -> None:
        smallest, downs = halvings(shape, "autoencoder_mlp")
        channels, bias = stage_channels(width, downs), norm != "batch"
        encoder: list[nn.Module] = [nn.Conv2d(shape[0], channels[0], 4, 2, 1), LeakyReLU(0.2)]
        for inputs, outputs in pairwise(channels):
            encoder += [
                nn.Conv2d(inputs, outputs, 4, 2, 1, bias=bias),
                norm2d(norm, outputs),
                LeakyReLU(0.2),
            ]
        decoder: list[nn.Module] = [nn.Unflatten(1, (channels[-1], *smallest))]
        for inputs, outputs in pairwise(channels[::-1]):
            decoder += [
                nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=bias),
                norm2d(norm, outputs),
                LeakyReLU(0.2),
            ]
        decoder += [nn.ConvTranspose2d(channels[0], shape[0], 4, 2, 1), nn.Tanh()]
        super().__init__(
            nn.Sequential(*encoder, nn.Flatten()),
            nn.Sequential(*decoder),
            channels[-1] * math.prod(smallest),
        )
        base.gaussian_init(self)
