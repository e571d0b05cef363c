"""The residual networks of WGAN-GP and SN-GAN, for images of 28, 32, 64 and 128 pixels.

Gulrajani et al., "Improved training of Wasserstein GANs", 2017; Miyato et al., "Spectral
normalization for generative adversarial networks", 2018.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any, Literal

from torch import Tensor, nn

from gentrain.config.types import Count, Whole
from gentrain.layers.activation import ReLU
from gentrain.layers.attention import SelfAttention, nearest
from gentrain.layers.lipschitz_bound import LipschitzBounded, WeightLimits, lipschitz_bound
from gentrain.layers.normalization import Norm, norm2d
from gentrain.networks import base
from gentrain.networks.dcgan import halvings

Pool = Literal["sum", "mean"]


class Generator(base.Generator):
    """A linear layer, a block for each doubling, then norm, ReLU, a 3x3 convolution and tanh.

    Args:
        shape: (C, H, W) of an image.
        latent: length of the noise.
        width: channels of the last block; see `generator_channels`.
        norm: inside of the blocks.
        prior: distribution of the noise.
    """

    def __init__(
        self,
        shape: list[int],
        latent: Count = 128,
        width: Count = 64,
        norm: Norm = "batch",
        prior: base.Prior = "normal",
    ) -> None:
        smallest, _ = halvings(shape)
        channels = generator_channels(shape, width)
        body = nn.Sequential(
            nn.Linear(latent, channels[0] * math.prod(smallest)),
            nn.Unflatten(1, (channels[0], *smallest)),
            *(UpBlock(inputs, outputs, norm) for inputs, outputs in pairwise(channels)),
            norm2d(norm, channels[-1]),
            nn.ReLU(),
            nn.Conv2d(channels[-1], shape[0], 3, padding=1),
            nn.Tanh(),
        )
        super().__init__(glorot_init(body), latent, prior)


class Critic(base.Critic):
    """Residual blocks, most of which halve the side; then ReLU and the sum or mean over pixels.

    Up to 32 px there are two halving blocks and two more, all of one width (128 in the papers'
    networks for CIFAR-10). Above, halving blocks of w, 2 w, 4 w ... channels lead to the smallest
    map, and one more block follows.

    Args:
        shape: (C, H, W) of an image.
        width: channels of the first block.
        norm: inside of the blocks; the first has none.
        attention: longer side of the map that attends to itself (SAGAN); the nearest that the
            network has is taken, and 0 means no attention.
        pool: over pixels, before the head: the sum of SN-GAN and its successors, or the mean of
            WGAN-GP.
    """

    def __init__(
        self,
        shape: list[int],
        width: Count = 64,
        norm: Norm = "none",
        attention: Whole = 0,
        pool: Pool = "sum",
    ) -> None:
        _, downs = halvings(shape)
        small = max(shape[1:]) <= 32
        channels = [width] * 2 if small else [width * 2**i for i in range(downs)]
        blocks: list[nn.Module] = [FirstDownBlock(shape[0], channels[0])]
        blocks += [DownBlock(inputs, outputs, norm) for inputs, outputs in pairwise(channels)]
        sides = [max(shape[1:]) // 2 ** (i + 1) for i in range(len(channels))]
        if (i := nearest(attention, sides)) is not None:
            blocks.insert(i + 1, SelfAttention(channels[i]))
        for _ in range(2 if small else 1):
            blocks.append(DownBlock(channels[-1], channels[-1], norm, down=False))
        pixels = math.prod(side // 2 ** len(channels) for side in shape[1:])
        pooled = PixelPool(pool, pixels)
        super().__init__(nn.Sequential(*blocks, ReLU(), pooled), channels[-1])
        self.summed = pixels if pool == "sum" else 1
        glorot_init(self)
        base.divide_weights(self.head, self.summed)

    def input_layers(self) -> list[nn.Module]:
        """The first convolution of the first block, and its shortcut."""
        first: Any = self.body[0]  # type: ignore[index]
        return [first.residual[0], first.shortcut[1]]


def generator_channels(shape: list[int], width: int) -> list[int]:
    """A generator's channels, before the first block and after each.

    Up to 32 px they are equal (256 in both papers' networks for CIFAR-10). Above, they are
    16 w, 16 w, 8 w ... w, as in SN-GAN at 128 px.

    >>> generator_channels([3, 128, 128], 64)
    [1024, 1024, 512, 256, 128, 64]
    """
    _, ups = halvings(shape)
    if max(shape[1:]) <= 32:
        return [width] * (ups + 1)
    return [width * 2 ** min(ups - i, ups - 1) for i in range(ups + 1)]


class UpBlock(nn.Module):
    """conv1x1(up(x)) + conv3x3(ReLU(norm(conv3x3(up(ReLU(norm(x))))))).

    Args:
        inputs, outputs: channels.
        norm: before each ReLU.
    """

    def __init__(self, inputs: int, outputs: int, norm: Norm) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            norm2d(norm, inputs),
            nn.ReLU(),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(inputs, outputs, 3, padding=1),
            norm2d(norm, outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1),
        )
        self.shortcut = nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(inputs, outputs, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, 2 H, 2 W)."""
        return self.shortcut(x) + self.residual(x)


class DownBlock(nn.Module, LipschitzBounded):
    """down(conv1x1(x)) + down(conv3x3(ReLU(norm(conv3x3(ReLU(norm(x))))))).

    down is the mean of 2 x 2 pixels. The shortcut is x itself where the shape stays.

    Args:
        inputs, outputs: channels.
        norm: before each ReLU.
        down: halve the side.
    """

    def __init__(self, inputs: int, outputs: int, norm: Norm, down: bool = True) -> None:
        super().__init__()
        pool = nn.AvgPool2d(2) if down else nn.Identity()
        self.residual = nn.Sequential(
            norm2d(norm, inputs),
            ReLU(),
            nn.Conv2d(inputs, outputs, 3, padding=1),
            norm2d(norm, outputs),
            ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1),
            pool,
        )
        same = inputs == outputs and not down
        self.shortcut = (
            nn.Identity() if same else nn.Sequential(nn.Conv2d(inputs, outputs, 1), pool)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H / 2, W / 2), or of the same side."""
        return self.shortcut(x) + self.residual(x)

    def lipschitz_bound(self, limits: WeightLimits) -> float:
        return lipschitz_bound(self.shortcut, limits) + lipschitz_bound(self.residual, limits)


class FirstDownBlock(nn.Module, LipschitzBounded):
    """The critic's first block: conv1x1(down(x)) + down(conv3x3(ReLU(conv3x3(x)))).

    There is no ReLU on the image itself, and the shortcut is pooled before its convolution.

    Args:
        inputs, outputs: channels.
    """

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
        """(B, inputs, H, W) -> (B, outputs, H / 2, W / 2)."""
        return self.shortcut(x) + self.residual(x)

    def lipschitz_bound(self, limits: WeightLimits) -> float:
        return lipschitz_bound(self.shortcut, limits) + lipschitz_bound(self.residual, limits)


class PixelPool(nn.Module, LipschitzBounded):
    """The sum over pixels (SN-GAN), or the mean (WGAN-GP).

    Args:
        kind: sum or mean.
        pixels: H * W of the maps.
    """

    def __init__(self, kind: Pool, pixels: int) -> None:
        super().__init__()
        self.kind, self.pixels = kind, pixels

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C)."""
        return x.mean((2, 3)) if self.kind == "mean" else x.sum((2, 3))

    def lipschitz_bound(self, limits: WeightLimits) -> float:
        return self.pixels**-0.5 if self.kind == "mean" else self.pixels**0.5


def glorot_init(network: nn.Module) -> nn.Module:
    """Glorot's uniform weights, with gain sqrt(2) in residual branches and 1 elsewhere; biases 0.

    It is the initialisation of SN-GAN's authors.
    """
    for name, module in network.named_modules():
        match module:
            case nn.Conv2d() | nn.Linear():
                nn.init.xavier_uniform_(module.weight, math.sqrt(2) if "residual" in name else 1.0)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
    return network
