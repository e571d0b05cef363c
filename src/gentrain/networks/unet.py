"""U-Net (Ronneberger, Fischer & Brox, 2015) as pix2pix has it (Isola, Zhu, Zhou & Efros, 2017), and its encoder-decoder without the skips.

    down  C64-C128-C256-C512-C512-C512-C512-C512           4 x 4, stride 2, to one pixel at 256
    up    CD512-CD512-CD512-C512-C256-C128-C64, then tanh   each beside the map of the same side on the way down (the skips)

Ck is convolution, norm, (leaky) ReLU; CDk has dropout of 1/2 as well, which is the noise of pix2pix: it stays on when images are drawn.
Without skips it is the encoder-decoder of context encoders (Pathak et al., 2016). Norms are of each image alone, as the paper's batch
norm is in its batches of one; the innermost map has none, as one number minus its mean is nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gentrain.config.types import Count, Share
from gentrain.errors import UserError
from gentrain.layers.normalization import Norm, norm2d
from gentrain.networks import base

MOST = 8  # channels grow from width to MOST * width
DROPPED = 3  # inner layers on the way up that have dropout, at most


class Translator(base.Translator):
    """(B, *source_shape) -> (B, *shape), of one side; pictures of any other, not smaller, pass too.

    `depth` halvings; null: as many as lead to a single pixel.
    """

    fixed_size = True

    def __init__(
        self,
        shape: list[int],
        source_shape: list[int] | None,
        width: Count = 64,
        depth: Count | None = None,
        norm: Norm = "instance",
        dropout: Share = 0.5,
        skips: bool = True,
    ) -> None:
        given, side = base.require_source_shape(source_shape), min(shape[1:])
        if given[1:] != list(shape[1:]):
            raise UserError(
                f"sources of {given[1:]} and images of {list(shape[1:])} differ in size (network, data), and a U-Net keeps it; "
                "choose network=srresnet"
            )
        most = side.bit_length() - 1  # halvings, rounded down, to one pixel
        if not 1 <= (depth or most) <= most:
            raise UserError(
                f"{depth or most} halvings of {side} pixels (model.generator.depth, data.size); give 1 to {most}"
            )
        super().__init__(
            base.gaussian_init(UNet(given[0], shape[0], width, depth or most, norm, dropout, skips))
        )


class UNet(nn.Module):
    """`downs[i]` halves, `ups[i]` doubles back to the side that it was given."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        width: int,
        depth: int,
        norm: Norm,
        dropout: float,
        skips: bool,
    ) -> None:
        super().__init__()
        channels = [width * min(2**i, MOST) for i in range(depth)]
        self.skips, self.downs, self.ups = skips, nn.ModuleList(), nn.ModuleList()
        for i, (above, below) in enumerate(zip([inputs, *channels], channels, strict=False)):
            inner = 0 < i < depth - 1
            layers: list[nn.Module] = [nn.LeakyReLU(0.2)] if i else []
            layers += [nn.Conv2d(above, below, 4, 2, 1, bias=not (inner and norm == "batch"))]
            self.downs.append(nn.Sequential(*layers, *([norm2d(norm, below)] if inner else [])))
        dropped = min(DROPPED, depth // 2)
        for i in range(depth):
            beside = channels[i] if skips and i < depth - 1 else 0
            self.ups.append(
                Up(
                    channels[i] + beside,
                    channels[i - 1] if i else outputs,
                    norm,
                    dropout if i >= depth - dropped else 0.0,
                    not i,
                )
            )

    def forward(self, x: Tensor) -> Tensor:
        maps = [x]
        for down in self.downs:
            maps.append(down(maps[-1]))
        h = maps.pop()
        for i in reversed(range(len(self.ups))):
            beside = maps.pop()
            h = self.ups[i](h, beside.shape[2:])
            h = torch.cat([beside, h], 1) if self.skips and i else h
        return h.tanh()


class Up(nn.Module):
    """ReLU, twice the side (or the side that a halving rounded), norm, dropout; the last layer has neither norm nor dropout."""

    def __init__(self, inputs: int, outputs: int, norm: Norm, dropout: float, last: bool) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=last or norm != "batch")
        self.norm = nn.Identity() if last else norm2d(norm, outputs)
        self.dropout = nn.Identity() if last or not dropout else Noise(dropout)

    def forward(self, x: Tensor, side: torch.Size) -> Tensor:
        return self.dropout(self.norm(self.conv(F.relu(x), list(side))))


class Noise(nn.Module):
    """Dropout that stays on: what a translation is random by."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.p, True)

    def extra_repr(self) -> str:
        return f"{self.p}"
