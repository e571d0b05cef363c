"""The unconditional GAN (Goodfellow et al., 2014)."""

from __future__ import annotations

from typing import ClassVar

from gentrain.adversarial.regularizer import Critic as Scorer
from gentrain.models.gan.base import (
    Batch,
    SingleCriticModel,
)


class GAN(SingleCriticModel):
    """Noise in, images out."""

    sees_labels: ClassVar[dict[str, bool]] = {"generator": False, "critic": False}

    def scorer(self, batch: Batch) -> Scorer:
        return self.critic
