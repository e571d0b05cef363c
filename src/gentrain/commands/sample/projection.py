"""The noise whose image is nearest to a given picture.

Zhu, Krähenbühl, Shechtman & Efros, "Generative visual manipulation on the natural image manifold",
2016: z* = argmin |G(z) - x|^2 by gradient descent, from draws of the prior and from an encoder's
code; the best end counts. Lipton & Tripathi ("Precise recovery of latent vectors", 2017) put values
outside of a uniform prior back at its border, as here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import median
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gentrain.capability import supports
from gentrain.commands.sample.data_modes import UNIT, held_out, labels_of
from gentrain.commands.sample.mode import Mode
from gentrain.commands.sample.session import BLOCK, SampleSession
from gentrain.commands.sample.user_pictures import UserPictures, mode_of
from gentrain.commands.sample.writer import Output
from gentrain.config.types import Count, Positive, Whole
from gentrain.data.grids import annotated
from gentrain.data.pictures import opened
from gentrain.errors import UserError
from gentrain.models.base import Encodes, HasCodes, MakesImagesOfNoise
from gentrain.tables import quantity

HELD_OUT = 8  # images without a source, where the user names no number
STARTS, STEPS, RATE = 4, 200, 0.1  # where the user names no numbers
FROM = {"code": "of the encoder's codes", "encoder": "from them", "draws": "from draws"}


class Search(NamedTuple):
    """How the noise is looked for."""

    starts: int = STARTS  # draws of the prior for each image, and each class
    steps: int = STEPS  # of Adam, whose rate falls to 0 along half a cosine
    rate: float = RATE


class Projection(NamedTuple):
    """What was found for each of B pictures."""

    z: Tensor  # (B, ...)
    labels: Tensor | None  # (B,), of a labelled model
    rms: Tensor  # (B,), of pixels in [-1, 1]
    ends: dict[str, Tensor]  # (B,) each: the best rms from each kind of start; "code", unmoved

    @staticmethod
    def levels(rms: Tensor) -> list[float]:
        """The same errors of pixels in 0..255."""
        return (rms * 127.5).tolist()


class Project(Mode):
    """Pictures, and below them the nearest images of the generator.

    A model with an encoder starts from its code, too, whose image has a row of its own. Where the
    code is exact, as that of a flow, nothing is searched. A labelled model gets the label of a
    held-out image; for a picture, each class of `labels` is tried.

    Args:
        source: a picture, or a folder or .zip of pictures; null takes `n` held-out images.
        n: held-out images, without a source; null for 8.
        starts: draws of the prior from which each search starts; null for 4, or for one of each
            category of a model with codes, in whose category a search stays.
        steps: steps of each search; null for 200, and 0 for the starts themselves.
        rate: of Adam at the first step; null for 0.1.
    """

    requires = (MakesImagesOfNoise,)
    reads = ("seed", "source", "save")
    noise = "any"

    def __init__(
        self,
        source: str | None = None,
        n: Count | None = None,
        starts: Whole | None = None,
        steps: Whole | None = None,
        rate: Positive | None = None,
    ) -> None:
        refuse_number(source, n)
        self.source, self.n = source, n or HELD_OUT
        self.given = {"starts": starts, "steps": steps, "rate": rate}
        chosen = {key: value for key, value in self.given.items() if value is not None}
        self.search = Search(**chosen)  # type: ignore[arg-type]
        if steps == 0 and rate is not None:
            raise UserError("without steps there is no rate (mode.rate); leave it out")

    def check(self, session: SampleSession) -> None:
        super().check(session)
        if encodes(session) and session.model.exact:
            for key in [key for key, value in self.given.items() if value is not None]:
                raise UserError(
                    f"the codes of this model are exact, and nothing is searched (mode.{key}); "
                    "leave it out"
                )
        if not self.search.starts and not encodes(session):
            raise UserError(
                "this model has no encoder to start from (mode.starts); give mode.starts=4"
            )

    def read(self, session: SampleSession) -> tuple[str, ...]:
        asks = session.classes is not None and self.source is not None
        return (*self.reads, "labels") if asks else self.reads

    def draw(self, session: SampleSession, out: Output) -> dict[str, Any]:
        names, x, labels = pictures(session, self.source, self.n)
        search = self.search
        if self.given["starts"] is None:
            search = search._replace(starts=enough_starts(session))
        found = project(session, x, labels, search)
        images = images_of(session, found.z, found.labels)
        out.images(iter([(images, found.labels)]), len(x))
        rows = {"picture": x, "nearest": images}
        if encodes(session) and not session.model.exact:
            code = encoded(session, x, found.labels)
            rows["encoder"] = images_of(session, code, found.labels)
        heads = [f"{value:.1f}" for value in found.levels(found.rms)]
        title = "above an image: how far the nearest is (of pixels in 0..255)"
        shown = torch.cat(list(rows.values()))
        out.picture(self.name, annotated(shown, list(rows), heads, title))
        ends = {kind: found.levels(rms) for kind, rms in found.ends.items()}
        medians = [f"{FROM[kind]} {median(values):.2f}" for kind, values in ends.items()]
        print(
            f"nearest images of {quantity(len(x), 'picture')}: "
            f"{median(found.levels(found.rms)):.2f} away in the median, {', '.join(medians)} {UNIT}"
        )
        return {
            "pictures": names,
            "rms": found.levels(found.rms),
            "median": median(found.levels(found.rms)),
            "ends": ends,
            "labels": None if found.labels is None else found.labels.tolist(),
            "noise": found.z.flatten(1).tolist(),
        }


# --- what is projected ----------------------------------------------------------------------------


class TargetPictures(UserPictures):
    """Pictures of the user as the model should make them."""

    def parts(self, content: bytes, name: str) -> tuple[Tensor, Tensor | None]:
        picture = opened(content, mode_of(self.shape[0]), self.data.pixel_range)
        return self.tensor(picture, self.shape), None


def refuse_number(source: str | None, n: int | None) -> None:
    """Refuse a number of held-out images beside pictures."""
    if source is not None and n is not None:
        raise UserError("the number of pictures is that of the source (n); leave n out")


def pictures(
    session: SampleSession, source: str | None, n: int
) -> tuple[list[str], Tensor, Tensor | None]:
    """Names of pictures, the pictures (B, C, H, W) on the CPU, and their labels if known."""
    if source is None:
        batch, split = held_out(session, n)
        return [f"{split} {i}" for i in range(len(batch[0]))], batch[0].cpu(), labels_of(batch)
    files = TargetPictures(source, session.data, "source", False, session.seed)
    names = files.names()
    return names, torch.stack([picture.source for picture in files.read(names)]), None


# --- the search -----------------------------------------------------------------------------------


def encodes(session: SampleSession) -> bool:
    """Whether the model's codes are noise of its generator."""
    return supports(session.model, Encodes, MakesImagesOfNoise)


