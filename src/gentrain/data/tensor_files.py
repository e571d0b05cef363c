"""Arrays of images in .npz, .npy and .safetensors: how they are found, and what their axes mean.

Images are called `images`, `x`, `X`, `data` or `arr_0`, unless a key names them, and labels
`labels`, `label`, `y`, `Y`, `targets` or `arr_1`. A file may have splits: `x_train`, `y_train`,
`x_test` as in mnist.npz of Keras, or `train_images`, `train_labels`, `val_images` as in MedMNIST
(Yang et al., 2021). Nothing pickled is read.
"""

import contextlib
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from gentrain.data.checks import ensure
from gentrain.errors import UserError

IMAGES = ("images", "image", "x", "X", "data", "imgs", "pixels", "arr_0")
LABELS = ("labels", "label", "y", "Y", "targets", "target", "arr_1")
NAMES = ("class_names", "classes", "label_names", "names")
SPLIT_NAMES = {"train": ("train",), "test": ("test",), "validation": ("val", "valid", "validation")}
LAYOUTS = {"nchw": (0, 1, 2, 3), "nhwc": (0, 3, 1, 2), "nhw": (0, 1, 2)}  # axes in our order
CHANNELS = (1, 3)
ENDINGS = (".npz", ".npy", ".safetensors")

Shape = tuple[int, ...]


class Arrays(Protocol):
    """The arrays of one file, by their names; an .npy has one, called ""."""

    def names(self) -> list[str]:
        """The names, in the file's order."""

    def shape(self, name: str) -> Shape:
        """The shape of an array, which is not read."""

    def read(self, name: str) -> np.ndarray:
        """An array."""


class Npz:
    """An archive of NumPy."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with zipfile.ZipFile(path) as archive:
            found = [name for name in archive.namelist() if name.endswith(".npy")]
        self.members = {name.removesuffix(".npy"): name for name in found}

    def names(self) -> list[str]:
        return list(self.members)

    def shape(self, name: str) -> Shape:
        with zipfile.ZipFile(self.path) as archive, archive.open(self.members[name]) as file:
            return header_shape(file)

    def read(self, name: str) -> np.ndarray:
        with np.load(self.path, allow_pickle=False) as archive:
            return archive[name]


class Npy:
    """One array of NumPy, which is mapped and not copied."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def names(self) -> list[str]:
        return [""]

    def shape(self, name: str) -> Shape:
        with self.path.open("rb") as file:
            return header_shape(file)

    def read(self, name: str) -> np.ndarray:
        return np.load(self.path, mmap_mode="r", allow_pickle=False)


class Safetensors:
    """Tensors of a .safetensors, by the package of that name."""

    def __init__(self, path: Path) -> None:
        try:
            from safetensors import safe_open
        except ImportError as error:
            raise UserError(
                f"{path} needs the package safetensors (data.file); pip install "
                "'gentrain[export]', or give an .npz"
            ) from error
        self.open: Callable[[], Any] = lambda: safe_open(str(path), "pt")
        with self.open() as file:
            self.found = list(file.keys())

    def names(self) -> list[str]:
        return self.found

    def shape(self, name: str) -> Shape:
        with self.open() as file:
            return tuple(file.get_slice(name).get_shape())

    def read(self, name: str) -> np.ndarray:
        import torch

        with self.open() as file:
            tensor = file.get_tensor(name)
        # NumPy has no bfloat16
        return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


FORMATS: dict[str, Callable[[Path], Arrays]] = {
    ".npz": Npz,
    ".npy": Npy,
    ".safetensors": Safetensors,
}


def header_shape(file: Any) -> Shape:
    """The shape that the head of an .npy says."""
    version = np.lib.format.read_magic(file)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read is None:
        raise ValueError(f"a head of version {version}")
    return tuple(read(file)[0])


@contextlib.contextmanager
def told(path: Path) -> Iterator[None]:
    """Report what a broken file raises in one line."""
    try:
        yield
    except UserError:
        raise
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, SyntaxError) as error:
        reason = first_words(error)
    except Exception as error:  # safetensors has an exception of its own
        if not type(error).__module__.startswith("safetensors"):
            raise
        reason = first_words(error)
    else:
        return
    raise UserError(f"{path} cannot be read: {reason} (data.file); mend the file")


def first_words(error: Exception) -> str:
    """One line of what is wrong."""
    return " ".join(str(error).split()).partition(";")[0].rstrip(".")[:160] or type(error).__name__


class Found(NamedTuple):
    """The names of the arrays of one split; None where there is none."""

    images: str
    labels: str | None


