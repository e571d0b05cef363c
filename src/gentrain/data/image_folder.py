"""Any folder or zip of images, of any size and kind, decoded once into a uint8 file of the cache.

Splits are `train/` and `test/` (or `val/`, `valid/`, `validation/`) where these exist. Otherwise a
tenth of all images, drawn by `draw_seed`, is "test", and the rest is "train". With `classes=K`,
labels are the folders of a split in the order of their names; with `classes=null` there are none.
pictures.py says what is done to each picture.
"""

import hashlib
import json
import logging
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import Tensor

from gentrain.data.arrays import ArrayDataset
from gentrain.data.batches import generator
from gentrain.data.checks import cores, ensure
from gentrain.data.files import locked, writable, written
from gentrain.data.images import Images
from gentrain.errors import Unavailable, UserError

if TYPE_CHECKING:
    from gentrain.data.pictures import Form, Tree

log = logging.getLogger("gentrain")

HELD_OUT = ("test", "val", "valid", "validation")
FORMAT = 1  # raise when a picture would be decoded to other pixels
PORTION = 256  # pictures that are worth a process

Bad = tuple[str, str]  # a picture, and what is wrong with it


@dataclass(kw_only=True, eq=False, repr=False)
class ImageFolder(Images):
    """Squares of `size` pixels in a memory-mapped tensor, so their number does not matter.

    Args:
        root: the folder or .zip.
        channels: 3 for colour, 1 for grey.
        crop: cut the centre square; false squeezes the whole to a square.
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
    on_bad: str = "stop"
    draw_seed: int = 0

    def __post_init__(self) -> None:
        ensure(
            self.channels in (1, 3),
            f"channels must be 1 (grey) or 3 (colour), not {self.channels!r} (data.channels); "
            "e.g. 3",
        )
        super().__post_init__()
        ensure(
            self.shape[0] == self.channels,
            f"shape {self.shape} has not {self.channels} channels (data.shape); set data.channels",
        )
        ensure(
            self.on_bad in ("stop", "skip"),
            f"on_bad is {self.on_bad!r} (data.on_bad); write stop or skip",
        )
        ensure(
            bool(self.root),
            f"data={self.name} needs a folder or .zip of images (data.{self.key}); "
            f"give data.{self.key}=DIR",
        )

    def read(self, split: str) -> ArrayDataset:
        tree = self.tree()
        classes = self.class_names(tree)  # checked before the long work
        names, prefix = self.names(tree, split)
        images, kept = self.cached([(name, *tree.files[name]) for name in names])
        return ArrayDataset(images, labels_of(kept, prefix, classes) if classes else None)

    def names(self, tree: "Tree", split: str) -> tuple[list[str], str]:
        """The pictures of a split in their order, and the prefix of their paths."""
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

        return Form(self.size, self.channels, self.crop)

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

    def class_names(self, tree: "Tree") -> list[str] | None:
        """Sorted names of the class folders, the same in all splits; None without labels."""
        found = [self.split_classes(tree, layout(tree, split)[0]) for split in ("train", "test")]
        if self.classes is None:
            return None
        odd = sorted(set(found[0]) ^ set(found[1]))
        ensure(
            not odd,
            f"class folders differ between train and test of {self.path}: "
            f"{', '.join(odd[:10])} (data.{self.key}); make them equal",
        )
        return found[0]

    def split_classes(self, tree: "Tree", prefix: str) -> list[str]:
        """Sorted names of the class folders of one split, which are checked; [] without labels."""
        where, part = self.path / prefix, tree.under(prefix)
        ensure(
            len(part.files) > 0,
            f"0 images in {where} (data.{self.key}); fill the folder or remove it",
        )
        if self.classes is None:
            return []
        names = sorted(
            name.removeprefix(prefix)
            for name in part.folders
            if "/" not in name.removeprefix(prefix)
        )
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
        empty = [name for name in names if name not in filled]
        ensure(
            not empty,
            f"0 images in the class folders {', '.join(empty[:10])} of {where} "
            f"(data.{self.key}); fill or remove them",
        )
        return names

    def cached(self, entries: list[tuple[str, int, int]]) -> tuple[Tensor, list[str]]:
        """The decoded pictures, mapped from the cache; they are decoded into it when missing.

        Args:
            entries: name, size and time of each picture, which name the file in the cache.

        Returns:
            uint8 (N, C, H, W), and the names of the N pictures.
        """
        across = () if self.form.across == 1 else (self.form.across,)
        decides = (FORMAT, entries, self.size, self.channels, self.crop, self.on_bad, *across)
        key = hashlib.sha256(repr(decides).encode()).hexdigest()[:24]
        target = self.cache_dir / "image_folder" / f"{key}.npy"
        skipped = target.with_suffix(".skipped.json")
        names = [name for name, *_ in entries]
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
        return torch.from_numpy(images), [name for name in names if name not in bad]

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
        # few portions, since each opens the zip again
        portion = max(PORTION, -(-len(names) // (4 * cores())))
        jobs = [
            (self.path, file, names[start : start + portion], start, form)
            for start in range(0, len(names), portion)
        ]
        if self.workers == 0 or len(jobs) == 1:
            return [bad for job in jobs for bad in decode_rows(*job)]
        try:
            with ProcessPoolExecutor(
                min(cores(), len(jobs)), multiprocessing.get_context("fork")
            ) as pool:
                return [
                    bad for some in pool.map(decode_rows, *zip(*jobs, strict=True)) for bad in some
                ]
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
    tops = {name for name in tree.folders if "/" not in name}
    loose = any("/" not in name for name in tree.files)
    only = next(iter(tops)) if len(tops) == 1 and not loose else None
    # all in one folder, as zips often are
    wrap = f"{only}/" if only and f"{only}/train" in tree.folders else ""
    held_out = next((name for name in HELD_OUT if wrap + name in tree.folders), None)
    if held_out and f"{wrap}train" in tree.folders:
        return f"{wrap}{'train' if split == 'train' else held_out}/", False
    # a train/ without a test/; beside other folders, "train" is a class like "car"
    if wrap or only == "train":
        return f"{wrap}train/", True
    return "", True


def drawn(names: list[str], split: str, seed: int) -> list[str]:
    """A drawn tenth of some names ("test"), or the others ("train"), in their order."""
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


def labels_of(names: list[str], prefix: str, classes: list[str]) -> Tensor:
    """int64 (N,): the number of each picture's class."""
    number = {name: index for index, name in enumerate(classes)}
    return torch.tensor([number[class_of(name, prefix)] for name in names], dtype=torch.int64)


def listed(bad: list[Bad]) -> str:
    """The first ten, with what is wrong."""
    more = f" and {len(bad) - 10} more" if len(bad) > 10 else ""
    return "; ".join(f"{name!r} ({why[:100]})" for name, why in bad[:10]) + more
