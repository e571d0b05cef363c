"""SRResNet and the critic of SRGAN: super-resolution.

Ledig et al., "Photo-realistic single image super-resolution using a generative adversarial
network", 2017:

    k9n64s1, PReLU | 16 x (k3n64, norm, PReLU, k3n64, norm, + x) | k3n64, norm, +
                   | log2(factor) x (k3n256, shuffle, PReLU) | k9n3

The network works at the small size. A sub-pixel convolution (Shi et al., 2016) turns 4 k channels
of a map into k channels of a map with twice the side.
"""

from __future__ import annotations

from torch import Tensor, nn

from gentrain.config.types import Count, Whole
from gentrain.errors import UserError
from gentrain.layers.activation import LeakyReLU
from gentrain.layers.normalization import Norm, norm2d
from gentrain.networks import base


class Translator(base.Translator):
    """(B, *source_shape) -> (B, *shape), whose sides are 1, 2, 4 ... times as long.

    The last layer is linear, as in the paper. In evaluation images are clamped to [-1, 1].

    Args:
        shape: (C, H, W) of a target.
        source_shape: (C', h, w) of a source.
        width: channels.
        blocks: residual blocks.
        norm: inside of the blocks.

    Raises:
        UserError: when targets are not 2^k times as large as sources.
    """

    def __init__(
        self,
        shape: list[int],
        source_shape: list[int] | None,
        width: Count = 64,
        blocks: Whole = 16,
        norm: Norm = "batch",
    ) -> None:
        source_shape = base.require_source_shape(source_shape)
        base.require_image(shape)
        doublings = max(0, (shape[1] // source_shape[1]).bit_length() - 1)
        if [side * 2**doublings for side in source_shape[1:]] != list(shape[1:]):
            raise UserError(
                f"images of {list(shape[1:])} are not 2^k times as wide as sources of "
                f"{source_shape[1:]} (network, data); "
                "set data.degrade=downsample_x4, or network=unet"
            )
        deep = nn.Sequential(
            *(ResidualBlock(width, norm) for _ in range(blocks)),
            nn.Conv2d(width, width, 3, padding=1),
            norm2d(norm, width),
        )
        ups = [
            nn.Sequential(nn.Conv2d(width, 4 * width, 3, padding=1), nn.PixelShuffle(2), nn.PReLU())
            for _ in range(doublings)
        ]
        first = nn.Sequential(nn.Conv2d(source_shape[0], width, 9, padding=4), nn.PReLU())
        last = nn.Conv2d(width, shape[0], 9, padding=4)
        super().__init__(nn.Sequential(first, Residual(deep), *ups, last))

    def forward(self, source: Tensor) -> Tensor:
        """(B, *source_shape) -> (B, *shape)."""
        images = self.body(source)
        return images if self.training else images.clamp(-1, 1)


class Critic(base.Critic):
    """k3n64s1, k3n64s2, the pair again with 128, 256 and 512 channels, a linear layer of features.

    LeakyReLU 0.2 throughout; norm everywhere but in the first layer.

    Args:
        shape: (C, H, W) of an image.
        width: channels of the first layer.
        norm: after every convolution but the first.
        features: units of the linear layer.

    Raises:
        UserError: when instance norm would see a single pixel.
    """

    def __init__(
        self, shape: list[int], width: Count = 64, norm: Norm = "batch", features: Count = 1024
    ) -> None:
        base.require_image(shape)
        inputs, sides, layers = shape[0], shape[1:], list[nn.Module]()
        for i in range(8):
            outputs, stride = width * 2 ** (i // 2), 1 + i % 2
            layers.append(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=norm != "batch" or not i))
            layers += [norm2d(norm, outputs)] if i else []
            layers.append(LeakyReLU(0.2))
            inputs, sides = outputs, [-(-side // stride) for side in sides]
        if norm.startswith("instance") and max(sides) < 2:
            raise UserError(
                f"the last map of an image of {shape[1]} pixels is a single pixel, which instance "
                "norm turns into zero (model.critic.norm, data.size); set model.critic.norm=layer"
            )
        pixels = sides[0] * sides[1]
        body = nn.Sequential(
            *layers, nn.Flatten(), nn.Linear(inputs * pixels, features), LeakyReLU(0.2)
        )
        super().__init__(body, features)


class Residual(nn.Module):
    """x + f(x).

    Args:
        residual: f, which keeps the shape.
    """

    def __init__(self, residual: nn.Module) -> None:
        super().__init__()
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        return x + self.residual(x)


class ResidualBlock(Residual):
    """x + norm(conv3x3(PReLU(norm(conv3x3(x))))).

    Args:
        width: channels.
        norm: after each convolution.
    """

    def __init__(self, width: int, norm: Norm) -> None:
        bias = norm != "batch"
        super().__init__(
            nn.Sequential(
                nn.Conv2d(width, width, 3, padding=1, bias=bias),
                norm2d(norm, width),
                nn.PReLU(),
                nn.Conv2d(width, width, 3, padding=1, bias=bias),
                norm2d(norm, width),
            )
        )
