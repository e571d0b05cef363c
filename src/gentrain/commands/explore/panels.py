"""The panels of `gentrain explore`: samples, directions of the noise, neighbours, pictures.

Each is offered where the sample mode that it is made of fits the run. So a model that declares a
capability has its panel, and no panel asks for the name of a model.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from gentrain.capability import supports
from gentrain.commands.explore.controls import Choice, Control, Slider, Upload
from gentrain.commands.explore.directions import principal_directions
from gentrain.commands.explore.explorer import Explorer, Panel, Shown, Values, offers
from gentrain.commands.sample.data_modes import (
    UNIT,
    Complete,
    Denoise,
    Nearest,
    Reconstruct,
    beside,
    held_out,
    median_rms,
    nearest,
)
from gentrain.commands.sample.latent_modes import Grid, Interpolate, Traverse
from gentrain.commands.sample.mode import Mode, repeat_labels, table
from gentrain.commands.sample.projection import TargetPictures
from gentrain.commands.sample.session import SampleSession
from gentrain.commands.sample.translate_files import Translate, resized, translate
from gentrain.commands.sample.user_pictures import UserPictures
from gentrain.data.arrays import random_rows, to_bytes, to_float
from gentrain.data.grids import annotated, as_picture, scatter
from gentrain.data.pictures import EXTENSIONS
from gentrain.errors import UserError
from gentrain.models.base import HasCodes, MakesImagesOfNoise, TranslatesBack
from gentrain.tables import quantity

WIDTH = 640  # pixels of a picture, about: small images are enlarged
DIRECTIONS = 6
STEPS = 7  # images along a direction
HELD_OUT = 32  # images to choose from, without a picture of the user's


class Samples(Panel):
    """Samples of a seed."""

    title = "Samples"
    about = "New samples; a seed gives the same ones again."

    def fits(self, session: SampleSession) -> bool:
        return offers(session, Grid())

    def controls(self, explorer: Explorer) -> dict[str, Control]:
        if explorer.first.points:
            count = Slider("How many", 500, 10_000, 2000, 500)
        else:
            count = Slider("How many", 1, 64, 16, 1)
        return {**explorer.controls_of_samples(), "n": count}

    def draw(self, explorer: Explorer, values: Values) -> Shown:
        session, n = explorer.session(values), int(values["n"])
        samples = explorer.samples(session, n, values)
        if session.points:
            picture = scatter(samples, session.data.frame)
        else:
            across = math.ceil(math.sqrt(n))
            picture = table(enlarged(session.data.as_images(samples), across), across)
        return Shown([(f"{quantity(n, 'sample')} of seed {session.seed}", picture)])


class Directions(Panel):
    """One sample, moved along directions of its noise."""

    title = "Directions"
    about = (
        "One sample, moved: by its codes where the model has some, else along the directions of "
        "the noise that change images most, in standard deviations."
    )

    def fits(self, session: SampleSession) -> bool:
        makes = supports(session.model, MakesImagesOfNoise)
        return makes and offers(session, Interpolate(path="linear"))

    def controls(self, explorer: Explorer) -> dict[str, Control]:
        model, found = explorer.run.model, explorer.controls_of_samples()
        if supports(model, HasCodes):
            if model.categories:
                names = [str(i) for i in range(model.categories)]
                found["category"] = Choice("Category", names)
            reach, words = Traverse.REACH_OF_CODES, "Code"
        else:
            reach, words = Traverse.REACH, "Direction"
        for i in range(self.count(explorer)):
            found[f"along_{i}"] = Slider(f"{words} {i + 1}", -reach, reach, 0.0, 0.1)
        return found

    def count(self, explorer: Explorer) -> int:
        """How many sliders."""
        model = explorer.run.model
        if supports(model, HasCodes):
            return int(model.continuous)
        return min(DIRECTIONS, explorer.first.noise(1)[0].numel())

    def draw(self, explorer: Explorer, values: Values) -> Shown:
        session = explorer.session(values)
        z, label = explorer.noise(session, 1, values), session.labels(1)
        count = self.count(explorer)
        along = torch.tensor([float(values[f"along_{i}"]) for i in range(count)])
        coded = supports(session.model, HasCodes)
        reach = Traverse.REACH_OF_CODES if coded else Traverse.REACH
        line = torch.linspace(-reach, reach, STEPS)
        # the chosen point, and a row through it along each direction
        points = along.repeat(1 + count * STEPS, 1)
        for i in range(count):
            points[1 + i * STEPS : 1 + (i + 1) * STEPS, i] = line
        moved = torch.cat([z, self.moved(explorer, session, z, points, values)])
        images = session.data.as_images(session.images(moved, repeat_labels(label, len(moved))))
        pair = annotated(enlarged(images[:2], 2, WIDTH // 2), [], ["start", "moved"])
        shown = [("the sample, and where the sliders move it", pair)]
        if count:
            names = [f"{'code' if coded else 'direction'} {i + 1}" for i in range(count)]
            heads = [f"{value:g}" for value in line.tolist()]
            rows = annotated(enlarged(images[2:], STEPS), names, heads)
            shown.append(("each slider alone, through the moved sample", rows))
        return Shown(shown)

    def moved(
        self, explorer: Explorer, session: SampleSession, z: Tensor, points: Tensor, values: Values
    ) -> Tensor:
        """The noise z (1, ...) with codes, or moved along directions, as points (B, K) say."""
        model = session.model
        if supports(model, HasCodes):
            category = int(values["category"]) if "category" in values else None
            codes = dict(enumerate(points.T))
            return model.with_codes(z.repeat(len(points), *[1] * (z.ndim - 1)), category, codes)
        key = ("directions", values.get("label"), values.get("text"))
        if key not in explorer.kept:
            first = explorer.session({**values, "seed": 0})
            explorer.kept[key] = principal_directions(first, len(points.T))
        moved = z + (points @ explorer.kept[key]).view(-1, *z.shape[1:])
        return model.nearest_noise(moved)


class Neighbours(Panel):
    """Samples beside the training images that are nearest to them."""

    title = "Nearest training images"
    about = "Samples, left, and the training images nearest to them: copies are at distance 0."

    def fits(self, session: SampleSession) -> bool:
        return offers(session, Nearest())

    def controls(self, explorer: Explorer) -> dict[str, Control]:
        return {
            **explorer.controls_of_samples(),
            "n": Slider("How many samples", 1, 16, 6, 1),
            "neighbours": Slider("Neighbours of each", 1, 8, 5, 1),
        }

    def draw(self, explorer: Explorer, values: Values) -> Shown:
        session = explorer.session(values)
        samples = to_bytes(explorer.samples(session, int(values["n"]), values))
        train = session.data.load("train").images
        k = min(int(values["neighbours"]), len(train))
        distances, rows = nearest(samples, train, k)
        shown = beside(samples, train, rows)
        heads = ["sample", *(f"{i + 1}." for i in range(k))]
        names = [f"{distance:.1f}" for distance in distances[:, 0].tolist()]
        picture = annotated(enlarged(to_float(shown), k + 1), names, heads)
        median = float(distances[:, 0].median())
        text = f"The nearest training image is {median:.1f} away in the median"
        if (test := session.data.held_out()) is not None:
            if "of_held_out" not in explorer.kept:
                some = test.images[random_rows(len(test.images), 100, 0)]
                explorer.kept["of_held_out"] = nearest(some, train, 1)[0].median()
            text += f", that of a held-out image {float(explorer.kept['of_held_out']):.1f}"
        return Shown(
            [("left of each row: the distance of its nearest", picture)],
            f"{text} {UNIT}.",
        )


# --- a picture of the user's, or a held-out one ---------------------------------------------------


class OfPicture(Panel):
    """What a model makes of a picture: an uploaded one, or a held-out one of the run's data."""

    mode: ClassVar[type[Mode]]  # whose capabilities are needed

    def fits(self, session: SampleSession) -> bool:
        return offers(session, self.mode())

    def controls(self, explorer: Explorer) -> dict[str, Control]:
        found = explorer.controls_of_samples()
        for key in {"truncation", "mean", "temperature"} - {*self.mode.reads}:
            found.pop(key, None)
        if "label" in found:
            found["label"] = Choice(found["label"].label, explorer.first.label_names)
        return {
            "picture": Upload("A picture of yours", EXTENSIONS),
            "number": Slider("... or a held-out image", 0, HELD_OUT - 1, 0, 1),
            **found,
        }

    def batch(self, session: SampleSession, values: Values) -> tuple[Tensor, ...]:
        """The picture (1, C, H, W) in [-1, 1] on the device, and its label, if the model has one.

        An uploaded picture is of the chosen class, and a held-out one of its own.
        """
        if values.get("picture") is None:
            batch, _ = held_out(SampleSession(session.run), HELD_OUT)
            at = min(int(values["number"]), len(batch[0]) - 1)
            return tuple(part[at : at + 1] for part in batch)
        files = TargetPictures("", session.data, "source", False, session.seed)
        x = read(files, values["picture"])[0][None].to(session.device)
        label = session.labels(1)
        return (x,) if label is None else (x, label.to(session.device))

    def draw(self, explorer: Explorer, values: Values) -> Shown:
        session = explorer.session(values)
        columns, text = self.columns(session, values)
        size = tuple(max(x.shape[i] for x in columns.values()) for i in (2, 3))
        images = torch.cat([resized(as_picture(x), size) for x in columns.values()])
        picture = annotated(enlarged(images, len(images)), [], list(columns))
        return Shown([(self.about, picture)], text)

    @abstractmethod
    def columns(self, session: SampleSession, values: Values) -> tuple[dict[str, Tensor], str]:
        """Images (1, C, H, W) on the CPU by their names, and what there is to say of them."""


