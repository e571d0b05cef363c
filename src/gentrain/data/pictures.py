"""Picture files of any kind -> uint8 images of one size.

Pillow decodes them. What happens to a picture, in this order:

- the first frame of an animation is taken, and the camera's EXIF orientation is applied;
- values become 0 to 255: 65535 of 16-bit grey becomes 255. With a `range` (low, high), low becomes
  0, high 255, and what is beyond is clamped. Floating-point pixels are refused without one;
- transparency (RGBA, LA, palettes with a transparent colour) is laid over white;
- everything else (palette, CMYK, YCbCr, 1-bit) becomes RGB, or grey by the luma of ITU-R 601 where
  one channel is asked for;
- the largest part in the middle that has the wanted proportions is cut out (`crop`), or the whole
  is squeezed to them, and resized by an antialiased bilinear filter.
"""

import io
import os
import stat
import warnings
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple, Protocol

import numpy as np
from PIL import Image, ImageOps, features

from gentrain.errors import UserError

LEFT_BEHIND = ("__MACOSX", "@eaDir")  # folders of shadows and thumbnails, by macOS and Synology
EXTENSIONS = (
    ".png",
    ".jpg",
    ".jpeg",
    ".jfif",
    ".webp",
    ".bmp",
    ".gif",
    ".tif",
    ".tiff",
    ".ppm",
    ".pgm",
    ".pbm",
    ".pnm",
    *((".avif",) if features.check("avif") else ()),
)

Range = tuple[float, float]

SPECIAL = "a pipe, socket or device"


