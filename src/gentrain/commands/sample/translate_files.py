"""Translate pictures of the user, or held-out ones: a PNG each, and a contact sheet."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from gentrain.capability import supports
from gentrain.commands.sample.domain_modes import sources
from gentrain.commands.sample.mode import Mode
from gentrain.commands.sample.session import SampleSession, finite
from gentrain.commands.sample.user_pictures import Given, Picture, UserPictures
from gentrain.commands.sample.writer import Output, progress
from gentrain.config.types import Count
from gentrain.data.batches import as_batch
from gentrain.data.grids import annotated, in_turn, write_png
from gentrain.errors import UserError
from gentrain.files import atomic_write
from gentrain.models.base import Translates, TranslatesBack
from gentrain.networks.base import Translator


class Translate(Mode):
    """Every picture of `source` as `out/translated/NAME.png`, and a sheet of the first `shown`.

    Args:
        source: a picture, or a folder or .zip of pictures; null takes `n` held-out images of the
            run's own data, by the seed.
        n: held-out images, without a source; null for 32.
        shown: pictures in the sheet.
        given: what the pictures are. `source`: what the model starts from; for inpainting, their
            transparent pixels are the holes. `target`: what it should make; the run's data.degrade
            makes the sources. `pair`: both, side by side, as in data=facades.
        size: `trained` squeezes every picture to the run's own square. `own` keeps its size, which
            a convolutional network accepts. `auto` is own for a network that enlarges
            (super-resolution), and trained for any other.
        back: add a column with the images translated back, where the model can (cyclegan).
    """

    requires = (Translates,)
    reads = ("domain", "source")

    HELD_OUT = 32  # images without a source, where the user names no number

    def __init__(
        self,
        source: str | None = None,
        n: Count | None = None,
        shown: Count = 24,
        given: Given = "source",
        size: Literal["auto", "trained", "own"] = "auto",
        back: bool = False,
    ) -> None:
        if source is not None and n is not None:
            raise UserError("the number of pictures is that of the source (n); leave n out")
        for key, value, default in (("given", given, "source"), ("size", size, "auto")):
            if source is None and value != default:
                raise UserError(
                    f"held-out images need no mode.{key} (mode.{key}); leave it out, or give source"
                )
        self.source, self.n, self.shown = source, n or self.HELD_OUT, shown
        self.given, self.size, self.back = given, size, back

    def check(self, session: SampleSession) -> None:
        super().check(session)
        several = session.is_multi_domain
        if several and session.domain is None:
            raise UserError(
                "this model translates to several domains (domain); "
                f"give {session.data.label_kind.choice} {', '.join(session.label_names)}"
            )
        if self.back and (several or not supports(session.model, TranslatesBack)):
            raise UserError(
                "this model does not translate a picture back (mode.back); "
                "write false, or give a run of cyclegan"
            )
        if self.given == "target" and session.data.degradation is None:
            raise UserError(
                f"data={session.data.name} of this run does not degrade images (mode.given); "
                "give the sources themselves"
            )
        degradation = session.data.degradation
        if self.given == "pair" and degradation is not None and degradation.holes:
            raise UserError(
                "a source of this run has holes, and pictures side by side have none "
                "(mode.given); write source or target"
            )
        if self.size == "own" and fixed_size(session):
            raise UserError(
                "this network sees whole pictures, at the size that it was trained at "
                "(mode.size); write trained"
            )

    def read(self, session: SampleSession) -> tuple[str, ...]:
        """Its options; the seed chooses held-out images, degrades targets, or drops values."""
        degradation = session.data.degradation
        degraded = self.given == "target" and degradation is not None and degradation.draws > 0
        seeded = self.source is None or degraded or is_random(session)
        return (*self.reads, "seed") if seeded else self.reads

    def draw(self, session: SampleSession, out: Output) -> dict[str, Any]:
        total, stream = self.pictures(session)
        out.open()
        shown: list[tuple[Tensor, ...]] = []
        place = out.path / "translated"
        with atomic_write(place) as part:
            for picture in progress(stream, total):
                made = translate(session, picture.source)
                write(made[0], part / PurePosixPath(picture.name).with_suffix(".png"))
                if len(shown) < self.shown:
                    shown.append(self.row(session, picture, made))
        out.kept = (total, place)
        columns = [torch.cat(parts) for parts in zip(*shown, strict=True)]
        heads = ["source", "made", "back" if self.back else "target"][: len(columns)]
        across = max(1, round(math.sqrt(len(shown) / len(columns))))
        out.picture(
            self.name, annotated(in_turn(*columns), [], heads * across, self.title(session))
        )
        return {"pictures": total, "given": self.given if self.source is not None else "held-out"}

    def title(self, session: SampleSession) -> str:
        """What is shown: where several domains are, which; else what was translated."""
        if session.domain is None:
            return "held-out images, translated" if self.source is None else "pictures, translated"
        return f"to {session.data.label_kind.text(session.domain, session.label_names)}"

    def pictures(self, session: SampleSession) -> tuple[int, Iterator[Picture]]:
        """How many pictures there are, and the pictures one by one."""
        if self.source is None:
            return self.n, self.held_out(session)
        own = self.size == "own" or (
            self.size == "auto" and enlarges(session) and not fixed_size(session)
        )
        pictures = UserPictures(self.source, session.data, self.given, own, session.seed)
        names = pictures.names()
        return len(names), pictures.read(names)

    def held_out(self, session: SampleSession) -> Iterator[Picture]:
        """Held-out images of the run's data, with their targets where they are known."""
        if session.data.source_shape is None:  # one set of images, of several domains
            for i, x in enumerate(sources(session, self.n)[0].cpu()):
                yield Picture(f"{i:06d}", x, None)
            return
        samples, rows = session.held_out(self.n)
        targets, starts = as_batch(samples, rows, torch.device("cpu"))[:2]
        for row, x, target in zip(rows.tolist(), starts, targets, strict=True):
            yield Picture(f"{row:06d}", x, target if session.data.aligned else None)

    def row(self, session: SampleSession, picture: Picture, made: Tensor) -> tuple[Tensor, ...]:
        """Source, translation and the third column, resized to the run's own images."""
        third = picture.target
        if self.back:
            third = session.model.translate_back(made.to(session.device)).float().cpu()[0]
        parts = [picture.source, made[0], *([] if third is None else [third])]
        return tuple(resized(part[None], tuple(session.data.shape[1:])) for part in parts)


