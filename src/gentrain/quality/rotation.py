"""Features of images without labels: a small classifier of quarter turns.

After Gidaris, Singh & Komodakis, "Unsupervised representation learning by predicting image
rotations" (2018). The labels cost nothing, and the features are of the kind that
quality=classifier has. The names of their scores end in `_rotation`; they can be compared on one
data set alone.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch

from gentrain.data.arrays import ArrayDataset, drawn
from gentrain.data.base import Data
from gentrain.data.labels import Exclusive, LabelKind
from gentrain.errors import UserError
from gentrain.quality.classifier import Classifier
from gentrain.quality.features import LabelledImages

TURNS = 4
MOST = 20_000  # images that are turned; a copy of four times as many is in memory


class Rotation(Classifier):
    """A `Classifier` of the four turns of every image."""

    name = "rotation"
    suffix = "_rotation"
    knows_classes = False

    def check(self, data: Data) -> None:
        if data.shape[1] != data.shape[2]:
            raise UserError(
                f"images of {data.shape} cannot be turned (quality); "
                "choose quality=inception or quality=none"
            )

    def prepare(self, data: LabelledImages, cache: Path) -> None:
        super().prepare(RotatedImages(data), cache)

    def protocol(self) -> dict[str, Any]:
        return super().protocol() | {"task": "quarter turns"}


class RotatedImages:
    """Every image of a data set, turned by 0, 90, 180 and 270 degrees; the turn is its label."""

    classes: int | None = TURNS
    label_kind: LabelKind = Exclusive()

    def __init__(self, data: LabelledImages) -> None:
        self.data, self.name = data, f"turned {data.name}"

    def digest(self, split: str) -> str:
        return hashlib.sha256(
            f"{self.data.digest(split)} turned, drawn at random".encode()
        ).hexdigest()

    def load(self, split: str) -> ArrayDataset:
        images = drawn(self.data.load(split).images, MOST)
        turned = torch.cat([images.rot90(turn, (2, 3)) for turn in range(TURNS)])
        return ArrayDataset(turned, torch.arange(TURNS).repeat_interleave(len(images)))
