"""The residual networks of WGAN-GP (Gulrajani et al., 2017) and SN-GAN (Miyato et al., 2018) for images of 28, 32, 64 and 128 pixels."""

from __future__ import annotations

import math
from itertools import pairwise

from torch import Tensor, nn

from gentrain.config.types import Count, Whole
from gentrain.layers.activation import ReLU
from gentrain.layers.attention import SelfAttention, nearest
from gentrain.layers.normalization import Norm, norm2d
from gentrain.networks import base
from gentrain.networks.dcgan import halvings


class Generator(base.Generator):
    """(B, latent) -> linear -> one up-sampling block per doubling -> norm, ReLU, 3x3, tanh. `width` is the last block's channels."""

    def __init__(
        self,
        shape: list[int],
        latent: Count = 128,
        width: Count = 64,
        norm: Norm = "batch",
        prior: base.Prior = "normal",
    ) -> None:
        side, ups = halvings(shape)
        channels = widths(shape, width)
        blocks = [UpBlock(channels[i], channels[i + 1], norm) for i in range(ups)]
        body = nn.Sequential(
            nn.Linear(latent, channels[0] * side * side),
            nn.Unflatten(1, (channels[0], side, side)),
            *blocks,
            norm2d(norm, channels[-1]),
            nn.ReLU(),
            nn.Conv2d(channels[-1], shape[0], 3, padding=1),
            nn.Tanh(),
        )
        super().__init__(glorot_init(body), latent, prior)


class Critic(base.Critic):
    """(B, *shape) -> blocks, most of which halve the side -> ReLU, sum over pixels -> score.

    Up to 32 px two halving blocks and two more, of one width (128 in the CIFAR-10 networks); above, halving blocks of w, 2 w, 4 w ...
    down to 4 px and one more. `attention` is the side of the map that attends to itself (SAGAN; the nearest there is; 0: none).
    """

    def __init__(
        self, shape: list[int], width: Count = 64, norm: Norm = "none", attention: Whole = 0
    ) -> None:
        _, downs = halvings(shape)
        halving, plain = (
            ([width] * 2, 2) if shape[1] <= 32 else ([width * 2**i for i in range(downs)], 1)
        )
        blocks: list[nn.Module] = [FirstDownBlock(shape[0], halving[0])]
        blocks += [DownBlock(above, below, norm) for above, below in pairwise(halving)]
        if (
            attended := nearest(attention, [shape[1] // 2 ** (i + 1) for i in range(len(halving))])
        ) is not None:
            blocks.insert(attended + 1, SelfAttention(halving[attended]))
        blocks += [DownBlock(halving[-1], halving[-1], norm, down=False) for _ in range(plain)]
        super().__init__(nn.Sequential(*blocks, ReLU(), SumPool()), halving[-1])
        glorot_init(self)


def widths(shape: list[int], width: int) -> list[int]:
    """A generator's channels, before the first block and after each.

    Up to 32 px one width throughout (256 in both papers' CIFAR-10 networks); above, 16 w, 16 w, 8 w ... w as in SN-GAN at 128 px.
    """
    _, ups = halvings(shape)
    return (
        [width] * (ups + 1)
        if shape[1] <= 32
        else [width * 2 ** min(ups - i, ups - 1) for i in range(ups + 1)]
    )


class UpBlock(nn.Module):
    """x -> up(x) by 1x1 convolution + norm, ReLU, up, 3x3, norm, ReLU, 3x3"""

    def __init__(self, inputs: int, outputs: int, norm: Norm) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            norm2d(norm, inputs), nn.ReLU(), nn.Upsample(scale_factor=2), nn.Conv2d(inputs, outputs, 3, padding=1),
            norm2d(norm, outputs), nn.ReLU(), nn.Conv2d(outputs, outputs, 3, padding=1),
        )  # fmt: skip
        self.shortcut = nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(inputs, outputs, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x) + self.residual(x)


class DownBlock(nn.Module):
    """x -> down(x) + norm, ReLU, 3x3, norm, ReLU, 3x3, down; down is a mean of 2 x 2, the shortcut plain where nothing changes."""

    def __init__(self, inputs: int, outputs: int, norm: Norm, down: bool = True) -> None:
        super().__init__()
        pool = nn.AvgPool2d(2) if down else nn.Identity()
        self.residual = nn.Sequential(
            norm2d(norm, inputs), ReLU(), nn.Conv2d(inputs, outputs, 3, padding=1),
            norm2d(norm, outputs), ReLU(), nn.Conv2d(outputs, outputs, 3, padding=1), pool,
        )  # fmt: skip
        same = inputs == outputs and not down
        self.shortcut = (
            nn.Identity() if same else nn.Sequential(nn.Conv2d(inputs, outputs, 1), pool)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x) + self.residual(x)


class FirstDownBlock(nn.Module):
    """The critic's first block: no rectifier on the image itself, the shortcut pooled before its convolution."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, padding=1),
            ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1),
            nn.AvgPool2d(2),
        )
        self.shortcut = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(inputs, outputs, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x) + self.residual(x)


class SumPool(nn.Module):
    """(B, C, H, W) -> (B, C), the global sum pooling of SN-GAN."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sum((2, 3))


def glorot_init(network: nn.Module) -> nn.Module:
    """Glorot uniform, with gain sqrt(2) inside residual branches and 1 elsewhere (SN-GAN's own initialisation)."""
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(module.weight, math.sqrt(2) if "residual" in name else 1.0)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return network
