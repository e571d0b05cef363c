"""The Boltzmann machine (Ackley, Hinton & Sejnowski, "A Learning Algorithm for Boltzmann Machines",
1985): binary units, visible and hidden, all connected.

    E(s) = -1/2 s^T W s - b . s,    s = (v, h) in {0, 1}^U,    p(s) = exp(-E(s)) / Z

W is symmetric with zero diagonal.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from gentrain.config.types import Count, Positive
from gentrain.models.base import Batch, DrawsPixels, HasFilters, HasTrace
from gentrain.models.energy.base import Clamped, EnergyModel, contrast, log_odds
from gentrain.models.objective import Objective
from gentrain.models.pixels import Binary
from gentrain.streams import bernoulli, uniform_columns


class Boltzmann(EnergyModel, HasFilters, DrawsPixels, HasTrace):
    """A Boltzmann machine, trained with persistent chains (Younes, 1989; Neal, 1992).

        d(-log p(v))/dW_ij = <s_i s_j>_model - <s_i s_j>_data

    Each unit given all others is 1 with probability sigmoid(sum_j W_ij s_j + b_i). Units are drawn
    one after the other, so that a sweep takes U small steps, whatever the number of chains. It is
    for small images (data.size=14).

    Args:
        shape: (C, H, W) of images.
        threshold: see `Binary`.
        static: see `Binary`.
        hidden: the number of hidden units.
        k: sweeps of the model's chains in each update.
        clamped: sweeps over the hidden units given an image, in each update.
        n_chains: the number of persistent chains.
        sd: the standard deviation of the weights at the start.
        steps: sweeps that draw a sample.
        mean: samples are the mean of each visible unit, given all other units at the end.
    """

    takes: ClassVar = ("binary",)
    pixel_distribution = "p(v_i|h and the other v)"

    base: Tensor  # the visible units' log-odds in the data

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
        mean: bool = False,
        static: bool = False,
    ) -> None:
        super().__init__(Binary(threshold, static), shape, steps)
        self.hidden, self.k, self.clamped, self.mean = hidden, k, clamped, mean
        # only the upper triangle is used
        self.weight = nn.Parameter(sd * torch.randn(self.units, self.units))
        self.b = nn.Parameter(torch.zeros(self.units))
        self.register_buffer("base", torch.zeros(self.size))
        self.register_buffer("chains", self.noise(n_chains, "cpu"))

    @property
    def units(self) -> int:
        return self.size + self.hidden

    @property
    def W(self) -> Tensor:
        """The weights, symmetric with zero diagonal."""
        upper = self.weight.triu(1)
        return upper + upper.T

    def energy(self, x: Tensor) -> Tensor:
        return -0.5 * ((x @ self.W) * x).sum(1) - x @ self.b

    def objective(self, batch: Batch) -> Objective:
        assert self.chains is not None
        v = self.values(batch[0])
        with torch.no_grad():
            data = self.with_hidden(v)
            samples = self.run_chain(self.chains, self.k)
            self.chains.copy_(samples)
        return contrast(*self.energy(torch.cat([data, samples])).split([len(data), len(samples)]))

    @torch.no_grad()
    def filters(self) -> Tensor:
        """The weights of each hidden unit to the visible units."""
        return self.W.detach()[self.size :, : self.size].unflatten(1, self.shape)

    @torch.no_grad()
    def init_from_data(self, batch: Batch) -> None:
        """Start with the data's log-odds as visible biases, and with new chains."""
        assert self.chains is not None
        b = log_odds(self.values(batch[0]))
        self.b[: self.size].copy_(b), self.base.copy_(b)
        self.chains.copy_(self.noise(len(self.chains), self.chains.device))

    # --- chains -----------------------------------------------------------------------------------

    @torch.no_grad()
    def noise(self, n: int, device: torch.device | str) -> Tensor:
        """Independent units: visible ones with the data's means, hidden ones fair coins."""
        means = torch.cat([torch.sigmoid(self.base), self.base.new_full((self.hidden,), 0.5)])
        return bernoulli(means.expand(n, -1)).to(device)

    def run_chain(self, x: Tensor, steps: int, clamped: Clamped | None = None) -> Tensor:
        return self.gibbs(x, steps, range(self.units), clamped)

    @torch.no_grad()
    def gibbs(self, x: Tensor, sweeps: int, sites: range, clamped: Clamped | None = None) -> Tensor:
        """Gibbs sampling of some units in turn; the other units keep their values."""
        W, x = self.W, x.T.clone()  # transposed: a unit's values in all chains are contiguous
        for _ in range(sweeps):
            u = uniform_columns(x.new_empty(len(sites), x.shape[1]))
            # s_i = 1 where sigmoid(W_i . s + b_i) > u
            thresholds = torch.logit(u) - self.b[sites.start : sites.stop, None]
            for threshold, i in zip(thresholds, sites, strict=True):
                new = (W[i] @ x > threshold).to(x)
                x[i] = new if clamped is None else clamped.apply_to_unit(i, new)
        return x.T.contiguous()

    def with_hidden(self, v: Tensor) -> Tensor:
        """States (n, units) of values v (n, D), with hidden units drawn given them.

        They are first drawn as if they were not connected, then by `clamped` Gibbs sweeps over
        them.
        """
        W = self.W
        h = bernoulli(torch.sigmoid(v @ W[: self.size, self.size :] + self.b[self.size :]))
        return self.gibbs(torch.cat([v, h], 1), self.clamped, range(self.size, self.units))

    def show(self, x: Tensor) -> Tensor:
        return self.expected_images(x) if self.mean else super().show(x)

    def sample_protocol(self) -> dict[str, Any]:
        return {"samples_are": self.shows} | super().sample_protocol()

    def denoised(self, x: Tensor, steps: int) -> Tensor:
        return self.expected_images(self.run_chain(x, steps))

    def expected_images(self, x: Tensor) -> Tensor:
        """Images of the mean of each visible unit given all other units."""
        return self.images(torch.sigmoid(x @ self.W + self.b)[:, : self.size])