class Reconstruction(OfPicture):
    """The picture, and what the code of it becomes."""

    title, about, mode = "Reconstruct", "A picture, and what its code becomes again.", Reconstruct

    def columns(self, session: SampleSession, values: Values) -> tuple[dict[str, Tensor], str]:
        batch = self.batch(session, values)
        with session.streams(range(1)):
            made = session.model.reconstruct(*batch).float().cpu()
        x = batch[0].cpu()
        error = median_rms(x, made)
        return {"picture": x, "again": made}, f"They are {error:.1f} apart {UNIT}."


class Completion(OfPicture):
    """The picture, its known part, and completions of it."""

    title, about, mode = "Complete", "A picture, what is known of it, and completions.", Complete
    TIMES = 4

    def controls(self, explorer: Explorer) -> dict[str, Control]:
        return {
            "known": Choice("What is known", list(Complete.parts)),
            **super().controls(explorer),
        }

    def columns(self, session: SampleSession, values: Values) -> tuple[dict[str, Tensor], str]:
        batch = self.batch(session, values)
        mode = Complete(known=values["known"], times=self.TIMES)
        known = mode.mask(*batch[0].shape[2:])
        found = mode.completions(session, batch, known.to(session.device))
        x = batch[0].cpu()
        made = {f"completed {i + 1}": images.float() for i, images in enumerate(found)}
        return {"picture": x, "known": torch.where(known, x, 0.0), **made}, ""


