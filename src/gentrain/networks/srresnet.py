"""SRResNet and the critic of SRGAN, photo-realistic single image super-resolution using a GAN (Ledig et al., 2017).

    k9n64s1, PReLU | 16 x (k3n64, norm, PReLU, k3n64, norm, + x) | k3n64, norm, + | log2(factor) x (k3n256, shuffle, PReLU) | k9n3

A sub-pixel convolution (Shi et al., 2016) turns 4 k channels of a map into k of one twice as wide. The network works at the small size.
"""

from __future__ import annotations

from torch import Tensor, nn

from gentrain.config.types import Count, Whole
from gentrain.errors import UserError
from gentrain.layers.activation import LeakyReLU
from gentrain.layers.normalization import Norm, norm2d
from gentrain.networks import base


class Translator(base.Translator):
    """(B, *source_shape) -> (B, *shape), whose sides are 1, 2, 4 ... times as long; pictures of any size pass.

    The last layer is linear, as in the paper; images that are drawn, and not trained on, are cut to [-1, 1].
    """

    def __init__(
        self,
        shape: list[int],
        source_shape: list[int] | None,
        width: Count = 64,
        blocks: Whole = 16,
        norm: Norm = "batch",
    ) -> None:
        given = base.require_source_shape(source_shape)
        doublings = (shape[1] // given[1]).bit_length() - 1
        if [side * 2**doublings for side in given[1:]] != list(shape[1:]):
            raise UserError(
                f"images of {list(shape[1:])} are not 2^k times as wide as sources of {given[1:]} (network, data); "
                "set data.degrade=downsample_x4, or network=unet"
            )
        deep = nn.Sequential(
            *(Residual(width, norm) for _ in range(blocks)),
            nn.Conv2d(width, width, 3, padding=1),
            norm2d(norm, width),
        )
        ups = [
            nn.Sequential(nn.Conv2d(width, 4 * width, 3, padding=1), nn.PixelShuffle(2), nn.PReLU())
            for _ in range(doublings)
        ]
        first = nn.Sequential(nn.Conv2d(given[0], width, 9, padding=4), nn.PReLU())
        super().__init__(
            nn.Sequential(first, Added(deep), *ups, nn.Conv2d(width, shape[0], 9, padding=4))
        )

    def forward(self, source: Tensor) -> Tensor:
        images = self.body(source)
        return images if self.training else images.clamp(-1, 1)


class Critic(base.Critic):
    """(B, *shape) -> k3n64s1, k3n64s2, and the pair again with 128, 256 and 512 channels -> 1024 features -> score. LeakyReLU 0.2."""

    def __init__(
        self, shape: list[int], width: Count = 64, norm: Norm = "batch", features: Count = 1024
    ) -> None:
        inputs, side, layers = shape[0], shape[1:], list[nn.Module]()
        for i in range(8):
            outputs, stride = width * 2 ** (i // 2), 1 + i % 2
            layers.append(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=norm != "batch" or not i))
            layers += [norm2d(norm, outputs)] if i else []
            layers.append(LeakyReLU(0.2))
            inputs, side = outputs, [-(-s // stride) for s in side]
        if norm == "instance" and max(side) < 2:
            raise UserError(
                f"{shape[1]} pixels leave one, which has no norm of its own (model.critic.norm, data.size); set norm=layer"
            )
        body = nn.Sequential(
            *layers, nn.Flatten(), nn.Linear(inputs * side[0] * side[1], features), LeakyReLU(0.2)
        )
        super().__init__(body, features)


class Added(nn.Module):
    """x + f(x)"""

    def __init__(self, residual: nn.Module) -> None:
        super().__init__()
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        return x + self.residual(x)


class Residual(Added):
    def __init__(self, width: int, norm: Norm) -> None:
        bias = norm != "batch"
        super().__init__(
            nn.Sequential(
                nn.Conv2d(width, width, 3, padding=1, bias=bias), norm2d(norm, width), nn.PReLU(),
                nn.Conv2d(width, width, 3, padding=1, bias=bias), norm2d(norm, width),
            )
        )  # fmt: skip
