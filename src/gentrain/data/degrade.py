"""What is taken away from an image, so that giving it back is a task for a translation: any image data set makes a paired one.

Of images (B, C, H, W) in [-1, 1]:
- edges          (B, 1, H, W): white where the gradient of the luma is steep, black elsewhere
- grayscale      (B, 1, H, W): the luma 0.299 R + 0.587 G + 0.114 B of ITU-R 601
- downsample_x4  (B, C, H/4, W/4): bicubic, with antialiasing; downsample_x2 likewise
- mask           (B, C + 1, H, W): four squares are grey, of 1/8 to 1/4 of the side each, so at most a quarter of the image (the random
                 blocks of Pathak et al., 2016); the last channel says what is known, 1, and what is not, -1
- mask_centre    the same with one square in the middle, of half the side

A degradation is a function of the image and of `draws` numbers in [0, 1) for each. Its values are those of 8 bits, as if stored.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

Shape = tuple[int, ...]

STEEP = 0.3  # of the change from black to white
SQUARES = 4
LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Degradation:
    """How sources are made, and what of them gives the target back without learning anything."""

    make: Callable[[Tensor, Tensor], Tensor]  # images and (B, draws) numbers in [0, 1) -> sources
    shape: Callable[[int, int, int], Shape]  # of a source
    refuses: Callable[[int, int, int], str] = lambda c, h, w: (
        ""
    )  # why images of this shape cannot be degraded so
    draws: int = 0
    holes: bool = False  # the last channel says where pixels are known
    baseline: str = ""  # the name of `restore`
    restore: Callable[[Tensor, Shape], Tensor] | None = (
        None  # sources and the target's shape -> images
    )


def grey(images: Tensor) -> Tensor:
    """(B, 1, H, W), the luma."""
    weights = torch.tensor(
        LUMA if images.shape[1] == 3 else (1 / images.shape[1],) * images.shape[1]
    )
    return (images * weights.to(images)[:, None, None]).sum(1, keepdim=True)


def edges(images: Tensor, _: Tensor) -> Tensor:
    """Sobel's operator, in units of the step from black to white."""
    across = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]], device=images.device) / 8
    luma = F.pad(grey(images), (1, 1, 1, 1), mode="replicate")
    steep = (
        F.conv2d(luma, torch.stack([across, across.T])[:, None])
        .square()
        .sum(1, keepdim=True)
        .sqrt()
    )
    return (steep > STEEP).to(images.dtype) * 2 - 1


def smaller(images: Tensor, _: Tensor, factor: int) -> Tensor:
    side = (images.shape[-2] // factor, images.shape[-1] // factor)
    return rounded(F.interpolate(images, side, mode="bicubic", antialias=True))


def larger(sources: Tensor, shape: Shape) -> Tensor:
    """Bicubic."""
    return F.interpolate(sources, tuple(shape[1:]), mode="bicubic").clamp(-1, 1)


def holed(images: Tensor, known: Tensor) -> Tensor:
    """Grey where a pixel is not known; with the mask as one more channel."""
    mask = known.to(images.dtype)
    return torch.cat([rounded(images * mask), mask * 2 - 1], 1)


def squares(images: Tensor, numbers: Tensor) -> Tensor:
    """Four squares, whose sides are uniform in 1/8 ... 1/4 of the image's and whose places are uniform where they fit."""
    size, top, left = numbers.to(images.device).unflatten(1, (3, SQUARES)).unbind(1)
    size = (1 + size) / 8
    covered = torch.ones_like(images[:, :1], dtype=torch.bool).logical_not()
    for i in range(SQUARES):
        covered = (
            covered
            | (
                within(top[:, i], size[:, i], images.shape[2])[:, :, None]
                & within(left[:, i], size[:, i], images.shape[3])[:, None]
            )[:, None]
        )
    return holed(images, ~covered)


def within(place: Tensor, share: Tensor, side: int) -> Tensor:
    """(B, side): is a pixel's middle inside the interval of this share, at this place among those that fit?"""
    start = place * (1 - share)
    middle = (torch.arange(side, device=place.device) + 0.5) / side
    return (middle >= start[:, None]) & (middle < (start + share)[:, None])


def middle(images: Tensor, _: Tensor) -> Tensor:
    quarter = torch.full((len(images),), 0.5, device=images.device)
    rows, columns = (within(quarter, quarter, side) for side in images.shape[2:])
    return holed(images, ~(rows[:, :, None] & columns[:, None])[:, None])


def filled(sources: Tensor, shape: Shape) -> Tensor:
    """Each hole with the mean of the known pixels of its image and channel."""
    images, known = sources[:, :-1], sources[:, -1:] > 0
    mean = (images * known).sum((2, 3), keepdim=True) / known.sum((2, 3), keepdim=True).clamp(min=1)
    return torch.where(known, images, mean)


def rounded(images: Tensor) -> Tensor:
    """[-1, 1] to the nearest of the 256 values that are stored."""
    return ((images + 1) * 127.5).round().clamp(0, 255) / 127.5 - 1


def indivisible(c: int, h: int, w: int, factor: int) -> str:
    return (
        ""
        if h % factor == w % factor == 0
        else f"sides of {h} and {w} pixels are no multiples of {factor}"
    )


def downsampling(factor: int) -> Degradation:
    return Degradation(
        partial(smaller, factor=factor), lambda c, h, w: (c, h // factor, w // factor), partial(indivisible, factor=factor),
        baseline="bicubic", restore=larger,
    )  # fmt: skip


DEGRADATIONS = {
    "edges": Degradation(edges, lambda c, h, w: (1, h, w)),
    "grayscale": Degradation(
        lambda images, _: rounded(grey(images)), lambda c, h, w: (1, h, w), lambda c, h, w: "" if c == 3 else "they have no colours",
        baseline="grey", restore=lambda sources, shape: sources.expand(-1, shape[0], -1, -1),
    ),
    "downsample_x2": downsampling(2),
    "downsample_x4": downsampling(4),
    "mask": Degradation(squares, lambda c, h, w: (c + 1, h, w), draws=3 * SQUARES, holes=True, baseline="mean_fill", restore=filled),
    "mask_centre": Degradation(middle, lambda c, h, w: (c + 1, h, w), holes=True, baseline="mean_fill", restore=filled),
}  # fmt: skip


def source_shape(shape: Shape, degrade: str | None) -> list[int] | None:
    """Of what is given to a translation; None without one, and for a name that there is not."""
    return list(DEGRADATIONS[degrade].shape(*shape)) if degrade in DEGRADATIONS else None
