"""A folder or zip of files, decoded once into a file of the cache: its splits and its classes.

Splits are `train/` and `test/` (or `val/`, `valid/`, `validation/`) where these exist. Otherwise a
tenth of all files, drawn by `draw_seed`, is "test", and the rest is "train". "validation" is `val/`
(or `valid/`, `validation/`) beside a `test/`, and otherwise a share of "train". With `classes=K`,
labels are the folders of a split, or those of a file, in the natural order of their names: 1, 2,
10. With `classes=null` there are none.
"""

import hashlib
import json
import logging
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import Tensor

from gentrain.data.arrays import ArrayDataset
from gentrain.data.base import SPLITS, Data
from gentrain.data.checks import ensure
from gentrain.data.decoded_files import Decoder, FileForm, listed
from gentrain.data.digests import digest_of_files
from gentrain.data.files import locked
from gentrain.data.folder_layout import class_of, drawn, inside, layout
from gentrain.data.label_files import natural
from gentrain.data.validation import check_own_split, divided
from gentrain.errors import UserError

if TYPE_CHECKING:
    from gentrain.data.pictures import Source, Tree

log = logging.getLogger("gentrain")


@dataclass(kw_only=True, eq=False, repr=False)
class FileFolder(Data):
    """Samples in a memory-mapped tensor, so their number does not matter.

    Args:
        root: the folder or .zip.
        labels: a file with the class of each file (see label_files.py); null for the folders.
        on_bad: what an unreadable file does: stop or skip.
        draw_seed: which tenth is held out. It is not the run's seed, so that runs with other seeds
            share the data.
        The other arguments are those of `Data`.
    """

    key: ClassVar[str] = "root"  # the key that names the folder, in messages
    file_kind: ClassVar[str] = "picture"  # a file, in messages
    cached_in: ClassVar[str]  # the folder of the cache
    format: ClassVar[int]  # raised when a file would be decoded to other values
    root: str | Path | None = None
    labels: str | Path | None = None
    on_bad: str = "stop"
    draw_seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._class_names: list[str] = []
        ensure(
            self.on_bad in ("stop", "skip"),
            f"on_bad is {self.on_bad!r} (data.on_bad); write stop or skip",
        )
        ensure(
            not self.labels or self.classes is not None,
            f"labels of {self.labels} need the number of classes (data.labels); "
            "give data.classes=K as well",
        )
        ensure(
            bool(self.root),
            f"data={self.name} needs a folder or .zip of {self.things} (data.{self.key}); "
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
        self.refuse_unread_seed(is_drawn)
        part = tree.under(prefix)
        names = drawn(sorted(part.files), split, self.draw_seed) if is_drawn else sorted(part.files)
        ensure(
            len(names) > 0,
            f"too few {self.things} in {self.path} to draw a {split} split (data.{self.key}); "
            "give at least 10",
        )
        return names, prefix

    def refuse_unread_seed(self, is_drawn: bool) -> None:
        """Refuse a seed for the draw of a split where none is drawn."""
        ensure(
            is_drawn or not self.draw_seed,
            f"{self.path} has a split to test of its own, and none is drawn (data.draw_seed); "
            "leave it 0",
        )

    @property
    @abstractmethod
    def form(self) -> FileForm:
        """What every file becomes."""

    @property
    @abstractmethod
    def endings(self) -> tuple[str, ...]:
        """The endings of files that are read."""

    def warn_of_contents(self, samples: Tensor) -> None:
        """Warn of what was read, if it looks wrong."""

    @property
    def decoder(self) -> Decoder:
        """What decodes them."""
        return Decoder(self.open, self.path, self.key, self.form, self.on_bad, self.workers)

    @property
    def class_names(self) -> Sequence[str]:
        return self._class_names or self.domain_names

    @property
    def path(self) -> Path:
        """The folder or .zip."""
        return Path(self.root or "").expanduser()

    @property
    def open(self) -> Callable[[], "Source"]:
        """What opens the folder or .zip; other processes get it, too."""
        from gentrain.data.pictures import source

        return partial(source, self.path, self.endings)

    def check_path(self) -> None:
        """Refuse a path that there is not."""
        ensure(
            self.path.exists(),
            f"no such folder or file {self.path} (data.{self.key}); "
            f"give a folder or a .zip of {self.things}",
        )

    def tree(self) -> "Tree":
        """The pictures and folders. Raises UserError where there are none."""
        try:
            self.check_path()
            tree = self.open().tree()
            self.report(tree)
        except OSError as error:
            raise UserError(
                f"cannot read {self.path}: {error.strerror} (data.{self.key}); "
                "give a folder that you may read"
            ) from error
        accepted = " ".join(self.endings)
        ensure(
            len(tree.files) > 0,
            f"0 {self.things} in {self.path} (data.{self.key}); "
            f"give a folder or .zip with files named {accepted}",
        )
        return tree

    def report(self, tree: "Tree") -> None:
        """Say once what is not a picture that can be read."""
        kinds = ", ".join(f"{n} {kind}" for kind, n in sorted(tree.left_out.items()))
        one = self.file_kind
        text = f"{self.path}: {len(tree.files)} {one}s; left out, since no {one}: {kinds}"
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
            f"0 {self.things} in {where} (data.{self.key}); fill the folder or remove it",
        )
        if self.classes is None:
            return set()
        below = {name.removeprefix(prefix) for name in part.folders}
        names = {name for name in below if name and "/" not in name}
        loose = [name for name in part.files if "/" not in name.removeprefix(prefix)]
        ensure(
            not loose,
            f"{len(loose)} {self.things} of {where} are in no class folder (data.classes); "
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
            f"0 {self.things} in the class folders {', '.join(empty[:10])} of {where} "
            f"(data.{self.key}); fill or remove them",
        )
        return names

    def cached(self, tree: "Tree", names: list[str]) -> tuple[Tensor, list[str]]:
        """The decoded pictures, mapped from the cache; they are decoded into it when missing.

        Args:
            tree: all pictures.
            names: those to decode, whose contents name the file in the cache.

        Returns:
            (N, *shape) as `form` has them, and the names of the N files.
        """
        place = self.cache_dir / self.cached_in
        stamps = {name: tree.files[name] for name in names}
        content = digest_of_files(self.path, stamps, self.open().read, place)
        key = hashlib.sha256(repr((self.format, content, self.form, self.on_bad)).encode())
        target = place / f"{key.hexdigest()[:24]}.npy"
        skipped = target.with_suffix(".skipped.json")
        if not target.is_file():
            with locked(target.with_suffix(".lock")):
                if not target.is_file():  # another process may have been first
                    self.decoder.decode(names, target, skipped)
        bad = dict(json.loads(skipped.read_text("utf-8"))) if skipped.is_file() else {}
        if bad:
            log.warning(
                "%s: %d of %d %s are unreadable and skipped: %s",
                self.path,
                len(bad),
                len(names),
                self.things,
                listed(list(bad.items())),
            )
        images = np.load(target, mmap_mode="c")  # private pages: a tensor wants writable memory
        found = torch.from_numpy(images)
        self.warn_of_contents(found)
        return found, [name for name in names if name not in bad]
