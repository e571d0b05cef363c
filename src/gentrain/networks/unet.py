"""The U-Net of pix2pix, and what that paper compares it with: the same without skips.

Ronneberger, Fischer & Brox, "U-Net", 2015; Isola, Zhu, Zhou & Efros, "Image-to-image translation
with conditional adversarial networks" (pix2pix), 2017.

    down  C64-C128-C256-C512-C512-C512-C512-C512    4x4, stride 2, to one pixel at 256
    up    CD512-CD512-CD512-C512-C256-C128-C64, and tanh after the last layer

Ck is convolution, norm and (leaky) ReLU; CDk has dropout of 1/2 as well. A skip joins each map on
the way up with the map of the same side on the way down. Dropout is the noise of pix2pix: it stays
on when images are drawn. Instance norm has the statistics of the paper's batch norm in batches of
one. The innermost map has no norm: of a single pixel, x minus its mean is zero.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gentrain.config.types import Count, Share
from gentrain.errors import UserError
from gentrain.layers.normalization import Norm, norm2d
from gentrain.networks import base
from gentrain.networks.dcgan import stage_channels
from gentrain.streams import dropout

DROPOUT_LAYERS = 3  # inner layers on the way up that have dropout, at most


class Translator(base.Translator):
    """(B, *source_shape) -> (B, *shape). Images of any other size that is not smaller pass, too.

    Args:
        shape: (C, H, W) of a target.
        source_shape: (C', H, W) of a source.
        width: channels of the first layer.
        depth: halvings; None means as many as lead to a single pixel.
        norm: after inner convolutions.
        dropout: share of values that are dropped, also at test time.
        skips: join the maps of the way down; False makes an encoder-decoder.

    Raises:
        UserError: when source and target differ in size, or the depth does not fit.
    """

    fixed_size = True

    def __init__(
        self,
        shape: list[int],
        source_shape: list[int] | None,
        width: Count = 64,
        depth: Count | None = None,
        norm: Norm = "instance_plain",
        dropout: Share = 0.5,
        skips: bool = True,
    ) -> None:
        source_shape = base.require_source_shape(source_shape)
        base.require_image(shape)
        if source_shape[1:] != list(shape[1:]):
            raise UserError(
                f"sources of {source_shape[1:]} and images of {list(shape[1:])} differ in size "
                "(network, data), and a U-Net keeps it; choose network=srresnet"
            )
        side = min(shape[1:])
        most = side.bit_length() - 1  # halvings, rounded down, to one pixel
        depth = depth or most
        if not 1 <= depth <= most:
            raise UserError(
                f"{depth} halvings of {side} pixels (model.generator.depth, data.size); "
                f"give 1 to {most}"
            )
        body = UNet(source_shape[0], shape[0], width, depth, norm, dropout, skips)
        super().__init__(base.gaussian_init(body))
        self.random = dropout > 0


class UNet(nn.Module):
    """The body: `downs[i]` halves the side, `ups[i]` doubles it back.

    Args:
        inputs, outputs: channels.
        width: channels of the first layer.
        depth: halvings.
        norm: after inner convolutions.
        dropout: share of values that are dropped.
        skips: join the maps of the way down.
    """

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
        channels = stage_channels(width, depth)
        self.skips, self.downs, self.ups = skips, nn.ModuleList(), nn.ModuleList()
        for i, (before, after) in enumerate(zip([inputs, *channels], channels, strict=False)):
            inner = 0 < i < depth - 1
            layers: list[nn.Module] = [nn.LeakyReLU(0.2)] if i else []
            layers += [nn.Conv2d(before, after, 4, 2, 1, bias=not (inner and norm == "batch"))]
            self.downs.append(nn.Sequential(*layers, *([norm2d(norm, after)] if inner else [])))
        dropped = min(DROPOUT_LAYERS, depth // 2)
        for i in range(depth):
            skipped = channels[i] if skips and i < depth - 1 else 0
            self.ups.append(
                UpBlock(
                    channels[i] + skipped,
                    channels[i - 1] if i else outputs,
                    norm,
                    dropout if i >= depth - dropped else 0.0,
                    last=i == 0,
                )
            )

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H, W)."""
        maps = [x]
        for down in self.downs:
            maps.append(down(maps[-1]))
        h = maps.pop()
        for i in reversed(range(len(self.ups))):
            skip = maps.pop()
            h = self.ups[i](h, skip.shape[2:])
            h = torch.cat([skip, h], 1) if self.skips and i else h
        return h.tanh()


class UpBlock(nn.Module):
    """ReLU, a transposed convolution that doubles the side, norm and dropout.

    Args:
        inputs, outputs: channels.
        norm: after the convolution.
        dropout: share of values that are dropped.
        last: it makes the image, and has neither norm nor dropout.
    """

    def __init__(self, inputs: int, outputs: int, norm: Norm, dropout: float, last: bool) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=last or norm != "batch")
        self.norm = nn.Identity() if last else norm2d(norm, outputs)
        self.dropout = nn.Identity() if last or not dropout else AlwaysDropout(dropout)

    def forward(self, x: Tensor, size: torch.Size) -> Tensor:
        """(B, inputs, h, w) -> (B, outputs, *size); a halving may have rounded the size down."""
        return self.dropout(self.norm(self.conv(F.relu(x), list(size))))


class AlwaysDropout(nn.Module):
    """Dropout that stays on at test time: pix2pix's only noise.

    Args:
        p: share of values that are dropped.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """(B, ...) -> (B, ...)."""
        return dropout(x, self.p)

    def extra_repr(self) -> str:
        return f"{self.p}"
