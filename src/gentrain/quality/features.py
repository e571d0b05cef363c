"""What a network sees in an image: the features that every score of this room compares."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from gentrain.data.base import Data


class Features(nn.Module, ABC):
    """A fixed network from images, uint8 (B, C, H, W), to features (B, F) and class logits (B, K).

    `name` tells the network and `hash` its weights: scores of different hashes are never ranked together.
    `suffix` ends the names of the scores, so that only Inception's are called FID, IS and KID.
    `certain` says that the logits know the classes of this very data set.
    """

    name: str
    suffix: str
    hash: str
    certain: bool = False

    @abstractmethod
    def check(self, data: "Data") -> None:
        """Refuse, by a UserError and before anything is read, a data set that this network cannot judge."""

    @abstractmethod
    def prepare(self, data: "Data", cache: Path) -> None:
        """Get the weights, however long it takes; sets `hash`."""

    @abstractmethod
    def protocol(self) -> dict[str, Any]:
        """What another program must know to get the same features."""

    @abstractmethod
    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, F) and logits (B, K), both float32, of images, uint8 (B, C, H, W)."""

    @torch.no_grad()
    def of(self, images: Tensor, batch_size: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Features (N, F) and logits (N, K), on `device`, of any number of images, uint8 (N, C, H, W)."""
        self.to(device).eval()
        features, logits = zip(
            *(self(chunk.to(device)) for chunk in images.split(batch_size)), strict=True
        )
        return torch.cat(features), torch.cat(logits)


def coloured(images: Tensor) -> Tensor:
    """Three channels for a network that wants them, (B, 1 or 3, H, W) -> (B, 3, H, W); grey is repeated."""
    return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images


def fingerprint(weights: Mapping[str, Tensor]) -> str:
    """The first 12 digits of the sha256 of names and values."""
    digest = hashlib.sha256()
    for name, value in weights.items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]
