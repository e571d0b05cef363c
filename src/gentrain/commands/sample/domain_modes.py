"""Modes that translate held-out images between domains."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gentrain.commands.sample.mode import Mode
from gentrain.commands.sample.session import SampleSession
from gentrain.commands.sample.writer import Output
from gentrain.config.types import Count
from gentrain.data.arrays import to_float
from gentrain.data.grids import annotated
from gentrain.errors import UserError
from gentrain.models.base import TranslatesBack
from gentrain.quality.translation import starting_images
from gentrain.tables import quantity


class Cycle(Mode):
    """Three rows of `n` images: sources, their translations, and these translated back.

    With several domains a source goes to the domain after its own, or to the one in `domain`. With
    several attributes at once, source i has attribute i changed, or gets those in `domain` alone.
    """

    requires = (TranslatesBack,)
    reads = ("seed", "domain", "save")

    def __init__(self, n: Count = 10) -> None:
        self.n = n

    def draw(self, session: SampleSession, out: Output) -> dict[str, Any]:
        x, domains = sources(session, self.n)
        if session.domain is None:
            targets = session.data.label_kind.following(domains, session.data.classes or 2)
        else:
            targets = session.domain.expand_as(domains)
        there = session.model.translate(x, targets.to(session.device))
        back = session.model.translate_back(there, domains.to(session.device))
        rows = torch.cat([x, there, back]).float().cpu()
        out.images(iter([(rows, None)]), len(rows))
        names = ["source", "there", "back"]
        out.picture(self.name, annotated(rows, names, [""] * len(x)))
        error = float((back - x).abs().mean())
        print(
            f"{quantity(len(x), 'held-out image')} there and back: {error:.4f} away in the mean "
            "(of pixels in -1..1)"
        )
        result: dict[str, Any] = {"cycle_error": error}
        if session.is_multi_domain:
            result |= {"from": domains.tolist(), "to": targets.tolist()}
        return result


class Domains(Mode):
    """A row for each of `n` sources: the image, and its translation to every domain.

    Where images have several attributes at once, a column is the image with one of them changed.
    """

    reads = ("seed", "labels", "save")

    def __init__(self, n: Count = 8) -> None:
        self.n = n

    def check(self, session: SampleSession) -> None:
        super().check(session)
        if not session.is_multi_domain:
            raise UserError(
                "mode=domains has a column a domain, and this model does not translate between "
                "several (mode); choose a run of stargan"
            )

    def draw(self, session: SampleSession, out: Output) -> dict[str, Any]:
        x, domains = sources(session, self.n)
        columns = torch.tensor(session.classes)
        own = domains.repeat_interleave(len(columns), 0)
        targets = session.turned(own, columns.repeat(len(x)))
        made = session.model.translate(
            x.repeat_interleave(len(columns), 0), targets.to(session.device)
        ).unflatten(0, (len(x), len(columns)))
        rows = torch.cat([x[:, None], made], 1).flatten(0, 1).float().cpu()
        out.images(iter([(rows, None)]), len(rows))
        heads = ["source", *(session.label_names[i] for i in columns.tolist())]
        out.picture(self.name, annotated(rows, [], heads))
        return {"from": domains.tolist(), "domains": session.classes}


def sources(session: SampleSession, n: int) -> tuple[Tensor, Tensor]:
    """Held-out images to translate (n, ...), on the device, and their domains, on the CPU."""
    x, domains = starting_images(*session.held_out(n))
    return to_float(x.to(session.device)), domains
