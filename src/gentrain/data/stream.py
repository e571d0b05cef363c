"""The order of the batches and the batches themselves: pure functions of (seed, position).

Batch number `position` of a run holds the same images whatever happened before: resuming costs one permutation.
"""

import hashlib
import multiprocessing
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from gentrain.data.samples import Samples, present, to_float
from gentrain.errors import Unavailable


def generator(*key: int | str) -> torch.Generator:
    """A generator of its own for every key, so that the global one is never touched."""
    digest = hashlib.sha256(repr(key).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


@dataclass(frozen=True)
class Order:
    """Which rows make which batch. A global batch has `world * batch_size` rows; rank r of w takes its r-th slice."""

    rows: int
    batch_size: int
    seed: int
    rank: int = 0
    world: int = 1

    @property
    def per_epoch(self) -> int:
        """Whole global batches in one permutation; the remainder is dropped."""
        return self.rows // (self.world * self.batch_size)

    def epoch(self, number: int) -> Tensor:
        """int64 (per_epoch, batch_size): this rank's batches of one permutation."""
        permutation = torch.randperm(self.rows, generator=generator(self.seed, "epoch", number))
        whole = permutation[: self.per_epoch * self.world * self.batch_size]
        return whole.view(self.per_epoch, self.world, self.batch_size)[:, self.rank].contiguous()

    def flips(self, position: int) -> Tensor:
        """bool (batch_size,): which images of one batch are mirrored; drawn for the global batch, as the rows are."""
        coins = torch.rand(self.world, self.batch_size, generator=generator(self.seed, "flip", position))
        return coins[self.rank] < 0.5

    def start(self, position: int, device: torch.device | None = None) -> Iterator[Tensor]:
        """The rows of batch `position`, `position + 1`, ... without end."""
        epoch, skip = divmod(position, self.per_epoch)
        while True:
            yield from self.epoch(epoch).to(device)[skip:]
            epoch, skip = epoch + 1, 0


def zero() -> int:
    return 0


class Batches:
    """Endless (images float32 in [-1, 1], labels int64) on `device`; without labels, (images,).

    `position` is asked for the number of the first batch whenever an iteration begins.
    `resident` keeps all images on the device and indexes them there; otherwise `workers` processes read them from where they are.
    `group` makes the items lists of as many batches.
    """

    def __init__(
        self,
        samples: Samples,
        order: Order,
        device: torch.device | str = "cpu",
        flip: bool = False,
        resident: bool = True,
        workers: int = 0,
        position: Callable[[], int] = zero,
        group: int | None = None,
    ) -> None:
        self.order, self.device, self.flip = order, torch.device(device), flip
        self.resident, self.workers, self.position, self.group = resident, workers, position, group
        self.samples = on_device(samples, self.device) if resident else samples

    def __iter__(self) -> Iterator[Any]:
        return grouped(self.at(self.position()), self.group)

    def at(self, position: int) -> Iterator[tuple[Tensor, ...]]:
        """The stream from batch number `position` on."""
        rows = self.indexed(position) if self.resident else self.fetched(position)
        for number, (images, *labels) in enumerate(rows, start=position):
            images = to_float(images)
            yield (self.mirrored(images, number) if self.flip else images, *labels)

    def indexed(self, position: int) -> Iterator[tuple[Tensor, ...]]:
        """Batches indexed where the images live; one epoch's rows travel at once."""
        for rows in self.order.start(position, self.device):
            yield taken(self.samples, rows)

    def fetched(self, position: int) -> Iterator[tuple[Tensor, ...]]:
        """The same batches through worker processes, and only then onto the device."""
        loader = DataLoader(
            Rows(self.samples),
            sampler=Positions(self.order, position),
            batch_size=None,  # one item is one whole batch
            num_workers=self.workers,
            pin_memory=self.device.type == "cuda",
            generator=torch.Generator(),  # else the loader would draw its base seed from the global one
            multiprocessing_context=multiprocessing.get_context("fork") if self.workers else None,  # shares the file's pages
        )
        for batch in alive(iter(loader)):
            yield tuple(part.to(self.device, non_blocking=True) for part in batch)

    def mirrored(self, images: Tensor, position: int) -> Tensor:
        coins = self.order.flips(position).to(self.device)
        return torch.where(coins[:, None, None, None], images.flip(-1), images)


class Accompanied:
    """Every batch of images with one of the few that have labels beside it: (images, labelled images, their labels).

    A function of (seed, position) as its two parts are.
    """

    def __init__(self, images: Batches, labelled: Batches, position: Callable[[], int] = zero, group: int | None = None) -> None:
        self.images, self.labelled, self.position, self.group = images, labelled, position, group

    def __iter__(self) -> Iterator[Any]:
        return grouped(self.at(self.position()), self.group)

    def at(self, position: int) -> Iterator[tuple[Tensor, ...]]:
        """The stream from batch number `position` on."""
        for images, labelled in zip(self.images.at(position), self.labelled.at(position), strict=False):
            yield (*images, *labelled)


def grouped(stream: Iterator[Any], group: int | None) -> Iterator[Any]:
    """Lists of `group` items, or the items as they are."""
    return stream if group is None else (list(items) for items in zip(*[stream] * group, strict=True))


def worker_death(error: Exception) -> str:
    """One line. torch tells it by a signal, whose RuntimeError comes up at whatever line is being executed."""
    text = " ".join(str(error).split()).rstrip(".") if isinstance(error, RuntimeError) else "a DataLoader worker was killed"
    return f"{text} (data.workers); is there enough memory? resume the run, with fewer workers"


def alive(batches: Iterator[list[Tensor]]) -> Iterator[list[Tensor]]:
    """The batches; a worker that died is told in one line, with its process number."""
    while True:
        try:
            batch = next(batches)
        except (RuntimeError, ConnectionError, EOFError) as error:
            if isinstance(error, RuntimeError) and "DataLoader worker" not in str(error):
                raise
            raise Unavailable(worker_death(error)) from error
        yield batch


class Rows(Dataset[tuple[Tensor, ...]]):
    """A data set whose index is a whole batch of rows."""

    def __init__(self, samples: Samples) -> None:
        self.samples = samples

    def __getitem__(self, rows: Tensor) -> tuple[Tensor, ...]:
        return taken(self.samples, rows)


class Positions(Sampler[Tensor]):
    """The rows of every batch from `position` on."""

    def __init__(self, order: Order, position: int) -> None:
        self.order, self.position = order, position

    def __iter__(self) -> Iterator[Tensor]:
        return self.order.start(self.position)


def taken(samples: Samples, rows: Tensor) -> tuple[Tensor, ...]:
    return tuple(part.index_select(0, rows) for part in present(samples))


def on_device(samples: Samples, device: torch.device) -> Samples:
    return Samples(samples.images.to(device), None if samples.labels is None else samples.labels.to(device))


def fits(samples: Samples, device: torch.device) -> bool:
    """Whether all images take at most a quarter of the memory that is free where they would live."""
    size = samples.images.numel() * samples.images.element_size()
    return 4 * size <= free_memory(device)


def free_memory(device: torch.device) -> int:
    """Bytes that are free on the device, or available in the machine's memory."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        with open("/proc/meminfo") as lines:
            available = next(line for line in lines if line.startswith("MemAvailable:"))
        return 1024 * int(available.split()[1])
    except (OSError, StopIteration):  # not Linux
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