def categories(session: SampleSession) -> int:
    """How many categories the noise has; 0 for none."""
    return session.model.categories if supports(session.model, HasCodes) else 0


def enough_starts(session: SampleSession) -> int:
    """How many draws of the prior a search starts from, where the user names no number."""
    return max(STARTS, categories(session))


def encoded(session: SampleSession, x: Tensor, labels: Tensor | None) -> Tensor:
    """The codes of pictures (B, C, H, W), as noise on the CPU."""
    found = []
    for at in range(0, len(x), BLOCK):
        part = x[at : at + BLOCK].to(session.device)
        more = () if labels is None else (labels[at : at + BLOCK].to(session.device),)
        with session.streams(range(at, at + len(part))):
            found.append(session.model.encode(part, *more).cpu())
    return torch.cat(found)


def images_of(session: SampleSession, z: Tensor, labels: Tensor | None) -> Tensor:
    """The images of noise (B, ...) on the CPU; means, where pixels are drawn."""
    found = []
    for at in range(0, len(z), BLOCK):
        part = z[at : at + BLOCK].to(session.device)
        batch = session.batch(len(part), None if labels is None else labels[at : at + BLOCK])
        with torch.no_grad():
            found.append(session.model.images_of(part, batch).float().cpu())
    return torch.cat(found)


