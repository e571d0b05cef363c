"""The contract of a data set: cheap to construct, read once, and an endless stream of batches whose position can be saved."""

import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import GenericAlias
from typing import Any, get_args, get_origin

import torch
from torch import Tensor

from gentrain.capability import Capability
from gentrain.data.arrays import CHUNK, ArrayDataset, constant_images, sha256_of, to_bytes, to_float
from gentrain.data.batches import (
    Batches,
    BatchSampler,
    ZippedBatches,
    fits,
    generator,
    zero,
)
from gentrain.data.degrade import DEGRADATIONS, Degradation, source_shape
from gentrain.errors import UserError

log = logging.getLogger("gentrain")

SPLITS = ("train", "test")


# --- capabilities ---------------------------------------------------------------------------------


class HasModes(Capability):
    """Points of a mixture whose modes are known."""

    what, examples = "has known modes", "data=gaussian_ring or gaussian_grid"

    @property
    @abstractmethod
    def sd(self) -> float:
        """The standard deviation of one mode, in the units of the points."""

    @abstractmethod
    def modes(self) -> Tensor:
        """float32 (K, 2): the centres of the modes, in the units of the points."""


class HasDomainRule(Capability):
    """Images whose domain follows from their pixels by an exact rule."""

    what, examples = "has a rule for the domain of an image", "data=digit_domains"

    @abstractmethod
    def domain_of(self, images: Tensor) -> Tensor:
        """uint8 (N, C, H, W) -> int64 (N,): domains; `len(domain_names)` for none of them."""


class HasContent(Capability):
    """Images of several domains whose content, which a translation keeps, is known."""

    what, examples = "knows the content of its images", "data=digit_domains"

    @abstractmethod
    def content(self, split: str) -> ArrayDataset:
        """Images of all domains, and their content as labels.

        Images that a translation may start from come first, in the order of `load`.
        """


# --- the base class -------------------------------------------------------------------------------


