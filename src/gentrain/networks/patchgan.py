"""Critics of patches: convolutions alone, and a score for each place of the last map.

Isola, Zhu, Zhou & Efros, "Image-to-image translation with conditional adversarial networks"
(pix2pix), 2017. Each score depends on one of many overlapping patches of the image. The side of the
patch is the receptive field of a score: from the last layer back to the first,
r <- (r - 1) stride + kernel. `depth` halving layers of 4x4, one more of stride 1, and the layer of
the scores make

    depth     0    1    2    3    4
    patch     1   16   34   70  142 pixels

The critic of single pixels, of depth 0, has layers of 1x1 alone.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from gentrain.config.types import Count, Whole
from gentrain.errors import UserError
from gentrain.layers.activation import LeakyReLU
from gentrain.layers.lipschitz_bound import LipschitzBounded, WeightLimits, lipschitz_bound
from gentrain.layers.normalization import Norm, norm2d
from gentrain.networks import base
from gentrain.networks.dcgan import MAX_FACTOR

KERNEL = 4


class Critic(base.Critic):
    """The PatchGAN: (B, *shape) -> (B * P,), the scores of P patches.

    At the paper's width of 64 and depth of 3 it is C64-C128-C256-C512: norm everywhere but in the
    first layer, LeakyReLU 0.2.

    Args:
        shape: (C, H, W) of an image.
        source_shape: shape of the source that it sees beside each image, joined on channels;
            None for images alone.
        width: channels after the first layer.
        depth: halving layers; 0 for a critic of single pixels.
        norm: after every layer but the first.

    Raises:
        UserError: when source and image differ in size, or the image is too small for the depth.
    """

    head_kind = "patches"

    def __init__(
        self,
        shape: list[int],
        source_shape: list[int] | None = None,
        width: Count = 64,
        depth: Whole = 3,
        norm: Norm = "instance_plain",
    ) -> None:
        base.require_image(shape)
        inputs = shape[0] + (source_shape[0] if source_shape else 0)
        if source_shape and source_shape[1:] != shape[1:]:
            raise UserError(
                f"sources of {source_shape[1:]} cannot be joined to images of {shape[1:]} "
                "(model.critic.source_shape, data); write model.critic.source_shape=null"
            )
        strides = [2] * depth + [1] if depth else [1, 1]
        kernel, padding = (KERNEL, 1) if depth else (1, 0)
        height, breadth = map_size(shape, strides) if depth else shape[1:]
        layers: list[nn.Module] = []
        for i, stride in enumerate(strides):
            outputs = width * min(2**i, MAX_FACTOR)
            bias = norm != "batch" or i == 0
            layers.append(nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=bias))
            layers += [norm2d(norm, outputs)] if i else []
            layers.append(LeakyReLU(0.2))
            inputs = outputs
        head = PatchHead((inputs, height, breadth), kernel)
        super().__init__(nn.Sequential(*layers, nn.Flatten()), inputs * height * breadth, head=head)
        self.source_shape = source_shape
        base.gaussian_init(self)

    def features(self, x: Tensor, source: Tensor | None = None) -> Tensor:
        """(B, *shape), (B, *source_shape) -> (B, F)."""
        return self.body(x if source is None else torch.cat([x, source], 1))

    def forward(self, x: Tensor, source: Tensor | None = None) -> Tensor:
        """(B, *shape), (B, *source_shape) -> scores (B * P,)."""
        return self.score(self.features(x, source))


class Strided(base.Critic):
    """The critic of StarGAN (Choi et al., 2018): (B, *shape) -> (B * P,).

    Halvings of 4x4 with LeakyReLU 0.01 and no norm, then a 3x3 convolution to the scores. A
    gradient penalty is of the mean of an image's scores, as the Wasserstein loss is; the authors'
    code takes their sum.

    Args:
        shape: (C, H, W) of an image.
        width: channels after the first layer; they double with each halving.
        depth: halvings; None halves until the side is 2 or 3. At 128 px these are the paper's 6
            layers and 2x2 scores.
        norm: there is none.

    Raises:
        UserError: when the image cannot be halved so often.
    """

    head_kind = "patches"
    norms = ("none",)

    def __init__(
        self,
        shape: list[int],
        width: Count = 64,
        depth: Count | None = None,
        norm: base.NoNorm = "none",
    ) -> None:
        base.require_image(shape)
        height, breadth = shape[1:]
        inputs, layers = shape[0], list[nn.Module]()
        while len(layers) < 2 * depth if depth else min(height, breadth) > 3:
            outputs = width * 2 ** (len(layers) // 2)
            layers += [nn.Conv2d(inputs, outputs, KERNEL, 2, 1), LeakyReLU(0.01)]
            inputs, height, breadth = outputs, height // 2, breadth // 2
        if not layers or min(height, breadth) < 1:
            raise UserError(
                f"an image of {shape[1]} x {shape[2]} cannot be halved so often "
                "(model.critic, data.size); set a smaller depth"
            )
        head = PatchHead((inputs, height, breadth), 3)
        super().__init__(nn.Sequential(*layers, nn.Flatten()), inputs * height * breadth, head=head)


class PatchHead(nn.Module, LipschitzBounded):
    """A convolution of the last map to one score for each place.

    Args:
        shape: (C, H, W) of the map.
        kernel: side of the convolution's kernel. A pixel of zeros is put around the map, but for
            one of 1x1.
    """

    def __init__(self, shape: tuple[int, int, int], kernel: int) -> None:
        super().__init__()
        self.shape, self.padding = shape, int(kernel > 1)
        self.conv = nn.Conv2d(shape[0], 1, kernel, padding=self.padding)

    @property
    def weight(self) -> Tensor:
        """The convolution's weights."""
        return self.conv.weight

    def forward(self, h: Tensor) -> Tensor:
        """The flattened map (B, C * H * W) -> (B, P)."""
        return self.conv(h.unflatten(1, self.shape)).flatten(1)

    def lipschitz_bound(self, limits: WeightLimits) -> float:
        """K of the mean over patches: of P of them, the convolution's K / sqrt(P)."""
        kernel = int(self.conv.kernel_size[0])
        patches = math.prod(side + 2 * self.padding + 1 - kernel for side in self.shape[1:])
        return lipschitz_bound(self.conv, limits) / math.sqrt(patches)


def map_size(shape: list[int], strides: list[int]) -> tuple[int, int]:
    """Height and breadth of the map that 4x4 convolutions with padding 1 make of an image.

    Args:
        shape: (C, H, W) of the image.
        strides: strides of the convolutions.

    Raises:
        UserError: when the map has no room for the convolution of the scores.
    """
    sides = shape[1:]
    for stride in strides:
        sides = [(side + 2 - KERNEL) // stride + 1 for side in sides]
    if min(sides) < 2:
        raise UserError(
            f"an image of {shape[1]} x {shape[2]} is too small for a patch critic with "
            f"{strides.count(2)} halvings (model.critic, data.size); "
            "set a smaller depth, or larger images"
        )
    return sides[0], sides[1]


def receptive_field(layers: nn.Module) -> int:
    """The side of the patch on which one output of a sequence of convolutions depends."""
    r = 1
    for layer in reversed(list(layers.modules())):
        match layer:
            case nn.Conv2d():
                r = (r - 1) * int(layer.stride[0]) + int(layer.kernel_size[0])
    return r
