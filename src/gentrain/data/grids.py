"""Pictures of batches: grids, sheets and densities."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.utils import make_grid, save_image

from gentrain.files import atomic_write

POINTS, BINS, ZOOM = (
    10_000,
    64,
    4,
)  # of a density picture: points that are counted, bins a side, pixels a bin


def grid(images: Tensor) -> Tensor:
    """(B, C, H, W) in [-1, 1] -> (3, H', W') in [0, 1], as square as it can be."""
    return make_grid(unit(images), nrow=math.ceil(math.sqrt(len(images))))


def sheet(
    sources: Tensor, images: Tensor, targets: Tensor | None = None, across: int | None = None
) -> Tensor:
    """source | image | target, one such group after the other, `across` to a row; (3, H', W') in [0, 1]."""
    size = tuple(max(part.shape[-2:] for part in (sources, images)))
    parts = [
        enlarged(as_picture(part), size) for part in (sources, images, targets) if part is not None
    ]
    across = across or max(1, math.ceil(math.sqrt(len(images) / len(parts))))
    return make_grid(unit(torch.stack(parts, 1).flatten(0, 1)), nrow=across * len(parts))


def as_picture(part: Tensor) -> Tensor:
    """(B, 3, H, W): grey is repeated, and a mask, the last channel, is left out."""
    part = part.detach().float().cpu()
    part = part[:, :-1] if part.shape[1] in (2, 4) else part
    return part.expand(-1, 3, -1, -1) if part.shape[1] == 1 else part


def enlarged(images: Tensor, size: tuple[int, ...]) -> Tensor:
    return images if images.shape[-2:] == size else F.interpolate(images, size)


def density(points: Tensor) -> Tensor:
    """(B, 2) in [-1, 1]^2 -> (3, H, W): the more points, the darker; the root of the count, so that sparse places show."""
    counts = torch.histogramdd(
        points.float().cpu(), bins=[BINS, BINS], range=[-1.0, 1.0, -1.0, 1.0]
    ).hist
    return inked(counts.repeat_interleave(ZOOM, 0).repeat_interleave(ZOOM, 1))


def inked(values: Tensor) -> Tensor:
    """Numbers >= 0 at (x, y) -> (3, H, W): the greatest is black."""
    ink = (values / values.max().clamp(min=1e-30)).sqrt().T.flip(0)  # x to the right, y up
    return make_grid((1 - ink)[None], pad_value=0.5)


def unit(images: Tensor) -> Tensor:
    return (images.detach().float().cpu() + 1).div(2).clamp(0, 1)


def save(picture: Tensor, path: Path) -> None:
    """The file is whole or not there: someone may be looking."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as part:
        save_image(picture, part, format="png")
