"""The order of the batches, and the batches themselves: pure functions of (seed, position).

Batch number `position` of a run holds the same images whatever happened before, so resuming costs
one permutation.
"""

import hashlib
import multiprocessing
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, Sampler

from gentrain.data.arrays import ArrayDataset, present, to_float
from gentrain.data.degrade import Degradation
from gentrain.errors import Unavailable


def generator(*key: int | str) -> torch.Generator:
    """A random generator for a key; the global one is never touched."""
    digest = hashlib.sha256(repr(key).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


# --- order ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BatchSampler:
    """Which rows make which batch.

    A global batch has `world * batch_size` rows, of which rank r takes the r-th slice.

    Args:
        rows: number of rows of the data set.
        batch_size: per process.
        seed: seed for the order.
        rank: rank of this process.
        world: number of processes.
        of: makes two orders of one seed independent.
    """

    rows: int
    batch_size: int
    seed: int
    rank: int = 0
    world: int = 1
    of: str = ""

    @property
    def per_epoch(self) -> int:
        """Whole global batches in one permutation; the remainder is dropped."""
        return self.rows // (self.world * self.batch_size)

    def epoch(self, number: int) -> Tensor:
        """int64 (per_epoch, batch_size): this rank's batches of one permutation."""
        permutation = torch.randperm(self.rows, generator=self.generator("epoch", number))
        whole = permutation[: self.per_epoch * self.world * self.batch_size]
        return whole.view(self.per_epoch, self.world, self.batch_size)[:, self.rank].contiguous()

    def flips(self, position: int) -> Tensor:
        """bool (batch_size,): which images of one batch are mirrored."""
        return self.uniform("flip", position, 1)[:, 0] < 0.5

    def uniform(self, what: str, position: int, count: int) -> Tensor:
        """(batch_size, count) numbers in [0, 1) for the images of one batch.

        They are drawn for the global batch, as the rows are.
        """
        numbers = torch.rand(
            self.world, self.batch_size, count, generator=self.generator(what, position)
        )
        return numbers[self.rank]

    def generator(self, what: str, number: int) -> torch.Generator:
        """A random generator for one use and one number."""
        return generator(self.seed, what + self.of, number)

    def start(self, position: int, device: torch.device | None = None) -> Iterator[Tensor]:
        """The rows of batch `position`, `position + 1`, ... without end."""
        epoch, skip = divmod(position, self.per_epoch)
        while True:
            yield from self.epoch(epoch).to(device)[skip:]
            epoch, skip = epoch + 1, 0


def zero() -> int:
    """The position of a stream that starts at its beginning."""
    return 0


# --- streams --------------------------------------------------------------------------------------


class Batches:
    """An endless stream of (images, sources, labels) on `device`, without those that are None.

    Images and sources are float32 in [-1, 1], labels int64. A pair of image and source is mirrored
    and cropped as one.

    Args:
        samples: the data set.
        order: which rows make which batch.
        device: where the batches shall be.
        flip: mirror half of the images left to right.
        resident: keep all images on the device and index them there.
        workers: processes that read the images otherwise.
        position: asked for the number of the first batch whenever an iteration begins.
        batches_per_step: makes each item a list of this many batches.
        jitter: enlarge images by so many pixels a side, and cut the former size out at a random
            place.
        degrade: makes sources of the images, after all that.
    """

    def __init__(
        self,
        samples: ArrayDataset,
        order: BatchSampler,
        device: torch.device | str = "cpu",
        flip: bool = False,
        resident: bool = True,
        workers: int = 0,
        position: Callable[[], int] = zero,
        batches_per_step: int | None = None,
        jitter: int = 0,
        degrade: Degradation | None = None,
    ) -> None:
        self.order, self.device = order, torch.device(device)
        self.flip, self.jitter, self.degrade = flip, jitter, degrade
        self.resident, self.workers, self.position, self.batches_per_step = (
            resident,
            workers,
            position,
            batches_per_step,
        )
        self.samples = on_device(samples, self.device) if resident else samples

    def __iter__(self) -> Iterator[Any]:
        return grouped(self.at(self.position()), self.batches_per_step)

    def at(self, position: int) -> Iterator[tuple[Tensor, ...]]:
        """The stream from batch number `position` on."""
        rows = self.indexed(position) if self.resident else self.fetched(position)
        pictures = 1 + (self.samples.sources is not None)
        for number, parts in enumerate(rows, start=position):
            seen = [self.augmented(to_float(part), number) for part in parts[:pictures]]
            made = [] if self.degrade is None else [self.degraded(seen[0], number)]
            yield (*seen, *made, *parts[pictures:])

    def indexed(self, position: int) -> Iterator[tuple[Tensor, ...]]:
        """Batches indexed on the device; the rows of one epoch are sent at once."""
        for rows in self.order.start(position, self.device):
            yield take(self.samples, rows)

    def fetched(self, position: int) -> Iterator[tuple[Tensor, ...]]:
        """Batches that worker processes read, and that are then sent to the device."""
        loader = DataLoader(
            Rows(self.samples),
            sampler=Positions(self.order, position),
            # one item is one whole batch
            batch_size=None,
            num_workers=self.workers,
            pin_memory=self.device.type == "cuda",
            # else the loader would draw its base seed from the global generator
            generator=torch.Generator(),
            # forked processes share the pages of the file
            multiprocessing_context=multiprocessing.get_context("fork") if self.workers else None,
        )
        for batch in report_dead_workers(iter(loader)):
            yield tuple(part.to(self.device, non_blocking=True) for part in batch)

    def augmented(self, images: Tensor, position: int) -> Tensor:
        """The images of a batch, mirrored and cropped; the same for both images of a pair."""
        if self.flip:
            flips = self.order.flips(position).to(self.device)[:, None, None, None]
            images = torch.where(flips, images.flip(-1), images)
        if self.jitter:
            images = cropped(images, self.jitter, self.order.uniform("crop", position, 2))
        return images

    def degraded(self, images: Tensor, position: int) -> Tensor:
        """Sources of the images of a batch."""
        assert self.degrade is not None
        numbers = self.order.uniform("degrade", position, self.degrade.draws)
        return self.degrade.make(images, numbers)


def cropped(images: Tensor, jitter: int, places: Tensor) -> Tensor:
    """Enlarge images by `jitter` pixels a side, and cut their former size out.

    Args:
        images: (B, C, H, W).
        jitter: pixels.
        places: (B, 2) in [0, 1), which say where.

    Returns:
        (B, C, H, W).
    """
    height, width = images.shape[-2:]
    larger = F.interpolate(images, (height + jitter, width + jitter), mode="bilinear")
    top, left = (places * (jitter + 1)).long().to(images.device).T
    rows = top[:, None] + torch.arange(height, device=top.device)
    columns = left[:, None] + torch.arange(width, device=top.device)
    batch = torch.arange(len(images), device=top.device)
    channels = torch.arange(images.shape[1], device=top.device)
    return larger[
        batch[:, None, None, None],
        channels[:, None, None],
        rows[:, None, :, None],
        columns[:, None, None, :],
    ]


class ZippedBatches:
    """Batches of images, each with a batch of others: labelled images, or another domain.

    Items are (images, labelled images, their labels), or (images, sources). They are a function of
    (seed, position), as the two streams are.

    Args:
        images: the first stream.
        others: the second stream.
        position: asked for the number of the first batch whenever an iteration begins.
        batches_per_step: makes each item a list of this many batches.
    """

    def __init__(
        self,
        images: Batches,
        others: Batches,
        position: Callable[[], int] = zero,
        batches_per_step: int | None = None,
    ) -> None:
        self.images, self.others, self.position, self.batches_per_step = (
            images,
            others,
            position,
            batches_per_step,
        )

    def __iter__(self) -> Iterator[Any]:
        return grouped(self.at(self.position()), self.batches_per_step)

    def at(self, position: int) -> Iterator[tuple[Tensor, ...]]:
        """The stream from batch number `position` on."""
        for images, others in zip(self.images.at(position), self.others.at(position), strict=False):
            yield (*images, *others)


def grouped(stream: Iterator[Any], batches_per_step: int | None) -> Iterator[Any]:
    """Lists of `batches_per_step` items; the items themselves for None."""
    if batches_per_step is None:
        return stream
    return (list(items) for items in zip(*[stream] * batches_per_step, strict=True))


# --- worker processes -----------------------------------------------------------------------------


def worker_death(error: Exception) -> str:
    """One line about a worker that died.

    torch reports it by a signal, whose RuntimeError comes up at whatever line is executed.
    """
    text = "a DataLoader worker was killed"
    match error:
        case RuntimeError():
            text = " ".join(str(error).split()).rstrip(".")
    return f"{text} (data.workers); is there enough memory? resume the run, with fewer workers"


def report_dead_workers(batches: Iterator[list[Tensor]]) -> Iterator[list[Tensor]]:
    """The same batches; raises Unavailable, in one line, when a worker process died."""
    while True:
        try:
            batch = next(batches)
        except (ConnectionError, EOFError) as error:
            raise Unavailable(worker_death(error)) from error
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            raise Unavailable(worker_death(error)) from error
        yield batch


class Rows(Dataset[tuple[Tensor, ...]]):
    """A data set whose index is the rows of a whole batch."""

    def __init__(self, samples: ArrayDataset) -> None:
        self.samples = samples

    def __getitem__(self, rows: Tensor) -> tuple[Tensor, ...]:
        return take(self.samples, rows)


class Positions(Sampler[Tensor]):
    """The rows of every batch from `position` on."""

    def __init__(self, order: BatchSampler, position: int) -> None:
        self.order, self.position = order, position

    def __iter__(self) -> Iterator[Tensor]:
        return self.order.start(self.position)


# --- tensors --------------------------------------------------------------------------------------


def take(samples: ArrayDataset, rows: Tensor) -> tuple[Tensor, ...]:
    """Some rows of images, sources and labels, without those that are None."""
    return tuple(part.index_select(0, rows) for part in present(samples))


def on_device(samples: ArrayDataset, device: torch.device) -> ArrayDataset:
    """The samples on a device."""
    moved = (None if part is None else part.to(device) for part in samples)
    return ArrayDataset(*moved)  # type: ignore[arg-type]


def fits(samples: ArrayDataset, device: torch.device) -> bool:
    """Whether all images take at most a quarter of the free memory of a device."""
    parts = [part for part in (samples.images, samples.sources) if part is not None]
    size = sum(part.numel() * part.element_size() for part in parts)
    return 4 * size <= free_memory(device)


def free_memory(device: torch.device) -> int:
    """Bytes that are free on a device, or available in the machine's memory."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        with open("/proc/meminfo", encoding="utf-8") as lines:
            available = next(line for line in lines if line.startswith("MemAvailable:"))
        return 1024 * int(available.split()[1])
    except (OSError, StopIteration):  # not Linux
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def as_batch(source: ArrayDataset, rows: Tensor, device: torch.device) -> tuple[Tensor, ...]:
    """Rows of a data set as training sees them: images in [-1, 1], sources and labels if any.

    Args:
        source: the data set. The rows of the smaller of two domains repeat.
        rows: int64 (B,).
        device: where the batch shall be.
    """
    parts = (part[(rows % len(part)).to(part.device)].to(device) for part in present(source))
    return tuple(to_float(part) for part in parts)
