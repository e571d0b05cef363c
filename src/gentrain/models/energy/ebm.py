"""Deep energy-based models: any network as the energy of p(x) = exp(-E(x)) / Z.

- Xie, Lu, Zhu & Wu, "A Theory of Generative ConvNet", 2016.
- Du & Mordatch, "Implicit Generation and Modeling with Energy-Based Models", 2019.
- Nijkamp et al., "On the Anatomy of MCMC-Based Maximum Likelihood Learning of Energy-Based Models",
  2020.

Samples are drawn by Langevin dynamics, from a buffer of earlier samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from gentrain.config.types import Count, NonNegative, Share
from gentrain.data.base import Data
from gentrain.errors import UserError
from gentrain.layers.coupling import batch_coupled_layers
from gentrain.layers.precision import at_least_single
from gentrain.models.base import Batch, HasTrace, Trace
from gentrain.models.energy.base import Clamped, EnergyModel, contrast
from gentrain.models.objective import Objective
from gentrain.models.pixels import Unchanged, shown
from gentrain.samplers.diagnostics import mixing
from gentrain.samplers.kernel import Kernel
from gentrain.streams import uniform

TRANSITIONS = 4  # the fewest of which R-hat and the effective sample size are defined


class EBM(EnergyModel, HasTrace):
    """A deep energy-based model.

        loss = mean E(x) - mean E(x~) + alpha (mean E(x)^2 + mean E(x~)^2)

    x is data with Gaussian noise of standard deviation `blur`, x~ are negative samples. Metrics are
    the acceptance, the effective sample size and R-hat of the chains that draw them.

    Args:
        network: (B, *shape) -> energies (B,); no layer may couple samples.
        sampler: a kernel of `gentrain.samplers`, applied to -E. Of a kernel that keeps several
            replicas of each chain, those beyond the first are the hidden units of a state.
        shape: (C, H, W) of images, or (D,) of points.
        k: transitions of the negative samples in each update.
        buffer: earlier samples from which these start (persistent contrastive divergence; Tieleman,
            2008); kept in the checkpoint.
        fresh: the share that starts at noise instead, uniform in [-1, 1].
        alpha: keeps energies near zero; the difference alone lets them drift.
        blur: for pixels in [-1, 1].
        steps: transitions that draw a sample, from the buffer or from given noise.

    Raises:
        UserError: when a layer of the network couples samples.
    """

    takes: ClassVar = ("unchanged",)
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
        super().__init__(Unchanged(shown(shape) == "images"), shape, steps)
        if coupled := batch_coupled_layers(network):
            raise UserError(
                f"layer {coupled[0]} couples the samples whose energies are compared (network); "
                "use one without batch norm"
            )
        self.network, self.sampler = network, sampler
        self.k, self.fresh, self.alpha, self.blur = k, fresh, alpha, blur
        self.register_buffer("chains", self.noise(buffer, "cpu"))

    def check_data(self, data: Data) -> None:
        super().check_data(data)
        if self.box is None or shown(self.shape) == "images":
            return
        low, high = self.box
        points = data.load("train").images
        if points.min() < low or points.max() > high:
            raise UserError(
                f"the chains of this sampler stay in [{low:g}, {high:g}], and points of "
                f"data={data.name} lie between {points.min():.3g} and {points.max():.3g} "
                "(model.sampler.bounds); give wider bounds, or sampler=random_walk"
            )

    @property
    def box(self) -> tuple[float, float] | None:
        bounds = self.sampler.bounds
        return None if bounds is None else (bounds[0], bounds[1])

    @property
    def units(self) -> int:
        return self.sampler.replicas * self.size

    @property
    def energy_units(self) -> int:
        return self.size

    def energy(self, x: Tensor) -> Tensor:
        return self.network(x[:, : self.size].unflatten(1, self.shape))

    def objective(self, batch: Batch) -> Objective:
        x = self.values(batch[0])
        x = x + self.blur * torch.randn_like(x)
        trace = self.negatives(len(x))
        states = torch.cat([x, trace.x[:, : self.size]])
        data, model = self.energy(states).split(len(x))
        found = contrast(data, model)
        if self.k >= TRANSITIONS:
            found.metrics |= mixing(trace.energies, trace.accepted)
        if self.alpha:
            squares = data.square().mean() + model.square().mean()
            found.losses["regularizer"] = self.alpha * squares
        return found

    @torch.no_grad()
    def negatives(self, n: int) -> Trace:
        """Chains of k transitions that end in n negative samples (n, D).

        They start from samples of the buffer, or from noise. The ends take their places in it.
        """
        device = self.chains.device
        places = torch.randperm(len(self.chains), device=device)[:n]
        places = places.repeat(-(-n // len(places)))[:n]  # for a buffer smaller than the batch
        renewed = torch.rand(n, 1, device=device) < self.fresh
        start = torch.where(renewed, self.noise(n, device), self.chains[places])
        trace = self.trace(start, self.k)
        self.chains[places] = trace.x
        return trace

    def noise(self, n: int, device: torch.device | str) -> Tensor:
        """Uniform in [-1, 1]."""
        return uniform(torch.empty(n, self.units, device=device)) * 2 - 1

    def with_hidden(self, v: Tensor) -> Tensor:
        return v.repeat(1, self.sampler.replicas)

    def clamp(self, v: Tensor, known: Tensor) -> Clamped:
        """Clamp the known values (n, D) in every replica."""
        return Clamped(self.with_hidden(known), self.with_hidden(v))

    def run_chain(self, x: Tensor, steps: int, clamped: Clamped | None = None) -> Tensor:
        """States after `steps` transitions of the sampler.

        Clamped values are set before the energy is computed, so that it has no gradient in them,
        and once more at the end.
        """

        end, _ = self.transitions(x, steps, clamped)
        return end if clamped is None else clamped.apply(end)

    def trace(self, x: Tensor, steps: int) -> Trace:
        end, seen = self.transitions(x, steps)
        log_p, accepted = (torch.stack(each) for each in zip(*seen, strict=True))
        return Trace(end, -log_p, accepted if self.sampler.rejects else None)

    def transitions(
        self, x: Tensor, steps: int, clamped: Clamped | None = None
    ) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """States (C, units) after `steps` transitions, and log p (C,) and acceptance of each."""

        def target(x: Tensor) -> Tensor:  # of the first replicas (C, D), or of all (K C, D)
            if clamped is not None:
                x = Clamped(known[: len(x)], values[: len(x)]).apply(x)
            return -at_least_single(self.energy(x))

        if clamped is not None:  # (C, K D) -> (K C, D), replica by replica
            known, values = (torch.cat(each.split(self.size, 1)) for each in clamped)
        seen = []
        # spectral norm computes its weights once a chain, not at each transition
        with frozen(self.network), torch.no_grad(), parametrize.cached():
            state = self.sampler.resume(target, x.unflatten(1, (-1, self.size)))
            for _ in range(steps):
                state = self.sampler.step(target, state)
                seen.append((state.log_p, state.accepted))
        return self.sampler.replicas_of(state).flatten(1), seen


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Compute no gradients of weights: that of the input alone takes half of a backward pass."""
    before = [p.requires_grad for p in network.parameters()]
    network.requires_grad_(False)
    try:
        yield
    finally:
        for p, requires_grad in zip(network.parameters(), before, strict=True):
            p.requires_grad_(requires_grad)
