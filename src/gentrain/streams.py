"""Random numbers with a stream of their own for every image.

Image i of a seed is then the same image, however many are drawn and in batches of any size. Code
that draws for each row of a batch calls `uniform`, `normal` and `bernoulli`, which take the place
of torch.rand_like, torch.randn_like and torch.bernoulli. Inside `image_streams` a row's numbers are
those of its image; elsewhere they are torch's.

The streams are counters under a keyed bijection (Salmon, Moraes, Dror & Shaw, "Parallel Random
Numbers: As Easy as 1, 2, 3", 2011), the key being the seed and the number of the image. They are
drawn on the CPU, so that all devices draw the same images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

SHARED = 2**64 - 1  # the number of the stream that all images share


class Streams:
    """A generator of random numbers for each of some images.

    Args:
        seed: from 0 to 2**32 - 1.
        images: their numbers.
    """

    def __init__(self, seed: int, images: Iterable[int]) -> None:
        self.images = list(images)
        self.each = [generator(seed, image) for image in self.images]
        self.shared = generator(seed, SHARED)

    def draw(
        self, like: Tensor, numbers: Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]
    ) -> Tensor:
        """Draw (k n, ...) numbers; of n images in turn, k rows of each.

        Args:
            like: what the numbers shall be like in shape, type and device.
            numbers: draws an array of a shape from one generator.
        """
        times, rest = divmod(len(like), len(self.each))
        assert rest == 0, f"{len(like)} rows of {len(self.each)} streams"
        shape = (times, *like.shape[1:])
        rows = np.stack([numbers(one, shape) for one in self.each], 1)
        return torch.from_numpy(rows.reshape(like.shape)).to(like)


class Active:
    """The streams of the innermost `image_streams`, or None."""

    streams: Streams | None = None


def generator(seed: int, image: int) -> np.random.Generator:
    """The stream of an image."""
    return np.random.Generator(np.random.Philox(key=np.array([seed, image], dtype=np.uint64)))


@contextmanager
def image_streams(seed: int, images: Iterable[int]) -> Iterator[None]:
    """Draw random numbers inside from the streams of some images, from their beginnings.

    Args:
        seed: from 0 to 2**32 - 1.
        images: the numbers of the images that the rows of every batch stand for, in turn.
    """
    before, Active.streams = Active.streams, Streams(seed, images)
    try:
        yield
    finally:
        Active.streams = before


def image_numbers(n: int) -> Tensor:
    """The numbers (n,) of the images that are drawn: those of the streams, or else 0 to n - 1."""
    streams = Active.streams
    return torch.arange(n) if streams is None else torch.tensor(streams.images)


def uniform(like: Tensor) -> Tensor:
    """Numbers uniform in [0, 1), of the shape, the type and the device of a tensor (n, ...)."""
    if Active.streams is None:
        return torch.rand_like(like)
    return Active.streams.draw(like, lambda one, shape: one.random(shape, dtype=np.float32))


def normal(like: Tensor) -> Tensor:
    """Standard normal numbers, of the shape, the type and the device of a tensor (n, ...)."""
    if Active.streams is None:
        return torch.randn_like(like)
    return Active.streams.draw(
        like, lambda one, shape: one.standard_normal(shape, dtype=np.float32)
    )


def bernoulli(p: Tensor) -> Tensor:
    """1 with probability p (n, ...), and 0 otherwise."""
    return torch.bernoulli(p) if Active.streams is None else (uniform(p) < p).to(p)


def dropout(x: Tensor, p: float) -> Tensor:
    """Zero a share p of the values of x (n, ...), and divide the others by 1 - p."""
    if Active.streams is None:
        return F.dropout(x, p, True)
    return x * (uniform(x) >= p) / (1 - p)


def permutation(n: int) -> list[int]:
    """A random order of 0 to n - 1, the same for all images."""
    if Active.streams is None:
        return torch.randperm(n).tolist()
    return Active.streams.shared.permutation(n).tolist()
