"""The residual image-to-image network of CycleGAN and StarGAN.

Johnson, Alahi & Fei-Fei, "Perceptual losses for real-time style transfer and super-resolution",
2016, in the form of Zhu, Park, Isola & Efros, "Unpaired image-to-image translation using
cycle-consistent adversarial networks" (CycleGAN), 2017:

    c7s1-64, d128, d256, R256 x 9 (6 below 256 pixels), u128, u64, c7s1-3

a 7x7 convolution, halvings, residual blocks at the smallest side, as many doublings, a 7x7
convolution and tanh. Instance norm and ReLU follow each convolution. Reflection padding leaves no
frame around the image.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from gentrain.config.types import Count, Whole
from gentrain.errors import UserError
from gentrain.layers.normalization import Norm, norm2d
from gentrain.networks import base

Padding = Literal["reflect", "zeros"]


class Translator(base.Translator):
    """(B, *source_shape) -> (B, *shape), for any side that `downs` halvings divide.

    Args:
        shape: (C, H, W) of a target.
        source_shape: (C', H, W) of a source; None means `shape`.
        width: channels of the first layer; they double with each halving.
        downs: halvings, and doublings.
        blocks: residual blocks.
        norm: after every convolution but the last.
        padding: padding of the residual blocks and of the first and the last layer.
        kernel: kernel size of halvings and doublings: 3 in CycleGAN, 4 in StarGAN.

    Raises:
        UserError: when source and target differ in size, or the halvings do not divide the side.
    """

    def __init__(
        self,
        shape: list[int],
        source_shape: list[int] | None = None,
        width: Count = 64,
        downs: Whole = 2,
        blocks: Whole = 6,
        norm: Norm = "instance_plain",
        padding: Padding = "reflect",
        kernel: Literal[3, 4] = 3,
    ) -> None:
        source_shape = source_shape or shape
        require_sizes(shape, source_shape, downs)
        bias = norm != "batch"

        def normed(convolution: nn.Module, channels: int) -> list[nn.Module]:
            return [convolution, norm2d(norm, channels), nn.ReLU()]

        first = nn.Conv2d(source_shape[0], width, 7, padding=3, padding_mode=padding, bias=bias)
        layers = normed(first, width)
        channels = width
        for _ in range(downs):
            down = nn.Conv2d(channels, 2 * channels, kernel, 2, 1, bias=bias)
            layers += normed(down, 2 * channels)
            channels *= 2
        layers += [Residual(channels, norm, padding) for _ in range(blocks)]
        for _ in range(downs):
            up = nn.ConvTranspose2d(
                channels, channels // 2, kernel, 2, 1, output_padding=4 - kernel, bias=bias
            )
            layers += normed(up, channels // 2)
            channels //= 2
        layers += [nn.Conv2d(width, shape[0], 7, padding=3, padding_mode=padding), nn.Tanh()]
        super().__init__(base.gaussian_init(nn.Sequential(*layers)))


def require_sizes(shape: list[int], source_shape: list[int], downs: int) -> None:
    """Refuse sizes that the translator cannot map to each other; see `Translator`."""
    base.require_image(shape)
    if list(source_shape[1:]) != list(shape[1:]):
        raise UserError(
            f"source and target differ in size, {source_shape[1:]} and {shape[1:]} "
            "(network, data), and this network keeps the size; choose data of one size"
        )
    if any(side % 2**downs or side // 2**downs < 2 for side in shape[1:]):
        raise UserError(
            f"{downs} halvings and as many doublings do not give {shape[1]} x {shape[2]} pixels "
            f"back (network, data.size); set a multiple of {2**downs}"
        )


class Residual(nn.Module):
    """x + norm(conv3x3(ReLU(norm(conv3x3(x))))).

    Args:
        channels: number of channels of x.
        norm: after each convolution.
        padding: padding of each convolution.
    """

    def __init__(self, channels: int, norm: Norm, padding: Padding) -> None:
        super().__init__()

        def convolution() -> nn.Module:
            bias = norm != "batch"
            return nn.Conv2d(channels, channels, 3, padding=1, padding_mode=padding, bias=bias)

        self.residual = nn.Sequential(
            convolution(), norm2d(norm, channels), nn.ReLU(), convolution(), norm2d(norm, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        return x + self.residual(x)
