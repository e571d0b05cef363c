"""PatchGAN, image-to-image translation with conditional adversarial networks (Isola, Zhu, Zhou & Efros, 2017).

A critic without a last look at the whole: convolutions alone, and a score for each place of a map, so for each of many overlapping patches.
The patch is as large as what one score depends on, its receptive field: from the last layer back, r <- (r - 1) stride + kernel.
`depth` halving layers of 4 x 4, one more without a stride, and the scores' own make

    depth  1   2   3   4
    patch 16  34  70 142 pixels
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gentrain.config.types import Count
from gentrain.errors import UserError
from gentrain.layers.activation import LeakyReLU
from gentrain.layers.normalization import Norm, norm2d
from gentrain.networks import base

KERNEL = 4
MOST = 8  # channels grow from width to MOST * width


class Critic(base.Critic):
    """(B, *shape) -> (B * P,) scores of P patches; with `source_shape` of pairs, target and source, which are joined on channels.

    C64-C128-C256-C512 at the paper's width and depth 3: norm everywhere but in the first layer, LeakyReLU 0.2.
    """

    def __init__(
        self,
        shape: list[int],
        source_shape: list[int] | None = None,
        width: Count = 64,
        depth: Count = 3,
        norm: Norm = "instance",
    ) -> None:
        inputs = shape[0] + (source_shape[0] if source_shape else 0)
        if source_shape and source_shape[1:] != shape[1:]:
            raise UserError(
                f"sources of {source_shape[1:]} cannot be joined to images of {shape[1:]} (model.critic.source_shape, data); write null"
            )
        strides = [2] * depth + [1]
        height, breadth = (after(side, strides) for side in shape[1:])
        if min(height, breadth) < 2:
            raise UserError(
                f"an image of {shape[1]} x {shape[2]} is too small for a patch critic with {depth} halvings (model.critic, data.size); "
                "set a smaller depth, or larger images"
            )
        layers: list[nn.Module] = []
        for i, stride in enumerate(strides):
            outputs = width * min(2**i, MOST)
            layers.append(
                nn.Conv2d(inputs, outputs, KERNEL, stride, 1, bias=norm != "batch" or i == 0)
            )
            layers += [norm2d(norm, outputs)] if i else []
            layers.append(LeakyReLU(0.2))
            inputs = outputs
        head = Places((inputs, height, breadth), KERNEL)
        super().__init__(nn.Sequential(*layers, nn.Flatten()), inputs * height * breadth, head=head)
        self.source_shape = source_shape
        base.gaussian_init(self)

    def features(self, x: Tensor, source: Tensor | None = None) -> Tensor:
        return self.body(x if source is None else torch.cat([x, source], 1))

    def forward(self, x: Tensor, source: Tensor | None = None) -> Tensor:
        return self.score(self.features(x, source))


class Strided(base.Critic):
    """The critic of StarGAN (Choi et al., 2018): no norm, `depth` halvings of 4 x 4, LeakyReLU 0.01, then a 3 x 3 convolution to scores.

    (B, *shape) -> (B * P,). Without a depth it halves until 2 or 3 pixels are left, which are the paper's 6 layers and 2 x 2 scores at 128.
    A gradient penalty is of the mean of an image's scores, as the Wasserstein loss is; the authors' code takes their sum.
    """

    def __init__(self, shape: list[int], width: Count = 64, depth: Count | None = None) -> None:
        height, breadth = shape[1:]
        inputs, layers = shape[0], list[nn.Module]()
        while len(layers) < 2 * depth if depth else min(height, breadth) > 3:
            outputs = width * 2 ** (len(layers) // 2)
            layers += [nn.Conv2d(inputs, outputs, KERNEL, 2, 1), LeakyReLU(0.01)]
            inputs, height, breadth = outputs, height // 2, breadth // 2
        if not layers or min(height, breadth) < 1:
            raise UserError(
                f"an image of {shape[1]} x {shape[2]} cannot be halved so often (model.critic, data.size); set a smaller depth"
            )
        super().__init__(
            nn.Sequential(*layers, nn.Flatten()),
            inputs * height * breadth,
            head=Places((inputs, height, breadth), 3),
        )


class Places(nn.Module):
    """Features (B, C * H * W), seen as the map (B, C, H, W) that they are, to a score for each place of a convolution: (B, P)."""

    def __init__(self, shape: tuple[int, int, int], kernel: int) -> None:
        super().__init__()
        self.shape = shape
        self.conv = nn.Conv2d(shape[0], 1, kernel, padding=1)

    @property
    def weight(self) -> Tensor:
        return self.conv.weight

    def forward(self, h: Tensor) -> Tensor:
        return self.conv(h.unflatten(1, self.shape)).flatten(1)


def after(side: int, strides: list[int]) -> int:
    """The side of the map that convolutions of 4 x 4 with padding 1 leave."""
    for stride in strides:
        side = (side + 2 - KERNEL) // stride + 1
    return side


def receptive_field(layers: nn.Module) -> int:
    """The side of the patch on which one output of a sequence of convolutions depends."""
    r = 1
    for layer in reversed([module for module in layers.modules() if isinstance(module, nn.Conv2d)]):
        r = (r - 1) * int(layer.stride[0]) + int(layer.kernel_size[0])
    return r