def translate(session: SampleSession, source: Tensor) -> Tensor:
    """Translate one picture (C', h, w), of any size; (1, C, H, W) on the CPU."""
    x, domain = source[None].to(session.device), None
    if session.domain is not None:
        domain = session.domain[None].to(session.device)
    made = finite(session.model.translate(x, domain).float().cpu())
    factor = session.data.shape[1] // (session.data.source_shape or session.data.shape)[1]
    # a network that halves may round the size up
    return made[..., : factor * x.shape[2], : factor * x.shape[3]]


def is_random(session: SampleSession) -> bool:
    """Whether the network's own noise makes each translation of a picture another."""
    return any(
        module.random for module in session.generator.modules() if supports(module, Translator)
    )


def fixed_size(session: SampleSession) -> bool:
    """Whether a network sees whole pictures, so that other sizes do not fit."""
    return any(
        module.fixed_size for module in session.generator.modules() if supports(module, Translator)
    )


def enlarges(session: SampleSession) -> bool:
    """Whether sources are smaller than images."""
    source = session.data.source_shape
    return source is not None and tuple(source[1:]) != tuple(session.data.shape[1:])


def resized(images: Tensor, size: tuple[int, ...]) -> Tensor:
    """Images in another size; pixels are repeated where it is larger."""
    if images.shape[-2:] == size:
        return images
    if images.shape[-1] > size[-1]:
        return F.interpolate(images, size, mode="bilinear", antialias=True)
    return F.interpolate(images, size)


def write(image: Tensor, path: Path) -> None:
    """Write an image (C, H, W) in [-1, 1] as a PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_png(image, path)
