"""Pictures of the user's own, or held-out ones, through a translation: a picture each under its name, and source | made | target in one."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Literal, NamedTuple

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from gentrain.commands.sample.mode import Mode
from gentrain.commands.sample.session import SampleSession
from gentrain.commands.sample.writer import Output, counted, hwc
from gentrain.config.types import Count
from gentrain.data.arrays import to_float
from gentrain.data.batches import as_batch
from gentrain.data.degrade import Degradation
from gentrain.data.grids import sheet
from gentrain.errors import Diverged, UserError
from gentrain.files import atomic_write


class Opened(NamedTuple):
    name: str  # of the picture, in its folder, with slashes
    source: Tensor  # (C', h, w) in [-1, 1]
    target: Tensor | None  # (C, h, w), where it is known


class Translate(Mode):
    """Every picture of `source`, a file, a folder or a .zip, as `out/translated/NAME.png`; the first `shown` in one contact sheet.

    Args:
        source: null takes `n` held-out images of the run's own data, by the seed.
        given: what the pictures are: what the model starts from (`source`; for inpainting, what is transparent is not known), what it
            should make (`target`; sources are made of them by the run's data.degrade), or both, side by side (`pair`, as in data=facades).
        size: `trained` squeezes every picture to the square of the run's own; `own` keeps its size, which a convolutional network can take;
            `auto` is own for a network without a view of the whole (super-resolution), trained for others.
        back: one more column, the way back, where the model knows it (cyclegan).
    """

    def __init__(
        self,
        source: str | None = None,
        n: Count = 32,
        shown: Count = 24,
        given: Literal["source", "target", "pair"] = "source",
        size: Literal["auto", "trained", "own"] = "auto",
        back: bool = False,
    ) -> None:
        self.source, self.n, self.shown, self.given, self.size, self.back = (
            source,
            n,
            shown,
            given,
            size,
            back,
        )

    def check(self, studio: SampleSession) -> None:
        super().check(studio)
        if not hasattr(studio.game, "translate"):
            raise UserError(
                "this model makes images of noise and translates none (source, mode); leave source out, or give a run of pix2pix"
            )
        several = studio.several
        if several and studio.domain is None:
            names = getattr(studio.data, "domains", range(int(studio.data.classes)))
            raise UserError(
                f"this model knows several domains (domain); give one of {', '.join(map(str, names))}"
            )
        if self.back and (several or not hasattr(studio.game, "back")):
            raise UserError(
                "this model does not know the way back from a picture (mode.back); write false, or give a run of cyclegan"
            )
        if self.given == "target" and how(studio) is None:
            raise UserError(
                f"data={studio.data.name} of this run does not degrade images (mode.given); give the sources themselves"
            )
        if self.size == "own" and self.whole(studio):
            raise UserError(
                "this network sees whole pictures, at the size that it was trained at (mode.size); write trained"
            )

    def whole(self, studio: SampleSession) -> bool:
        return any(getattr(network, "whole", False) for network in studio.generator.modules())

    def draw(self, studio: SampleSession, out: Output) -> dict[str, Any]:
        names = self.names()
        total = self.n if names is None else len(names)
        stream = self.held_out(studio) if names is None else self.opened(studio, names)
        out.open()
        shown: list[tuple[Tensor, ...]] = []
        with atomic_write(out.path / "translated") as part:
            for (made, _), picture in counted_with(self.translated(studio, stream), total):
                write(made[0], part / PurePosixPath(picture.name).with_suffix(".png"))
                if len(shown) < self.shown:
                    shown.append(self.row(studio, picture, made))
        rows = [torch.cat(parts) for parts in zip(*shown, strict=True)]
        known = rows[2] if len(rows) == 3 else None
        out.picture(
            "translate",
            sheet(rows[0], rows[1], known, across=max(1, round(math.sqrt(len(shown) / len(rows))))),
        )
        return {"pictures": total, "given": self.given if names is not None else "held-out"}

    def translated(
        self, studio: SampleSession, pictures: Iterator[Opened]
    ) -> Iterator[tuple[tuple[Tensor, None], Opened]]:
        """One picture at a time: they may be of any size."""
        for picture in pictures:
            x = picture.source[None].to(studio.device)
            domain = (
                None
                if studio.domain is None
                else torch.tensor([studio.domain], device=studio.device)
            )
            made = studio.game.translate(x, domain).float().cpu()
            if not made.isfinite().all():
                raise Diverged(
                    "the generator gives values that are not finite numbers; take another checkpoint"
                )
            factor = studio.data.shape[1] // (studio.data.source_shape or studio.data.shape)[1]
            yield (
                (made[..., : factor * x.shape[2], : factor * x.shape[3]], None),
                picture,
            )  # a halving may have rounded up

    def row(self, studio: SampleSession, picture: Opened, made: Tensor) -> tuple[Tensor, ...]:
        """source, made and the third column, at the size of the run's own images, so that they stand in one sheet."""
        third = picture.target
        if self.back:
            third = studio.game.back(made.to(studio.device)).float().cpu()[0]
        parts = [picture.source, made[0], *([] if third is None else [third])]
        return tuple(fitted(part[None], tuple(studio.data.shape[1:])) for part in parts)

    def names(self) -> list[str] | None:
        """Of the pictures, sorted; None without a source."""
        if self.source is None:
            return None
        from gentrain.data.pictures import EXTENSIONS, source

        path = Path(self.source).expanduser()
        if not path.exists():
            raise UserError(
                f"no such file or folder {path} (source); give a picture, or a folder or .zip of pictures"
            )
        if single(path):
            return [path.name]
        try:
            found = sorted(source(path).tree().files)
        except OSError as error:
            raise UserError(
                f"cannot read {path}: {error.strerror} (source); give a folder that you may read"
            ) from error
        if not found:
            raise UserError(
                f"0 pictures in {path} (source); give files named {' '.join(EXTENSIONS)}"
            )
        stems: dict[str, str] = {}
        for name in found:
            stem = str(PurePosixPath(name).with_suffix(""))
            if stem in stems:
                raise UserError(
                    f"{stems[stem]} and {name} of {path} would have one name, {stem}.png (source); rename one"
                )
            stems[stem] = name
        return found

    def opened(self, studio: SampleSession, names: list[str]) -> Iterator[Opened]:
        from gentrain.data.pictures import source

        path = Path(self.source or "").expanduser()
        pictures = None if single(path) else source(path)
        for name in names:
            try:
                content = path.read_bytes() if pictures is None else pictures.read(name)
                yield Opened(name, *self.parts(studio, content, name))
            except UserError:
                raise
            except Exception as error:  # a broken file makes PIL raise almost anything
                why = " ".join(str(error).split())[:120] or type(error).__name__
                raise UserError(
                    f"cannot read the picture {name} of {path}: {why} (source); mend it or take it away"
                ) from error

    def parts(
        self, studio: SampleSession, content: bytes, name: str
    ) -> tuple[Tensor, Tensor | None]:
        """Source and target, where it is known, of one file."""
        from gentrain.data.pictures import opened

        shape = tuple(studio.data.shape)
        start = tuple(studio.data.source_shape or shape)
        if self.given == "pair":
            flat = opened(content, "RGB")
            halves = [
                flat.crop((i * (flat.width // 2), 0, (i + 1) * (flat.width // 2), flat.height))
                for i in (0, 1)
            ]
            a, b = halves if getattr(studio.data, "direction", "a2b") == "a2b" else halves[::-1]
            return self.tensor(studio, a, start), self.tensor(studio, b, shape)
        if self.given == "target":
            degradation = how(studio)
            assert degradation is not None
            target = self.tensor(studio, opened(content, mode_of(shape[0])), shape)
            target = target[:, : multiple(target.shape[1]), : multiple(target.shape[2])]
            drawn = torch.rand(
                1, degradation.draws, generator=torch.Generator().manual_seed(studio.seed)
            )
            return degradation.make(target[None], drawn)[0], target
        degradation = how(studio)
        if degradation is not None and degradation.holes:
            return self.holed(studio, opened(content, "RGBA"), start, name), None
        return self.tensor(studio, opened(content, mode_of(start[0])), start), None

    def holed(
        self, studio: SampleSession, picture: Image.Image, shape: tuple[int, ...], name: str
    ) -> Tensor:
        """An image whose transparent pixels are not known, and the mask of those that are."""
        from gentrain.data.degrade import holed

        known = self.tensor(studio, picture.getchannel("A"), (1, *shape[1:])) > 0
        if known.all():
            raise UserError(
                f"the picture {name} has no transparent pixels to fill (source); make some, or write mode.given=target for holes at random"
            )
        image = self.tensor(
            studio, picture.convert(mode_of(shape[0] - 1)), (shape[0] - 1, *shape[1:])
        )
        return holed(image[None], known[None])[0]

    def tensor(self, studio: SampleSession, picture: Image.Image, shape: tuple[int, ...]) -> Tensor:
        """(C, h, w) in [-1, 1], of the size that the run was trained at or of the picture's own."""
        own = self.size == "own" or (
            self.size == "auto" and not self.whole(studio) and free(studio)
        )
        picture = (
            picture
            if own or picture.size == (shape[2], shape[1])
            else picture.resize((shape[2], shape[1]), Image.Resampling.BICUBIC)
        )
        picture = picture.convert(mode_of(shape[0]))
        pixels = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8).view(
            picture.height, picture.width, -1
        )
        return to_float(pixels.permute(2, 0, 1).contiguous())

    def held_out(self, studio: SampleSession) -> Iterator[Opened]:
        from gentrain.commands.sample.domain_modes import sources

        if studio.data.source_shape is None:  # one set of images, of several domains
            for i, x in enumerate(sources(studio, self.n)[0].cpu()):
                yield Opened(f"{i:06d}", x, None)
            return
        samples, rows = studio.held_out(self.n)
        targets, starts = as_batch(samples, rows, torch.device("cpu"))[:2]
        for row, source, target in zip(rows.tolist(), starts, targets, strict=True):
            yield Opened(f"{row:06d}", source, target if studio.data.aligned else None)


def how(studio: SampleSession) -> Degradation | None:
    return getattr(studio.data, "degradation", None)


def free(studio: SampleSession) -> bool:
    """Sources smaller than images: the network enlarges, whatever it is given."""
    source = studio.data.source_shape
    return source is not None and tuple(source[1:]) != tuple(studio.data.shape[1:])


def single(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() != ".zip"


def mode_of(channels: int) -> str:
    return "L" if channels == 1 else "RGB"


def multiple(side: int, of: int = 4) -> int:
    return max(of, side - side % of)


def fitted(images: Tensor, size: tuple[int, ...]) -> Tensor:
    """Another size, each pixel as it is where it is enlarged."""
    if images.shape[-2:] == size:
        return images
    smaller = images.shape[-1] > size[-1]
    return (
        F.interpolate(images, size, mode="bilinear", antialias=True)
        if smaller
        else F.interpolate(images, size)
    )


def write(image: Tensor, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    array = hwc(image[None])[0]
    Image.fromarray(array.squeeze(2) if array.shape[2] == 1 else array).save(path)


def counted_with(stream: Iterator[tuple[Any, Opened]], total: int) -> Iterator[tuple[Any, Opened]]:
    """`counted`, of a stream whose items say more than their images."""
    beside: list[Opened] = []

    def first() -> Iterator[Any]:
        for batch, picture in stream:
            beside.append(picture)
            yield batch

    for batch in counted(first(), total):
        yield batch, beside.pop()
