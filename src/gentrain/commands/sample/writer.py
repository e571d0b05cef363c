"""What a command leaves in its directory: every file whole or not there, however many images go into it."""

from __future__ import annotations

import logging
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from gentrain.data.arrays import to_bytes
from gentrain.data.grids import save as save_picture
from gentrain.files import atomic_write, remove_unfinished, write_json

log = logging.getLogger("gentrain")

Batch = tuple[
    Tensor, Tensor | None
]  # images (B, C, H, W) in [-1, 1], or points (B, 2); labels (B,)
SECONDS = 10.0  # between two lines where there is no terminal


class Output:
    """A directory for pictures, images and one record; made when the first thing is written."""

    def __init__(self, path: Path, save: str) -> None:
        self.path, self.save = path, save

    def picture(self, name: str, picture: Tensor) -> None:
        """(3, H, W) in [0, 1] as NAME.png."""
        self.open()
        save_picture(picture, self.path / f"{name}.png")

    def record(self, content: dict[str, Any]) -> None:
        self.open()
        write_json(self.path / "sample.json", content)

    def images(self, batches: Iterator[Batch], total: int, first: int = 0) -> Tensor:
        """Keep `total` images as `save` says, a batch at a time; returns the `first` of them as they came."""
        self.open()
        shown: list[Tensor] = []
        with self.kept(total) as put:
            for images, labels in counted(batches, total):
                if (missing := first - sum(map(len, shown))) > 0:
                    shown.append(images[:missing].clone())
                put(images, labels)
        return torch.cat(shown) if shown else torch.empty(0)

    def kept(self, total: int) -> Any:
        match self.save:
            case "npz":
                return npz(self.path / "images.npz", total)
            case "folder":
                return pngs(self.path / "images")
            case _:
                return nothing()

    def open(self) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        remove_unfinished(self.path)


@contextmanager
def nothing() -> Iterator[Callable[..., None]]:
    yield lambda images, labels: None


@contextmanager
def npz(path: Path, total: int) -> Iterator[Callable[[Tensor, Tensor | None], None]]:
    """images.npy, uint8 (N, H, W, C) (points.npy, float32 (N, 2)) and labels.npy in one archive, as numpy.load reads it.

    The length is known, so the head is written first and the batches follow it: no more than one is in memory.
    """
    with atomic_write(path) as part, zipfile.ZipFile(part, "w") as archive:
        kept: list[np.ndarray] = []
        file: Any = None

        def put(images: Tensor, labels: Tensor | None) -> None:
            nonlocal file
            array = images.numpy() if images.ndim == 2 else hwc(images)
            if file is None:
                file = archive.open(
                    entry("points" if images.ndim == 2 else "images"), "w", force_zip64=True
                )
                head(file, (total, *array.shape[1:]), array.dtype)
            file.write(np.ascontiguousarray(array).data)
            if labels is not None:
                kept.append(labels.numpy())

        try:
            yield put
        finally:
            if file is not None:
                file.close()
        if kept:
            labels = np.concatenate(kept)
            with archive.open(entry("labels"), "w") as file:
                head(file, labels.shape, labels.dtype)
                file.write(labels.data)


def entry(name: str) -> zipfile.ZipInfo:
    return zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))  # equal images are equal files


def head(file: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    about = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, about)


@contextmanager
def pngs(path: Path) -> Iterator[Callable[[Tensor, Tensor | None], None]]:
    """000000.png, 000001.png ... in one folder; where there are labels in a folder a class, as data=image_folder reads them."""
    with atomic_write(path) as part:
        part.mkdir()
        count = 0

        def put(images: Tensor, labels: Tensor | None) -> None:
            nonlocal count
            for i, array in enumerate(hwc(images)):
                place = part if labels is None else part / str(int(labels[i]))
                place.mkdir(exist_ok=True)
                Image.fromarray(array.squeeze(2) if array.shape[2] == 1 else array).save(
                    place / f"{count:06d}.png"
                )
                count += 1

        yield put


def hwc(images: Tensor) -> np.ndarray:
    """(B, C, H, W) in [-1, 1] -> uint8 (B, H, W, C)"""
    return to_bytes(images).permute(0, 2, 3, 1).contiguous().numpy()


def counted(batches: Iterator[Batch], total: int) -> Iterator[Batch]:
    """The same batches, and on stderr how far they are: a bar on a terminal, else a line every ten seconds."""
    if sys.stderr.isatty():
        with tqdm(
            total=total, unit="image", dynamic_ncols=True, file=sys.stderr, leave=False
        ) as bar:
            for batch in batches:
                yield batch
                bar.update(len(batch[0]))
        return
    done, began = 0, time.monotonic()
    next_line = began + SECONDS
    for batch in batches:
        yield batch
        done += len(batch[0])
        if (now := time.monotonic()) >= next_line:
            rate, next_line = done / (now - began), now + SECONDS
            log.info(
                "%s/%s images  %s images/s  %s left",
                done,
                total,
                f"{rate:,.0f}",
                tqdm.format_interval((total - done) / rate),
            )


def remove_if_empty(path: Path) -> None:
    with suppress(OSError):
        path.rmdir()
