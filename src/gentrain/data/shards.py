"""Pictures in tar files, as WebDataset has them: many files in few, for data larger than memory.

A sample is what has one name up to the first dot: 000123.jpg is its picture and 000123.cls its
class. The heads of the tars are read once, and say where each picture lies. Pictures are then
decoded once into a file of the cache, as those of a folder are, and training reads that file: any
batch is at hand, so the order is shuffled over all shards, a resume goes on with the next batch
exactly, and processes and workers share each batch. The cache takes C H W bytes for a picture, and
memory some hundred bytes.

Shards are a folder of .tar files, a pattern such as set/*.tar, or set/{0000..0099}.tar. Those
called train-... and test-... (or val-..., validation-...) are splits.
"""

import glob
import os
import re
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from gentrain.data.checks import ensure
from gentrain.data.folder_layout import HELD_OUT
from gentrain.data.image_folder import ImageFolder
from gentrain.data.label_files import class_table, classes_in
from gentrain.errors import UserError

if TYPE_CHECKING:
    from gentrain.data.pictures import Source, Tree

SPLIT = re.compile(rf"(train|{'|'.join(HELD_OUT)})[-_.].*")
BRACES = re.compile(r"\{([^{}]*)\}")
LABEL = "cls"  # the ending of files with the class
BLOCK = 512  # bytes of a block of a tar
RANGE = re.compile(r"(\d+)\.\.(\d+)")


class Place(NamedTuple):
    """Where a file lies in a shard."""

    shard: str
    offset: int
    size: int


@dataclass(kw_only=True, eq=False, repr=False)
class Shards(ImageFolder):
    """Pictures in tar files on the disk.

    Args:
        root: a folder of .tar files, one of them, or a pattern.
        image: the ending of the pictures, such as jpg; null for any of a picture.
        label: the ending of the files with the class.
        The other arguments are those of `ImageFolder`.
    """

    image: str | None = None
    label: str = LABEL

    def __post_init__(self) -> None:
        super().__post_init__()
        ensure(
            self.label == LABEL or (self.classes is not None and not self.labels),
            f"no .{self.label} file is read without data.classes, or with data.labels (data.label);"
            f" give data.classes=K alone, or leave data.label={LABEL}",
        )

    @property
    def open(self) -> Callable[[], "Source"]:
        return partial(Tars, str(self.root), self.image)

    def check_path(self) -> None:
        """Refuse shards that there are not."""
        expanded(str(self.root))

    def classes_by_folder(self, tree: "Tree") -> dict[str, str] | None:
        """The class of each picture, of the file beside it; None without labels."""
        if self.classes is None:
            return None
        tars = Tars(str(self.root), self.image)
        found = {}
        for name in tree.files:
            beside = f"{key_of(name)}.{self.label}"
            ensure(
                beside in tars.places,
                f"{name} of {self.root} has no {Path(beside).name} beside it (data.label); give "
                "another ending, data.labels=FILE, or data.classes=null",
            )
            found[name] = tars.read(beside).decode("utf-8", "replace").strip()
        self.check_count(found, f"the .{self.label} files of {self.root}")
        return found

    def classes_by_file(self, tree: "Tree") -> dict[str, str]:
        path = Path(self.labels or "").expanduser()
        ensure(path.is_file(), f"no file {path} (data.labels); give a CSV or a dataset.json")
        table = class_table(path, self.path)
        found = classes_in(table, list(tree.files), str(self.labels), str(self.root))
        self.check_count(found, str(self.labels))
        return found

    def check_count(self, found: dict[str, str], where: str) -> None:
        """Refuse another number of classes than that of the configuration."""
        count = len(set(found.values()))
        ensure(
            count == self.classes,
            f"{where} have {count} classes, not {self.classes} (data.classes); give {count}",
        )


