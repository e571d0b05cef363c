"""Degradations: what is taken away from images, for a translation to give back.

They make a paired data set of any image data set. Of images (B, C, H, W) in [-1, 1]:

- edges          (B, 1, H, W): white where the gradient of the luma is steep, black elsewhere
- grayscale      (B, 1, H, W): the luma 0.299 R + 0.587 G + 0.114 B of ITU-R 601
- downsample_x4  (B, C, H/4, W/4): bicubic, with antialiasing; downsample_x2 likewise
- mask           (B, C + 1, H, W): four grey squares, each of 1/8 to 1/4 of the side, so at most a
                 quarter of the image (the random blocks of Pathak et al., "Context Encoders",
                 2016); the last channel says what is known, 1, and what is not, -1
- mask_centre    the same with one square in the middle, of half the side

A degradation is a function of the image and of `draws` numbers in [0, 1) for each. Its values are
those of 8 bits, as if they were stored.
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
    """How sources are made of images, and how to guess the images without learning anything.

    Args:
        make: images (B, C, H, W) and numbers (B, draws) in [0, 1) -> sources.
        shape: C, H, W of an image -> the shape of its source.
        refuses: C, H, W -> why such images cannot be degraded; empty where they can.
        draws: random numbers for each image.
        holes: whether the last channel says where pixels are known.
        baseline: the name of `restore`.
        restore: sources and the shape of an image -> guesses of the images.
    """

    make: Callable[[Tensor, Tensor], Tensor]
    shape: Callable[[int, int, int], Shape]
    refuses: Callable[[int, int, int], str] = lambda c, h, w: ""
    draws: int = 0
    holes: bool = False
    baseline: str = ""
    restore: Callable[[Tensor, Shape], Tensor] | None = None


def grey(images: Tensor) -> Tensor:
    """The luma of images (B, C, H, W): (B, 1, H, W); the mean of channels that are no colours."""
    channels = images.shape[1]
    weights = torch.tensor(LUMA if channels == 3 else (1 / channels,) * channels)
    return (images * weights.to(images)[:, None, None]).sum(1, keepdim=True)


def edges(images: Tensor, _: Tensor) -> Tensor:
    """Sobel's operator, in units of the step from black to white."""
    across = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]], device=images.device) / 8
    luma = F.pad(grey(images), (1, 1, 1, 1), mode="replicate")
    gradient = F.conv2d(luma, torch.stack([across, across.T])[:, None])
    steepness = gradient.square().sum(1, keepdim=True).sqrt()
    return (steepness > STEEP).to(images.dtype) * 2 - 1


def smaller(images: Tensor, _: Tensor, factor: int) -> Tensor:
    """Bicubic, with antialiasing: (B, C, H / factor, W / factor)."""
    side = (images.shape[-2] // factor, images.shape[-1] // factor)
    return rounded(F.interpolate(images, side, mode="bicubic", antialias=True))


def larger(sources: Tensor, shape: Shape) -> Tensor:
    """Bicubic, to the shape of an image."""
    return F.interpolate(sources, tuple(shape[1:]), mode="bicubic").clamp(-1, 1)


def holed(images: Tensor, known: Tensor) -> Tensor:
    """Images that are grey where a pixel is not known, with the mask as one more channel.

    Args:
        images: (B, C, H, W) in [-1, 1].
        known: bool (B, 1, H, W).

    Returns:
        (B, C + 1, H, W); the mask is 1 where a pixel is known, else -1.
    """
    mask = known.to(images.dtype)
    return torch.cat([rounded(images * mask), mask * 2 - 1], 1)


def squares(images: Tensor, numbers: Tensor) -> Tensor:
    """Four square holes.

    Their sides are uniform in 1/8 ... 1/4 of the image's, their places uniform where they fit.
    """
    size, top, left = numbers.to(images.device).unflatten(1, (3, SQUARES)).unbind(1)
    size = (1 + size) / 8
    covered = torch.zeros_like(images[:, :1], dtype=torch.bool)
    for i in range(SQUARES):
        rows = within(top[:, i], size[:, i], images.shape[2])
        columns = within(left[:, i], size[:, i], images.shape[3])
        covered = covered | (rows[:, :, None] & columns[:, None])[:, None]
    return holed(images, ~covered)


def within(place: Tensor, share: Tensor, side: int) -> Tensor:
    """Which pixels of a side lie inside an interval.

    Args:
        place: (B,) in [0, 1), where the interval is, among the places where it fits.
        share: (B,), its length, of the side's.
        side: pixels.

    Returns:
        bool (B, side), by the middles of the pixels.
    """
    start = place * (1 - share)
    middle = (torch.arange(side, device=place.device) + 0.5) / side
    return (middle >= start[:, None]) & (middle < (start + share)[:, None])


def middle(images: Tensor, _: Tensor) -> Tensor:
    """One square hole in the middle, of half the side."""
    quarter = torch.full((len(images),), 0.5, device=images.device)
    rows, columns = (within(quarter, quarter, side) for side in images.shape[2:])
    return holed(images, ~(rows[:, :, None] & columns[:, None])[:, None])


def filled(sources: Tensor, shape: Shape) -> Tensor:
    """Images whose holes have the mean of the known pixels of their image and channel."""
    images, known = sources[:, :-1], sources[:, -1:] > 0
    mean = (images * known).sum((2, 3), keepdim=True) / known.sum((2, 3), keepdim=True).clamp(min=1)
    return torch.where(known, images, mean)


def rounded(images: Tensor) -> Tensor:
    """[-1, 1] to the nearest of the 256 values of 8 bits."""
    return ((images + 1) * 127.5).round().clamp(0, 255) / 127.5 - 1


def indivisible(c: int, h: int, w: int, factor: int) -> str:
    """Why images cannot be made smaller by a factor; empty where they can."""
    if h % factor == w % factor == 0:
        return ""
    return f"sides of {h} and {w} pixels are no multiples of {factor}"


def downsampling(factor: int) -> Degradation:
    """Smaller images, by a factor."""
    return Degradation(
        partial(smaller, factor=factor),
        lambda c, h, w: (c, h // factor, w // factor),
        partial(indivisible, factor=factor),
        baseline="bicubic",
        restore=larger,
    )


DEGRADATIONS = {
    "edges": Degradation(edges, lambda c, h, w: (1, h, w)),
    "grayscale": Degradation(
        lambda images, _: rounded(grey(images)),
        lambda c, h, w: (1, h, w),
        lambda c, h, w: "" if c == 3 else "they have no colours",
        baseline="grey",
        restore=lambda sources, shape: sources.expand(-1, shape[0], -1, -1),
    ),
    "downsample_x2": downsampling(2),
    "downsample_x4": downsampling(4),
    "mask": Degradation(
        squares,
        lambda c, h, w: (c + 1, h, w),
        draws=3 * SQUARES,
        holes=True,
        baseline="mean_fill",
        restore=filled,
    ),
    "mask_centre": Degradation(
        middle,
        lambda c, h, w: (c + 1, h, w),
        holes=True,
        baseline="mean_fill",
        restore=filled,
    ),
}


def source_shape(shape: Shape, degrade: str | None) -> list[int] | None:
    """The shape of the sources that a degradation makes; None for no degradation.

    >>> source_shape((3, 32, 32), "mask")
    [4, 32, 32]
    """
    if degrade not in DEGRADATIONS or len(shape) != 3:  # what is no image is refused elsewhere
        return None
    return list(DEGRADATIONS[degrade].shape(*shape))
