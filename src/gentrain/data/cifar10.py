"""CIFAR-10 (Krizhevsky, 2009): 50,000 + 10,000 colour photographs of 32 x 32 in ten classes.

Two published forms are read: the Python pickles in `cifar-10-batches-py`, and the binary files in
`cifar-10-batches-bin` (3,073 bytes an image: label, red, green, blue). A pickle can run code, so a
file is unpickled only after its md5 agrees with the published one, and then by an unpickler that
rebuilds arrays and nothing else. The binary files have no published sums: their length and labels
are checked.
"""

import hashlib
import io
import logging
import pickle
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from gentrain.data.arrays import ArrayDataset, resized, with_labels
from gentrain.data.checks import ensure
from gentrain.data.files import Rejected, download, locked, root_folder, written
from gentrain.data.images import Images
from gentrain.errors import Unavailable, UserError

log = logging.getLogger("gentrain")

PICKLES, BINARIES, ARCHIVE = "cifar-10-batches-py", "cifar-10-batches-bin", "cifar-10-python.tar.gz"
PIXELS = 3 * 32 * 32
CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip


@dataclass(kw_only=True, eq=False, repr=False)
class CIFAR10(Images):
    """Photographs of ten classes, `CLASSES`.

    Args:
        root: a folder with cifar-10-batches-py/ or -bin/, or with their files; null looks in the
            cache, and downloads.
        mirrors: where cifar-10-python.tar.gz is downloaded from, tried in turn.
        verify: compare pickles with their published md5; false checks their structure alone.
        The other arguments are those of `Images`.
    """

    size: int = 32
    root: str | Path | None = None
    mirrors: Sequence[str] = ()
    verify: bool = True

    archive_md5: ClassVar[str] = "c58f30108f718f92721af3b95e74349a"
    md5: ClassVar[dict[str, str]] = {
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        "test_batch": "40351d587109b95175f43aff81a1287e",
    }

    @property
    def class_names(self) -> Sequence[str]:
        return CLASSES

    def read(self, split: str) -> ArrayDataset:
        files = [name for name in self.md5 if (name == "test_batch") == (split == "test")]
        parts = [self.batch(self.located(file)) for file in files]
        pixels, labels = (
            torch.from_numpy(np.concatenate(part)) for part in zip(*parts, strict=True)
        )
        return with_labels(resized(pixels.view(-1, 3, 32, 32), self.sides), labels)

    def located(self, file: str) -> Path:
        """The path of a pickle or its binary twin, in data.root or in the cache.

        Without data.root a missing file is downloaded to the cache.
        """
        place = root_folder(self.root) if self.root else self.cache_dir
        folders = (place, place / PICKLES, place / BINARIES)
        for folder in folders:
            for path in (folder / file, folder / f"{file}.bin"):
                if path.is_file():
                    return path
        if self.root:
            where = f"{place}, {place}/{PICKLES} and {place}/{BINARIES}"
            raise UserError(
                f"no {file} or {file}.bin in {where} (data.root); give their folder, or "
                "data.root=null to download"
            )
        self.downloaded()
        return place / PICKLES / file

    def batch(self, path: Path) -> tuple[np.ndarray, np.ndarray]:
        """uint8 (N, 3072) and uint8 (N,) of one file."""
        try:
            content = path.read_bytes()
        except OSError as error:
            raise UserError(
                f"cannot read {path}: {error.strerror} (data.root); give files that you may read"
            ) from error
        if path.suffix == ".bin":
            log.info(
                "%s: binary CIFAR-10 has no published sums; lengths and labels are checked", path
            )
            return from_binary(content, path)
        found = hashlib.md5(content).hexdigest()
        ensure(
            not self.verify or found == self.md5[path.name],
            f"{path} is altered or cut off: its md5 begins {found[:12]}, expected "
            f"{self.md5[path.name][:12]} (data.root); delete and retry",
        )
        return from_pickle(content, path)

    def downloaded(self) -> None:
        """Download the archive, and unpack all pickles into the cache."""
        archive = self.cache_dir / ARCHIVE
        with locked(self.cache_dir / PICKLES / ".lock"):
            missing = [file for file in self.md5 if not (self.cache_dir / PICKLES / file).is_file()]
            if not missing:  # another process was first
                return
            urls = [f"{mirror.rstrip('/')}/{ARCHIVE}" for mirror in self.mirrors]
            try:
                download(urls, archive, self.accepted, ARCHIVE)
            except Unavailable as error:
                raise Unavailable(
                    f"no {self.name}: no data.root or GENTRAIN_DATA_DIR given, not in "
                    f"{self.cache_dir / PICKLES}, {error} (data); give data.root=DIR, or use "
                    "data=mnist_5k"
                ) from error
            try:
                unpack(archive, missing)
            except (tarfile.TarError, KeyError, EOFError) as error:
                raise UserError(
                    f"{archive} is no archive of CIFAR-10: {error} (data.mirrors); "
                    "delete it and retry"
                ) from error

    def accepted(self, content: bytes) -> bytes:
        """The downloaded archive. Raises Rejected when its sum is not the published one."""
        found = hashlib.md5(content).hexdigest()
        if self.verify and found != self.archive_md5:
            raise Rejected(
                f"wrong bytes, md5 begins {found[:12]}, expected {self.archive_md5[:12]}"
            )
        return content


