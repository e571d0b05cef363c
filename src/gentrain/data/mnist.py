"""MNIST and Fashion-MNIST, from their IDX files.

LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document recognition", 1998;
Xiao, Rasul, Vollgraf, "Fashion-MNIST", 2017. An IDX file is a header of big-endian 32-bit numbers,
and the bytes after it:

    0x00000803  N  rows  columns  N*rows*columns pixels        images
    0x00000801  N  N labels                                    labels

Files are looked for in data.root, or else in the cache, where missing ones are downloaded to. They
are compared with pinned sha256 sums wherever they are from: torchvision checks only archives, and
accepts a flipped byte in a raw file.
"""

import gzip
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from gentrain.data.arrays import ArrayDataset, resized, with_labels
from gentrain.data.checks import ensure
from gentrain.data.files import Rejected, download, locked, root_folder, sha256
from gentrain.data.images import Images
from gentrain.errors import Unavailable, UserError

IMAGES, LABELS = 0x803, 0x801


@dataclass(kw_only=True, eq=False, repr=False)
class IDX(Images):
    """60,000 + 10,000 grey images of 28 x 28 in ten classes, in four IDX files, raw or gzipped.

    Args:
        root: a folder with the files, or with torchvision's NAME/raw/; null looks in the cache,
            and downloads.
        mirrors: where `<file>.gz` is downloaded from, tried in turn.
        verify: compare files with the pinned sums; false checks their structure alone.
        The other arguments are those of `Images`.
    """

    root: str | Path | None = None
    mirrors: Sequence[str] = ()
    verify: bool = True

    folder: ClassVar[str]  # torchvision's name
    sums: ClassVar[dict[str, str]]  # sha256 of the raw files

    def read(self, split: str) -> ArrayDataset:
        stem = "train" if split == "train" else "t10k"
        pixels, images = self.array(f"{stem}-images-idx3-ubyte", IMAGES)
        targets, labels = self.array(f"{stem}-labels-idx1-ubyte", LABELS)
        ensure(
            len(labels) == len(images),
            f"{targets} has {len(labels)} labels for the {len(images)} images of {pixels.name} "
            "(data.root); delete both and retry",
        )
        ensure(
            len(labels) == 0 or labels.max() < 10,
            f"{targets} has labels above 9 (data.root); delete it and retry",
        )
        return with_labels(
            resized(torch.from_numpy(images)[:, None], self.sides), torch.from_numpy(labels)
        )

    def array(self, file: str, magic: int) -> tuple[Path, np.ndarray]:
        """The path of a file, and its numbers: uint8 (N, 28, 28) or (N,)."""
        path = self.located(file)
        content = unzipped(path)
        if self.verify:
            ensure(
                sha256(content) == self.sums[file],
                f"{path} is altered or cut off: its sha256 begins {sha256(content)[:12]}, expected "
                f"{self.sums[file][:12]} (data.root); delete and retry",
            )
        return path, parsed(content, magic, path)

    def located(self, file: str) -> Path:
        """The path of a file, in data.root or in the cache.

        Without data.root a missing file is downloaded to the cache.
        """
        places = [root_folder(self.root)] if self.root else [self.cache_dir]
        candidates = [
            folder / name
            for place in places
            for folder in (place, place / self.folder / "raw", place / "raw")
            for name in (file, f"{file}.gz")
        ]
        found = next((path for path in candidates if path.is_file()), None)
        if found:
            return found
        if self.root:
            where = f"{self.root}, {self.root}/{self.folder}/raw and {self.root}/raw"
            raise UserError(
                f"no {file} or {file}.gz in {where} (data.root); give their folder, or "
                "data.root=null to download"
            )
        return self.downloaded(file)

    def downloaded(self, file: str) -> Path:
        """Download a file into the cache, unless it is there. Raises Unavailable."""
        target = self.cache_dir / self.folder / "raw" / file
        with locked(target.parent / ".lock"):
            if not target.is_file():  # another process may have been first
                urls = [f"{mirror.rstrip('/')}/{file}.gz" for mirror in self.mirrors]
                try:
                    download(urls, target, lambda content: self.accepted(content, file), file)
                except Unavailable as error:
                    raise Unavailable(
                        f"no {self.name}: no data.root or GENTRAIN_DATA_DIR given, not in "
                        f"{target.parent}, {error} (data); give data.root=DIR, or use "
                        "data=mnist_5k"
                    ) from error
        return target

    def accepted(self, content: bytes, file: str) -> bytes:
        """The raw file in a downloaded .gz. Raises Rejected when its sum is not the pinned one."""
        try:
            raw = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise Rejected(f"not a whole gzip file ({error})") from error
        if self.verify and sha256(raw) != self.sums[file]:
            raise Rejected(
                f"wrong bytes, sha256 begins {sha256(raw)[:12]}, expected {self.sums[file][:12]}"
            )
        return raw


@dataclass(kw_only=True, eq=False, repr=False)
class MNIST(IDX):
    """Handwritten digits, classes 0 to 9."""

    folder = "MNIST"
    sums = {  # noqa: RUF012
        "train-images-idx3-ubyte": (
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"
        ),
        "train-labels-idx1-ubyte": (
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"
        ),
        "t10k-images-idx3-ubyte": (
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"
        ),
        "t10k-labels-idx1-ubyte": (
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"
        ),
    }


CLOTHES = (
    "t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag",
    "ankle boot",
)  # fmt: skip


@dataclass(kw_only=True, eq=False, repr=False)
class FashionMNIST(IDX):
    """Photographs of clothes in ten classes."""

    folder = "FashionMNIST"
    sums = {  # noqa: RUF012
        "train-images-idx3-ubyte": (
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"
        ),
        "train-labels-idx1-ubyte": (
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"
        ),
        "t10k-images-idx3-ubyte": (
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"
        ),
        "t10k-labels-idx1-ubyte": (
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"
        ),
    }

    @property
    def class_names(self) -> Sequence[str]:
        return CLOTHES


def unzipped(path: Path) -> bytes:
    """The bytes of a raw file, or those inside a .gz. Raises UserError."""
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if path.suffix == ".gz" else content
    except PermissionError as error:
        raise UserError(
            f"cannot read {path}: {error.strerror} (data.root); give files that you may read"
        ) from error
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} is damaged: {error} (data.root); delete and retry") from error


def parsed(content: bytes, magic: int, path: Path) -> np.ndarray:
    """The numbers of an IDX file, in the shape that its header says.

    Raises:
        UserError: when the header does not fit the magic number or the bytes.
    """
    axes = magic & 0xFF
    ensure(
        len(content) >= 4 + 4 * axes,
        f"{path} is truncated: {len(content)} bytes, no header (data.root); delete and retry",
    )
    found, *shape = (int(number) for number in np.frombuffer(content, ">u4", 1 + axes))
    ensure(
        found == magic,
        f"{path} is no such IDX file: it begins with {found:#010x}, not {magic:#010x} "
        "(data.root); replace it",
    )
    values = np.frombuffer(content, np.uint8, offset=4 + 4 * axes)
    ensure(
        values.size == math.prod(shape),
        f"{path} is truncated: {values.size:,} bytes of data, its header says "
        f"{math.prod(shape):,} (data.root); delete and retry",
    )
    return values.reshape(shape).copy()  # a tensor must own writable memory