class Denoising(OfPicture):
    """The picture, noise on it, and what the model makes of that."""

    title, about, mode = "Denoise", "A picture, noise on it, and the picture without it.", Denoise

    def controls(self, explorer: Explorer) -> dict[str, Control]:
        share = Slider("Share of pixels that become black or white", 0.0, 1.0, 0.2, 0.05)
        return {**super().controls(explorer), "share": share}

    def columns(self, session: SampleSession, values: Values) -> tuple[dict[str, Tensor], str]:
        x = self.batch(session, values)[0].cpu()
        mode = Denoise(share=float(values["share"]))
        noisy, denoised = mode.denoised(session, x)
        return {"picture": x, "noisy": noisy, "denoised": denoised}, ""


class Translation(OfPicture):
    """The picture, and its translation."""

    title, about, mode = "Translate", "A picture, and its translation.", Translate

    def fits(self, session: SampleSession) -> bool:
        if session.is_multi_domain:  # the page asks for the domain
            return True
        return super().fits(session)

    def columns(self, session: SampleSession, values: Values) -> tuple[dict[str, Tensor], str]:
        if session.is_multi_domain:
            session.domain = session.target(str(values["label"]))
        source, target = self.source(session, values)
        made = translate(session, source)
        found = {"picture": source[None], "translated": made}
        if supports(session.model, TranslatesBack) and not session.is_multi_domain:
            found["and back"] = session.model.translate_back(made.to(session.device)).float().cpu()
        if target is not None:
            found["as it is"] = target[None]
        return found, ""

    def source(self, session: SampleSession, values: Values) -> tuple[Tensor, Tensor | None]:
        """What is translated (C, H, W), and what it should become, where that is known."""
        if values.get("picture") is not None:
            files = UserPictures("", session.data, "source", False, session.seed)
            return read(files, values["picture"])
        for_all = SampleSession(session.run)
        _, stream = Translate(n=int(values["number"]) + 1).pictures(for_all)
        *_, last = stream
        return last.source, last.target


def read(files: UserPictures, content: bytes) -> tuple[Tensor, Tensor | None]:
    """What is made of an uploaded picture, and what it should become, where that is known."""
    try:
        return files.parts(content, "that you uploaded")
    except UserError:
        raise
    except Exception as error:  # a broken file makes Pillow raise almost anything
        why = " ".join(str(error).split())[:120] or type(error).__name__
        raise UserError(f"cannot read the picture: {why}; upload another") from error


PANELS: tuple[type[Panel], ...] = (
    Samples, Directions, Neighbours, Reconstruction, Translation, Completion, Denoising,
)  # fmt: skip


def enlarged(images: Tensor, columns: int, width: int = WIDTH) -> Tensor:
    """Images (..., H, W), each pixel repeated until so many side by side are about `width` wide."""
    times = max(1, width // (columns * images.shape[-1]))
    return images.repeat_interleave(times, -2).repeat_interleave(times, -1)
