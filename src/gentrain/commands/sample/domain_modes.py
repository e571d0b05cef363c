"""What a translation between domains draws of held-out images."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gentrain.commands.sample.mode import Mode, table
from gentrain.commands.sample.session import SampleSession
from gentrain.commands.sample.writer import Output
from gentrain.config.types import Count
from gentrain.data.arrays import to_float
from gentrain.errors import UserError
from gentrain.quality.translation import starting_images


class Cycle(Mode):
    """Three rows of `n` images: sources, their translations, and the way back.

    With several domains a source goes to the one after its own, or all go to that which `domain` names.
    """

    def __init__(self, n: Count = 10) -> None:
        self.n = n

    def check(self, studio: SampleSession) -> None:
        super().check(studio)
        if not hasattr(studio.game, "back"):
            raise UserError(
                "mode=cycle goes to another domain and back, and this model does not (mode); choose a run of cyclegan or stargan"
            )

    def draw(self, studio: SampleSession, out: Output) -> dict[str, Any]:
        x, own = sources(studio, self.n)
        asked = (
            (own + 1) % int(studio.data.classes or 2)
            if studio.domain is None
            else torch.full_like(own, studio.domain)
        )
        there = studio.game.translate(x, asked.to(studio.device))
        back = studio.game.back(there, own.to(studio.device))
        rows = torch.cat([x, there, back]).float().cpu()
        out.images(iter([(rows, None)]), len(rows))
        out.picture(self.name, table(rows, len(x)))
        result: dict[str, Any] = {"cycle_error": float((back - x).abs().mean())}
        print(
            f"{len(x)} held-out images there and back: {result['cycle_error']:.4f} away in the mean (of pixels in -1..1)"
        )
        return result | ({"from": own.tolist(), "to": asked.tolist()} if studio.several else {})


class Domains(Mode):
    """A row for each of `n` sources: the image, then its translation to every domain."""

    def __init__(self, n: Count = 8) -> None:
        self.n = n

    def check(self, studio: SampleSession) -> None:
        super().check(studio)
        if not studio.several:
            raise UserError(
                "mode=domains has a column a domain, and this model has not several (mode); choose a run of stargan"
            )

    def draw(self, studio: SampleSession, out: Output) -> dict[str, Any]:
        x, own = sources(studio, self.n)
        chosen = torch.tensor(studio.classes, device=studio.device)
        made = studio.game.translate(x.repeat_interleave(len(chosen), 0), chosen.repeat(len(x)))
        rows = (
            torch.cat([x[:, None], made.unflatten(0, (len(x), len(chosen)))], 1)
            .flatten(0, 1)
            .float()
            .cpu()
        )
        out.images(iter([(rows, None)]), len(rows))
        out.picture(self.name, table(rows, 1 + len(chosen)))
        return {"from": own.tolist(), "domains": studio.classes}


def sources(studio: SampleSession, n: int) -> tuple[Tensor, Tensor]:
    """Held-out images that a translation may start from, on the device, and their domains, on the CPU."""
    x, own = starting_images(*studio.held_out(n))
    return to_float(x.to(studio.device)), own
