"""Any network as an energy (Xie, Lu, Zhu & Wu, "A Theory of Generative ConvNet", 2016; Du & Mordatch, "Implicit Generation and
Modeling with Energy-Based Models", 2019; Nijkamp et al., "On the Anatomy of MCMC-Based Maximum Likelihood Learning of Energy-Based
Models", 2020):

    p(x) = exp(-E(x)) / Z,    samples by Langevin's dynamics from a buffer of earlier ones.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gentrain.config.types import Count, NonNegative, Share
from gentrain.errors import UserError
from gentrain.models.base import Batch
from gentrain.models.energy.base import Clamped, EnergyModel, contrast
from gentrain.models.objective import Objective
from gentrain.models.pixels import Real
from gentrain.samplers.kernel import Kernel


class EBM(EnergyModel):
    """Descends  mean E(x) - mean E(x~) + alpha (mean E(x)^2 + mean E(x~)^2),  x from the data with Gaussian noise of sd `blur`.

    Args:
        network: (B, *shape) -> (B,), the energy; no layer in it may couple samples.
        sampler: a transition of `gentrain.samplers` (any that uses a gradient or none), applied to -E.
        k: transitions of the negative samples x~ in each update.
        buffer: earlier samples from which these start (persistent contrastive divergence; Tieleman, 2008); kept in the checkpoint.
        fresh: the share that starts at noise instead, uniform in [-1, 1].
        alpha: keeps energies near zero, which the difference alone leaves free to drift.
        steps: transitions for a sample that is drawn, from the buffer or from noise that is given.
    """

    chains: Tensor

    def __init__(
        self,
        network: nn.Module,
        sampler: Kernel,
        shape: list[int],
        k: Count = 60,
        buffer: Count = 10_000,
        fresh: Share = 0.05,
        alpha: NonNegative = 0.1,
        blur: NonNegative = 0.0,
        steps: Count = 60,
    ) -> None:
        super().__init__(Real(), shape, steps)
        if coupled := [
            name for name, module in network.named_modules() if "BatchNorm" in type(module).__name__
        ]:
            raise UserError(
                f"batch norm ({coupled[0]}) couples the samples whose energies are compared (network); use norm=none"
            )
        self.network, self.sampler = network, sampler
        self.k, self.fresh, self.alpha, self.blur = k, fresh, alpha, blur
        self.register_buffer("chains", self.noise(buffer, "cpu"))

    def energy(self, x: Tensor) -> Tensor:
        return self.network(x.view(-1, *self.shape))

    def objective(self, batch: Batch) -> Objective:
        x = self.values(batch[0])
        x = x + self.blur * torch.randn_like(x)
        samples = self.negatives(len(x))
        data, model = self.energy(torch.cat([x, samples])).split(len(x))
        found = contrast(data, model)
        if self.alpha:
            found.losses["regularizer"] = self.alpha * (
                data.square().mean() + model.square().mean()
            )
        return found

    @torch.no_grad()
    def negatives(self, n: int) -> Tensor:
        """k transitions of n samples of the buffer, the noise among them; they take their old places."""
        places = torch.randperm(len(self.chains), device=self.chains.device)[:n]
        places = places.repeat(-(-n // len(places)))[:n]  # a buffer smaller than the batch
        renewed = torch.rand(n, 1, device=self.chains.device) < self.fresh
        x = self.run_chain(
            torch.where(renewed, self.noise(n, self.chains.device), self.chains[places]), self.k
        )
        self.chains[places] = x
        return x

    def noise(self, n: int, device: torch.device | str) -> Tensor:
        return torch.rand(n, self.size, device=device) * 2 - 1

    def run_chain(self, x: Tensor, steps: int, held: Clamped | None = None) -> Tensor:
        """What is held is put in before each look at the energy, so that it has no slope, and again at the end."""

        def target(x: Tensor) -> Tensor:
            return -self.energy(x if held is None else held.put(x)).float()

        wanted = [p.requires_grad for p in self.network.parameters()]
        self.network.requires_grad_(False)  # the slope is in x alone: half of the backward pass
        try:
            with torch.no_grad():
                state = self.sampler.start(target, x)
                for _ in range(steps):
                    state = self.sampler.step(target, state)
        finally:
            for p, want in zip(self.network.parameters(), wanted, strict=True):
                p.requires_grad_(want)
        return state.x if held is None else held.put(state.x)
