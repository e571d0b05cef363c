"""Features of images without labels: a small classifier that names by how many quarter turns an image was turned.

After "Unsupervised representation learning by predicting image rotations" (Gidaris, Singh & Komodakis, 2018): labels for nothing, and
features of the kind that `quality=classifier` has. Its scores are named *_rotation; they can be compared on one data set alone.
"""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from gentrain.data.arrays import ArrayDataset
from gentrain.errors import UserError
from gentrain.quality.classifier import Classifier

if TYPE_CHECKING:
    from gentrain.data.base import Data

TURNS = 4
MOST = 20_000  # images that are turned: of four times as many a copy is in memory


class Rotation(Classifier):
    """`Classifier`, of the four turns of every image."""

    name = "rotation"
    suffix = "_rotation"
    certain = False

    def check(self, data: "Data") -> None:
        if data.shape[1] != data.shape[2]:
            raise UserError(
                f"images of {data.shape} cannot be turned (quality); choose quality=inception or quality=none"
            )

    def prepare(self, data: "Data", cache: Path) -> None:
        super().prepare(cast("Data", Turned(data)), cache)

    def protocol(self) -> dict[str, Any]:
        return super().protocol() | {"task": "quarter turns"}


class Turned:
    """Every image of a data set, turned by 0, 90, 180 and 270 degrees, which is its label: all of it that a classifier reads."""

    def __init__(self, data: "Data") -> None:
        self.data, self.name, self.classes = data, f"turned {data.name}", TURNS

    def digest(self, split: str) -> str:
        return hashlib.sha256(f"{self.data.digest(split)} turned".encode()).hexdigest()

    def load(self, split: str) -> ArrayDataset:
        images = self.data.load(split).images[:MOST]
        turned = torch.cat([images.rot90(turn, (2, 3)) for turn in range(TURNS)])
        return ArrayDataset(turned, torch.arange(TURNS).repeat_interleave(len(images)))
