"""Whether images show what their captions say, by exact rules and a classifier of the digit."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from gentrain.capability import supports
from gentrain.config.types import Count, Whole
from gentrain.data.arrays import ArrayDataset
from gentrain.data.base import Data
from gentrain.data.capabilities import HasCaptionRules
from gentrain.data.labels import Exclusive, LabelKind
from gentrain.errors import UserError
from gentrain.models.base import GenerativeModel, ReadsCaptions
from gentrain.quality.base import BINOMIAL, ROUNDING, SampleMetric, Score, split_of
from gentrain.quality.classifier import Classifier

FACTS = ("digit", "colour", "size", "place", "ground", "caption")  # the last: all that is said
CHUNK = 2000  # images whose ink is looked for at a time


class Inked:
    """A data set of captioned images as one of grey images of the ink, labelled by the first fact.

    Args:
        data: the images.
    """

    def __init__(self, data: Any) -> None:
        self.data, self.name = data, f"the ink of {data.name}"
        self.label_kind: LabelKind = Exclusive()
        self.classes: int | None = len(next(iter(data.facts.values())))
        self._samples: dict[str, ArrayDataset] = {}

    def load(self, split: str) -> ArrayDataset:
        """The ink and the first fact of a split, found at the first call."""
        if split not in self._samples:
            images, labels, _ = self.data.load(split)
            ink = torch.cat([self.data.ink_of(part) for part in images.split(CHUNK)])
            self._samples[split] = ArrayDataset(ink, self.data.facts_said(labels)[:, 0])
        return self._samples[split]

    def digest(self, split: str) -> str:
        """See `Data.digest`."""
        return hashlib.sha256(f"{self.data.digest(split)} as ink".encode()).hexdigest()


class CaptionAgreement(SampleMetric):
    """The share of samples that show what their captions say, of each fact and of all together.

    A fact that a caption does not say does not count. Captions are those of the split that is
    scored, and those of the combinations that no image shows (`*_held_out`). `*_permuted` is the
    agreement with the captions of other samples, which is chance. The digit is told by a classifier
    of the ink, trained once on real images; all other facts follow from the pixels.

    Args:
        features: the classifier of the ink.
        every: generator steps between two scores.
        samples: samples for captions of either kind.
        batch_size: images at a time.
        seed: seed for noise and captions; the same for every score.
        at_start: score an untrained model, too.
        cache: the directory of what is computed once per data set.
    """

    key = "callbacks.caption_agreement"
    requires = ReadsCaptions
    optional = True  # captions may be anybody's, for which there are no rules
    scores: ClassVar = {
        f"{fact}_agreement{kind}{permuted}": Score(
            "share of samples", None if permuted else True, error="" if permuted else BINOMIAL
        )
        for fact in FACTS
        for kind in ("", "_held_out")
        for permuted in ("", "_permuted")
    }

    def __init__(
        self,
        features: Classifier,
        every: Whole = 1000,
        samples: Count = 1000,
        batch_size: Count = 500,
        seed: Whole = 0,
        at_start: bool = True,
        cache: str = "~/.cache/gentrain",
    ) -> None:
        super().__init__(every, samples, batch_size, seed, at_start)
        self.features, self.cache = features, Path(cache).expanduser()

    def check(self, data: Data, model: GenerativeModel) -> None:
        super().check(data, model)
        if not supports(data, HasCaptionRules):
            raise UserError(
                f"no rules tell what images of data={data.name} show ({self.key}); choose "
                f"{HasCaptionRules.examples}, or {self.key}=null"
            )

    def prepare(self, data: Data, model: GenerativeModel, device: torch.device) -> None:
        self.features.prepare(Inked(data), self.cache)

    def protocol(self, data: Any, model: GenerativeModel) -> dict[str, Any]:
        return {
            "data": data.name,
            "captions": split_of(data, self.split),
            "digest": data.digest(self.split),
            "held_out_captions": len(data.held_out_captions),
            "features": self.features.name,
            "features_hash": self.features.hash,
            **self.features.protocol(),
            "rounding": ROUNDING,
            "samples": self.samples,
            "seed": self.seed,
        }

    def compute(self, data: Any, model: GenerativeModel, device: torch.device) -> dict[str, float]:
        captions = {"": data.load(self.split).labels, "_held_out": data.held_out_captions}
        blank = torch.zeros(1, 1, 1, 1, dtype=torch.uint8)
        scores: dict[str, float] = {}
        for kind, labels in captions.items():
            source = ArrayDataset(blank.expand(len(labels), *data.shape), labels)
            said = data.facts_said(labels[self.rows(source)])
            shown = self.shown(data, self.images(model, source, device))
            found = agreements(shown, said, list(data.facts))
            chance = agreements(shown, said.roll(len(said) // 2, 0), list(data.facts))
            scores |= {f"{fact}_agreement{kind}": value for fact, value in found.items()}
            scores |= {f"{fact}_agreement{kind}_permuted": value for fact, value in chance.items()}
        return scores

    def shown(self, data: Any, images: Tensor) -> Tensor:
        """The numbers of the values that images uint8 (N, C, H, W) show, int64 (N, F)."""
        parts = images.split(CHUNK)
        facts = torch.cat([data.facts_of(part) for part in parts])
        facts[:, 0] = torch.cat([self.features.predict(data.ink_of(part)) for part in parts])
        return facts


def agreements(shown: Tensor, said: Tensor, facts: list[str]) -> dict[str, float]:
    """The share of images (N, F) that show each fact of those that say it, and all that is said.

    >>> agreements(torch.tensor([[1, 0], [2, 0]]), torch.tensor([[1, -1], [2, 1]]), ["a", "b"])
    {'a': 1.0, 'b': 0.0, 'caption': 0.5}
    """
    there, right = said >= 0, shown == said
    each = {fact: right[there[:, i], i].double().mean().item() for i, fact in enumerate(facts)}
    return each | {"caption": (right | ~there).all(1).double().mean().item()}
