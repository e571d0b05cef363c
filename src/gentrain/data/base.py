"""The contract of a data set: cheap to construct, read once, and an endless stream of batches whose position can be saved."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor

from gentrain.capability import Capability
from gentrain.data.arrays import CHUNK, ArrayDataset, constant_images, sha256_of, to_bytes, to_float
from gentrain.data.batches import Batches, BatchSampler, ZippedBatches, fits, generator
from gentrain.data.checks import check_types, cores, ensure, is_count
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
class Data(LightningDataModule, ABC):
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
        super().__init__()
        check_types(self)
        self.shape = tuple(self.shape)
        self.source_shape = None if self.source_shape is None else tuple(self.source_shape)
        self._samples: dict[str, ArrayDataset] = {}
        self._digests: dict[str, str] = {}
        self.group: int | None = (
            None  # k: the stream's items are lists of k batches, what one training step of k:1 players takes
        )
        self._start = 0  # position at the start of this iteration
        self._base: int | None = (
            None  # batches that the trainer had started then; None before an iteration
        )
        ensure(
            is_count(self.batch_size),
            f"batch_size must be a whole number >= 1, not {self.batch_size!r} (data.batch_size); e.g. 64",
        )
        self.check_labelled()
        ensure(
            is_count(self.workers, 0),
            f"workers must be a whole number >= 0, not {self.workers!r} (data.workers); e.g. 2",
        )
        ensure(
            self.resident in ("auto", True, False),
            f"resident is {self.resident!r} (data.resident); write auto, true or false",
        )

    def check_labelled(self) -> None:
        if self.labelled is None:
            return
        ensure(
            self.source_shape is None,
            f"data={self.name} has sources, and so no few labels (data.labelled); write null",
        )
        ensure(
            self.classes is not None,
            f"data={self.name} has no labels of which to keep {self.labelled} (data.labelled); write null",
        )
        ensure(
            is_count(self.labelled),
            f"labelled must be a whole number >= 1, not {self.labelled!r} (data.labelled); e.g. 100",
        )
        ensure(
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
            ensure(
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

    def held_out(self) -> ArrayDataset | None:
        """The test split; None where a data set has none that can be read."""
        try:
            test = self.load("test")
        except UserError:
            return None
        return test if len(test.images) else None

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

    def prepare_data(self) -> None:
        """On one process a machine, before all others read: download and decode into the cache."""
        self.load("train")

    def setup(self, stage: str | None = None) -> None:
        self.load("train")

    def train_dataloader(self) -> Batches | ZippedBatches:
        """An endless stream that begins where `position` is. Raises UserError when one global batch exceeds the data.

        With `labelled`, batches are (images, images that have labels, their labels): `order` is that of the first, and no label of
        theirs is in them; the others are as many, or fewer where there are fewer, and in an order of their own.
        """
        samples, device, order = self.load("train"), self.device, self.order
        ensure(
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
            ensure(
                sources.per_epoch > 0,
                f"a batch of {self.batch_size} on {order.world} process(es) exceeds the {sources.rows} training sources of {self.name} "
                f"(data.batch_size); at most {sources.rows // order.world}",
            )
            domains = (
                stream(ArrayDataset(samples.images, None), order),
                stream(ArrayDataset(samples.sources, None), sources),
            )
            return ZippedBatches(*domains, self._begin, self.group)
        if self.labelled is None:
            kept = samples if self.degradation is None else samples._replace(sources=None)
            return stream(
                kept, order, position=self._begin, group=self.group, degrade=self.degradation
            )
        images = stream(ArrayDataset(samples.images, None), order)
        few = self.labelled_subset()
        size = min(self.batch_size, len(few.images) // order.world)
        ensure(
            size > 0,
            f"{len(few.images)} labelled images cannot be shared by {order.world} processes (data.labelled); give {order.world} or more",
        )
        beside = Batches(
            few,
            BatchSampler(len(few.images), size, self.seed, order.rank, order.world),
            device,
            self.flip,
        )
        return ZippedBatches(images, beside, self._begin, self.group)

    def labelled_subset(self) -> ArrayDataset:
        """The training samples whose labels may be used: of each class as many, drawn by `seed`, in the order of the data set."""
        images, labels, _ = self.load("train")
        assert labels is not None and self.labelled is not None and self.classes is not None
        each, found = self.labelled // self.classes, torch.bincount(labels, minlength=self.classes)
        rarest = int(found.argmin())
        least = int(found[rarest])
        ensure(
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

    def transfer_batch_to_device(
        self, batch: Any, device: torch.device, dataloader_idx: int
    ) -> Any:
        """The stream has put the batch there already."""
        return batch

    @property
    def degradation(self) -> Degradation | None:
        """What makes the sources of the training anew from each batch of images, where they are not stored."""
        return None

    @property
    def degrade(self) -> str | None:
        """The name of `degradation` in DEGRADATIONS."""
        return None

    @property
    def direction(self) -> str:
        """For files of two pictures: which one is the source, "a2b" or "b2a"."""
        return "a2b"

    @property
    def domain_names(self) -> Sequence[str]:
        """The names of the domains, by their number; empty where they have none."""
        return ()

    @property
    def changes(self) -> dict[str, Any]:
        """What else happens to a training picture on its way."""
        return {}

    @property
    def order(self) -> BatchSampler:
        rank, world = (
            (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        )
        return BatchSampler(len(self.load("train").images), self.batch_size, self.seed, rank, world)

    @property
    def device(self) -> torch.device:
        return self.trainer.strategy.root_device if self.trainer else torch.device("cpu")

    @property
    def usable_workers(self) -> int:
        """At most one worker a core that this process may use."""
        if self.workers > max(cores(), 2):  # two are the default, and no one's wish
            log.warning(
                "%d workers on %d cores (data.workers); %d are used", self.workers, cores(), cores()
            )
        return min(self.workers, cores())

    @property
    def position(self) -> int:
        """Batches consumed so far. The trainer's count, since it fetches one batch ahead of what it has trained on."""
        return self._start + (0 if self._base is None else self._batches_started - self._base)

    @property
    def _batches_started(self) -> int:
        started = self.trainer.fit_loop.epoch_loop.batch_progress.total.ready if self.trainer else 0
        return started * (self.group or 1)

    def _begin(self) -> int:
        """An iteration begins: at the position of now."""
        self._start, self._base = self.position, self._batches_started
        return self._start

    def state_dict(self) -> dict[str, Any]:
        return {"position": self.position}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._start, self._base = state_dict["position"], None

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
        ensure(
            is_count(self.size),
            f"size must be a whole number >= 1, not {self.size!r} (data.size); e.g. 32",
        )
        square = (self.shape[0], self.size, self.size)
        ensure(
            self.shape == square,
            f"shape {self.shape} is not that of the size, {square} (data.shape); set data.size instead",
        )
        ensure(
            is_count(self.jitter, 0),
            f"jitter must be a whole number >= 0, not {self.jitter!r} (data.jitter); e.g. 30 at 256 pixels",
        )
        self.check_degrade()
        ensure(
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
        ensure(
            self.degrade in DEGRADATIONS,
            f"degrade is {self.degrade!r} (data.degrade); write one of {known}, or null",
        )
        reason = DEGRADATIONS[self.degrade].refuses(*self.shape)  # type: ignore[arg-type]
        ensure(
            not reason,
            f"images of data={self.name} cannot take {self.degrade}, {reason} (data.degrade); choose another of {known}",
        )
        made = source_shape(self.shape, self.degrade)
        ensure(
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
