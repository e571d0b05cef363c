"""A mode that draws images of captions that the user writes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from gentrain.commands.sample.mode import Mode, Words, draw_table
from gentrain.commands.sample.session import SampleSession
from gentrain.commands.sample.writer import Output
from gentrain.config.types import Count
from gentrain.errors import UserError
from gentrain.models.base import ReadsCaptions


class Captions(Mode):
    """A row for each caption, `n` images long, with the same noise down each column.

    Args:
        text: captions, of words of the vocabulary that the run recorded.
        n: images of each.
    """

    requires = (ReadsCaptions,)
    reads = ("seed", "text", "save")
    noise = "any"

    def __init__(self, text: str | Sequence[str] | None = None, n: Count = 8) -> None:
        match text:
            case str():
                self.texts = [text]
            case _:
                self.texts = list(text or ())
        self.n = n
        if not self.texts:
            raise UserError('no captions (text); write some, e.g. text=["a red seven on white"]')

    def check(self, session: SampleSession) -> None:
        super().check(session)
        kind = session.data.label_kind
        self.labels = [kind.named(text, session.class_names, "text") for text in self.texts]

    def draw(self, session: SampleSession, out: Output) -> dict[str, Any]:
        z = session.noise(self.n).repeat(len(self.texts), 1)
        labels = torch.stack(self.labels).repeat_interleave(self.n, 0)
        words = Words("one noise a column", self.texts, [""] * self.n)
        draw_table(session, out, self.name, z, labels, words)
        return {"captions": self.texts}
