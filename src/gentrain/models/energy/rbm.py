"""The restricted Boltzmann machine (Smolensky, 1986; Hinton, "Training Products of Experts by
Minimizing Contrastive Divergence", 2002).

Visible and hidden units have no connections among themselves. Given one side, the units of the
other are independent, and drawn at once.

    E(v, h) = E_vis(v) - c . h - (v / s) W h
    F(v)    = E_vis(v) - sum_j softplus(c_j + (v / s) W_j)
    p(v)    = exp(-F(v)) / Z
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gentrain.config.types import Count, Positive
from gentrain.models.base import Batch, DrawsPixels, HasFilters, HasLogPartition, eval_mode
from gentrain.models.energy.base import Clamped, EnergyModel, contrast
from gentrain.models.energy.visible import Visible, bernoulli
from gentrain.models.objective import Objective
from gentrain.samplers.importance import Estimate, annealed

AT_A_TIME = 2**22  # hidden logits that are in memory when all units of images are flipped
ENUMERABLE = 15  # with at most so many hidden units, Z is summed and not estimated


class RBM(EnergyModel, HasLogPartition, HasFilters, DrawsPixels):
    """A restricted Boltzmann machine, trained with block Gibbs sampling.

    It descends the free energy F on data, and climbs F on samples after `k` steps of two matrix
    products each. dF/dW = -v p(h = 1 | v)^T / s, so that the gradient is <v h>_model - <v h>_data,
    with probabilities for the last hidden units. Visible biases start at the data's log-odds.

    Args:
        visible: the kind of visible units.
        shape: (C, H, W) of images.
        hidden: the number of hidden units.
        k: Gibbs steps in each update.
        persistent: chains continue from update to update (PCD; Tieleman, "Training Restricted
            Boltzmann Machines Using Approximations to the Likelihood Gradient", 2008). Otherwise
            they start at the data each time (CD-k).
        n_chains: the number of persistent chains.
        sd: the standard deviation of the weights at the start.
        steps: Gibbs steps that draw a sample.
        mean: samples are the visible units' means, given the hidden units at the end.
    """

    takes: ClassVar = ("binary", "density")
    pixel_distribution = "p(v|h)"

    base: Tensor

    def __init__(
        self,
        visible: Visible,
        shape: list[int],
        hidden: Count = 500,
        k: Count = 1,
        persistent: bool = True,
        n_chains: Count = 100,
        sd: Positive = 0.01,
        steps: Count = 200,
        mean: bool = False,
    ) -> None:
        super().__init__(visible.pixels(shape), shape, steps, "add visible=gaussian")
        self.mean = mean
        self.visible, self.hidden, self.k, self.persistent = visible, hidden, k, persistent
        self.W = nn.Parameter(sd * torch.randn(self.size, hidden))
        self.b, self.c = nn.Parameter(torch.zeros(self.size)), nn.Parameter(torch.zeros(hidden))
        # biases of the independent units from which annealing starts
        self.register_buffer("base", torch.zeros(self.size))
        self.register_buffer("chains", self.noise(n_chains, "cpu") if persistent else None)

    @property
    def binary(self) -> bool:
        return self.visible.binary

    def hidden_logits(self, v: Tensor) -> Tensor:
        """c + (v / s) W, (n, D) -> (n, hidden): p(h_j = 1 | v) is its sigmoid."""
        return torch.addmm(self.c, v / self.visible.scale if self.visible.scale != 1 else v, self.W)

    def energy(self, x: Tensor) -> Tensor:
        """The free energy F."""
        return self.visible.energy(x, self.b) - F.softplus(self.hidden_logits(x)).sum(1)

    def filters(self) -> Tensor:
        """The weights of each hidden unit to the visible units."""
        return self.W.detach().T.unflatten(1, self.shape)

    def objective(self, batch: Batch) -> Objective:
        v = self.values(batch[0])
        with torch.no_grad():
            samples = self.run_chain(v if self.chains is None else self.chains, self.k)
            if self.chains is not None:
                self.chains.copy_(samples)
        return contrast(*self.energy(torch.cat([v, samples])).split([len(v), len(samples)]))

    @torch.no_grad()
    def init_from_data(self, batch: Batch) -> None:
        """Start with visible biases that give the data's means, and with new chains."""
        b = self.visible.bias(self.values(batch[0]))
        self.b.copy_(b), self.base.copy_(b)
        if self.chains is not None:
            self.chains.copy_(self.noise(len(self.chains), self.chains.device))

    # --- chains -----------------------------------------------------------------------------------

    @torch.no_grad()
    def noise(self, n: int, device: torch.device | str) -> Tensor:
        """Independent units with the data's means."""
        return self.visible.draw(self.base, self.base.new_zeros(n, self.size)).to(device)

    @torch.no_grad()
    def run_chain(self, x: Tensor, steps: int, clamped: Clamped | None = None) -> Tensor:
        for _ in range(steps):  # the hidden units given x, then the visible units given them
            x = self.visible.draw(self.b, bernoulli(self.hidden_logits(x)) @ self.W.T)
            x = x if clamped is None else clamped.apply(x)
        return x

    def show(self, x: Tensor) -> Tensor:
        return self.expected_images(x) if self.mean else super().show(x)

    def sample_protocol(self) -> dict[str, Any]:
        return {"samples_are": self.shows} | super().sample_protocol()

    def denoised(self, x: Tensor, steps: int) -> Tensor:
        """The last transition's means in place of its draws."""
        return self.expected_images(self.run_chain(x, steps - 1))

    def expected_images(self, x: Tensor) -> Tensor:
        """Images of the visible units' means, given hidden units that are drawn."""
        return self.images(self.visible.mean(self.b, bernoulli(self.hidden_logits(x)) @ self.W.T))

    # --- likelihood -------------------------------------------------------------------------------

    def log_partition(self, chains: int, temperatures: int) -> Estimate:
        """log Z: summed for up to 15 hidden units, and otherwise annealed.

        The steps in beta become smaller towards 1, where the modes separate.
        """
        with eval_mode(self):
            if self.hidden <= ENUMERABLE:
                return Estimate(self.exact_log_partition(), torch.zeros((), dtype=torch.float64))
            betas = 1 - torch.linspace(1, 0, temperatures + 1, dtype=torch.float64).square()
            return self.annealed_log_partition(chains, betas.tolist())

    def protocol(self, chains: int, temperatures: int) -> dict[str, Any]:
        ais = f"annealed importance sampling, {chains} chains, {temperatures} temperatures"
        how = "exact" if self.hidden <= ENUMERABLE else ais
        return {"likelihood": f"-F(v) - log Z, log Z by {how}", "pixels": self.pixels.name}

    def exact_log_partition(self) -> Tensor:
        """log sum_h exp(c . h + log Z_vis(W h)), in float64."""
        log_z = torch.tensor(-math.inf, dtype=torch.float64, device=self.W.device)
        W, b, c = self.W.double(), self.b.double(), self.c.double()
        bits = torch.arange(self.hidden, device=W.device)
        for numbers in torch.arange(2**self.hidden, device=W.device).split(2048):
            h = (numbers[:, None] >> bits & 1).double()
            terms = h @ c + self.visible.log_partition(b, h @ W.T)
            log_z = torch.logaddexp(log_z, torch.logsumexp(terms, 0))
        return log_z

    def annealed_log_partition(self, chains: int, betas: Sequence[float]) -> Estimate:
        """log Z by annealed importance sampling (Salakhutdinov & Murray, "On the Quantitative
        Analysis of Deep Belief Networks", 2008).

        The path leads from independent units with the data's means to the model:

            p*_beta(v) = exp(-E_vis(v; b_beta)) prod_j (1 + exp(beta (c_j + (v / s) W_j)))
            b_beta     = (1 - beta) base + beta b

        Args:
            chains: the number of chains.
            betas: rising from 0 to 1.
        """

        def log_p(v: Tensor, logits: Tensor, beta: float) -> Tensor:
            b = torch.lerp(self.base, self.b, beta)
            return F.softplus(beta * logits).sum(1) - self.visible.energy(v, b)

        def transition(v: Tensor, lower: float, upper: float) -> tuple[Tensor, Tensor]:
            logits = self.hidden_logits(v)
            gain = log_p(v, logits, upper) - log_p(v, logits, lower)
            a = upper * (bernoulli(upper * logits) @ self.W.T)
            return gain, self.visible.draw(torch.lerp(self.base, self.b, upper), a)

        weighted = annealed(transition, self.noise(chains, self.W.device), betas)
        zeros = self.base.new_zeros(1, self.size).double()
        at_start = self.visible.log_partition(self.base.double(), zeros)
        value, error = weighted.log_z()
        return Estimate(value + (at_start + self.hidden * math.log(2))[0], error)

    def log_likelihood_of_values(self, v: Tensor, log_z: Tensor) -> Tensor:
        with eval_mode(self):
            return -self.energy(v).double() - log_z.to(self.W.device)

    def pseudo_log_likelihood(self, v: Tensor) -> Tensor:
        """sum_i log p(v_i | all others), (B,), over all units i, of binary values v (B, D).

        log p(v_i | others) = log sigmoid(F(v with i flipped) - F(v)). A flip adds the row
        (1 - 2 v_i) W_i to the hidden logits, so no product of matrices is computed again.
        """
        with eval_mode(self):
            images = max(1, AT_A_TIME // self.W.numel())
            return torch.cat([self.sum_over_flips(part) for part in v.split(images)])

    def sum_over_flips(self, v: Tensor) -> Tensor:
        """`pseudo_log_likelihood` of few images; the memory is (B, D, hidden)."""
        flip = 1 - 2 * v
        logits = self.hidden_logits(v)
        flipped = torch.addcmul(logits[:, None], flip[:, :, None], self.W)
        gain = F.softplus(logits).sum(1, keepdim=True) - F.softplus(flipped).sum(2)
        return F.logsigmoid(gain - flip * self.b).double().sum(1)
