"""Features of images without labels: a small classifier of quarter turns.

After Gidaris, Singh & Komodakis, "Unsupervised representation learning by predicting image
rotations" (2018). The labels cost nothing, and the features are of the kind that
quality=classifier has. A quarter turn changes the shape of images that are no squares, so these
are mirrored instead: not at all, up and down, left and right, or both. The names of the scores end
in `_rotation`; they can be compared on one data set alone.
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
MIRRORED: tuple[tuple[int, ...], ...] = ((), (2,), (3,), (2, 3))  # axes of (N, C, H, W)
MOST = 20_000  # images that are turned; a copy of four times as many is in memory


class Rotation(Classifier):
    """A `Classifier` of the four turns of every image."""

    name = "rotation"
    suffix = "_rotation"
    knows_classes = False

    def check(self, data: Data) -> None:
        if len(data.shape) != 3:
            raise UserError(
                f"{data.things} of {data.shape} cannot be turned (quality); choose quality=none"
            )

    def prepare(self, data: LabelledImages, cache: Path) -> None:
        turned = RotatedImages(data)
        super().prepare(turned, cache)
        self.task = "quarter turns" if turned.square else "mirrorings"

    def protocol(self) -> dict[str, Any]:
        return super().protocol() | {"task": self.task}


class RotatedImages:
    """Every image of a data set, turned by 0, 90, 180 and 270 degrees; the turn is its label.

    Images that are no squares are mirrored instead: not, up and down, left and right, both.
    """

    classes: int | None = TURNS
    label_kind: LabelKind = Exclusive()

    def __init__(self, data: LabelledImages) -> None:
        self.data, self.name = data, f"turned {data.name}"

    @property
    def square(self) -> bool:
        """Whether quarter turns keep the shape."""
        height, width = self.data.load("train").images.shape[2:]
        return height == width

    def digest(self, split: str) -> str:
        how = "turned" if self.square else "mirrored"
        return hashlib.sha256(
            f"{self.data.digest(split)} {how}, drawn at random".encode()
        ).hexdigest()

    def load(self, split: str) -> ArrayDataset:
        images = drawn(self.data.load(split).images, MOST)
        if self.square:
            changed = [images.rot90(turn, (2, 3)) for turn in range(TURNS)]
        else:
            changed = [images.flip(axes) for axes in MIRRORED]
        return ArrayDataset(torch.cat(changed), torch.arange(TURNS).repeat_interleave(len(images)))
