"""Any folder or zip of images, of any size and kind, decoded once into a uint8 file of the cache.

Splits are `train/` and `test/` (or `val/`, `valid/`, `validation/`) where these exist. Otherwise a
tenth of all images, drawn by `draw_seed`, is "test", and the rest is "train". "validation" is
`val/` (or `valid/`, `validation/`) beside a `test/`, and otherwise a share of "train". With
`classes=K`, labels are the folders of a split, or those of a file, in the natural order of their
names: 1, 2, 10. With `classes=null` there are none.
pictures.py says what is done to each picture.
"""

import hashlib
import json
import logging
import multiprocessing
import os
import re
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from gentrain.data.arrays import CHUNK, LOOKED_AT, ArrayDataset
from gentrain.data.arrays import drawn as drawn_images
from gentrain.data.base import SPLITS
from gentrain.data.batches import generator
from gentrain.data.checks import cores, ensure, has_type
from gentrain.data.digests import digest_of_files
from gentrain.data.files import locked, writable, written
from gentrain.data.images import Images
from gentrain.data.validation import check_own_split, divided
from gentrain.errors import Unavailable, UserError
from gentrain.patience import counted

if TYPE_CHECKING:
    from gentrain.data.pictures import Form, Tree

log = logging.getLogger("gentrain")

VALIDATION = ("val", "valid", "validation")
HELD_OUT = ("test", *VALIDATION)
FORMAT = 2  # raise when a picture would be decoded to other pixels
PORTION = 256  # pictures that are worth a process
DARK = 80  # of 255; pictures without any brighter pixel are not of the range that was assumed

Bad = tuple[str, str]  # a picture, and what is wrong with it