@dataclass(kw_only=True, eq=False, repr=False)
class Data(ABC):
    """One data set. The fields are the keys under `data` of a config, so the constructor's signature is the schema.

    Constructing reads nothing: networks are built from `shape` and `classes`, and a mistake elsewhere costs no time here.
    Data for translations have sources as well, of `source_shape`; batches are then (images, sources). Where they are `aligned`, row i of
    both belongs together; otherwise they are two domains, each in an order of its own, and the smaller repeats.
    A subclass says how one split is read; `load` keeps what was read.
    """

    name: str
    shape: tuple[int, ...]  # (C, H, W), or (2,) for points
    classes: int | None = None
    source_shape: tuple[int, ...] | None = (
        None  # of what a translation starts from; null: there is nothing of the kind
    )
    labelled: int | None = None  # images whose labels may be used, as many of each class; null: all
    batch_size: int = 64  # per process
    seed: int = 0  # of the order of the batches
    flip: bool = False  # mirror half of the images left to right
    workers: int = 2  # processes that read what does not fit in memory
    resident: bool | str = (
        "auto"  # keep all images on the device: true, false, or auto: when they take a quarter of its free memory
    )
    cache: str = "~/.cache/gentrain"  # for what is downloaded or decoded once

    def __post_init__(self) -> None:
        check_types(self)
        self.shape = tuple(self.shape)
        self.source_shape = None if self.source_shape is None else tuple(self.source_shape)
        self._samples: dict[str, ArrayDataset] = {}
        self._digests: dict[str, str] = {}
        require(
            is_count(self.batch_size),
            f"batch_size must be a whole number >= 1, not {self.batch_size!r} (data.batch_size); e.g. 64",
        )
        self.check_labelled()
        require(
            is_count(self.workers, 0),
            f"workers must be a whole number >= 0, not {self.workers!r} (data.workers); e.g. 2",
        )
        require(
            self.resident in ("auto", True, False),
            f"resident is {self.resident!r} (data.resident); write auto, true or false",
        )

    def check_labelled(self) -> None:
        if self.labelled is None:
            return
        require(
            self.source_shape is None,
            f"data={self.name} has sources, and so no few labels (data.labelled); write null",
        )
        require(
            self.classes is not None,
            f"data={self.name} has no labels of which to keep {self.labelled} (data.labelled); write null",
        )
        require(
            is_count(self.labelled),
            f"labelled must be a whole number >= 1, not {self.labelled!r} (data.labelled); e.g. 100",
        )
        require(
            self.labelled % (self.classes or 1) == 0,
            f"{self.labelled} labels are not as many for each of {self.classes} classes (data.labelled); give a multiple of {self.classes}",
        )

    @property
    def aligned(self) -> bool:
        """Does row i of the sources belong to row i of the images?"""
        return True

    @abstractmethod
    def read(self, split: str) -> ArrayDataset:
        """Read "train" or "test" from wherever it is; called once a split."""

    def finished(self, samples: ArrayDataset, split: str) -> ArrayDataset:
        """What was read, with what is made of it."""
        return samples

    def load(self, split: str) -> ArrayDataset:
        """The samples of "train" or "test", read at the first call.

        Raises UserError for what the user can mend (a path, a broken file), Unavailable without a network.
        """
        if split not in SPLITS:
            raise ValueError(f"split is {split!r}, not one of {SPLITS}")
        if split not in self._samples:
            self._samples[split] = self.checked(self.finished(self.read(split), split), split)
        return self._samples[split]

    def checked(self, samples: ArrayDataset, split: str) -> ArrayDataset:
        """What was read, after its shape was compared with the promise of the config."""
        for key, part in {"shape": samples.images, "source_shape": samples.sources}.items():
            found, said = None if part is None else tuple(part.shape[1:]), getattr(self, key)
            require(
                found == said,
                f"samples of {self.name} have shape {found}, the config says {said} (data.{key}); mend it",
            )
        constant = constant_images(samples.images) if samples.images.dtype == torch.uint8 else 0
        if constant:
            log.warning(
                "%s: %d of %d %s images have one single colour",
                self.name,
                constant,
                len(samples.images),
                split,
            )
        return samples

    def digest(self, split: str = "train") -> str:
        """sha256 hex of the decoded samples and their shape: names the data in caches and protocols.

        Sources that `degradation` makes follow from the images, and are left out: what was learned of the images holds for all of them.
        """
        if split not in self._digests:
            samples = self.load(split)
            self._digests[split] = sha256_of(
                samples if self.degradation is None else samples._replace(sources=None)
            )
        return self._digests[split]

    def batches(
        self,
        device: torch.device | str = "cpu",
        rank: int = 0,
        world: int = 1,
        position: Callable[[], int] = zero,
        group: int | None = None,
    ) -> Batches | ZippedBatches:
        """An endless stream of training batches, a pure function of (seed, position).

        With `labelled`, batches are (images, labelled images, their labels). The labelled images
        are as many as the images, or fewer where there are fewer, and in an order of their own.

        Args:
            device: where the batches shall be.
            rank: of this process.
            world: how many processes share each global batch.
            position: asked for the number of the first batch whenever an iteration begins.
            group: makes the items lists of as many batches.

        Raises:
            UserError: when one global batch exceeds the data.
        """
        device = torch.device(device)
        samples, order = self.load("train"), self.batch_sampler(rank, world)
        require(
            order.per_epoch > 0,
            f"a batch of {self.batch_size} on {order.world} process(es) exceeds the {order.rows} training samples of {self.name} "
            f"(data.batch_size); at most {order.rows // order.world}",
        )
        resident = fits(samples, device) if self.resident == "auto" else bool(self.resident)

        def stream(samples: ArrayDataset, order: BatchSampler, **more: Any) -> Batches:
            options: dict[str, Any] = {
                "device": device,
                "flip": self.flip,
                "resident": resident,
                "workers": self.usable_workers,
            }
            return Batches(samples, order, **(options | self.changes | more))

        if not self.aligned and samples.sources is not None:
            sources = BatchSampler(
                len(samples.sources),
                self.batch_size,
                self.seed,
                order.rank,
                order.world,
                of=" of sources",
            )
            require(
                sources.per_epoch > 0,
                f"a batch of {self.batch_size} on {order.world} process(es) exceeds the {sources.rows} training sources of {self.name} "
                f"(data.batch_size); at most {sources.rows // order.world}",
            )
            domains = (
                stream(ArrayDataset(samples.images, None), order),
                stream(ArrayDataset(samples.sources, None), sources),
            )
            return ZippedBatches(*domains, position, group)
        if self.labelled is None:
            kept = samples if self.degradation is None else samples._replace(sources=None)
            return stream(
                kept, order, position=position, group=group, degrade=self.degradation
            )
        images = stream(ArrayDataset(samples.images, None), order)
        few = self.labelled_subset()
        size = min(self.batch_size, len(few.images) // order.world)
        require(
            size > 0,
            f"{len(few.images)} labelled images cannot be shared by {order.world} processes (data.labelled); give {order.world} or more",
        )
        beside = Batches(
            few,
            BatchSampler(len(few.images), size, self.seed, order.rank, order.world),
            device,
            self.flip,
        )
        return ZippedBatches(images, beside, position, group)

    def labelled_subset(self) -> ArrayDataset:
        """The training samples whose labels may be used: of each class as many, drawn by `seed`, in the order of the data set."""
        images, labels, _ = self.load("train")
        assert labels is not None and self.labelled is not None and self.classes is not None
        each, found = self.labelled // self.classes, torch.bincount(labels, minlength=self.classes)
        rarest = int(found.argmin())
        least = int(found[rarest])
        require(
            each <= least,
            f"{self.labelled} labels are {each} for each class, and class {rarest} of {self.name} has {least} images "
            f"(data.labelled); give at most {least * self.classes}",
        )
        chosen = []
        for label in range(self.classes):
            rows = (labels == label).nonzero().squeeze(1)
            chosen.append(
                rows[
                    torch.randperm(len(rows), generator=generator(self.seed, "labelled", label))[
                        :each
                    ]
                ]
            )
        rows = torch.cat(chosen).sort().values
        return ArrayDataset(images[rows], labels[rows])

    @property
    def degradation(self) -> Degradation | None:
        """What makes the sources of the training anew from each batch of images, where they are not stored."""
        return None

    @property
    def degrade(self) -> str | None:
        """The name of `degradation` in DEGRADATIONS."""
        return None

    @property
    def changes(self) -> dict[str, Any]:
        """What else happens to a training picture on its way."""
        return {}

    def batch_sampler(self, rank: int = 0, world: int = 1) -> BatchSampler:
        """Which training samples make which batch of one process."""
        return BatchSampler(len(self.load("train").images), self.batch_size, self.seed, rank, world)

    @property
    def usable_workers(self) -> int:
        """At most one worker a core that this process may use."""
        if self.workers > max(cores(), 2):  # two are the default, and no one's wish
            log.warning(
                "%d workers on %d cores (data.workers); %d are used", self.workers, cores(), cores()
            )
        return min(self.workers, cores())

    @property
    def cache_dir(self) -> Path:
        return Path(self.cache).expanduser()


@dataclass(kw_only=True, eq=False, repr=False)
class Images(Data):
    """Square images of `size` pixels; what is read in another size is resized once.

    `degrade` makes sources of them, see degrade.py. For training they are made of each batch, so that random holes are always new ones;
    those that `load` gives are the same at each call, and are kept in memory.
    """

    size: int = 28
    degrade: str | None = None  # a name in DEGRADATIONS
    jitter: int = 0  # enlarge training images, with their sources, by so many pixels, and cut `size` at a random place

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            is_count(self.size),
            f"size must be a whole number >= 1, not {self.size!r} (data.size); e.g. 32",
        )
        square = (self.shape[0], self.size, self.size)
        require(
            self.shape == square,
            f"shape {self.shape} is not that of the size, {square} (data.shape); set data.size instead",
        )
        require(
            is_count(self.jitter, 0),
            f"jitter must be a whole number >= 0, not {self.jitter!r} (data.jitter); e.g. 30 at 256 pixels",
        )
        self.check_degrade()
        require(
            not self.jitter
            or self.degrade is not None
            or self.source_shape is None
            or self.source_shape[1:] == self.shape[1:],
            f"sources of {self.source_shape} cannot be cropped as images of {self.shape} are (data.jitter); write 0",
        )

    def check_degrade(self) -> None:
        if self.degrade is None:
            return
        known = ", ".join(DEGRADATIONS)
        require(
            self.degrade in DEGRADATIONS,
            f"degrade is {self.degrade!r} (data.degrade); write one of {known}, or null",
        )
        reason = DEGRADATIONS[self.degrade].refuses(*self.shape)  # type: ignore[arg-type]
        require(
            not reason,
            f"images of data={self.name} cannot take {self.degrade}, {reason} (data.degrade); choose another of {known}",
        )
        made = source_shape(self.shape, self.degrade)
        require(
            self.source_shape == tuple(made or ()),
            f"data={self.name} has sources already, of {self.source_shape}, and {self.degrade} makes others (data.degrade); write null",
        )

    @property
    def degradation(self) -> Degradation | None:
        return DEGRADATIONS[self.degrade] if self.degrade else None

    @property
    def changes(self) -> dict[str, Any]:
        return {"jitter": self.jitter}

    def finished(self, samples: ArrayDataset, split: str) -> ArrayDataset:
        """With the sources that `degrade` makes, of numbers that depend on the split alone."""
        if (how := self.degradation) is None:
            return samples
        numbers = torch.rand(
            len(samples.images), how.draws, generator=generator(0, "degrade", split)
        )
        pairs = zip(samples.images.split(CHUNK), numbers.split(CHUNK), strict=True)
        return samples._replace(
            sources=torch.cat(
                [to_bytes(how.make(to_float(images), drawn)) for images, drawn in pairs]
            )
        )


def require(condition: bool, otherwise: str) -> None:
    if not condition:
        raise UserError(otherwise)


def check_types(data: Data) -> None:
    """Raises UserError for a key whose value has another type than its field; lists are left to their use."""
    for field in fields(data):
        kind, value = field.type, getattr(data, field.name)
        if (
            any(isinstance(one, GenericAlias) for one in (kind, *get_args(kind)))
            or get_origin(kind) is Sequence
        ):
            continue
        wanted: Any = kind | int if kind is float else kind
        fits_in = isinstance(value, wanted) and (
            kind not in (int, float, int | None) or not isinstance(value, bool)
        )
        word = getattr(kind, "__name__", str(kind))
        require(
            fits_in,
            f"{field.name} must be of type {word}, not {value!r} (data.{field.name}); mend the value",
        )


def is_count(value: object, least: int = 1) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def labelled(images: Tensor, labels: Tensor) -> ArrayDataset:
    return ArrayDataset(images.contiguous(), labels.long())
