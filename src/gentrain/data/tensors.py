"""Images in the arrays of one file: .npz, .npy or .safetensors.

tensor_files.py says how arrays are found. Pixels become 8 bits: low of a `range` (low, high)
becomes 0, high 255. The range is that of the type where there is no other:

    uint8 0 ... 255     uint16 0 ... 65535     float 0 ... 1     bool false, true

Values beyond it are refused, not clamped. Images keep their size, or are resized to `size`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gentrain.config.types import Size
from gentrain.data.arrays import CHUNK, ArrayDataset, resized
from gentrain.data.batches import generator
from gentrain.data.checks import check_drawn_split, ensure
from gentrain.data.images import Images, check_range, sides_of
from gentrain.data.label_files import natural
from gentrain.data.tensor_files import TensorFile, image_shape, in_order, layout_of
from gentrain.data.validation import check_own_split
from gentrain.errors import UserError

LARGEST = {"uint8": 255.0, "uint16": 65535.0, "bool": 1.0}  # and 1 of floats
SLACK = 1e-6  # of the range; floats that were computed miss their bounds by so much
TEST = 0.1  # share of the images that is the test split where the file has none


@dataclass(kw_only=True, eq=False, repr=False)
class Tensors(Images):
    """Images, and their labels, in one file of arrays.

    Without arrays of splits "test" is a share of the images, drawn by `draw_seed`.

    Args:
        file: a .npz, .npy or .safetensors.
        key: the array of images; null for one with a usual name.
        label_key: the array of labels; null for one with a usual name.
        layout: nchw, nhwc or nhw; null to guess where the shape leaves no doubt.
        size: pixels of a side, or [HEIGHT, WIDTH]; null for those of the file.
        range: the values that become black and white; null for those of the type.
        test: share of the images that is the test split, where the file has none.
        draw_seed: which images are held out. It is not the run's seed, so that runs with other
            seeds share the data.
        The other arguments are those of `Images`.
    """

    file: str | Path | None = None
    key: str | None = None
    label_key: str | None = None
    layout: str | None = None
    size: Size | None = None  # type: ignore[assignment]
    range: Sequence[float] | None = None
    test: float = TEST
    draw_seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self.range)
        check_drawn_split(self.test, self.draw_seed)
        self._names: list[str] = []

    @property
    def sides(self) -> tuple[int, int]:
        return self.shape[1:] if self.size is None else sides_of(self.size)  # type: ignore

    @property
    def opened(self) -> TensorFile:
        """The file."""
        return TensorFile(self.file, self.key, self.label_key)

    @property
    def pixel_range(self) -> tuple[float, float] | None:
        return None if self.range is None else (self.range[0], self.range[1])

    @property
    def class_names(self) -> Sequence[str]:
        return self._names

    @property
    def reads_validation(self) -> bool:
        return "validation" in self.opened.splits

    def read(self, split: str) -> ArrayDataset:
        file = self.opened
        if "validation" in file.splits:
            check_own_split(self.validation, str(file.path), file.splits["validation"].images)
        ensure(
            "test" not in file.splits or (self.test == TEST and not self.draw_seed),
            f"{file.path} has a test split of its own, and none is drawn (data.test, "
            f"data.draw_seed); leave them at {TEST} and 0",
        )
        of_file = split if split in file.splits else "train"
        images, labels = self.read_images(file, of_file), self.read_labels(file, of_file)
        ensure(
            labels is None or len(labels) == len(images),
            f"{file.path} has {len(images)} images and {0 if labels is None else len(labels)} "
            "labels (data.label_key); save a label for each, or name others",
        )
        if split == "validation" or "test" in file.splits:
            return ArrayDataset(images, labels)
        rows = self.rows_of(split, len(images))
        return ArrayDataset(images[rows], None if labels is None else labels[rows])

    def rows_of(self, split: str, count: int) -> Tensor:
        """The rows of "train" or "test" in a file without arrays of splits, in their order."""
        held_out = max(1, round(self.test * count))
        ensure(
            count - held_out >= 1,
            f"{count} image{'s' * (count != 1)} of {self.file} cannot be shared by a training and "
            "a test split (data.file, data.test); give more images, or a smaller share",
        )
        order = torch.randperm(count, generator=generator(self.draw_seed, "tensors", count))
        return (order[:held_out] if split == "test" else order[held_out:]).sort().values

    # --- pixels -----------------------------------------------------------------------------------

    def read_images(self, file: TensorFile, split: str) -> Tensor:
        """The images of arrays: uint8 (N, C, H, W)."""
        where = file.where(file.splits[split].images)
        array = file.images(split)
        ordered = in_order(array, layout_of(array.shape, self.layout, where))
        low, high = self.bounds(array.dtype, where)
        out = torch.empty(len(array), ordered.shape[1], *self.sides, dtype=torch.uint8)
        for start in range(0, len(array), CHUNK):
            part = to_uint8(ordered[start : start + CHUNK], low, high, f"images of {where}")
            out[start : start + CHUNK] = resized(torch.from_numpy(part), self.sides)
        self.warn_of_darkness(out, where)
        return out

    def bounds(self, dtype: np.dtype, where: str) -> tuple[float, float]:
        """The values that become black and white."""
        ensure(
            dtype.kind in "fiub",
            f"{where} holds values of type {dtype}, not numbers (data.file); save pixels",
        )
        if self.pixel_range is not None:
            return self.pixel_range
        high = 1.0 if dtype.kind == "f" else LARGEST.get(dtype.name)
        if high is None:
            raise UserError(
                f"{where} is {dtype}, whose black and white are not known (data.range); give "
                "them, such as data.range=[0,255]"
            )
        return 0.0, high

    # --- labels -----------------------------------------------------------------------------------

    def read_labels(self, file: TensorFile, split: str) -> Tensor | None:
        """The labels of a split: int64 (N,); None where there are none, or without classes."""
        array, name = file.labels(split), file.splits[split].labels
        if self.classes is None:
            ensure(
                self.label_key is None,
                f"labels {self.label_key} are not read without data.classes (data.label_key); give "
                "data.classes=K as well, or write null",
            )
            if array is not None and split == "train":
                count = class_count(array)
                remedy = f"; data.classes={count} reads them" if count else ""
                self.say_once(f"{file.where(str(name))} are left out{remedy}")
            return None
        if array is None:
            raise UserError(
                f"{file.path} has no labels with a usual name (data.label_key); name them, or "
                "write data.classes=null"
            )
        array = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
        where = file.where(str(name))
        ensure(
            array.ndim == 1,
            f"{where} has shape {array.shape}, not (N,) (data.label_key); save the number of the "
            "class of each image",
        )
        if array.dtype.kind in "US":
            return self.named_labels(file, array.astype(str), where)
        self._names = self._names or self.names_of_classes(file)
        return self.numbered_labels(array, where)

    def names_of_classes(self, file: TensorFile) -> list[str]:
        """The names in the file; empty where it has none."""
        names = file.class_names()
        ensure(
            len(names) in (0, self.classes),
            f"{file.path} has {len(names)} names of classes, not {self.classes} (data.classes); "
            f"give {len(names)}",
        )
        return names

    def named_labels(self, file: TensorFile, array: np.ndarray, where: str) -> Tensor:
        """Labels that are words; the classes are those of the training images."""
        if not self._names:
            words = array
            if "test" in file.splits and file.splits["train"].labels is not None:
                words = np.asarray(file.labels("train")).ravel().astype(str)
            self._names = sorted(set(words.tolist()), key=natural)
        ensure(
            len(self._names) == self.classes,
            f"{where} has {len(self._names)} classes, not {self.classes} (data.classes); "
            f"give {len(self._names)}",
        )
        number = {name: index for index, name in enumerate(self._names)}
        odd = sorted(set(array.tolist()) - set(number))
        ensure(
            not odd,
            f"{where} has classes that no training image has: {', '.join(odd[:10])} "
            "(data.label_key); leave them out",
        )
        return torch.tensor([number[name] for name in array.tolist()]).long()

    def numbered_labels(self, array: np.ndarray, where: str) -> Tensor:
        """Labels that are numbers."""
        ensure(
            array.dtype.kind in "iubf" and bool((array == np.floor(array)).all()),
            f"{where} holds {array.dtype} that are no whole numbers (data.label_key); save the "
            "number of the class of each image",
        )
        low, high, most = int(array.min()), int(array.max()), int(self.classes or 0)
        advice = f"give {high + 1}" if low >= 0 else "start with 0"
        ensure(
            0 <= low <= high < most,
            f"{where} has labels from {low} to {high}, not from 0 to {most - 1} "
            f"(data.classes); {advice}",
        )
        return torch.from_numpy(array.astype(np.int64))


def to_uint8(pixels: np.ndarray, low: float, high: float, where: str) -> np.ndarray:
    """Pixels as uint8, in memory of their own; low becomes 0 and high 255, rounded.

    Args:
        pixels: of any type of numbers.
        low: black.
        high: white.
        where: in words, for messages.

    Raises:
        UserError: for values beyond the range, or that are no numbers.
    """
    if pixels.dtype == np.uint8 and (low, high) == (0, 255):
        return np.ascontiguousarray(pixels).copy()
    values = pixels.astype(np.float64)
    ensure(
        bool(np.isfinite(values).all()),
        f"{where} have values that are not finite (data.file); leave such images out",
    )
    least, most, slack = values.min(), values.max(), SLACK * (high - low)
    ensure(
        low - slack <= least and most <= high + slack,
        f"{where} have values from {least:g} to {most:g}, beyond {low:g} to {high:g} "
        "(data.range); give the values that are black and white, such as "
        f"data.range={likely_range(least, most)}",
    )
    scaled = ((values - low) / (high - low)).clip(0, 1) * 255
    return np.floor(scaled + 0.5).astype(np.uint8)


def likely_range(least: float, most: float) -> str:
    """A usual range that holds some values.

    >>> likely_range(-0.9, 0.8), likely_range(0, 240)
    ('[-1,1]', '[0,255]')
    """
    usual = [(0, 1), (-1, 1), (0, 255), (0, 1023), (0, 4095), (0, 16383), (0, 65535)]
    low, high = next((r for r in usual if r[0] <= least and most <= r[1]), (least, most))
    return f"[{low:g},{high:g}]"


def tensors_shape(
    file: str | None, key: str | None, label_key: str | None, layout: str | None, size: object
) -> list[int]:
    """The shape [C, H, W] of images in a file of arrays.

    Args:
        file: its path.
        key: of the images.
        label_key: of the labels.
        layout: the order of the axes.
        size: what `Tensors` has; None for that of the file.
    """
    found = TensorFile(file, key, label_key)
    shape = found.shape()
    where = found.where(found.splits["train"].images)
    own = image_shape(shape, layout_of(shape, layout, where))
    return own if size is None else [own[0], *sides_of(size)]


def class_count(labels: np.ndarray) -> int | None:
    """How many classes labels name; None where they are no labels of classes.

    >>> class_count(np.array([5, 9])), class_count(np.array(["cat", "dog", "cat"]))
    (10, 2)
    >>> class_count(np.array([-1, 1])), class_count(np.array([0.5, 0.7]))
    (None, None)
    """
    match labels.dtype.kind:
        case "i" | "u" if labels.size and labels.min() >= 0:
            return int(labels.max()) + 1
        case "U" | "S" | "b":
            return len(np.unique(labels))
    return None
