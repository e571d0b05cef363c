"""Differentiable augmentation of images (B, C, H, W) in [-1, 1], drawn anew for each image.

Colour, translation and cutout are those of Zhao et al., "Differentiable augmentation for
data-efficient GAN training", 2020. Affine maps are among those of Karras et al., "Training
generative adversarial networks with limited data", 2020.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from gentrain.layers.precision import at_least_single

Augmentation = Literal["color", "translation", "cutout", "affine"]


def augmented(x: Tensor, policy: Sequence[Augmentation]) -> Tensor:
    """Apply each augmentation of the policy in turn."""
    for name in policy:
        x = AUGMENTATIONS[name](x)
    return x


def color(x: Tensor) -> Tensor:
    """Change brightness by up to 1/2, saturation by 0 to 2 times, contrast by 1/2 to 3/2 times."""
    x = x + (uniform_per_image(x) - 0.5)
    grey = x.mean(1, keepdim=True)
    x = torch.lerp(grey, x, uniform_per_image(x) * 2)
    mean = x.mean((1, 2, 3), keepdim=True)
    return torch.lerp(mean, x, uniform_per_image(x) + 0.5)


def translation(x: Tensor, ratio: float = 0.125) -> Tensor:
    """Shift by up to `ratio` of the side, with zeros beyond the border."""
    B, _, H, W = x.shape
    rows = torch.arange(H, device=x.device) + random_shift(B, H, ratio, x.device)
    cols = torch.arange(W, device=x.device) + random_shift(B, W, ratio, x.device)
    inside_rows, inside_cols = (rows >= 0) & (rows < H), (cols >= 0) & (cols < W)
    shifted = x.take_along_dim(rows.clamp(0, H - 1)[:, None, :, None], 2)
    shifted = shifted.take_along_dim(cols.clamp(0, W - 1)[:, None, None, :], 3)
    return shifted * (inside_rows[:, None, :, None] & inside_cols[:, None, None, :])


def cutout(x: Tensor, ratio: float = 0.5) -> Tensor:
    """Set a square of `ratio` of the side to zero: 14, 16 and 32 pixels of 28, 32 and 64.

    Its centre is anywhere in the image. What lies beyond the border is cut off.
    """
    B, _, H, W = x.shape
    rows, cols = (random_interval(B, side, ratio, x.device) for side in (H, W))
    return x * ~(rows[:, None, :, None] & cols[:, None, None, :])


def random_interval(batch: int, side: int, ratio: float, device: torch.device) -> Tensor:
    """Which of the numbers below `side` are in an interval of `ratio` of the side, (B, side).

    As in the authors' code, an interval of odd length has its middle at each number equally likely,
    and one of even length between two numbers, or at either end.
    """
    length = int(side * ratio + 0.5)
    middle = torch.randint(side + 1 - length % 2, (batch, 1), device=device)
    first = middle - length // 2
    places = torch.arange(side, device=device)
    return (places >= first) & (places < first + length)


def affine(
    x: Tensor, angle: float = 0.35, scale: float = 0.2, shear: float = 0.3, ratio: float = 0.075
) -> Tensor:
    """Rotate, scale, shear and shift: output pixel p shows x at s R(a) [[1, k], [0, 1]] p + t.

    Pixels are counted from the centre.

    Args:
        x: (B, C, H, W).
        angle: the largest |a|, in radians; 0.35 is 20 degrees.
        scale: the largest |log s|.
        shear: the largest |k|.
        ratio: the largest shift |t|, as a share of the side.
    """
    draws = torch.rand(5, len(x), device=x.device) * 2 - 1
    a, s, k = angle * draws[0], torch.exp(scale * draws[1]), shear * draws[2]
    cos, sin = torch.cos(a), torch.sin(a)
    rotation_and_shear = torch.stack(
        [torch.stack([cos, k * cos - sin], 1), torch.stack([sin, k * sin + cos], 1)], 1
    )
    offset = ratio * torch.stack([x.shape[3] * draws[3], x.shape[2] * draws[4]], 1)
    return warp(x, s[:, None, None] * rotation_and_shear, offset)


def warp(x: Tensor, matrix: Tensor, offset: Tensor) -> Tensor:
    """Output pixel p = (column, row), counted from the centre, shows x at matrix p + offset.

    Bilinear. Beyond its border an image continues with the pixels of the border. It is computed in
    float32 under autocast, too: lower precisions cannot tell neighbouring pixels apart.

    Args:
        x: (B, C, H, W).
        matrix: (B, 2, 2).
        offset: (B, 2), in pixels.
    """
    H, W = x.shape[2:]
    (a, b, c, d), (t, u) = matrix.flatten(1).unbind(1), offset.unbind(1)
    # affine_grid counts in half sides
    theta = torch.stack(
        [torch.stack([a, b * H / W, 2 * t / W], 1), torch.stack([c * W / H, d, 2 * u / H], 1)], 1
    )
    with torch.autocast(x.device.type, enabled=False):
        grid = F.affine_grid(theta, list(x.shape), align_corners=False)
        return F.grid_sample(at_least_single(x), grid, padding_mode="border", align_corners=False)


def random_shift(batch: int, side: int, ratio: float, device: torch.device) -> Tensor:
    """Draw whole shifts (B, 1) of up to `ratio` of the side in both directions."""
    most = int(side * ratio + 0.5)
    return torch.randint(-most, most + 1, (batch, 1), device=device)


def uniform_per_image(x: Tensor) -> Tensor:
    """Draw one number from U(0, 1) for each image of x (B, C, H, W), (B, 1, 1, 1)."""
    return torch.rand(len(x), 1, 1, 1, device=x.device, dtype=x.dtype)


AUGMENTATIONS: dict[Augmentation, Callable[[Tensor], Tensor]] = {
    "color": color,
    "translation": translation,
    "cutout": cutout,
    "affine": affine,
}
