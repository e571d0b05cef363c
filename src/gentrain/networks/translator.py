"""The residual network of "Perceptual losses for real-time style transfer and super-resolution" (Johnson, Alahi & Fei-Fei, 2016), as
CycleGAN (Zhu, Park, Isola & Efros, 2017) has it:

    c7s1-64, d128, d256, R256 x 9 (6 below 256 pixels), u128, u64, c7s1-3

a 7 x 7 convolution, halvings, residual blocks at the smallest side, as many doublings, a 7 x 7 convolution and tanh. Instance norm and
ReLU; reflection padding, which leaves no frame in the picture. The sizes of source and target are equal.
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
    """(B, *source_shape) -> (B, *shape); any side that `downs` halvings divide.

    `kernel` is that of halvings and doublings: 3 as in CycleGAN, 4 as in StarGAN. `source_shape` is `shape` where it is not given.
    """

    def __init__(
        self,
        shape: list[int],
        source_shape: list[int] | None = None,
        width: Count = 64,
        downs: Whole = 2,
        blocks: Whole = 6,
        norm: Norm = "instance",
        padding: Padding = "reflect",
        kernel: Literal[3, 4] = 3,
    ) -> None:
        given = source_shape or shape
        if list(given[1:]) != list(shape[1:]):
            raise UserError(
                f"source and target differ in size, {given[1:]} and {shape[1:]} (network, data); this network keeps the size"
            )
        if any(side % 2**downs or side // 2**downs < 2 for side in shape[1:]):
            raise UserError(
                f"{downs} halvings and as many doublings do not give {shape[1]} x {shape[2]} pixels back (network, data.size); "
                f"set a multiple of {2**downs}"
            )
        bias = norm != "batch"

        def normed(convolution: nn.Module, channels: int) -> list[nn.Module]:
            return [convolution, norm2d(norm, channels), nn.ReLU()]

        layers = normed(
            nn.Conv2d(given[0], width, 7, padding=3, padding_mode=padding, bias=bias), width
        )
        channels = width
        for _ in range(downs):
            layers += normed(
                nn.Conv2d(channels, 2 * channels, kernel, 2, 1, bias=bias), 2 * channels
            )
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


class Residual(nn.Module):
    """x + two 3 x 3 convolutions with norm, a ReLU between them"""

    def __init__(self, channels: int, norm: Norm, padding: Padding) -> None:
        super().__init__()

        def convolution() -> nn.Module:
            return nn.Conv2d(
                channels, channels, 3, padding=1, padding_mode=padding, bias=norm != "batch"
            )

        self.residual = nn.Sequential(
            convolution(), norm2d(norm, channels), nn.ReLU(), convolution(), norm2d(norm, channels)
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return x + self.residual(x)
