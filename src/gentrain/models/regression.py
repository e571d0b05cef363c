"""A translation network alone, without a critic: SRResNet (Ledig et al., 2017), or the U-Net that pix2pix is compared with.

It descends content(G(x), y) and nothing else. Where a source leaves several images possible it gives one between them: the mean of them by
L2, and the median by L1, which is sharp only where there is nothing to choose.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gentrain.models.base import Batch, SingleObjectiveModel, eval_mode
from gentrain.models.content_loss import Content
from gentrain.models.objective import Objective
from gentrain.networks import base


class Regression(SingleObjectiveModel):
    """Batches are (targets, sources)."""

    translates = paired = True

    def __init__(self, network: base.Translator, content: Content) -> None:
        super().__init__()
        self.network, self.content = network, content

    def objective(self, batch: Batch) -> Objective:
        return Objective({"content": self.content(self.network(batch[1]), batch[0])})

    def sample(self, batch: Batch, noise: Tensor | None = None) -> Tensor:
        with eval_mode(self):
            return self.network(batch[1])

    def translate(self, x: Tensor, domains: Tensor | None = None) -> Tensor:
        """Sources to images."""
        return self.sample((x, x))

    def noise(self, n: int, device: torch.device | str) -> Tensor:
        """None of its own."""
        return torch.empty(n, 0, device=device)
