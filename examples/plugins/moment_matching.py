"""A model: a generative moment matching network.

Li, Swersky & Zemel, "Generative moment matching networks", 2015. There is no critic. The generator
minimises the maximum mean discrepancy of a batch of samples y and a batch of images x:

    MMD^2 = mean k(x, x') + mean k(y, y') - 2 mean k(x, y)
    k(a, b) = sum over widths s of exp(-|a - b|^2 / (2 s^2 D)),    D the number of values

The square root of MMD^2 is minimised, as in the paper.

    gentrain model=moment_matching plugins=moment_matching --config-dir conf
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gentrain.models.base import Batch, SingleObjectiveModel, eval_mode
from gentrain.models.objective import Objective
from gentrain.networks.base import Backbone, Generator


class MomentMatching(SingleObjectiveModel):
    """Minimise sqrt(MMD^2(samples, images)).

    Args:
        network: the generator, from noise to images.
        widths: s of each kernel, in units of a pixel's range of 2.
    """

    def __init__(
        self, network: Backbone[Generator], widths: Sequence[float] = (0.1, 0.2, 0.4, 0.8)
    ) -> None:
        super().__init__()
        self.network, self.widths = network(), tuple(widths)

    # what is minimised; each loss has a name, and so a curve
    def objective(self, batch: Batch) -> Objective:
        images = batch[0]
        samples = self.network(self.noise(len(images), images.device))
        mmd2 = self.mmd2(samples.flatten(1), images.flatten(1))
        return Objective({"mmd": (mmd2.clamp(min=0) + 1e-8).sqrt()})

    def mmd2(self, y: Tensor, x: Tensor) -> Tensor:
        """MMD^2 of samples (B, D) and images (B, D)."""
        return self.kernel(x, x).mean() + self.kernel(y, y).mean() - 2 * self.kernel(x, y).mean()

    def kernel(self, a: Tensor, b: Tensor) -> Tensor:
        """(B, B) values of the kernel."""
        # |a - b|^2 = |a|^2 + |b|^2 - 2 a b: cdist has no gradient where a = b
        squares = a.square().sum(1)[:, None] + b.square().sum(1) - 2 * a @ b.T
        distances = squares.clamp(min=0) / a.shape[1]
        return torch.stack([(-distances / (2 * (2 * s) ** 2)).exp() for s in self.widths]).sum(0)

    # a sample is a function of normal noise, so all modes of gentrain sample work
    @property
    def prior(self) -> str | None:
        return self.network.prior

    def noise(self, n: int, device: torch.device | str) -> Tensor:
        return self.network.noise(n, device)

    def sample(self, batch: Batch, noise: Tensor | None = None) -> Tensor:
        z = self.noise(len(batch[0]), batch[0].device) if noise is None else noise
        with eval_mode(self):
            return self.network(z)