@dataclass(kw_only=True, eq=False, repr=False)
class ImageFolder(Images):
    """Squares of `size` pixels in a memory-mapped tensor, so their number does not matter.

    Args:
        root: the folder or .zip.
        channels: 3 for colour, 1 for grey.
        crop: cut the centre square; false squeezes the whole to a square.
        range: the values of pixels that become black and white; null for those of the type.
        labels: a file with the class of each picture (see label_files.py); null for the folders.
        on_bad: what an unreadable image does: stop or skip.
        draw_seed: which tenth is held out. It is not the run's seed, so that runs with other seeds
            share the data.
        The other arguments are those of `Images`.
    """

    key: ClassVar[str] = "root"  # the key that names the folder, in messages
    root: str | Path | None = None
    size: int = 64
    channels: int = 3
    crop: bool = True
    range: Sequence[float] | None = None
    labels: str | Path | None = None
    on_bad: str = "stop"
    draw_seed: int = 0

    def __post_init__(self) -> None:
        ensure(
            self.channels in (1, 3),
            f"channels must be 1 (grey) or 3 (colour), not {self.channels!r} (data.channels); "
            "e.g. 3",
        )
        super().__post_init__()
        self._class_names: list[str] = []
        self._said: set[str] = set()
        ensure(
            self.shape[0] == self.channels,
            f"shape {self.shape} has not {self.channels} channels (data.shape); set data.channels",
        )
        ensure(
            self.on_bad in ("stop", "skip"),
            f"on_bad is {self.on_bad!r} (data.on_bad); write stop or skip",
        )
        check_range(self.range)
        ensure(
            not self.labels or self.classes is not None,
            f"labels of {self.labels} need the number of classes (data.labels); "
            "give data.classes=K as well",
        )
        ensure(
            bool(self.root),
            f"data={self.name} needs a folder or .zip of images (data.{self.key}); "
            f"give data.{self.key}=DIR",
        )

    def read(self, split: str) -> ArrayDataset:
        tree = self.tree()
        names, _ = self.names(tree, split)
        label = self.labelling(tree)  # checked before the long work
        names = self.part(tree, names, label and label(names), split)
        images, kept = self.cached(tree, names)
        return ArrayDataset(images, label and label(kept))

    @property
    def reads_validation(self) -> bool:
        return True

    def part(self, tree: "Tree", names: list[str], labels: Tensor | None, split: str) -> list[str]:
        """Those of the pictures from which a split is drawn that are its own.

        Args:
            tree: all pictures.
            names: what `names` gives for that split, or some of it.
            labels: int64 (N,) by which a validation split is stratified; None for none.
            split: its name.
        """
        if split == "test" or not self.validation:
            return names
        if (folder := layout(tree, "validation")[0]) != layout(tree, "train")[0]:
            check_own_split(self.validation, str(self.path), folder)
            return names
        rows = divided(len(names), labels, self.validation, str(self.path))[split]
        return [names[row] for row in rows.tolist()]

    def names(self, tree: "Tree", split: str) -> tuple[list[str], str]:
        """The pictures of a split in their order, and the prefix of their paths.

        Those of "train" and "validation" are the same where `part` has yet to divide them.
        """
        prefix, is_drawn = layout(tree, split)
        part = tree.under(prefix)
        names = drawn(sorted(part.files), split, self.draw_seed) if is_drawn else sorted(part.files)
        ensure(
            len(names) > 0,
            f"too few images in {self.path} to draw a {split} split (data.{self.key}); "
            "give at least 10",
        )
        return names, prefix

    @property
    def form(self) -> "Form":
        """What every picture becomes."""
        from gentrain.data.pictures import Form

        return Form(self.size, self.channels, self.crop, range=self.pixel_range)

    @property
    def pixel_range(self) -> tuple[float, float] | None:
        return None if self.range is None else (self.range[0], self.range[1])

    @property
    def class_names(self) -> Sequence[str]:
        return self._class_names or self.domain_names

    @property
    def path(self) -> Path:
        """The folder or .zip."""
        return Path(self.root or "").expanduser()

    def tree(self) -> "Tree":
        """The pictures and folders. Raises UserError where there are none."""
        from gentrain.data.pictures import EXTENSIONS, source

        try:
            ensure(
                self.path.exists(),
                f"no such folder or file {self.path} (data.{self.key}); "
                "give a folder or a .zip of images",
            )
            tree = source(self.path).tree()
            self.report(tree)
        except OSError as error:
            raise UserError(
                f"cannot read {self.path}: {error.strerror} (data.{self.key}); "
                "give a folder that you may read"
            ) from error
        accepted = " ".join(EXTENSIONS)
        ensure(
            len(tree.files) > 0,
            f"0 images in {self.path} (data.{self.key}); "
            f"give a folder or .zip with files named {accepted}",
        )
        return tree

    def report(self, tree: "Tree") -> None:
        """Say once what is not a picture that can be read."""
        kinds = ", ".join(f"{n} {kind}" for kind, n in sorted(tree.left_out.items()))
        text = f"{self.path}: {len(tree.files)} pictures; left out, since no picture: {kinds}"
        self.say_once(text, bool(kinds))

    def labelling(self, tree: "Tree") -> Callable[[list[str]], Tensor] | None:
        """What gives the labels of pictures by their paths; None without labels.

        Raises:
            UserError: where the classes are not those of the configuration, or differ from split
                to split.
        """
        class_of = self.classes_by_file(tree) if self.labels else self.classes_by_folder(tree)
        if class_of is None:
            return None
        self._class_names = sorted(set(class_of.values()), key=natural)
        number = {name: index for index, name in enumerate(self._class_names)}
        return lambda names: torch.tensor([number[class_of[name]] for name in names]).long()

    def classes_by_file(self, tree: "Tree") -> dict[str, str]:
        """The class of each picture as a file of labels has it."""
        from gentrain.data.label_files import class_table, classes_in

        names = [name for split in SPLITS for name in tree.under(layout(tree, split)[0]).files]
        table = class_table(Path(self.labels or "").expanduser(), self.path)
        class_of = classes_in(table, names, str(self.labels), str(self.path))
        count = len(set(class_of.values()))
        ensure(
            count == self.classes,
            f"{self.labels} has {count} classes, not {self.classes} (data.classes); give {count}",
        )
        return class_of

    def classes_by_folder(self, tree: "Tree") -> dict[str, str] | None:
        """The class folder of each picture; None without labels."""
        prefixes = {split: layout(tree, split)[0] for split in SPLITS}
        if self.classes != 1:  # one folder with all class folders, as zips often have it
            prefixes = {split: inside(tree, prefix) for split, prefix in prefixes.items()}
        found = {split: self.split_classes(tree, prefix) for split, prefix in prefixes.items()}
        if self.classes is None:
            return None
        for split in ("test", "validation"):
            odd = sorted(found["train"] ^ found[split], key=natural)
            ensure(
                not odd,
                f"class folders differ between train and {split} of {self.path}: "
                f"{', '.join(odd[:10])} (data.{self.key}); make them equal",
            )
        return {
            name: class_of(name, prefix)
            for prefix in prefixes.values()
            for name in tree.under(prefix).files
        }

    def split_classes(self, tree: "Tree", prefix: str) -> set[str]:
        """Names of the class folders of one split, which are checked; none without labels."""
        where, part = self.path / prefix, tree.under(prefix)
        ensure(
            len(part.files) > 0,
            f"0 images in {where} (data.{self.key}); fill the folder or remove it",
        )
        if self.classes is None:
            return set()
        below = {name.removeprefix(prefix) for name in part.folders}
        names = {name for name in below if name and "/" not in name}
        loose = [name for name in part.files if "/" not in name.removeprefix(prefix)]
        ensure(
            not loose,
            f"{len(loose)} images of {where} are in no class folder (data.classes); "
            "move them, or write data.classes=null",
        )
        ensure(
            len(names) == self.classes,
            f"{where} has {len(names)} class folders, not {self.classes} (data.classes); "
            f"give {len(names)}",
        )
        filled = {class_of(name, prefix) for name in part.files}
        empty = sorted(names - filled, key=natural)
        ensure(
            not empty,
            f"0 images in the class folders {', '.join(empty[:10])} of {where} "
            f"(data.{self.key}); fill or remove them",
        )
        return names

    def cached(self, tree: "Tree", names: list[str]) -> tuple[Tensor, list[str]]:
        """The decoded pictures, mapped from the cache; they are decoded into it when missing.

        Args:
            tree: all pictures.
            names: those to decode, whose contents name the file in the cache.

        Returns:
            uint8 (N, C, H, W), and the names of the N pictures.
        """
        from gentrain.data.pictures import source

        place = self.cache_dir / "image_folder"
        stamps = {name: tree.files[name] for name in names}
        content = digest_of_files(self.path, stamps, source(self.path).read, place)
        key = hashlib.sha256(repr((FORMAT, content, self.form, self.on_bad)).encode())
        target = place / f"{key.hexdigest()[:24]}.npy"
        skipped = target.with_suffix(".skipped.json")
        if not target.is_file():
            with locked(target.with_suffix(".lock")):
                if not target.is_file():  # another process may have been first
                    self.decode(names, target, skipped)
        bad = dict(json.loads(skipped.read_text("utf-8"))) if skipped.is_file() else {}
        if bad:
            log.warning(
                "%s: %d of %d images are unreadable and skipped: %s",
                self.path,
                len(bad),
                len(names),
                listed(list(bad.items())),
            )
        images = np.load(target, mmap_mode="c")  # private pages: a tensor wants writable memory
        found = torch.from_numpy(images)
        self.warn_of_darkness(found)
        return found, [name for name in names if name not in bad]

    def warn_of_darkness(self, images: Tensor) -> None:
        """Warn where no picture comes near the largest value, as of 12 bits in 16."""
        brightest = max(int(some.max()) for some in drawn_images(images, LOOKED_AT).split(CHUNK))
        self.say_once(
            f"{self.path}: the pictures are dark, no pixel is above {brightest} of 255 "
            "(data.range); give the values that are black and white, such as "
            "data.range=[0,4095] for 12 bits of 16",
            brightest < DARK,
            logging.WARNING,
        )

    def say_once(self, text: str, wanted: bool = True, level: int = logging.INFO) -> None:
        """Write a line into the log, unless this data set has written it already."""
        if wanted and text not in self._said:
            self._said.add(text)
            log.log(level, "%s", text)

    def decode(self, names: list[str], target: Path, skipped: Path) -> None:
        """Write the pictures to `target`, and the names of those left out to `skipped`.

        Raises:
            UserError: for unreadable pictures, unless `on_bad` is skip.
        """
        # files of a process that was killed; under the lock nobody else writes
        for left in target.parent.glob(f".{target.name}.*"):
            left.unlink()
        form = self.form
        log.info("decoding %d images of %s into %s", len(names), self.path, target.parent)
        with written(target) as file:
            allocate(file, (len(names), form.across * form.channels, form.size, form.size))
            bad = self.fill(file, names, form)
            ensure(
                self.on_bad == "skip" or not bad,
                f"{len(bad)} of {len(names)} images of {self.path} are unreadable: {listed(bad)} "
                "(data.on_bad); fix them, or write skip",
            )
            ensure(
                len(bad) < len(names),
                f"all {len(bad)} images of {self.path} are unreadable: {listed(bad)} "
                f"(data.{self.key}); fix them",
            )
            if bad:
                leave_out(file, names, bad)
                with written(skipped) as list_file:
                    list_file.write_text(json.dumps(bad), "utf-8")

    def fill(self, file: Path, names: list[str], form: "Form") -> list[Bad]:
        """Decode every picture into its row, on all cores where there are many pictures.

        Returns:
            The unreadable ones.
        """

        def shown(results: Iterable[list[Bad]]) -> list[Bad]:
            done = counted(results, len(names), "decoding", size=lambda bad: portion)
            return [bad for some in done for bad in some]

        # few portions, since each opens the zip again
        portion = max(PORTION, -(-len(names) // (4 * cores())))
        jobs = [
            (self.path, file, names[start : start + portion], start, form)
            for start in range(0, len(names), portion)
        ]
        if self.workers == 0 or len(jobs) == 1:
            return shown(decode_rows(*job) for job in jobs)
        try:
            with ProcessPoolExecutor(
                min(cores(), len(jobs)), multiprocessing.get_context("fork")
            ) as pool:
                return shown(pool.map(decode_rows, *zip(*jobs, strict=True)))
        except BrokenProcessPool as error:
            raise Unavailable(
                f"a process that decoded {self.path} was killed (data.{self.key}); "
                "is there enough memory?"
            ) from error


def layout(tree: "Tree", split: str) -> tuple[str, bool]:
    """Where a split lies.

    Returns:
        A prefix of paths, such as "" or "train/", and whether the split has to be drawn from what
        lies there.
    """
    wrap = ""
    while f"{wrap}train" not in tree.folders and (only := only_folder(tree, wrap)):
        wrap = f"{wrap}{only}/"  # all in one folder, as zips often are
    held_out = [name for name in HELD_OUT if wrap + name in tree.folders]
    if f"{wrap}train" not in tree.folders:
        return "", True
    if held_out:
        validation = held_out[1:] if held_out[0] == "test" else []
        of = {"test": held_out[0], "validation": next(iter(validation), "train"), "train": "train"}
        return f"{wrap}{of[split]}/", False
    # a train/ without a test/; beside other folders, "train" is a class like "car"
    return (f"{wrap}train/" if only_folder(tree, wrap) == "train" else ""), True


def only_folder(tree: "Tree", prefix: str) -> str | None:
    """The folder that holds all there is below a prefix; None where there is more than one."""
    below = {name.removeprefix(prefix) for name in tree.folders if name.startswith(prefix)}
    tops = {name for name in below if name and "/" not in name}
    loose = any(
        "/" not in name.removeprefix(prefix) for name in tree.files if name.startswith(prefix)
    )
    return next(iter(tops)) if len(tops) == 1 and not loose else None


def unwrapped(tree: "Tree", prefix: str) -> str:
    """A prefix, and the folders that alone hold all pictures below it."""
    while (only := only_folder(tree, prefix)) is not None:
        prefix = f"{prefix}{only}/"
    return prefix


def inside(tree: "Tree", prefix: str) -> str:
    """A prefix, and the folders that alone hold all class folders below it."""
    while (only := only_folder(tree, prefix)) is not None:
        deeper = f"{prefix}{only}/"
        if not any("/" in name.removeprefix(deeper) for name in tree.under(deeper).files):
            break  # pictures lie in it: it is a class
        prefix = deeper
    return prefix


def natural(name: str) -> tuple[list[Any], str]:
    """A key that sorts numbers in names by their values.

    >>> sorted(["10", "2", "b", "a10", "a9"], key=natural)
    ['2', '10', 'a9', 'a10', 'b']
    """
    parts: list[Any] = re.split(r"(\d+)", name)
    parts[1::2] = [int(number) for number in parts[1::2]]
    return parts, name


def check_range(values: Sequence[float] | None) -> None:
    """Refuse what is not two numbers, the lower one first."""
    if values is None:
        return
    pair = list(values) if not isinstance(values, str) else []
    ensure(
        len(pair) == 2 and all(has_type(each, float) for each in pair) and pair[0] < pair[1],
        f"range is {values!r} (data.range); give the values of black and white, e.g. [0,4095]",
    )


def drawn(names: list[str], split: str, seed: int) -> list[str]:
    """A drawn tenth of some names ("test"), or the others, in their order."""
    order = torch.randperm(len(names), generator=generator(seed, "split")).tolist()
    tenth = len(names) // 10
    return [names[row] for row in sorted(order[:tenth] if split == "test" else order[tenth:])]


def decode_rows(root: Path, file: Path, names: list[str], start: int, form: "Form") -> list[Bad]:
    """Decode pictures into the rows of `file` from `start` on; returns the unreadable ones."""
    from gentrain.data.pictures import decoded, source

    pictures, rows, bad = source(root), np.load(file, mmap_mode="r+"), []
    for row, name in enumerate(names, start):
        try:
            rows[row] = decoded(pictures.read(name), form)
        except Exception as error:  # a broken file makes Pillow raise almost anything
            bad.append((name, " ".join(str(error).split()) or type(error).__name__))
    return bad


def allocate(file: Path, shape: tuple[int, ...]) -> None:
    """Make an .npy file whose blocks exist on the disk.

    So a full disk is reported here, and not by a signal in the middle of the work.
    """
    np.lib.format.open_memmap(file, mode="w+", dtype=np.uint8, shape=shape).flush()
    if "posix_fallocate" not in vars(os):  # macOS
        return
    with writable(file.parent), file.open("r+b") as handle:
        os.posix_fallocate(handle.fileno(), 0, os.path.getsize(file))


def leave_out(file: Path, names: list[str], bad: list[Bad]) -> None:
    """Rewrite a file without the rows of the bad pictures."""
    out = {name for name, _ in bad}
    keep = [row for row, name in enumerate(names) if name not in out]
    rows = np.load(file, mmap_mode="r")
    with written(file.with_suffix(".kept")) as kept:
        packed = np.lib.format.open_memmap(
            kept, mode="w+", dtype=np.uint8, shape=(len(keep), *rows.shape[1:])
        )
        for to, row in enumerate(keep):
            packed[to] = rows[row]
        packed.flush()
    os.replace(file.with_suffix(".kept"), file)


def class_of(name: str, prefix: str) -> str:
    """The first folder below the prefix."""
    return name.removeprefix(prefix).split("/")[0]


def listed(bad: list[Bad]) -> str:
    """The first ten, with what is wrong."""
    more = f" and {len(bad) - 10} more" if len(bad) > 10 else ""
    return "; ".join(f"{name!r} ({why[:100]})" for name, why in bad[:10]) + more