class TensorFile:
    """A file of images.

    Args:
        file: a path.
        key: the name of the images; None for a usual one.
        label_key: the name of the labels; None for a usual one, if any.
    """

    def __init__(
        self, file: str | Path | None, key: str | None = None, label_key: str | None = None
    ) -> None:
        endings = ", ".join(ENDINGS)
        ensure(
            bool(file),
            f"data=tensors needs a file of arrays (data.file); give data.file=X with one of "
            f"{endings}",
        )
        self.path = Path(str(file)).expanduser()
        ensure(
            self.path.is_file(), f"no such file {self.path} (data.file); give one with {endings}"
        )
        kind = FORMATS.get(self.path.suffix.lower())
        if kind is None:
            raise UserError(f"{self.path} is no file of arrays (data.file); give one of {endings}")
        ensure(
            kind is not Npy or key is label_key is None,
            f"{self.path.name} has one array without a name (data.key, data.label_key); leave "
            "them out",
        )
        with told(self.path):
            self.arrays = kind(self.path)
            self.names = self.arrays.names()
        self.key, self.label_key = key, label_key
        self.splits = self.found()

    def found(self) -> dict[str, Found]:
        """The names of each split; only "train" where the file has no splits.

        Raises:
            UserError: where no array, or more than one, may be the images.
        """
        if (whole := self.whole()) is not None:
            return {"train": whole}
        splits = {
            split: found
            for split, words in SPLIT_NAMES.items()
            if (found := next(filter(None, map(self.of_split, words)), None))
        }
        ensure(
            "train" in splits,
            f"{self.path} holds {', '.join(self.names[:10]) or 'nothing'}, and no array with a "
            f"usual name of images (data.key); name one, or save them as {IMAGES[0]}",
        )
        return splits

    def whole(self) -> Found | None:
        """The names of a file without splits."""
        for name in (self.key, self.label_key):
            ensure(
                name is None or name in self.names,
                f"no array {name!r} among {', '.join(self.names[:10]) or 'none'} of {self.path} "
                f"({'data.key' if name == self.key else 'data.label_key'}); name one of them",
            )
        labels = self.label_key or next((name for name in LABELS if name in self.names), None)
        images = self.key or next((name for name in IMAGES if name in self.names), None)
        others = [name for name in self.names if name not in (*LABELS, *NAMES, self.label_key)]
        if images is None and len(others) == 1 and not self.of_split("train"):
            images = others[0]
        return None if images is None else Found(images, labels)

    def of_split(self, word: str) -> Found | None:
        """The names of a split that a word names, as in x_train or train_images."""

        def named(usual: Sequence[str]) -> str | None:
            likely = (f"{a}_{b}" for name in usual for a, b in ((name, word), (word, name)))
            return next((name for name in likely if name in self.names), None)

        images = named(IMAGES)
        return None if images is None else Found(images, named(LABELS))

    def shape(self, split: str = "train") -> Shape:
        """The shape of the images, as it is in the file."""
        with told(self.path):
            return self.arrays.shape(self.splits[split].images)

    def images(self, split: str) -> np.ndarray:
        """The images of a split, as they are in the file."""
        with told(self.path):
            return self.arrays.read(self.splits[split].images)

    def labels(self, split: str) -> np.ndarray | None:
        """The labels of a split, as they are in the file; None where it has none."""
        name = self.splits[split].labels
        with told(self.path):
            return None if name is None else self.arrays.read(name)

    def class_names(self) -> list[str]:
        """The names of the classes; empty where the file has none."""
        name = next((name for name in NAMES if name in self.names), None)
        if name is None:
            return []
        with told(self.path):
            array = self.arrays.read(name)
        if array.dtype.kind == "S":
            return [bytes(each).decode("utf-8", "replace") for each in array.ravel().tolist()]
        return [str(each) for each in array.ravel().tolist()] if array.dtype.kind == "U" else []

    def where(self, name: str) -> str:
        """An array in words, for messages."""
        return f"{name} of {self.path}" if name else str(self.path)


def layout_of(shape: Shape, layout: str | None, where: str) -> str:
    """The order of the axes of images: the option, or what the shape leaves no doubt of.

    Args:
        shape: of the whole array.
        layout: a key of `LAYOUTS`; None to guess.
        where: the array in words.

    Raises:
        UserError: for what may be read in two ways, or in none.

    >>> layout_of((10, 32, 48, 3), None, "x"), layout_of((10, 1, 28, 28), None, "x")
    ('nhwc', 'nchw')
    """
    known = "|".join(LAYOUTS)
    ensure(
        layout is None or layout in LAYOUTS,
        f"layout is {layout!r} (data.layout); write one of {known}, or null",
    )
    ensure(
        len(shape) in (3, 4) and min(shape) > 0,
        f"{where} has shape {shape}, not (N, H, W), (N, H, W, C) or (N, C, H, W) (data.file); "
        "reshape it, or name another array",
    )
    if len(shape) == 3:
        likely = [] if 1 in shape[1:] or shape[2] in CHANNELS else ["nhw"]
    else:
        likely = [name for name, axis in (("nchw", 1), ("nhwc", 3)) if shape[axis] in CHANNELS]
    if layout is None:
        ensure(
            len(likely) == 1,
            f"{where} has shape {shape}, whose axes may be read in more ways than one "
            f"(data.layout); write one of {known}"
            if likely or len(shape) == 3
            else f"{where} has shape {shape}, without an axis of 1 or 3 channels (data.file); "
            "give grey or colour images",
        )
        return likely[0]
    axes = LAYOUTS[layout]
    channels = shape[axes[1]] if len(axes) == len(shape) == 4 else 1
    ensure(
        len(axes) == len(shape) and channels in CHANNELS,
        f"{where} has shape {shape}, which is not {layout} with 1 or 3 channels (data.layout); "
        f"write one of {known}, or null",
    )
    return layout


def image_shape(shape: Shape, layout: str) -> list[int]:
    """[C, H, W] of images of which the whole array has a shape.

    >>> image_shape((10, 32, 48, 3), "nhwc")
    [3, 32, 48]
    """
    ordered = [shape[axis] for axis in LAYOUTS[layout]]
    return ordered[1:] if len(ordered) == 4 else [1, *ordered[1:]]


def in_order(images: np.ndarray, layout: str) -> np.ndarray:
    """A view of images as (N, C, H, W)."""
    ordered = images.transpose(LAYOUTS[layout])
    return ordered if ordered.ndim == 4 else ordered[:, None]
