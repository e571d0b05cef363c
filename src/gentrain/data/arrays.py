"""What every data set comes down to: one tensor of images (or points), and one of labels."""

import hashlib
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

CHUNK = 4096  # images handled at a time where a float copy of all of them would be too large
PART = 2**21  # bytes of images that are copied at a time
FULL_SCALE = 32768  # of sounds of 16 bits
LOOKED_AT = 65536  # at most so many images are looked at for one single colour


class Frame(NamedTuple):
    """The box of points that a picture shows, in the units of the samples."""

    centre: Tensor  # (D,)
    half: Tensor  # (D,), half the sides

    def inside(self, points: Tensor) -> Tensor:
        """Points (N, D) where the box becomes [-1, 1]^D."""
        return (points.float().cpu() - self.centre) / self.half

    def places(self, inside: Tensor) -> Tensor:
        """The points (N, D) of places in [-1, 1]^D."""
        return self.centre + self.half * inside


class ArrayDataset(NamedTuple):
    """The samples of one split. Tensors may be memory-mapped.

    Args:
        images: uint8 (N, C, H, W), int16 sounds (N, C, L), or float32 points (N, D).
        labels: int64 (N,), or None.
        sources: uint8 (M, C', H', W'), what a translation starts from, or None. Where sources and
            images are pairs, M = N.
    """

    images: Tensor
    labels: Tensor | None
    sources: Tensor | None = None

    @property
    def rows(self) -> int:
        """Rows of the larger of two domains; the smaller repeats."""
        return max(len(self.images), 0 if self.sources is None else len(self.sources))


def with_labels(images: Tensor, labels: Tensor) -> ArrayDataset:
    """Images with labels of any integer type."""
    return ArrayDataset(images.contiguous(), labels.long())


def present(samples: ArrayDataset) -> tuple[Tensor, ...]:
    """(images, sources, labels) without those that are None."""
    return tuple(
        part for part in (samples.images, samples.sources, samples.labels) if part is not None
    )


def to_float(images: Tensor) -> Tensor:
    """uint8 0..255, or int16 -32768..32767 -> floats -1..1 of torch's default type.

    Points only change their type; labels, int64, stay as they are.

    >>> to_float(torch.tensor([0, 255], dtype=torch.uint8))
    tensor([-1.,  1.])
    """
    if images.dtype == torch.int64:
        return images
    floats = images.to(torch.get_default_dtype())
    match images.dtype:
        case torch.uint8:
            return floats.div_(127.5).sub_(1)
        case torch.int16:
            return floats.div_(FULL_SCALE)
    return floats


def to_bytes(images: Tensor) -> Tensor:
    """[-1, 1] -> uint8, rounded.

    >>> to_bytes(torch.tensor([-1.0, 0.0, 1.0]))
    tensor([  0, 128, 255], dtype=torch.uint8)
    """
    return ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def resized(images: Tensor, sides: tuple[int, int]) -> Tensor:
    """uint8 (N, C, H', W') -> uint8 (N, C, H, W) of (H, W): antialiased bilinear, rounded."""
    if images.shape[-2:] == sides:
        return images
    out = torch.empty(*images.shape[:2], *sides, dtype=torch.uint8)
    for chunk, target in zip(images.split(CHUNK), out.split(CHUNK), strict=True):
        smooth = F.interpolate(chunk.float(), sides, mode="bilinear", antialias=True)
        target.copy_(smooth.round_().clamp_(0, 255))
    return out


def sha256_of(samples: ArrayDataset) -> str:
    """sha256 of the shape, the pixels, the sources and the labels, in hex."""
    digest = hashlib.sha256(f"{tuple(samples.images.shape)} {samples.images.dtype}".encode())
    for part in present(samples):
        for chunk in part.split(CHUNK):
            digest.update(chunk.contiguous().numpy().data)
    return digest.hexdigest()


def random_rows(count: int, at_most: int | None = None, seed: int = 0) -> Tensor:
    """At most `at_most` of `count` rows, drawn by a seed; files are often sorted by class."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))[:at_most]


def drawn(images: Tensor, at_most: int, seed: int = 0) -> Tensor:
    """All images, or `at_most` of them, drawn by a seed, in their order."""
    if len(images) <= at_most:
        return images
    return images[random_rows(len(images), at_most, seed).sort().values.to(images.device)]


def constant_images(images: Tensor, at_most: int = LOOKED_AT) -> int:
    """How many of at most `at_most` images, drawn at random, have one value in each channel."""
    chunks = looked_at(images, at_most)
    return sum(int((chunk == chunk[..., :1, :1]).flatten(1).all(1).sum()) for chunk in chunks)


def looked_at(images: Tensor, at_most: int) -> Iterator[Tensor]:
    """At most `at_most` images, drawn at random, a few at a time: a part of a file in memory."""
    each = images[0].numel() * images.element_size() if len(images) else 1
    size = max(1, min(CHUNK, PART // each))
    for rows in random_rows(len(images), at_most).split(size):
        yield images[rows]
