"""What a command leaves in its directory: every file is whole or absent, however many images."""

from __future__ import annotations

import csv
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from gentrain.data.arrays import to_bytes
from gentrain.data.base import Data
from gentrain.data.grids import save as save_picture
from gentrain.data.grids import write_png
from gentrain.data.spectra import to_pcm
from gentrain.files import atomic_write, remove_unfinished, write_json
from gentrain.patience import counted as counted_items

Item = TypeVar("Item")
# images (B, C, H, W) or sounds (B, C, L) in [-1, 1], or points (B, D); labels (B,)
Batch = tuple[Tensor, Tensor | None]
Put = Callable[[Tensor, Tensor | None], None]  # keeps one batch


class Output:
    """A directory for pictures, images and one record; made when the first thing is written.

    Args:
        path: the directory.
        save: how images are kept: "npz", "folder" or "none".
        data: knows the units and the names of the coordinates of points; None for those of the
            samples.
    """

    def __init__(self, path: Path, save: str, data: Data | None = None) -> None:
        self.path, self.save, self.data = path, save, data
        self.pictures: list[Path] = []  # what was drawn
        self.kept: tuple[int, Path] | None = None  # how many images are kept, and where

    @property
    def things(self) -> str:
        """What is kept: images, sounds or points."""
        return "images" if self.data is None else self.data.things

    def picture(self, name: str, picture: Tensor) -> None:
        """Write a picture (3, H, W) in [0, 1] as NAME.png."""
        self.open()
        save_picture(picture, self.path / f"{name}.png")
        self.pictures.append(self.path / f"{name}.png")

    def said(self) -> str:
        """What was made, and where: "1000 images as PNG in out/images; see out/grid.png"."""
        found = []
        if self.kept is not None:
            count, place = self.kept
            form = {".npz": "as an array of numpy", ".csv": "as a table"}.get(
                place.suffix, "as WAV" if self.things == "sounds" else "as PNG"
            )
            found.append(f"{count} {self.things} {form} in {place}")
        if self.pictures:
            more = f" and {len(self.pictures) - 1} more" if len(self.pictures) > 1 else ""
            found.append(f"see {self.pictures[0]}{more}")
        return "; ".join(found)

    def record(self, content: dict[str, Any]) -> None:
        """Write sample.json."""
        self.open()
        write_json(self.path / "sample.json", content)

    def images(self, batches: Iterator[Batch], total: int, first: int = 0) -> Tensor:
        """Keep images as `save` says, one batch at a time.

        Args:
            batches: images with their labels.
            total: how many images they are.
            first: how many to return.

        Returns:
            The `first` images as they came; points that are kept are in the units of their file.
        """
        self.open()
        shown: list[Tensor] = []
        place = self.place()
        with self.saver(place, total) as put:
            for images, labels in counted(batches, total):
                if (missing := first - sum(map(len, shown))) > 0:
                    shown.append(images[:missing].clone())
                put(images if self.data is None else self.data.in_units(images), labels)
        self.kept = None if place is None else (total, place)
        return torch.cat(shown) if shown else torch.empty(0)

    def place(self) -> Path | None:
        """The file or the folder where images are kept."""
        match self.save:
            case "npz":
                return self.path / "images.npz"
            case "folder":
                return self.path / ("points.csv" if self.things == "points" else self.things)
            case _:
                return None

    def saver(self, place: Path | None, total: int) -> AbstractContextManager[Put]:
        """A context that keeps batches in a place."""
        columns = () if self.data is None else self.data.columns
        match place:
            case None:
                return nullcontext(lambda images, labels: None)
            case Path(suffix=".npz"):
                return npz(place, total, columns)
            case Path(suffix=".csv"):
                return lines(place, columns)
            case _:
                return files(place, self.data)

    def open(self) -> None:
        """Make the directory, and remove what a killed process left in it."""
        self.path.mkdir(parents=True, exist_ok=True)
        remove_unfinished(self.path)


