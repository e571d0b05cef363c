"""Differentiable augmentation: changes of images (B, C, H, W) in [-1, 1] that a gradient passes through, drawn anew for each image.

Colour, translation and cutout are those of Zhao et al., "Differentiable Augmentation for Data-Efficient GAN Training" (2020); affine maps
are among those of Karras et al., "Training Generative Adversarial Networks with Limited Data" (2020).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Change = Literal["color", "translation", "cutout", "affine"]


def augmented(x: Tensor, policy: Sequence[Change]) -> Tensor:
    """Each change of the policy in turn."""
    for name in policy:
        x = CHANGES[name](x)
    return x


def color(x: Tensor) -> Tensor:
    """Brightness +- 1/2, saturation 0 to 2, contrast 1/2 to 3/2, each drawn once per image."""
    x = x + (uniform(x) - 0.5)
    grey = x.mean(1, keepdim=True)
    x = torch.lerp(grey, x, uniform(x) * 2)
    mean = x.mean((1, 2, 3), keepdim=True)
    return torch.lerp(mean, x, uniform(x) + 0.5)


def translation(x: Tensor, ratio: float = 0.125) -> Tensor:
    """A shift by up to an eighth of the image's side; zeros come in."""
    B, _, H, W = x.shape
    rows = torch.arange(H, device=x.device) + shift(B, H, ratio, x.device)
    cols = torch.arange(W, device=x.device) + shift(B, W, ratio, x.device)
    inside = ((rows >= 0) & (rows < H))[:, None, :, None] & ((cols >= 0) & (cols < W))[
        :, None, None, :
    ]
    moved = x.take_along_dim(rows.clamp(0, H - 1)[:, None, :, None], 2).take_along_dim(
        cols.clamp(0, W - 1)[:, None, None, :], 3
    )
    return moved * inside


def cutout(x: Tensor, ratio: float = 0.5) -> Tensor:
    """A square of half the image's side, anywhere, becomes zero."""
    B, _, H, W = x.shape
    rows = (
        torch.arange(H, device=x.device) - torch.randint(H, (B, 1), device=x.device)
    ).abs() <= H * ratio / 2
    cols = (
        torch.arange(W, device=x.device) - torch.randint(W, (B, 1), device=x.device)
    ).abs() <= W * ratio / 2
    return x * ~(rows[:, None, :, None] & cols[:, None, None, :])


def affine(
    x: Tensor, angle: float = 0.35, scale: float = 0.2, shear: float = 0.3, ratio: float = 0.075
) -> Tensor:
    """A rotation by up to `angle` (radians, 20 degrees), a scale of e^-`scale` to e^`scale`, a slant of up to `shear`, a shift by up to
    `ratio` of the side: output pixel p, counted from the centre, shows what was at s R(a) [[1, k], [0, 1]] p + t.
    """
    draws = torch.rand(5, len(x), device=x.device) * 2 - 1
    a, s, k = angle * draws[0], torch.exp(scale * draws[1]), shear * draws[2]
    cos, sin = torch.cos(a), torch.sin(a)
    matrix = s[:, None, None] * torch.stack(
        [torch.stack([cos, k * cos - sin], 1), torch.stack([sin, k * sin + cos], 1)], 1
    )
    return warped(x, matrix, ratio * torch.stack([x.shape[3] * draws[3], x.shape[2] * draws[4]], 1))


def warped(x: Tensor, matrix: Tensor, offset: Tensor) -> Tensor:
    """Output pixel p = (column, row), counted from the centre, shows what was at matrix p + offset, (B, 2, 2) and (B, 2), in pixels.

    Bilinear; beyond its border an image goes on as it ends there. In float32, also under autocast: pixels are counted.
    """
    H, W = x.shape[2:]
    (a, b, c, d), (t, u) = matrix.flatten(1).unbind(1), offset.unbind(1)
    theta = torch.stack(
        [torch.stack([a, b * H / W, 2 * t / W], 1), torch.stack([c * W / H, d, 2 * u / H], 1)], 1
    )  # in half sides
    with torch.autocast(x.device.type, enabled=False):
        grid = F.affine_grid(theta, list(x.shape), align_corners=False)
        return F.grid_sample(x.float(), grid, padding_mode="border", align_corners=False)


def shift(batch: int, side: int, ratio: float, device: torch.device) -> Tensor:
    most = int(side * ratio + 0.5)
    return torch.randint(-most, most + 1, (batch, 1), device=device)


def uniform(x: Tensor) -> Tensor:
    return torch.rand(len(x), 1, 1, 1, device=x.device, dtype=x.dtype)


CHANGES: dict[Change, Callable[[Tensor], Tensor]] = {
    "color": color,
    "translation": translation,
    "cutout": cutout,
    "affine": affine,
}