def project(session: SampleSession, x: Tensor, labels: Tensor | None, search: Search) -> Projection:
    """The noise whose image is nearest to each picture.

    Args:
        session: the run.
        x: (B, C, H, W) in [-1, 1], on the CPU.
        labels: (B,) of a labelled model; None tries the classes of the session.
        search: how to look.
    """
    z, y, rms = torch.empty(0), labels, torch.full((len(x),), math.inf)
    ends: dict[str, Tensor] = {}
    for tried in candidates(session, len(x), labels):
        for kind, start in starts(session, x, tried, search.starts):
            end, first, last = descend(session, start, x, tried, search)
            if kind == "encoder":
                ends["code"] = smaller(ends.get("code"), first)
            ends[kind] = smaller(ends.get(kind), last)
            better = last < rms
            z = torch.where(expand(better, end), end, z) if len(z) else end
            if tried is not None:
                y = tried if y is None else torch.where(expand(better, y), tried, y)
            rms = torch.where(better, last, rms)
    return Projection(z, y, rms, ends)


def smaller(former: Tensor | None, new: Tensor) -> Tensor:
    """The smaller of two errors (B,), where there are two."""
    return new if former is None else torch.minimum(former, new)


def expand(chosen: Tensor, like: Tensor) -> Tensor:
    """bool (B,) -> (B, 1, ...), to broadcast over a tensor (B, ...)."""
    return chosen.view(-1, *[1] * (like.ndim - 1))


def candidates(session: SampleSession, n: int, labels: Tensor | None) -> Iterator[Tensor | None]:
    """The labels (n,) with which the pictures are looked for, one after the other."""
    if session.classes is None or labels is not None:
        yield labels
    else:
        yield from (torch.full((n,), k) for k in session.classes)


def starts(
    session: SampleSession, x: Tensor, labels: Tensor | None, draws: int
) -> Iterator[tuple[str, Tensor]]:
    """Where searches start, (B, ...) each on the CPU: the encoder's codes, and draws of the prior.

    The draws of a picture do not depend on how many pictures there are.
    """
    if encodes(session):
        yield "encoder", encoded(session, x, labels)
        if session.model.exact:
            return
    if draws:
        each = session.noise(len(x) * draws).unflatten(0, (len(x), draws))
        for i, z in enumerate(each.unbind(1)):
            kinds = categories(session)
            yield "draws", session.model.with_codes(z, i % kinds, {}) if kinds else z


def descend(
    session: SampleSession, z: Tensor, x: Tensor, labels: Tensor | None, search: Search
) -> tuple[Tensor, Tensor, Tensor]:
    """Move noise (B, ...) so that its images come nearer to pictures.

    The mean square of the difference of pixels is descended by Adam; after each step the noise goes
    back to what the prior can draw. The best noise on the way counts.

    Returns:
        The noise, its root mean square error (B,) at the start and at the end, on the CPU.
    """
    parts = []
    for at in range(0, len(z), BLOCK):
        rows = slice(at, at + BLOCK)
        batch = session.batch(len(x[rows]), None if labels is None else labels[rows])
        start, wanted = z[rows].to(session.device), x[rows].to(session.device)
        parts.append(descend_block(session.model, start, wanted, batch, search))
    best, first, last = (torch.cat(part).cpu() for part in zip(*parts, strict=True))
    return best, first, last


def descend_block(
    model: Any, z: Tensor, x: Tensor, batch: tuple[Tensor, ...], search: Search
) -> tuple[Tensor, Tensor, Tensor]:
    """`descend` of one block, on the device."""

    def error(z: Tensor) -> Tensor:
        return (model.images_of(z, batch) - x).square().flatten(1).mean(1)

    with torch.no_grad():
        first = error(z)
    steps = 0 if supports(model, Encodes) and model.exact else search.steps
    best, least, z = z.clone(), first, z.clone().requires_grad_()
    adam = torch.optim.Adam([z], search.rate)
    for step in range(1, steps + 1):
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(error(z).sum(), z)
        z.grad = gradient
        for group in adam.param_groups:
            group["lr"] = search.rate * (1 + math.cos(math.pi * step / (steps + 1))) / 2
        adam.step()
        with torch.no_grad():
            z.copy_(model.nearest_noise(z))
            now = error(z)
            best = torch.where(expand(now < least, z), z, best)
            least = torch.minimum(now, least)
    return best.detach(), first.sqrt(), least.sqrt()