def unpack(archive: Path, files: Sequence[str]) -> None:
    """Unpack pickles into their folder beside the archive, and remove the archive."""
    with tarfile.open(archive) as tar:
        for file in files:
            member = tar.extractfile(f"{PICKLES}/{file}")
            assert member is not None
            with written(archive.parent / PICKLES / file) as target:
                target.write_bytes(member.read())
    archive.unlink()


def from_binary(content: bytes, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (N, 3072) and uint8 (N,) of the bytes of a binary file."""
    records, rest = divmod(len(content), 1 + PIXELS)
    ensure(
        records > 0 and rest == 0,
        f"{path} is truncated: {len(content):,} bytes are not N x 3,073 (data.root); "
        "delete and retry",
    )
    table = np.frombuffer(content, np.uint8).reshape(records, 1 + PIXELS)
    return checked(table[:, 1:], table[:, 0], path)


def from_pickle(content: bytes, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (N, 3072) and uint8 (N,) of the bytes of a pickle."""
    try:
        batch = ArraysOnly(io.BytesIO(content), encoding="latin1").load()
        pixels, labels = np.asarray(batch["data"], np.uint8), np.asarray(batch["labels"], np.int64)
    except Exception as error:  # whatever wrong bytes make an unpickler do
        raise UserError(
            f"{path} is no CIFAR-10 batch: {error} (data.root); delete and retry"
        ) from error
    return checked(pixels, labels, path)


def checked(pixels: np.ndarray, labels: np.ndarray, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Pixels and labels, after their shapes and values were checked."""
    shape = pixels.shape
    ensure(
        len(shape) == 2 and shape[1] == PIXELS,
        f"{path} has pixels of shape {shape}, not (N, 3072) (data.root); delete and retry",
    )
    ensure(
        len(labels) == len(pixels),
        f"{path} has {len(labels)} labels for {len(pixels)} images (data.root); delete and retry",
    )
    ensure(
        bool((labels < 10).all() and (labels >= 0).all()),
        f"{path} has labels outside 0..9 (data.root); delete and retry",
    )
    return pixels, labels.astype(np.uint8)


reconstruct = np._core.multiarray._reconstruct  # type: ignore[attr-defined]


class ArraysOnly(pickle.Unpickler):
    """Rebuilds dicts, lists, strings and numpy arrays; refuses every other global."""

    allowed: ClassVar[dict[tuple[str, str], Any]] = {
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("numpy.core.multiarray", "_reconstruct"): reconstruct,
        ("numpy._core.multiarray", "_reconstruct"): reconstruct,
        # how Python 3 writes bytes in old protocols
        ("_codecs", "encode"): lambda text, encoding: text.encode(encoding),
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.allowed:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no array needs")
        return self.allowed[module, name]