class Form(NamedTuple):
    """What every picture becomes.

    Args:
        sides: height and width in pixels.
        channels: 3 for colour, 1 for grey.
        crop: cut the middle, of the wanted proportions; false squeezes the whole to them.
        across: pictures side by side in one file. Each becomes an image, and their channels come
            one after the other.
        range: the values that become black and white; None for those of the type.
    """

    sides: tuple[int, int]
    channels: int
    crop: bool
    across: int = 1
    range: Range | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Of what a file becomes."""
        return (self.across * self.channels, *self.sides)

    @property
    def things(self) -> str:
        """What files hold, in messages."""
        return "images"

    @property
    def dtype(self) -> type[np.generic]:
        """Of what a file becomes."""
        return np.uint8

    def decode(self, content: bytes) -> np.ndarray:
        """See `decoded`."""
        return decoded(content, self)


def decoded(content: bytes, form: Form) -> np.ndarray:
    """Decode one file's bytes: uint8 (across * channels, height, width).

    Raises whatever Pillow raises, and ValueError for what Pillow lets pass.
    """
    flat = opened(content, "RGB" if form.channels == 3 else "L", form.range)
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
    return np.concatenate([fitted(part, form) for part in parts])


def opened(content: bytes, mode: str, values: Range | None = None) -> Image.Image:
    """The picture in one file's bytes, as mode "RGB", "L" or "RGBA".

    Args:
        content: of the file.
        mode: of the result.
        values: those that become black and white; None for those of the type.
    """
    if not content:
        raise ValueError("zero bytes")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Pillow only warns from its limit to twice its limit
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(io.BytesIO(content)) as picture:
            picture.load()
            return in_mode(ImageOps.exif_transpose(picture), mode, values)


def fitted(flat: Image.Image, form: Form) -> np.ndarray:
    """A picture of the wanted size: uint8 (channels, height, width)."""
    height, width = form.sides
    if flat.size != (width, height):
        fit = ImageOps.fit if form.crop else Image.Image.resize
        flat = fit(flat, (width, height), Image.Resampling.BILINEAR)
    return np.asarray(flat, np.uint8).reshape(height, width, form.channels).transpose(2, 0, 1)


def in_mode(picture: Image.Image, mode: str, values: Range | None = None) -> Image.Image:
    """A picture as RGB or L, by the rules above; or as RGBA, whose transparency stays."""
    if picture.mode == "F" or picture.mode.startswith("I"):
        picture = eight_bits(picture, values)
    elif values is not None:
        picture = stretched(picture, values)
    if mode == "RGBA":
        return picture.convert(mode)
    if picture.has_transparency_data:
        rgba = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    if picture.mode not in ("L", "1"):  # CMYK and palettes reach grey through RGB
        picture = picture.convert("RGB")
    return picture.convert(mode)


def eight_bits(picture: Image.Image, values: Range | None) -> Image.Image:
    """Grey of 16 or 32 bits, or of floating-point pixels, to 8-bit grey, rounded."""
    pixels = np.asarray(picture).astype(np.float64)
    if values is None:
        if picture.mode == "F":
            raise ValueError("floating-point pixels of unknown range, give data.range=[LOW,HIGH]")
        if pixels.min() < 0 or pixels.max() > 65535:
            raise ValueError("more than 16 bits a pixel, give data.range=[LOW,HIGH]")
        values = (0, 65535)
    if not np.isfinite(pixels).all():
        raise ValueError("pixels that are not finite numbers")
    return Image.fromarray(scaled(pixels, values))


def stretched(picture: Image.Image, values: Range) -> Image.Image:
    """Pixels of 8 bits, of which the values of a range become 0 to 255; transparency stays."""
    alpha = picture.convert("RGBA").getchannel("A") if picture.has_transparency_data else None
    if picture.mode not in ("L", "RGB"):
        picture = picture.convert("L" if picture.mode in ("1", "LA", "La") else "RGB")
    table = scaled(np.arange(256.0), values).tolist()
    picture = picture.point(table * len(picture.getbands()))
    if alpha is not None:
        picture = picture.convert("RGB")
        picture.putalpha(alpha)
    return picture


def scaled(pixels: np.ndarray, values: Range) -> np.ndarray:
    """Numbers to uint8, of which those of a range become 0 to 255; others are clamped."""
    low, high = values
    return np.floor(((pixels - low) / (high - low)).clip(0, 1) * 255 + 0.5).astype(np.uint8)


class Tree(NamedTuple):
    """The pictures and folders under a root, by their paths with slashes, without hidden ones.

    `files` has some numbers for each picture, which change when it does. The first is the time of
    its last change in nanoseconds. `left_out` counts the other files by what they are.
    """

    files: dict[str, tuple[int, ...]]
    folders: set[str]
    left_out: Counter[str]

    def under(self, prefix: str) -> "Tree":
        """The part whose paths begin with a prefix such as "train/"; the paths keep it."""
        files = {name: stamp for name, stamp in self.files.items() if name.startswith(prefix)}
        folders = {name for name in self.folders if name.startswith(prefix)}
        return Tree(files, folders, self.left_out)


class Source(Protocol):
    """Where pictures are."""

    def tree(self) -> Tree:
        """What there is."""

    def read(self, name: str) -> bytes:
        """The bytes of one picture, by its path."""


class Folder:
    """Files in a folder. Links are followed, but never into a folder that is being walked."""

    def __init__(self, root: Path, endings: tuple[str, ...] = EXTENSIONS) -> None:
        self.root, self.endings = root, endings

    def tree(self) -> Tree:
        files: dict[str, tuple[int, ...]] = {}
        folders: set[str] = set()
        left_out: Counter[str] = Counter()
        for entry, name in self.walk(self.root, "", ()):
            if is_folder(entry):
                folders.add(name)
            elif is_hidden(name):
                pass
            elif (found := stamp(entry)) is None:
                left_out[SPECIAL] += 1
            elif is_picture(name, self.endings):
                files[name] = found
            else:
                left_out[ending(name)] += 1
        return Tree(files, folders, left_out)

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
    """Files in a zip file, which are read from inside it: nothing is extracted."""

    def __init__(self, root: Path, endings: tuple[str, ...] = EXTENSIONS) -> None:
        self.endings = endings
        if root.exists() and not root.is_file():  # opening a pipe would wait for its writer
            raise UserError(f"{root} is {SPECIAL} (data.root); give a folder or a .zip")
        try:
            self.file = zipfile.ZipFile(root)
            found = root.stat()
        except (zipfile.BadZipFile, OSError) as error:
            raise UserError(
                f"cannot read {root}: {error} (data.root); give a folder or a whole .zip"
            ) from error
        self.stamp = (found.st_ctime_ns, found.st_mtime_ns, found.st_size, found.st_ino)
        self.entries = {plain(entry.filename): entry for entry in self.file.infolist()}

    def tree(self) -> Tree:
        seen = {name: entry for name, entry in self.entries.items() if not is_hidden(name)}
        whole = [name for name in seen if not name.endswith("/")]
        files: dict[str, tuple[int, ...]] = {
            name: (*self.stamp, seen[name].file_size, seen[name].CRC)
            for name in whole
            if is_picture(name, self.endings)
        }
        left_out = Counter(ending(name) for name in whole if name not in files)
        return Tree(files, set().union(*map(above, seen)), left_out)

    def read(self, name: str) -> bytes:
        return self.file.read(self.entries[name])


def source(root: Path, endings: tuple[str, ...] = EXTENSIONS) -> Folder | Zip:
    """The pictures, or files of other endings, in a folder or a zip file."""
    return Folder(root, endings) if root.is_dir() else Zip(root, endings)


def plain(name: str) -> str:
    """The path of an entry of a zip, with slashes, and without a leading "./".

    >>> plain("./set/cat/1.png"), plain("set\\\\cat\\\\1.png")
    ('set/cat/1.png', 'set/cat/1.png')
    """
    if "/" not in name:  # programs of Windows write backslashes
        name = name.replace("\\", "/")
    parts = [part for part in name.split("/")[:-1] if part not in ("", ".")]
    return "/".join([*parts, name.split("/")[-1]])


def ending(name: str) -> str:
    """The ending of a file's name in small letters, or words for none."""
    return PurePosixPath(name).suffix.lower() or "without an ending"


def is_picture(name: str, endings: tuple[str, ...] = EXTENSIONS) -> bool:
    """Whether a path has the ending of a picture, or one of others, and is not hidden."""
    return not is_hidden(name) and name.lower().endswith(endings)


def is_hidden(name: str) -> bool:
    """Whether a path is a dot file, or in a folder that a system has left behind."""
    return any(part.startswith(".") or part in LEFT_BEHIND for part in name.split("/"))


def is_folder(entry: "os.DirEntry[str]") -> bool:
    """Whether an entry is a folder, or a link to one, and is not hidden."""
    try:
        return entry.is_dir() and not is_hidden(entry.name)
    except OSError:  # a link to itself
        return False


def stamp(entry: "os.DirEntry[str]") -> tuple[int, ...] | None:
    """Numbers that change when a file does; zeros for a broken link, which reading will report.

    Returns:
        None for a pipe, a socket or a device, which is never opened.
    """
    try:
        found = entry.stat()
    except OSError:
        return (0,)
    if not stat.S_ISREG(found.st_mode):
        return None
    return (found.st_ctime_ns, found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev)


def above(name: str) -> set[str]:
    """The folders above a path.

    >>> sorted(above("a/b/c.png"))
    ['a', 'a/b']
    """
    parts = name.split("/")[:-1]
    return {"/".join(parts[:depth]) for depth in range(1, len(parts) + 1)}
