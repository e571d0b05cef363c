"""Picture files of the user, as a translation takes them: sources, and known targets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from gentrain.data.arrays import to_float
from gentrain.data.degrade import holed
from gentrain.data.pictures import EXTENSIONS, opened, source
from gentrain.errors import UserError

if TYPE_CHECKING:
    from gentrain.data.base import Data

Given = Literal["source", "target", "pair"]


class Picture(NamedTuple):
    """One picture that is to be translated."""

    name: str  # its path in the folder, with slashes
    source: Tensor  # (C', h, w) in [-1, 1]
    target: Tensor | None  # (C, h, w) in [-1, 1], where it is known


class UserPictures:
    """A picture file, or the pictures in a folder or .zip.

    Args:
        place: the path.
        data: the run's data, which say what sources and targets look like.
        given: what the files are; see `translate_files.Translate`.
        keep_size: keep each picture's size; otherwise it is squeezed to the run's own square.
        seed: seed for the holes and other numbers that a degradation draws.
    """

    def __init__(self, place: str, data: Data, given: Given, keep_size: bool, seed: int) -> None:
        self.path = Path(place).expanduser()
        self.data, self.given, self.keep_size, self.seed = data, given, keep_size, seed
        self.shape = tuple(data.shape)
        self.source_shape = tuple(data.source_shape or data.shape)

    @property
    def single(self) -> bool:
        """Whether the place is one picture."""
        return self.path.is_file() and self.path.suffix.lower() != ".zip"

    def names(self) -> list[str]:
        """The names of the pictures, sorted.

        Raises:
            UserError: where there are none, or where two would be written under one name.
        """
        if not self.path.exists():
            raise UserError(
                f"no such file or folder {self.path} (source); give a picture, or a folder or "
                ".zip of pictures"
            )
        if self.single:
            return [self.path.name]
        try:
            found = sorted(source(self.path).tree().files)
        except OSError as error:
            raise UserError(
                f"cannot read {self.path}: {error.strerror} (source); give a folder that you may "
                "read"
            ) from error
        if not found:
            raise UserError(
                f"0 pictures in {self.path} (source); give files named {' '.join(EXTENSIONS)}"
            )
        refuse_equal_stems(found, self.path)
        return found

    def read(self, names: list[str]) -> Iterator[Picture]:
        """Open the pictures one by one. Raises UserError for one that cannot be read."""
        pictures = None if self.single else source(self.path)
        for name in names:
            try:
                content = self.path.read_bytes() if pictures is None else pictures.read(name)
                yield Picture(name, *self.parts(content, name))
            except UserError:
                raise
            except Exception as error:  # a broken file makes Pillow raise almost anything
                why = " ".join(str(error).split())[:120] or type(error).__name__
                raise UserError(
                    f"cannot read the picture {name} of {self.path}: {why} (source); "
                    "fix it or take it away"
                ) from error

    def parts(self, content: bytes, name: str) -> tuple[Tensor, Tensor | None]:
        """The source and the target, where it is known, of one file's bytes."""
        match self.given:
            case "pair":
                return self.halves(opened(content, "RGB", self.data.pixel_range))
            case "target":
                return self.degraded(opened(content, mode_of(self.shape[0]), self.data.pixel_range))
        degradation = self.data.degradation
        if degradation is not None and degradation.holes:
            return self.holed(opened(content, "RGBA", self.data.pixel_range), name), None
        picture = opened(content, mode_of(self.source_shape[0]), self.data.pixel_range)
        return self.tensor(picture, self.source_shape), None

    def halves(self, picture: Image.Image) -> tuple[Tensor, Tensor]:
        """The source and the target of two pictures side by side."""
        width = picture.width // 2
        left = picture.crop((0, 0, width, picture.height))
        right = picture.crop((width, 0, 2 * width, picture.height))
        a, b = (left, right) if self.data.direction == "a2b" else (right, left)
        return self.tensor(a, self.source_shape), self.tensor(b, self.shape)

    def degraded(self, picture: Image.Image) -> tuple[Tensor, Tensor]:
        """A source that the run's degradation makes of a target, and the target."""
        degradation = self.data.degradation
        assert degradation is not None
        target = self.tensor(picture, self.shape)
        target = target[:, : multiple(target.shape[1]), : multiple(target.shape[2])]
        generator = torch.Generator().manual_seed(self.seed)
        drawn = torch.rand(1, degradation.draws, generator=generator)
        return degradation.make(target[None], drawn)[0], target

    def holed(self, picture: Image.Image, name: str) -> Tensor:
        """An image whose transparent pixels are holes, and the mask of the others."""
        channels, *size = self.source_shape
        known = self.tensor(picture.getchannel("A"), (1, *size)) > 0
        if known.all():
            raise UserError(
                f"the picture {name} has no transparent pixels to fill (source); make some, or "
                "write mode.given=target for holes at random"
            )
        image = self.tensor(picture.convert(mode_of(channels - 1)), (channels - 1, *size))
        return holed(image[None], known[None])[0]

    def tensor(self, picture: Image.Image, shape: tuple[int, ...]) -> Tensor:
        """(C, h, w) in [-1, 1], with the run's size or the picture's own."""
        size = (shape[2], shape[1])
        if not self.keep_size and picture.size != size:
            picture = picture.resize(size, Image.Resampling.BICUBIC)
        picture = picture.convert(mode_of(shape[0]))
        pixels = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8)
        pixels = pixels.view(picture.height, picture.width, -1)
        return to_float(pixels.permute(2, 0, 1).contiguous())


def refuse_equal_stems(names: list[str], place: Path) -> None:
    """Refuse two pictures that differ only in their extension."""
    stems: dict[str, str] = {}
    for name in names:
        stem = str(PurePosixPath(name).with_suffix(""))
        if stem in stems:
            raise UserError(
                f"{stems[stem]} and {name} of {place} would have one name, {stem}.png (source); "
                "rename one"
            )
        stems[stem] = name


def mode_of(channels: int) -> str:
    """Pillow's mode for a number of channels."""
    return "L" if channels == 1 else "RGB"


def multiple(side: int, of: int = 4) -> int:
    """The largest multiple of `of` that is at most `side`, and at least one."""
    return max(of, side - side % of)