@contextmanager
def npz(path: Path, total: int, columns: Sequence[str] = ()) -> Iterator[Put]:
    """An archive as numpy.load reads it: images.npy and labels.npy.

    Images are uint8 (N, H, W, C); sounds are sounds.npy, int16 (N, L, C); points are points.npy,
    float32 (N, D), and columns.npy has the names of their coordinates, where they have some. The
    length is known, so the head is written first and the batches follow: no more than one is in
    memory.
    """
    with atomic_write(path) as part, zipfile.ZipFile(part, "w") as archive:
        kept: list[np.ndarray] = []
        file: Any = None

        def put(images: Tensor, labels: Tensor | None) -> None:
            nonlocal file
            name, array = as_array(images)
            if file is None:
                file = archive.open(entry(name), "w", force_zip64=True)
                write_head(file, (total, *array.shape[1:]), array.dtype)
            file.write(np.ascontiguousarray(array).data)
            if labels is not None:
                kept.append(labels.numpy())

        try:
            yield put
        finally:
            if file is not None:
                file.close()
        if kept:
            write_array(archive, "labels", np.concatenate(kept))
        if columns:
            write_array(archive, "columns", np.array(list(columns)))


def write_array(archive: zipfile.ZipFile, name: str, array: np.ndarray) -> None:
    """Write a whole array into an archive."""
    with archive.open(entry(name), "w") as file:
        write_head(file, array.shape, array.dtype)
        file.write(array.tobytes())


@contextmanager
def lines(path: Path, columns: Sequence[str]) -> Iterator[Put]:
    """A table of points, as data=points reads it: a line each, below the names of the columns."""
    with atomic_write(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        if columns:
            rows.writerow(columns)
        yield lambda points, labels: rows.writerows(points.tolist())


def entry(name: str) -> zipfile.ZipInfo:
    """A file in an archive. It has a fixed date, so that equal images are equal files."""
    return zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))


def write_head(file: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Write the head of an .npy file."""
    about = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, about)


@contextmanager
def files(path: Path, data: Data | None) -> Iterator[Put]:
    """A folder of 000000.png, 000001.png ..., or of .wav, as data of folders read it.

    Where there are labels, each class has a folder; captions are texts beside the pictures.

    Args:
        path: the folder.
        data: knows how samples and labels are written; None for images without labels.
    """
    with atomic_write(path) as part:
        part.mkdir()
        count = 0

        def put(images: Tensor, labels: Tensor | None) -> None:
            nonlocal count
            for i, image in enumerate(images):
                name = f"{count:06d}"
                if data is None:
                    write_image(image, part / name)
                elif labels is None:
                    data.write_file(image, part / name)
                else:
                    data.write_labelled(image, labels[i], part, name)
                count += 1

        yield put


def as_array(samples: Tensor) -> tuple[str, np.ndarray]:
    """The name and the array of points (B, D), of sounds (B, C, L) or of images (B, C, H, W)."""
    match samples.ndim:
        case 2:
            return "points", samples.numpy()
        case 3:
            return "sounds", to_pcm(samples).permute(0, 2, 1).contiguous().numpy()
    return "images", to_bytes(samples).permute(0, 2, 3, 1).contiguous().numpy()


def write_image(image: Tensor, stem: Path) -> None:
    """Write an image (C, H, W) in [-1, 1] as STEM.png."""
    write_png(image, stem.with_name(f"{stem.name}.png"))


def counted(batches: Iterator[Batch], total: int) -> Iterator[Batch]:
    """The same batches, with their images counted on stderr."""
    return progress(batches, total, size=lambda batch: len(batch[0]))


def progress(
    items: Iterator[Item], total: int, size: Callable[[Item], int] = lambda item: 1
) -> Iterator[Item]:
    """The same items, and on stderr how many images are done.

    It is a bar on a terminal, and otherwise a line every ten seconds.

    Args:
        items: items that each stand for some images.
        total: images in all items.
        size: how many images an item stands for.
    """
    if sys.stderr.isatty():
        with tqdm(
            total=total, unit="image", dynamic_ncols=True, file=sys.stderr, leave=False
        ) as bar:
            for item in items:
                yield item
                bar.update(size(item))
        return
    yield from counted_items(items, total, "images", size)


def remove_if_empty(path: Path) -> None:
    """Remove a directory that has nothing in it; any other stays."""
    with suppress(OSError):
        path.rmdir()
