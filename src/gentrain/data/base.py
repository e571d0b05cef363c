"""What every data set is: cheap to construct, read once, and an endless stream of batches.

`Data` is the base class. What only some data sets offer is in `data/capabilities.py`.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from gentrain.config.schema import SHARE
from gentrain.data.arrays import LOOKED_AT, ArrayDataset, Frame, constant_images, sha256_of
from gentrain.data.batches import Batches, BatchSampler, ZippedBatches, fits, generator, zero
from gentrain.data.checks import check_types, cores, ensure, is_count
from gentrain.data.degrade import Degradation
from gentrain.data.labels import Exclusive, LabelKind
from gentrain.data.validation import Rows, divided
from gentrain.errors import UserError
from gentrain.patience import say_if_slow

log = logging.getLogger("gentrain")

SPLITS = ("train", "validation", "test")


@dataclass(kw_only=True, eq=False, repr=False)
class Data(ABC):
    """One data set. The fields are the keys under `data` of a config.

    Constructing reads nothing: networks are built from `shape` and `classes`, and a mistake
    elsewhere is reported at once. A subclass reads one split in `read`; `load` keeps what was read.

    Data for translations also have sources, of `source_shape`, and batches are (images, sources).
    Where they are `aligned`, row i of both belongs together. Otherwise they are two domains, each
    in an order of its own, and the smaller repeats.

    A share of the training split is held out for validation: by it the best checkpoint and the best
    run are chosen, and no batch has any of it. It is the same for every seed.

    Args:
        name: as the user types it.
        shape: (C, H, W) of an image, (C, L) of a sound, or (D,) of a point.
        classes: number of labels; null without labels.
        source_shape: shape of what a translation starts from; null without sources.
        labelled: images whose labels may be used, the same number of each class; null for all.
        validation: share of the training split that is held out, the same of each class; 0 for
            none, and then the test split chooses.
        label_kind: what labels say of an image.
        batch_size: per process.
        seed: seed for the order of the batches.
        flip: mirror half of the images left to right.
        workers: processes that read what does not fit in memory.
        resident: keep all images on the device. "auto" does so when they take at most a quarter of
            its free memory.
        cache: a folder for what is downloaded or decoded once.
    """

    black_and_white: ClassVar[bool] = False  # every pixel is 0 or 255, as it is stored
    one_set: ClassVar[bool] = False  # it has no splits: each is all of its images
    from_seed: ClassVar[bool] = False  # samples are drawn, and differ in last bits between CPUs

    name: str
    shape: tuple[int, ...]
    classes: int | None = None
    source_shape: tuple[int, ...] | None = None
    labelled: int | None = None
    validation: float = SHARE
    label_kind: LabelKind = field(default_factory=Exclusive)
    batch_size: int = 64
    seed: int = 0
    flip: bool = False
    workers: int = 2
    resident: bool | str = "auto"
    cache: str = "~/.cache/gentrain"

    def __post_init__(self) -> None:
        check_types(self)
        self.shape = tuple(self.shape)
        self.source_shape = None if self.source_shape is None else tuple(self.source_shape)
        self._samples: dict[str, ArrayDataset] = {}
        self._digests: dict[str, str] = {}
        self._rows: dict[str, Rows] = {}
        self._said: set[str] = set()
        ensure(
            0 <= self.validation < 1,
            f"validation is a share from 0 to below 1, not {self.validation!r} (data.validation); "
            "e.g. 0.1",
        )
        ensure(
            is_count(self.batch_size),
            f"batch_size must be a whole number >= 1, not {self.batch_size!r} (data.batch_size); "
            "e.g. 64",
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
        """Refuse a number of labels that this data set cannot have."""
        if self.labelled is None:
            return
        ensure(
            self.source_shape is None,
            f"data={self.name} has sources, and so no few labels (data.labelled); write null",
        )
        ensure(
            self.classes is not None,
            f"data={self.name} has no labels of which to keep {self.labelled} (data.labelled); "
            "write null",
        )
        ensure(
            self.label_kind.one_class,
            f"images of data={self.name} are of several classes at once, so that no few of them "
            "are as many of each (data.labelled); write null",
        )
        ensure(
            is_count(self.labelled),
            f"labelled must be a whole number >= 1, not {self.labelled!r} (data.labelled); "
            "e.g. 100",
        )
        ensure(
            self.labelled % (self.classes or 1) == 0,
            f"{self.labelled} labels cannot be shared equally by {self.classes} classes "
            f"(data.labelled); give a multiple of {self.classes}",
        )

    # --- what a subclass may declare --------------------------------------------------------------

    @property
    def aligned(self) -> bool:
        """Whether row i of the sources belongs to row i of the images."""
        return True

    @property
    def degrade(self) -> str | None:
        """The name of `degradation` in `DEGRADATIONS`."""
        return None

    @property
    def degradation(self) -> Degradation | None:
        """What makes sources of each batch of images, where they are not stored."""
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
    def class_names(self) -> Sequence[str]:
        """The names of the classes, by their number; empty where only numbers are known.

        Those of folders and files are known once a split is read.
        """
        return self.domain_names

    @property
    def pixel_range(self) -> tuple[float, float] | None:
        """The values of pixels in files that become black and white; None for the type's."""
        return None

    @property
    def stream_options(self) -> dict[str, Any]:
        """More options of the training stream, such as `jitter`; see `Batches`."""
        return {}

    # --- how samples are shown and kept -----------------------------------------------------------

    kept_as: ClassVar[str] = "npz"  # how `gentrain sample` keeps them, where nothing was chosen

    @property
    def things(self) -> str:
        """What samples are, as messages name them: images, sounds or points."""
        return "images" if len(self.shape) == 3 else "points"

    def as_images(self, samples: Tensor) -> Tensor:
        """Images (B, C, H, W) in [-1, 1] that show samples; those of images are themselves.

        Points have none, and are drawn as a density.
        """
        return samples

    def write_file(self, sample: Tensor, stem: Path) -> None:
        """Write one sample in [-1, 1] as a file of its own: an image as PNG.

        Args:
            sample: of `shape`.
            stem: the path without an ending.
        """
        from gentrain.data.grids import write_png

        write_png(sample, stem.with_name(f"{stem.name}.png"))

    def write_labelled(self, sample: Tensor, label: Tensor, folder: Path, name: str) -> None:
        """Write one sample in [-1, 1] and its label: the file lies in a folder of the class.

        Args:
            sample: of `shape`.
            label: of `label_kind`.
            folder: for all samples.
            name: of the file, without an ending.
        """
        place = folder / str(int(label))
        place.mkdir(exist_ok=True)
        self.write_file(sample, place / name)

    def write_to_hear(self, samples: Tensor, stem: Path) -> Sequence[Path]:
        """Write what a picture of samples (B, *shape) does not tell: sounds as one file to hear.

        Args:
            samples: in [-1, 1].
            stem: the path without an ending.

        Returns:
            The files; none for what is no sound.
        """
        return ()

    # --- units of points --------------------------------------------------------------------------

    @property
    def log_det(self) -> float:
        """log |det dx/dv| of samples x that were made of values v in other units."""
        return 0.0

    def in_units(self, points: Tensor) -> Tensor:
        """Samples (N, D) in the units of their source."""
        return points

    def from_units(self, points: Tensor) -> Tensor:
        """The inverse of `in_units`."""
        return points

    @property
    def columns(self) -> Sequence[str]:
        """The names of the coordinates of points; empty where they have none."""
        return ()

    @property
    def frame(self) -> Frame:
        """What pictures show of points."""
        return Frame(torch.zeros(self.shape), torch.ones(self.shape))

    def units_protocol(self) -> dict[str, Any]:
        """What records say of the units of points; empty where samples are in those of `load`."""
        return {}

    # --- reading ----------------------------------------------------------------------------------

    @property
    def reads_validation(self) -> bool:
        """Whether `read` has a split "validation" of its own; else it is drawn from "train"."""
        return False

    @property
    def held_out_split(self) -> str:
        """The split by which models are chosen: "validation", or "test" where there is none."""
        return "validation" if self.validation else "test"

    @abstractmethod
    def read(self, split: str) -> ArrayDataset:
        """Read "train" or "test" from wherever it is; called once for each split.

        With `reads_validation` also "validation", and "train" is without it.
        """

    def finished(self, samples: ArrayDataset, split: str) -> ArrayDataset:
        """What was read, and what is made of it."""
        return samples

    def load(self, split: str) -> ArrayDataset:
        """The samples of "train", "validation" or "test", read at the first call.

        Raises:
            UserError: for what the user can fix, such as a path or a broken file.
            Unavailable: where a download is needed and there is no network.
        """
        if split not in SPLITS:
            raise ValueError(f"split is {split!r}, not one of {SPLITS}")
        if split == "validation" and not self.validation:
            raise UserError(
                f"data={self.name} was left without a validation split (data.validation=0); "
                "give a share, such as 0.1, or score the test split"
            )
        if split not in self._samples:
            drawn = split != "test" and self.validation and not self.reads_validation
            with say_if_slow(f"reading the {split} split of data={self.name}"):
                parts = self.divided() if drawn else {split: self.finished(self.read(split), split)}
            self._samples |= {name: self.checked(part, name) for name, part in parts.items()}
        return self._samples[split]

    def with_validation(self, share: float) -> Self:
        """The same data with another validation split; what was read whole is not read again."""
        other = replace(self, validation=share)
        if self.validation or self.reads_validation or not share:
            return other
        if "test" in self._samples:
            other._samples["test"] = self._samples["test"]
        if "train" in self._samples:
            other._samples |= other.parts_of(self._samples["train"])
        return other

    def divided(self) -> dict[str, ArrayDataset]:
        """The training split as it is read, in "train" and "validation"."""
        return self.parts_of(self.finished(self.read("train"), "train"))

    def parts_of(self, whole: ArrayDataset) -> dict[str, ArrayDataset]:
        """A training split in "train" and "validation"."""
        rows = divided(len(whole.images), whole.labels, self.validation, self.name)
        of_sources = rows
        if whole.sources is not None and not self.aligned:
            of_sources = divided(len(whole.sources), None, self.validation, self.name)
        self._rows = {part: Rows(rows[part], of_sources[part]) for part in rows}
        return {
            part: ArrayDataset(
                whole.images[rows[part]],
                None if whole.labels is None else whole.labels[rows[part]],
                None if whole.sources is None else whole.sources[of_sources[part]],
            )
            for part in rows
        }

    def rows_read(self, split: str) -> Rows | None:
        """The rows of a split in what `read` gave; None for all of them."""
        self.load(split)
        return self._rows.get(split)

    def held_out(self, split: str = "test") -> ArrayDataset | None:
        """A held-out split; None where a data set has none that can be read."""
        try:
            found = self.load(split)
        except UserError:
            return None
        return found if len(found.images) else None

    def checked(self, samples: ArrayDataset, split: str) -> ArrayDataset:
        """The samples, after their shapes were compared with the configuration."""
        wanted = {"shape": self.shape, "source_shape": self.source_shape}
        for (key, said), part in zip(
            wanted.items(), (samples.images, samples.sources), strict=True
        ):
            found = None if part is None else tuple(part.shape[1:])
            ensure(
                found == said,
                f"samples of {self.name} have shape {found}, the config says {said} (data.{key}); "
                "fix it",
            )
        constant = constant_images(samples.images) if samples.images.dtype == torch.uint8 else 0
        if constant:
            log.warning(
                "%s: %d of %d %s images have one single colour",
                self.name,
                constant,
                min(len(samples.images), LOOKED_AT),
                split,
            )
        return samples

    def digest(self, split: str = "train") -> str:
        """sha256 of the samples and their shape: it names the data in caches and protocols.

        Sources that `degradation` makes follow from the images and are left out, so what was
        learned of the images holds for all of them.
        """
        if split not in self._digests:
            samples = self.load(split)
            self._digests[split] = sha256_of(
                samples if self.degradation is None else samples._replace(sources=None)
            )
        return self._digests[split]

    def identity(self) -> dict[str, Any]:
        """What must be equal before a run is continued: the training samples, and their classes."""
        digest = None if self.from_seed else self.digest("train")
        return {"digest": digest, "classes": list(self.class_names)}

    def labelled_subset(self) -> ArrayDataset:
        """The training samples whose labels may be used.

        They are drawn by `seed`, the same number of each class, and keep their order.

        Raises:
            UserError: where a class has too few images.
        """
        images, labels, _ = self.load("train")
        assert labels is not None and self.labelled is not None and self.classes is not None
        each, found = self.labelled // self.classes, torch.bincount(labels, minlength=self.classes)
        rarest = int(found.argmin())
        least = int(found[rarest])
        ensure(
            each <= least,
            f"{self.labelled} labels are {each} for each class, and class {rarest} of {self.name} "
            f"has {least} images (data.labelled); give at most {least * self.classes}",
        )
        chosen = []
        for label in range(self.classes):
            rows = (labels == label).nonzero().squeeze(1)
            order = torch.randperm(len(rows), generator=generator(self.seed, "labelled", label))
            chosen.append(rows[order[:each]])
        rows = torch.cat(chosen).sort().values
        return ArrayDataset(images[rows], labels[rows])

    # --- training batches -------------------------------------------------------------------------

    def batches(
        self,
        device: torch.device | str = "cpu",
        rank: int = 0,
        world: int = 1,
        position: Callable[[], int] = zero,
        batches_per_step: int | None = None,
    ) -> Batches | ZippedBatches:
        """An endless stream of training batches, a pure function of (seed, position).

        With `labelled`, batches are (images, labelled images, their labels). The labelled images
        are as many as the images, or fewer where there are fewer, and in an order of their own.

        Args:
            device: where the batches shall be.
            rank: rank of this process.
            world: how many processes share each global batch.
            position: asked for the number of the first batch whenever an iteration begins.
            batches_per_step: makes each item a list of this many batches.

        Raises:
            UserError: when one global batch exceeds the data.
        """
        device = torch.device(device)
        samples, order = self.load("train"), self.batch_sampler(rank, world)
        self.refuse_small(order, "samples")
        options: dict[str, Any] = {
            "device": device,
            "flip": self.flip,
            "resident": fits(samples, device) if self.resident == "auto" else bool(self.resident),
            "workers": self.usable_workers,
        } | self.stream_options
        images = samples._replace(labels=None, sources=None)
        if samples.sources is not None and not self.aligned:
            sources = self.source_batches(samples.sources, rank, world, options)
            images_alone = Batches(images, order, **options)
            return ZippedBatches(images_alone, sources, position, batches_per_step)
        if self.labelled is not None:
            few = self.labelled_batches(rank, world, device)
            return ZippedBatches(Batches(images, order, **options), few, position, batches_per_step)
        kept = samples if self.degradation is None else samples._replace(sources=None)
        options |= {"position": position, "batches_per_step": batches_per_step}
        return Batches(kept, order, **options, degrade=self.degradation)

    def source_batches(
        self, sources: Tensor, rank: int, world: int, options: dict[str, Any]
    ) -> Batches:
        """Batches of the source domain, in an order of its own."""
        order = BatchSampler(
            len(sources), self.batch_size, self.seed, rank, world, of=" of sources"
        )
        self.refuse_small(order, "sources")
        return Batches(ArrayDataset(sources, None), order, **options)

    def labelled_batches(self, rank: int, world: int, device: torch.device) -> Batches:
        """Batches of the images whose labels may be used."""
        few = self.labelled_subset()
        size = min(self.batch_size, len(few.images) // world)
        ensure(
            size > 0,
            f"{len(few.images)} labelled images cannot be shared by {world} processes "
            f"(data.labelled); give {world} or more",
        )
        order = BatchSampler(len(few.images), size, self.seed, rank, world)
        return Batches(few, order, device, self.flip, **self.stream_options)

    def batch_sampler(self, rank: int = 0, world: int = 1) -> BatchSampler:
        """Which training samples make which batch of one process."""
        return BatchSampler(len(self.load("train").images), self.batch_size, self.seed, rank, world)

    def refuse_small(self, order: BatchSampler, what: str) -> None:
        """Refuse a global batch that is larger than the data."""
        most = order.rows // order.world
        ensure(
            order.per_epoch > 0,
            f"a batch of {self.batch_size} on {order.world} process(es) exceeds the {order.rows} "
            f"training {what} of {self.name} (data.batch_size); "
            f"give at most {most}: data.batch_size={most}",
        )

    @property
    def usable_workers(self) -> int:
        """`workers`, but at most one for each core that this process may use."""
        # the default is two, and nobody chose it
        if self.workers > max(cores(), 2):
            log.warning(
                "%d workers on %d cores (data.workers); %d are used", self.workers, cores(), cores()
            )
        return min(self.workers, cores())

    @property
    def cache_dir(self) -> Path:
        """The cache, as a path."""
        return Path(self.cache).expanduser()

    def say_once(self, text: str, wanted: bool = True, level: int = logging.INFO) -> None:
        """Write a line into the log, unless this data set has written it already."""
        if wanted and text not in self._said:
            self._said.add(text)
            log.log(level, "%s", text)
