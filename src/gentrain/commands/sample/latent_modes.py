"""Modes that choose the noise of a generator: grids, paths, arithmetic, single latents."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from gentrain.capability import supports
from gentrain.commands.sample.data_modes import held_out
from gentrain.commands.sample.latent import linear, octant, slerp
from gentrain.commands.sample.mode import (
    Index,
    Mode,
    Steps,
    Words,
    draw_table,
    keep,
    number,
    repeat_labels,
    row_names,
    table,
)
from gentrain.commands.sample.session import SampleSession
from gentrain.commands.sample.writer import Output
from gentrain.config.types import Count, Positive
from gentrain.data.grids import annotated, scatter
from gentrain.errors import UserError
from gentrain.models.base import Encodes, HasCodes


class Grid(Mode):
    """`n` samples of new noise, of the classes in turn; one picture of the first `shown`.

    Args:
        n: samples.
        shown: images in the picture; null for 100. A picture of points shows all.
    """

    points = True
    sounds = True

    SHOWN = 100  # images in the picture, where the user names no number

    def __init__(self, n: Count = 64, shown: Count | None = None) -> None:
        self.n, self.shown = n, shown

    def check(self, session: SampleSession) -> None:
        super().check(session)
        if session.points and self.shown is not None:
            raise UserError(
                "a picture of points shows all of them (mode.shown); leave it out, and give n"
            )

    def draw(self, session: SampleSession, out: Output) -> dict[str, Any]:
        shown = self.n if session.points else self.shown or self.SHOWN
        first = out.images(session.stream(self.n), self.n, shown)
        if session.points:
            out.picture(self.name, scatter(first, session.data.frame))
        else:
            images = session.data.as_images(first)
            out.picture(self.name, table(images, math.ceil(math.sqrt(len(images)))))
        return {}


class ClassGrid(Mode):
    """A row for each class, `n` images long, with the same noise down each column."""

    needs_labels = True
    noise = "any"
    sounds = True

    def __init__(self, n: Count = 10) -> None:
        self.n = n

    def draw(self, session: SampleSession, out: Output) -> dict[str, Any]:
        classes = torch.tensor(session.classes)
        z = session.noise(self.n).repeat(len(classes), 1)
        images = keep(session, out, z, classes.repeat_interleave(self.n))
        rows = [session.label_names[i] for i in classes.tolist()]
        shown = session.data.as_images(images)
        out.picture(self.name, annotated(shown, rows, [""] * self.n, "one noise a column"))
        return {}


class Interpolate(Mode):
    """`n` strips, each of `steps` images from one noise vector to another.

    Where there are labels, a strip is of one class. `path` is "slerp", along a great circle, for
    normal noise; or "linear".
    """

    noise_remedy = "give mode.path=linear"
    sounds = True

    paths: ClassVar[dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]]] = {
        "slerp": slerp,
        "linear": linear,
    }
    ways: ClassVar[dict[str, str]] = {"slerp": "a great circle", "linear": "a straight line"}

    def __init__(
        self, n: Count = 8, steps: Steps = 9, path: Literal["slerp", "linear"] = "slerp"
    ) -> None:
        self.n, self.steps, self.path = n, steps, path
        self.noise = "normal" if path == "slerp" else "any"

    def draw(self, session: SampleSession, out: Output) -> dict[str, Any]:
        ends = session.noise(2 * self.n).unflatten(0, (self.n, 2))
        t = torch.linspace(0, 1, self.steps)
        z = torch.cat([self.paths[self.path](z0, z1, t) for z0, z1 in ends])
        session.take_turns(self.n)
        labels = session.labels(self.n)
        words = Words(
            f"from one noise to another along {self.ways[self.path]}",
            row_names(session, labels, [f"noise {2 * i} to {2 * i + 1}" for i in range(self.n)]),
            [number(value) for value in t.tolist()],
        )
        draw_table(session, out, self.name, z, repeat_labels(labels, self.steps), words)
        return {}


class Sphere(Mode):
    """`n` pictures, each of `steps` by `steps` images: the octant between four noise vectors.

    Where there are labels, a picture is of one class.
    """

    noise = "normal"

    def __init__(self, n: Count = 1, steps: Steps = 9) -> None:
        self.n, self.steps = n, steps

    def draw(self, session: SampleSession, out: Output) -> dict[str, Any]:
        corners = session.noise(4 * self.n).unflatten(0, (self.n, 4))
        z = torch.cat([octant(four, self.steps) for four in corners])
        session.take_turns(self.n)
        labels = session.labels(self.n)
        images = keep(session, out, z, repeat_labels(labels, self.steps**2))
        angles = [number(value) for value in torch.linspace(0, 90, self.steps).tolist()]
        titles = row_names(
            session, labels, ["four noises in the corners, angles in degrees"] * self.n
        )
        for i, picture in enumerate(images.split(self.steps**2)):
            name = self.name if self.n == 1 else f"{self.name}-{i}"
            out.picture(name, annotated(picture, angles, angles, titles[i]))
        return {}


class Arithmetic(Mode):
    """z1 - z2 + z3: one strip with the images of z1, z2, z3 and of the result.

    Radford et al., "Unsupervised Representation Learning with Deep Convolutional Generative
    Adversarial Networks", 2016. With labels, all four are of the first class of `labels`.

    Args:
        pick: three rows of the noise, numbered from 0 as mode=grid shows them, left to right. A
            list in place of a number is the mean of several rows, as in the paper.
    """

    noise = "any"
    sounds = True

    def __init__(
        self,
        pick: Annotated[
            list[Index | Annotated[list[Index], Field(min_length=1)]],
            Field(min_length=3, max_length=3),
        ],
    ) -> None:
        self.pick = [rows_of(one) for one in pick]

    def draw(self, session: SampleSession, out: Output) -> dict[str, Any]:
        noise = session.noise(1 + max(i for rows in self.pick for i in rows))
        z1, z2, z3 = (noise[rows].mean(0) for rows in self.pick)
        z = torch.stack([z1, z2, z3, z1 - z2 + z3])
        named = [f"z{k} = {noise_named(rows)}" for k, rows in enumerate(self.pick, 1)]
        label = session.labels(1)
        (title,) = row_names(session, label, [", ".join(named)])
        words = Words(title, [], ["z1", "z2", "z3", "z1 - z2 + z3"])
        draw_table(session, out, self.name, z, repeat_labels(label, 4), words)
        return {}


def noise_named(rows: list[int]) -> str:
    """A row of the noise, or the mean of several, in words.

    >>> noise_named([4]), noise_named([1, 2])
    ('noise 4', 'mean of noise 1, 2')
    """
    numbers = ", ".join(map(str, rows))
    return f"noise {numbers}" if len(rows) == 1 else f"mean of noise {numbers}"


def rows_of(pick: int | list[int]) -> list[int]:
    """One row, or several."""
    match pick:
        case int():
            return [pick]
        case _:
            return pick


class Traverse(Mode):
    """A latent variable a row, from -`reach` to `reach`; the others keep one draw of the noise.

    Where the noise has codes, a picture for each continuous code: a row for each category, and the
    code along it; the other continuous codes are 0. Without continuous codes, a row has `steps`
    draws of the rest of the noise.

    Args:
        n: how many latent variables, where `latents` is null; null for 10.
        latents: their numbers; null takes the `n` whose codes vary most from image to image. These
            are the active units of Burda et al. ("Importance Weighted Autoencoders", 2016): the
            codes of the others are the prior's. A model without an encoder shows the first `n`.
        steps: images in a row.
        reach: the largest value. Null is 3 standard deviations; for a code in [-1, 1] it is 2, as
            in InfoGAN, so that the ends lie beyond what the generator has seen.
    """

    IMAGES = 256  # whose codes are looked at
    REACH, REACH_OF_CODES = 3.0, 2.0

    def __init__(
        self,
        n: Count | None = None,
        latents: Annotated[list[Index], Field(min_length=1)] | None = None,
        steps: Steps = 7,
        reach: Positive | None = None,
    ) -> None:
        if n is not None and latents:
            raise UserError("the latent variables are named by mode.latents (n); leave n out")
        self.n, self.latents, self.steps, self.reach = n or 10, latents, steps, reach

    def check(self, session: SampleSession) -> None:
        coded = supports(session.model, HasCodes)
        self.noise = "any" if coded else "normal"
        super().check(session)
        size = session.model.continuous if coded else session.noise(1)[0].numel()
        if unknown := [i for i in self.latents or [] if i >= size]:
            what = "continuous code" if coded else "latent variable"
            raise UserError(
                f"no {what} {unknown[0]} among {size} (mode.latents); "
                + (f"give 0 to {size - 1}" if size else "leave it out")
            )

    def draw(self, session: SampleSession, out: Output) -> dict[str, Any]:
        if supports(session.model, HasCodes):
            return self.draw_codes(session, out)
        latents, reach = self.latents or self.active(session), self.reach or self.REACH
        first = session.noise(1)
        z = first.repeat(len(latents) * self.steps, *[1] * (first.ndim - 1))
        values = torch.linspace(-reach, reach, self.steps).repeat(len(latents))
        columns = torch.tensor(latents).repeat_interleave(self.steps)
        z.flatten(1)[torch.arange(len(z)), columns] = values
        label, rows = session.labels(1), [f"latent {i}" for i in latents]
        what = f"one latent variable a row, from {-reach:g} to {reach:g}"
        if self.is_sorted(session):
            what += "; first those whose codes vary most"
        (title,) = row_names(session, label, [what])
        words = Words(title, rows, [number(value) for value in values[: self.steps].tolist()])
        draw_table(session, out, self.name, z, repeat_labels(label, len(z)), words)
        return {"latents": latents}

    def draw_codes(self, session: SampleSession, out: Output) -> dict[str, Any]:
        """A picture for each continuous code, or one of the categories alone."""
        model = session.model
        codes: list[int | None] = [*(self.latents or range(min(self.n, model.continuous)))]
        rows: list[int | None] = [*range(model.categories)]
        codes, rows = codes or [None], rows or [None]
        pictures = [self.columns(session, code) for code in codes]
        z = torch.cat(
            [model.with_codes(z, row, values) for z, values, _ in pictures for row in rows]
        )
        images = keep(session, out, z, None).unflatten(0, (len(pictures), -1))
        names = [] if rows == [None] else [f"c={row}" for row in rows]
        for code, part, (_, _, heads) in zip(codes, images, pictures, strict=True):
            name = self.name if code is None else f"{self.name}-{code}"
            what = "one noise a column" if code is None else f"continuous code {code}"
            title = f"{what}; one category a row" if names else what
            out.picture(name, annotated(part, names, heads, title))
        return {"codes": [code for code in codes if code is not None], "categories": len(names)}

    def columns(
        self, session: SampleSession, code: int | None
    ) -> tuple[Tensor, dict[int, Tensor], list[str]]:
        """The noise of a row, its continuous codes and the heads of its columns.

        Args:
            session: draws the noise.
            code: which continuous code moves; None where there is none, and the noise changes.
        """
        if code is None:
            return session.noise(self.steps), {}, [f"z{i}" for i in range(self.steps)]
        reach = self.reach or self.REACH_OF_CODES
        steps = torch.linspace(-reach, reach, self.steps)
        values = {i: torch.zeros(self.steps) for i in range(session.model.continuous)}
        z = session.noise(1).expand(self.steps, -1)
        return z, values | {code: steps}, [number(value) for value in steps.tolist()]

    def is_sorted(self, session: SampleSession) -> bool:
        """Whether the rows are in the order of how much codes vary."""
        return not self.latents and supports(session.model, Encodes)

    def active(self, session: SampleSession) -> list[int]:
        """The latent variables whose codes vary most, those that vary more first."""
        n = min(self.n, session.noise(1)[0].numel())
        if not supports(session.model, Encodes):
            return list(range(n))
        batch, _ = held_out(session, self.IMAGES)
        variance = session.model.encode(*batch).flatten(1).var(0)
        return variance.argsort(descending=True)[:n].tolist()
