"""Images that any program made: a folder, a zip or an .npz, read as they are.

Nothing is resized or cropped: a filter would change every score (Parmar, Zhang & Zhu, "On aliased
resizing and surprising subtleties in GAN evaluation", 2022). Pictures that differ in size are
refused. They are taken in the order of their names, from all folders below the root, and decoded
as pictures.py says; where all files are grey they have one channel, and otherwise three. An .npz
holds uint8 (N, H, W, C) as `images`, which `gentrain sample` writes, or as `arr_0`, which the
evaluator of Dhariwal & Nichol, "Diffusion models beat GANs on image synthesis" (2021), reads.
"""

import io
import logging
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gentrain.data.arrays import ArrayDataset
from gentrain.data.base import Data
from gentrain.data.checks import cores, ensure
from gentrain.data.pictures import EXTENSIONS, Folder, Zip, opened
from gentrain.errors import UserError
from gentrain.patience import counted

log = logging.getLogger("gentrain")

ARRAYS = ("images", "arr_0")  # the names of an array of images in an .npz
GREY = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L")  # Pillow's modes
LEAST = 2  # images of which there are scores


@dataclass(kw_only=True, eq=False, repr=False)
class LooseImages(Data):
    """Images without labels and splits: each split is all of them.

    Args:
        images: uint8 (N, C, H, W).
        The other arguments are those of `Data`.
    """

    one_set: ClassVar[bool] = True
    validation: float = 0.0
    images: Tensor = field(kw_only=True)

    def read(self, split: str) -> ArrayDataset:
        return ArrayDataset(self.images, None)


def read_images(path: Path, key: str) -> Tensor:
    """The images of a folder, a zip or an .npz: uint8 (N, C, H, W).

    Args:
        path: where they are.
        key: the option that names the path, for messages.

    Raises:
        UserError: for what cannot be read, fewer than two images, and sizes that differ.
    """
    try:
        images = from_array(path, key) if is_array(path) else from_pictures(path, key)
    except OSError as error:
        raise UserError(
            f"cannot read {path}: {error.strerror or error} ({key}); give files that you may read"
        ) from error
    refuse_few(len(images), path, key)
    return images


def refuse_few(count: int, path: Path, key: str) -> None:
    """Refuse images of which there are no scores."""
    ensure(
        count >= LEAST,
        f"{path} has {count} image{'s' * (count != 1)}, and a score needs at least {LEAST} "
        f"({key}); give more",
    )


def is_grey(images: Tensor) -> bool:
    """Whether red, green and blue are equal everywhere, as in a grey image saved in colour."""
    return bool((images[:, :1] == images[:, 1:]).all())


# --- arrays ---------------------------------------------------------------------------------------


def is_array(path: Path) -> bool:
    """Whether a path is an .npz, another zip of arrays, or one array, .npy."""
    if path.is_dir():
        return False
    if path.suffix.lower() in (".npz", ".npy"):
        return True
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    return bool(names) and all(name.endswith(".npy") for name in names)


def from_array(path: Path, key: str) -> Tensor:
    """The images of an .npz, or of an .npy."""
    try:
        where, array = chosen_array(np.load(path, allow_pickle=False), path, key)
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{path} is no whole {path.suffix or '.npz'}: {reason} ({key}); give another file"
        ) from error
    ensure(
        array.dtype == np.uint8,
        f"{where} is {array.dtype}, not uint8 ({key}); save pixels as 0 to 255 in uint8",
    )
    ensure(
        array.ndim == 4 and array.shape[3] in (1, 3) and min(array.shape[1:]) > 0,
        f"{where} has shape {array.shape}, not (N, H, W, C) with C = 1 or 3 ({key}); "
        "save it in that order",
    )
    return torch.from_numpy(array).permute(0, 3, 1, 2).contiguous()


def chosen_array(archive: Any, path: Path, key: str) -> tuple[str, Any]:
    """The array that has the images, and where it is, for messages."""
    match archive:
        case np.ndarray():
            return str(path), archive
    with archive:
        names = list(archive.keys())
        found = [name for name in ARRAYS if name in names]
        ensure(
            bool(found),
            f"{path} holds {', '.join(names) or 'nothing'}, and no array images or arr_0 "
            f"({key}); save one, uint8 (N, H, W, C)",
        )
        return f"{found[0]} of {path}", archive[found[0]]


# --- pictures -------------------------------------------------------------------------------------


class Decoded(NamedTuple):
    """One picture: uint8 (H, W, 3), and whether its file is grey."""

    pixels: np.ndarray
    grey: bool


def from_pictures(path: Path, key: str) -> Tensor:
    """The pictures of a folder or a zip."""
    source = opened_source(path, key)
    names = sorted(source.tree().files)
    ensure(
        bool(names),
        f"no pictures in {path} ({key}); give a folder or zip of files named "
        f"{' '.join(EXTENSIONS)}, or an .npz",
    )
    refuse_few(len(names), path, key)
    log.info("reading %d pictures of %s", len(names), path)
    images, grey = np.empty(0), True
    with ThreadPoolExecutor(cores()) as pool:
        decoding = pool.map(partial(decoded, source, path, key), names)
        pairs = zip(names, counted(decoding, len(names), "reading"), strict=True)
        for i, (name, picture) in enumerate(pairs):
            if i == 0:
                images = np.empty((len(names), *picture.pixels.shape), np.uint8)
            if picture.pixels.shape != images.shape[1:]:
                pool.shutdown(wait=False, cancel_futures=True)
                raise UserError(
                    f"{name} is {size(picture.pixels)} and {names[0]} is {size(images[0])}, in "
                    f"{path} ({key}); give pictures of one size, since a score depends on how "
                    "they are resized"
                )
            images[i], grey = picture.pixels, grey and picture.grey
    # of a grey picture the three channels are equal
    return torch.from_numpy(images).permute(0, 3, 1, 2)[:, : 1 if grey else 3].contiguous()


def opened_source(path: Path, key: str) -> Folder | Zip:
    """The folder or the zip."""
    if path.is_dir():
        return Folder(path)
    ensure(
        zipfile.is_zipfile(path),
        f"{path} is no folder, no zip and no .npz ({key}); give one of these",
    )
    return Zip(path)


def decoded(source: Folder | Zip, path: Path, key: str, name: str) -> Decoded:
    """Decode one picture.

    Raises:
        UserError: where Pillow cannot.
    """
    try:
        content = source.read(name)
        picture = opened(content, "RGB")
        with Image.open(io.BytesIO(content)) as file:
            grey = file.mode in GREY
    except Exception as error:  # a broken file makes Pillow raise almost anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"{name} in {path} cannot be read: {reason[:100]} ({key}); mend or remove it"
        ) from error
    return Decoded(np.asarray(picture, np.uint8), grey)


def size(pixels: np.ndarray) -> str:
    """Width and height, as in "32 x 28"."""
    return f"{pixels.shape[1]} x {pixels.shape[0]}"
