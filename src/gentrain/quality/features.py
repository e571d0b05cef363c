"""What a network sees in an image: the features that scores of samples compare."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from gentrain.data.arrays import ArrayDataset
from gentrain.data.base import Data
from gentrain.data.labels import LabelKind
from gentrain.layers.precision import default_dtype


class LabelledImages(Protocol):
    """What a network learns from: a data set, or a data set with other labels."""

    name: str
    classes: int | None
    label_kind: LabelKind

    def load(self, split: str) -> ArrayDataset:
        """The images and labels of "train" or "test"."""

    def digest(self, split: str) -> str:
        """A string that differs for different images or labels."""


class Features(nn.Module, ABC):
    """A fixed network from images, uint8 (B, C, H, W), to features (B, F) and class logits (B, K).

    Scores of networks with different hashes are never ranked together.
    """

    name: str
    choice: str = ""  # the option of conf/quality that has it, if it is another word than `name`
    suffix: str  # ends the names of the scores, so that only Inception's are called FID, IS and KID
    hash: str  # of the weights
    size: int  # F
    knows_classes: bool = False  # the logits are of the classes of this very data set

    @abstractmethod
    def check(self, data: Data) -> None:
        """Refuse, before anything is read, a data set that does not fit.

        Raises:
            UserError: with the reason and what to choose instead.
        """

    @abstractmethod
    def prepare(self, data: Any, cache: Path) -> None:
        """Get the weights, however long it takes, and set `hash`.

        Args:
            data: `LabelledImages`, for a network that learns from them.
            cache: the directory of what is made once.
        """

    @abstractmethod
    def protocol(self) -> dict[str, Any]:
        """What another program must know to get the same features."""

    @abstractmethod
    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 (B, C, H, W) -> features (B, F) and logits (B, K), both float32."""

    @torch.no_grad()
    def of(self, images: Tensor, batch_size: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """uint8 (N, C, H, W), any N -> features (N, F) and logits (N, K) on `device`."""
        self.to(device).eval()
        chunks = images.split(batch_size)
        with default_dtype(torch.float32):  # in a run of any precision
            features, logits = zip(*(self(chunk.to(device)) for chunk in chunks), strict=True)
        return torch.cat(features), torch.cat(logits)


def three_channels(images: Tensor) -> Tensor:
    """(B, 1 or 3, H, W) -> (B, 3, H, W); grey is repeated."""
    return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images


def fingerprint(weights: Mapping[str, Tensor]) -> str:
    """The first 12 digits of the sha256 of names and values."""
    digest = hashlib.sha256()
    for name, value in weights.items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]
