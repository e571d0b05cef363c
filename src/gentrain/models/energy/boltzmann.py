"""Ackley, Hinton & Sejnowski, "A Learning Algorithm for Boltzmann Machines", 1985: binary units, visible and hidden, each joined to each,

E(s) = -1/2 s^T W s - b . s,    s = (v, h) in {0, 1}^U,    W symmetric with zero diagonal,    p(s) = exp(-E(s)) / Z.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gentrain.config.types import Count, Positive
from gentrain.models.base import Batch
from gentrain.models.energy.base import Clamped, EnergyModel, contrast, log_odds
from gentrain.models.objective import Objective
from gentrain.models.pixels import Binary


class Boltzmann(EnergyModel):
    """d(-log p(v))/dW_ij = <s_i s_j>_model - <s_i s_j>_data: the hidden units of the data after `clamped` sweeps of Gibbs sampling given
    the image, the model's from `n_chains` persistent chains after `k` sweeps (Younes, 1989; Neal, 1992). Each unit given all others is 1
    with probability sigmoid(sum_j W_ij s_j + b_i); they are drawn one after the other, so a sweep takes U small steps, whatever the
    number of chains: for images of 14 x 14 (data.size=14).
    """

    def __init__(
        self,
        shape: list[int],
        threshold: bool = False,
        hidden: Count = 100,
        k: Count = 1,
        clamped: Count = 3,
        n_chains: Count = 100,
        sd: Positive = 0.01,
        steps: Count = 100,
    ) -> None:
        super().__init__(Binary(threshold), shape, steps)
        self.hidden, self.k, self.clamped = hidden, k, clamped
        self.weight = nn.Parameter(
            sd * torch.randn(self.units, self.units)
        )  # of which the upper triangle counts
        self.b = nn.Parameter(torch.zeros(self.units))
        self.register_buffer("base", torch.zeros(self.size))
        self.register_buffer("chains", self.noise(n_chains, "cpu"))

    base: Tensor

    @property
    def units(self) -> int:
        return self.size + self.hidden

    @property
    def W(self) -> Tensor:
        upper = self.weight.triu(1)
        return upper + upper.T

    def energy(self, x: Tensor) -> Tensor:
        """Of visible and hidden units together, (n, U) -> (n,)."""
        return -0.5 * ((x @ self.W) * x).sum(1) - x @ self.b

    def objective(self, batch: Batch) -> Objective:
        assert self.chains is not None
        v = self.values(batch[0])
        with torch.no_grad():
            data = self.completed(v, self.clamped)
            samples = self.run_chain(self.chains, self.k)
            self.chains.copy_(samples)
        return contrast(*self.energy(torch.cat([data, samples])).split([len(data), len(samples)]))

    @torch.no_grad()
    def filters(self) -> Tensor:
        """What each hidden unit looks for: its weights to the visible units, (hidden, *shape)."""
        return self.W.detach()[self.size :, : self.size].unflatten(1, self.shape)

    def completed(self, v: Tensor, sweeps: int) -> Tensor:
        """v (n, D) with hidden units drawn given it: first as if they did not see each other, then by sweeps over them."""
        W = self.W
        h = torch.bernoulli(torch.sigmoid(v @ W[: self.size, self.size :] + self.b[self.size :]))
        return self.swept(torch.cat([v, h], 1), sweeps, range(self.size, self.units))

    @torch.no_grad()
    def init_from_data(self, batch: Batch) -> None:
        b = log_odds(self.values(batch[0]))
        self.b[: self.size].copy_(b), self.base.copy_(b)
        assert self.chains is not None
        self.chains.copy_(self.noise(len(self.chains), self.chains.device))

    # --- chains -----------------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def noise(self, n: int, device: torch.device | str) -> Tensor:
        """Independent units: visible ones with the data's means, hidden ones fair coins."""
        means = torch.cat([torch.sigmoid(self.base), self.base.new_full((self.hidden,), 0.5)])
        return torch.bernoulli(means.expand(n, -1)).to(device)

    def run_chain(self, x: Tensor, steps: int, held: Clamped | None = None) -> Tensor:
        return self.swept(x, steps, range(self.units), held)

    @torch.no_grad()
    def swept(self, x: Tensor, sweeps: int, sites: range, held: Clamped | None = None) -> Tensor:
        """Gibbs sampling of some units, in turn: s_i = 1 where its logit exceeds that of a uniform random number."""
        W, x = self.W, x.T.clone()  # a unit's values in all chains lie together
        for _ in range(sweeps):
            thresholds = (
                torch.logit(torch.rand(len(sites), x.shape[1], device=x.device, dtype=x.dtype))
                - self.b[sites.start : sites.stop, None]
            )
            for threshold, i in zip(thresholds, sites, strict=True):
                new = (W[i] @ x > threshold).to(x)
                x[i] = (
                    new if held is None else torch.where(held.known[:, i], held.values[:, i], new)
                )
        return x.T.contiguous()

    def mean_images(self, x: Tensor) -> Tensor:
        """Each visible unit's mean given all the others."""
        return self.images(torch.sigmoid(x @ self.W + self.b)[:, : self.size])