class Tars:
    """The files in shards, by their paths: SHARD/NAME, or SPLIT/SHARD/NAME."""

    def __init__(self, root: str, image: str | None = None) -> None:
        self.root, self.image = root, image
        shards = expanded(root)
        above = os.path.commonpath([shard.resolve().parent for shard in shards])
        self.places: dict[str, Place] = {}
        self.stamps: dict[str, tuple[int, ...]] = {}
        for shard in shards:
            about = shard.stat()
            self.stamps[str(shard)] = (about.st_mtime_ns, about.st_size)
            prefix = prefix_of(os.path.relpath(shard.resolve(), above))
            found = members(str(shard), about.st_mtime_ns, about.st_size)
            self.places |= {f"{prefix}/{name}": place for name, place in found.items()}

    def tree(self) -> "Tree":
        from gentrain.data.pictures import Tree, above, is_picture

        endings = f".{self.image}".lower() if self.image else ""
        files: dict[str, tuple[int, ...]] = {}
        keys: dict[str, str] = {}
        for name, place in self.places.items():
            if not is_picture(name) or not name.lower().endswith(endings):
                continue
            other = keys.setdefault(key_of(name), name)
            ensure(
                other == name,
                f"{other} and {name} of {self.root} are pictures of one sample (data.image); "
                "give the ending of one, such as data.image=jpg",
            )
            files[name] = (*self.stamps[place.shard], place.offset, place.size)
        folders = set[str]().union(*({*above(name)} for name in files))
        return Tree(files, folders, Counter())

    def read(self, name: str) -> bytes:
        place = self.places[name]
        with open(place.shard, "rb") as file:
            file.seek(place.offset)
            return file.read(place.size)


@lru_cache(maxsize=100_000)
def members(shard: str, modified: int, size: int) -> dict[str, Place]:
    """The files in a shard, whose heads are read once as long as it stays what it is.

    Raises:
        UserError: for a file that is no whole, uncompressed tar.
    """
    from gentrain.data.pictures import plain

    found = {}
    try:
        with tarfile.open(shard, "r:") as archive:
            for member in archive:
                archive.members = []  # type: ignore[attr-defined]  # they would all be kept
                if member.isfile():
                    found[plain(member.name)] = Place(shard, member.offset_data, member.size)
    except (tarfile.TarError, OSError, EOFError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{shard} is no whole, uncompressed .tar: {reason} (data.root); write it again"
        ) from error
    ensure(
        ends_whole(shard, size),
        f"{shard} is cut off, it has no end of an archive (data.root); write it again",
    )
    return found


def ends_whole(shard: str, size: int) -> bool:
    """Whether a tar ends with a block of zeros, as a whole one does."""
    with open(shard, "rb") as file:
        file.seek(max(0, size - BLOCK))
        return file.read() == bytes(BLOCK)


def expanded(root: str) -> list[Path]:
    """The shards that a folder, a file or a pattern names, sorted.

    Raises:
        UserError: for none of them, and for what is not on the disk.
    """
    ensure(
        "://" not in root and not root.startswith("pipe:"),
        f"{root} is not on the disk (data.root); copy the shards, and give their folder",
    )
    path = Path(root).expanduser()
    if path.is_dir():
        found = sorted(path.rglob("*.tar"))
    else:
        found = []
        for name in alternatives(str(path)):
            some = sorted(glob.glob(name))
            ensure(bool(some), f"no shard {name} (data.root); give a folder of .tar files")
            found += map(Path, some)
    ensure(bool(found), f"no .tar files in {root} (data.root); give a folder that has some")
    return found


def alternatives(pattern: str) -> Iterator[str]:
    """What a pattern with braces stands for.

    >>> list(alternatives("a-{08..10}.{x,y}"))
    ['a-08.x', 'a-08.y', 'a-09.x', 'a-09.y', 'a-10.x', 'a-10.y']
    """
    braces = BRACES.search(pattern)
    if braces is None:
        yield pattern
        return
    numbers = RANGE.fullmatch(braces[1])
    words = braces[1].split(",")
    if numbers:
        digits = range(int(numbers[1]), int(numbers[2]) + 1)
        words = [f"{number:0{len(numbers[1])}d}" for number in digits]
    for word in words:
        yield from alternatives(f"{pattern[: braces.start()]}{word}{pattern[braces.end() :]}")


def prefix_of(path: str) -> str:
    """Where the files of a shard are, by its path below the folder of all.

    >>> prefix_of("0000.tar"), prefix_of("train-0000.tar"), prefix_of("test/0.tar")
    ('0000', 'train/train-0000', 'test/0')
    """
    name = path.removesuffix(".tar")
    split = SPLIT.fullmatch(name)
    return f"{split[1]}/{name}" if split else name


def key_of(name: str) -> str:
    """The path of a file up to the first dot of its name.

    >>> key_of("0000/a.b/000123.left.jpg")
    '0000/a.b/000123'
    """
    folder, slash, last = name.rpartition("/")
    return f"{folder}{slash}{last.partition('.')[0]}"
