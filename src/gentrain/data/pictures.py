"""Picture files of any kind -> uint8 squares.

Pillow decodes them. What happens to a picture, in this order:

- the first frame of an animation is taken, and the camera's EXIF orientation is applied;
- 16-bit grey is scaled to 8 bits (65535 -> 255); floating-point pixels are refused, since their
  range is unknown;
- transparency (RGBA, LA, palettes with a transparent colour) is laid over white;
- everything else (palette, CMYK, YCbCr, 1-bit) becomes RGB, or grey by the luma of ITU-R 601 where
  one channel is asked for;
- the centre square is cut (`crop`) or the whole is squeezed to a square, and resized by an
  antialiased bilinear filter.
"""

import io
import os
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from gentrain.errors import UserError

EXTENSIONS = (
    ".png",
    ".jpg",
    ".jpeg",
    ".webp",
    ".bmp",
    ".gif",
    ".tif",
    ".tiff",
    ".ppm",
    ".pgm",
    ".pbm",
    ".pnm",
)


class Form(NamedTuple):
    """What every picture becomes.

    Args:
        size: pixels of a side.
        channels: 3 for colour, 1 for grey.
        crop: cut the centre square; false squeezes the whole to a square.
        across: pictures side by side in one file. Each becomes a square, and their channels come
            one after the other.
    """

    size: int
    channels: int
    crop: bool
    across: int = 1


def decoded(content: bytes, form: Form) -> np.ndarray:
    """Decode one file's bytes: uint8 (across * channels, size, size).

    Raises whatever Pillow raises, and ValueError for what Pillow lets pass.
    """
    flat = opened(content, "RGB" if form.channels == 3 else "L")
    if flat.width % form.across:
        raise ValueError(
            f"{flat.width} pixels are not as many for each of {form.across} pictures side by side"
        )
    width = flat.width // form.across
    parts = (
        [flat.crop((i * width, 0, (i + 1) * width, flat.height)) for i in range(form.across)]
        if form.across > 1
        else [flat]
    )
    return np.concatenate([squared(part, form) for part in parts])


def opened(content: bytes, mode: str) -> Image.Image:
    """The picture in one file's bytes, as mode "RGB", "L" or "RGBA"."""
    if not content:
        raise ValueError("zero bytes")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Pillow only warns from its limit to twice its limit
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(io.BytesIO(content)) as picture:
            picture.load()
            return in_mode(ImageOps.exif_transpose(picture), mode)


def squared(flat: Image.Image, form: Form) -> np.ndarray:
    """A picture as a square: uint8 (channels, size, size)."""
    square = (form.size, form.size)
    if flat.size != square:
        fit = ImageOps.fit if form.crop else Image.Image.resize
        flat = fit(flat, square, Image.Resampling.BILINEAR)
    return (
        np.asarray(flat, np.uint8).reshape(form.size, form.size, form.channels).transpose(2, 0, 1)
    )


def in_mode(picture: Image.Image, mode: str) -> Image.Image:
    """A picture as RGB or L, by the rules above; or as RGBA, whose transparency stays."""
    if picture.mode == "F":
        raise ValueError("floating-point pixels of unknown range")
    if picture.mode.startswith("I"):
        picture = eight_bits(picture)
    if mode == "RGBA":
        return picture.convert(mode)
    if picture.has_transparency_data:
        rgba = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    if picture.mode not in ("L", "1"):  # CMYK and palettes reach grey through RGB
        picture = picture.convert("RGB")
    return picture.convert(mode)


def eight_bits(picture: Image.Image) -> Image.Image:
    """16-bit grey to 8-bit grey, rounded."""
    values = np.asarray(picture).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise ValueError("more than 16 bits a pixel")
    return Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8))


class Tree(NamedTuple):
    """The pictures and folders under a root, by their paths with slashes, without hidden ones.

    `files` has two numbers for each picture, which change when it does: its size, and its time (in
    a folder) or checksum (in a zip).
    """

    files: dict[str, tuple[int, int]]
    folders: set[str]

    def under(self, prefix: str) -> "Tree":
        """The part whose paths begin with a prefix such as "train/"; the paths keep it."""
        files = {name: stamp for name, stamp in self.files.items() if name.startswith(prefix)}
        return Tree(files, {name for name in self.folders if name.startswith(prefix)})


class Folder:
    """Pictures in a folder. Links are followed, but never into a folder that is being walked."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def tree(self) -> Tree:
        files: dict[str, tuple[int, int]] = {}
        folders: set[str] = set()
        for entry, name in self.walk(self.root, "", ()):
            if is_folder(entry):
                folders.add(name)
            elif is_picture(name):
                files[name] = stamp(entry)
        return Tree(files, folders)

    def walk(
        self, folder: Path, prefix: str, above: tuple[tuple[int, int], ...]
    ) -> Iterator[tuple["os.DirEntry[str]", str]]:
        """Every entry below a folder, with its path.

        `above` has the device and inode of the folders on the way, which end a loop of links.
        """
        here = os.stat(folder)
        identity = (here.st_dev, here.st_ino)
        if identity in above:
            return
        for entry in os.scandir(folder):
            yield entry, prefix + entry.name
            if is_folder(entry):
                yield from self.walk(Path(entry.path), f"{prefix}{entry.name}/", (*above, identity))

    def read(self, name: str) -> bytes:
        return (self.root / name).read_bytes()


class Zip:
    """Pictures in a zip file, which are read from inside it: nothing is extracted."""

    def __init__(self, root: Path) -> None:
        try:
            self.file = zipfile.ZipFile(root)
        except (zipfile.BadZipFile, OSError) as error:
            raise UserError(
                f"cannot read {root}: {error} (data.root); give a folder or a whole .zip"
            ) from error

    def tree(self) -> Tree:
        entries = [entry for entry in self.file.infolist() if not is_hidden(entry.filename)]
        files = {
            entry.filename: (entry.file_size, entry.CRC)
            for entry in entries
            if is_picture(entry.filename)
        }
        return Tree(files, set().union(*(above(entry.filename) for entry in entries)))

    def read(self, name: str) -> bytes:
        return self.file.read(name)


def source(root: Path) -> Folder | Zip:
    """The pictures in a folder or a zip file."""
    return Folder(root) if root.is_dir() else Zip(root)


def is_picture(name: str) -> bool:
    """Whether a path has the extension of a picture, and is not hidden."""
    return not is_hidden(name) and name.lower().endswith(EXTENSIONS)


def is_hidden(name: str) -> bool:
    """Whether a path is a dot file, or one that macOS adds to a zip."""
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def is_folder(entry: "os.DirEntry[str]") -> bool:
    """Whether an entry is a folder, or a link to one, and is not hidden."""
    try:
        return entry.is_dir() and not is_hidden(entry.name)
    except OSError:  # a link to itself
        return False


def stamp(entry: "os.DirEntry[str]") -> tuple[int, int]:
    """Size and time of a file; zeros for a broken link, which reading will report."""
    try:
        found = entry.stat()
        return found.st_size, found.st_mtime_ns
    except OSError:
        return 0, 0


def above(name: str) -> set[str]:
    """The folders above a path.

    >>> sorted(above("a/b/c.png"))
    ['a', 'a/b']
    """
    parts = name.split("/")[:-1]
    return {"/".join(parts[:depth]) for depth in range(1, len(parts) + 1)}
