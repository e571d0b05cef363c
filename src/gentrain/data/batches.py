"""The order of the batches and the batches themselves: pure functions of (seed, position).

Batch number `position` of a run holds the same images whatever happened before: resuming costs one permutation.
"""

import hashlib
import multiprocessing
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, Sampler

from gentrain.data.arrays import ArrayDataset, present, to_float
from gentrain.data.degrade import Degradation
from gentrain.errors import Unavailable

if TYPE_CHECKING:
    from gentrain.data.arrays import ArrayDataset


def generator(*key: int | str) -> torch.Generator:
    """A generator of its own for every key, so that the global one is never touched."""
    digest = hashlib.sha256(repr(key).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


@dataclass(frozen=True)
class BatchSampler:
    """Which rows make which batch. A global batch has `world * batch_size` rows; rank r of w takes its r-th slice."""

    rows: int
    batch_size: int
    seed: int
    rank: int = 0
    world: int = 1
    of: str = ""  # two orders of one seed, of which neither tells anything of the other

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
        """(batch_size, count) numbers in [0, 1) for the images of one batch; drawn for the global batch, as the rows are."""
        return torch.rand(
            self.world, self.batch_size, count, generator=self.generator(what, position)
        )[self.rank]

    def generator(self, what: str, number: int) -> torch.Generator:
        return generator(self.seed, what + self.of, number)

    def start(self, position: int, device: torch.device | None = None) -> Iterator[Tensor]:
        """The rows of batch `position`, `position + 1`, ... without end."""
        epoch, skip = divmod(position, self.per_epoch)
        while True:
            yield from self.epoch(epoch).to(device)[skip:]
            epoch, skip = epoch + 1, 0


def zero() -> int:
    return 0


class Batches:
    """Endless (images float32 in [-1, 1], sources, labels int64) on `device`; less what there is not.

    A pair of image and source is mirrored, and cropped, as one. `jitter` enlarges every picture by so many pixels and cuts the former
    size out of it at a random place. `degrade` makes sources of what came of the images.
    `position` is asked for the number of the first batch whenever an iteration begins.
    `resident` keeps all images on the device and indexes them there; otherwise `workers` processes read them from where they are.
    `group` makes the items lists of as many batches.
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
        group: int | None = None,
        jitter: int = 0,
        degrade: Degradation | None = None,
    ) -> None:
        self.order, self.device, self.flip, self.jitter, self.degrade = (
            order,
            torch.device(device),
            flip,
            jitter,
            degrade,
        )
        self.resident, self.workers, self.position, self.group = resident, workers, position, group
        self.samples = on_device(samples, self.device) if resident else samples

    def __iter__(self) -> Iterator[Any]:
        return grouped(self.at(self.position()), self.group)

    def at(self, position: int) -> Iterator[tuple[Tensor, ...]]:
        """The stream from batch number `position` on."""
        rows = self.indexed(position) if self.resident else self.fetched(position)
        views = 1 + (self.samples.sources is not None)
        for number, parts in enumerate(rows, start=position):
            seen = [self.view(to_float(part), number) for part in parts[:views]]
            made = [] if self.degrade is None else [self.degraded(seen[0], number)]
            yield (*seen, *made, *parts[views:])

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
            multiprocessing_context=multiprocessing.get_context("fork")
            if self.workers
            else None,  # shares the file's pages
        )
        for batch in alive(iter(loader)):
            yield tuple(part.to(self.device, non_blocking=True) for part in batch)

    def view(self, images: Tensor, position: int) -> Tensor:
        """What a batch of pictures becomes; the same for the two pictures of a pair."""
        if self.flip:
            images = torch.where(
                self.order.flips(position).to(self.device)[:, None, None, None],
                images.flip(-1),
                images,
            )
        return (
            cropped(images, self.jitter, self.order.uniform("crop", position, 2))
            if self.jitter
            else images
        )

    def degraded(self, images: Tensor, position: int) -> Tensor:
        assert self.degrade is not None
        return self.degrade.make(
            images, self.order.uniform("degrade", position, self.degrade.draws)
        )


def cropped(images: Tensor, jitter: int, places: Tensor) -> Tensor:
    """(B, C, H, W), enlarged by `jitter` pixels a side and cut to H x W again; `places`, (B, 2) in [0, 1), say where."""
    height, width = images.shape[-2:]
    larger = F.interpolate(images, (height + jitter, width + jitter), mode="bilinear")
    top, left = (places * (jitter + 1)).long().to(images.device).T
    rows, columns = (
        at[:, None] + torch.arange(size, device=at.device)
        for at, size in ((top, height), (left, width))
    )
    batch, channels = (
        torch.arange(len(images), device=top.device),
        torch.arange(images.shape[1], device=top.device),
    )
    return larger[
        batch[:, None, None, None],
        channels[:, None, None],
        rows[:, None, :, None],
        columns[:, None, None, :],
    ]


class ZippedBatches:
    """Every batch of images with a batch of others beside it: those with labels, (images, labelled images, their labels), or those of
    another domain, (images, sources).

    A function of (seed, position) as its two parts are.
    """

    def __init__(
        self,
        images: Batches,
        others: Batches,
        position: Callable[[], int] = zero,
        group: int | None = None,
    ) -> None:
        self.images, self.others, self.position, self.group = images, others, position, group

    def __iter__(self) -> Iterator[Any]:
        return grouped(self.at(self.position()), self.group)

    def at(self, position: int) -> Iterator[tuple[Tensor, ...]]:
        """The stream from batch number `position` on."""
        for images, others in zip(self.images.at(position), self.others.at(position), strict=False):
            yield (*images, *others)


def grouped(stream: Iterator[Any], group: int | None) -> Iterator[Any]:
    """Lists of `group` items, or the items as they are."""
    return (
        stream if group is None else (list(items) for items in zip(*[stream] * group, strict=True))
    )


def worker_death(error: Exception) -> str:
    """One line. torch tells it by a signal, whose RuntimeError comes up at whatever line is being executed."""
    text = (
        " ".join(str(error).split()).rstrip(".")
        if isinstance(error, RuntimeError)
        else "a DataLoader worker was killed"
    )
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

    def __init__(self, samples: ArrayDataset) -> None:
        self.samples = samples

    def __getitem__(self, rows: Tensor) -> tuple[Tensor, ...]:
        return taken(self.samples, rows)


class Positions(Sampler[Tensor]):
    """The rows of every batch from `position` on."""

    def __init__(self, order: BatchSampler, position: int) -> None:
        self.order, self.position = order, position

    def __iter__(self) -> Iterator[Tensor]:
        return self.order.start(self.position)


def taken(samples: ArrayDataset, rows: Tensor) -> tuple[Tensor, ...]:
    return tuple(part.index_select(0, rows) for part in present(samples))


def on_device(samples: ArrayDataset, device: torch.device) -> ArrayDataset:
    return ArrayDataset(*(None if part is None else part.to(device) for part in samples))  # type: ignore[arg-type]


def fits(samples: ArrayDataset, device: torch.device) -> bool:
    """Whether all images take at most a quarter of the memory that is free where they would live."""
    size = sum(
        part.numel() * part.element_size()
        for part in (samples.images, samples.sources)
        if part is not None
    )
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


def as_batch(source: "ArrayDataset", rows: Tensor, device: torch.device) -> tuple[Tensor, ...]:
    """Rows of a data set as training sees them: images in [-1, 1] (points as they are), sources and labels if there are any."""
    parts = (
        part[(rows % len(part)).to(part.device)].to(device) for part in present(source)
    )  # of the smaller domain, again
    return tuple(to_float(part) for part in parts)
