"""Certificates of energy-based models, by enumeration of all states of small ones."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gentrain.certificates.base import Certificate, error, largest, recorded
from gentrain.models.energy.boltzmann import Boltzmann
from gentrain.models.energy.ebm import EBM
from gentrain.models.energy.hopfield import Hopfield
from gentrain.models.energy.rbm import RBM

STIR = 0.5  # of weights, so that states differ
CHAINS = 20_000
SHAPE = [1, 2, 2]


def states(units: int) -> Tensor:
    """All vectors (2^units, units) of zeros and ones."""
    return (torch.arange(2**units)[:, None] >> torch.arange(units) & 1).double()


def stays(model: Any, x: Tensor, energies: Tensor, sweeps: int) -> float:
    """How far the frequencies of chains that start from p are from p after some sweeps.

    Args:
        model: whose chains run.
        x: all states.
        energies: of the states.
        sweeps: of the chains.
    """
    p = (-energies).softmax(0)
    ends = model.run_chain(x[torch.multinomial(p, CHAINS, replacement=True)], sweeps)
    powers = 2 ** torch.arange(x.shape[1])
    counts = torch.bincount((ends.long() * powers).sum(1), minlength=len(x))
    return float((counts / CHAINS - p).abs().max())


class FreeEnergy(Certificate):
    """F(v) = -log sum_h exp(-E(v, h)), with a sum over all hidden units."""

    of = (RBM,)
    property = "F(v) is -log of the sum over all hidden states of exp(-E(v, h))"
    source = "Hinton, 2012, eq. 22"

    def model(self) -> Any:
        """A machine of few units."""
        return self.subject.model(stirred=STIR, shape=SHAPE, hidden=5)

    def visible(self, model: Any) -> Tensor:
        """Visible values to look at."""
        return states(4) if model.binary else torch.randn(16, 4)

    def energies(self, model: Any, v: Tensor) -> Tensor:
        """E(v, h) of every h, (B, 2^hidden), from the formula of E."""
        h, s = states(model.hidden), model.visible.scale
        of_visible = -(v @ model.b) if model.binary else ((v - model.b) ** 2).sum(1) / (2 * s * s)
        return of_visible[:, None] - h @ model.c - (v / s) @ model.W @ h.T

    def measure(self) -> float | None:
        model = self.model()
        v = self.visible(model)
        return error(model.energy(v), -torch.logsumexp(-self.energies(model, v), 1))


class Partition(FreeEnergy):
    of = (RBM,)
    name = "Partition"
    property = "log Z is that of the sum over all states"
    source = "Salakhutdinov & Murray, 2008, eq. 2"

    def measure(self) -> float | None:
        model = self.model()
        if not model.binary:
            return None
        expected = torch.logsumexp(-self.energies(model, states(4)).flatten(), 0)
        return error(model.log_partition(1, 1).value, expected)


class GibbsOfBlocks(FreeEnergy):
    of = (RBM,)
    name = "GibbsOfBlocks"
    property = "Gibbs sampling leaves p(v), enumerated, as it is"
    source = "Hinton, 2002, section 4"
    bound = 0.025  # of 20,000 chains

    def measure(self) -> float | None:
        model = self.model()
        if not model.binary:
            return None
        v = states(4)
        energies = -torch.logsumexp(-self.energies(model, v), 1)
        return stays(model, v, energies.detach(), 2)


class Contrast(Certificate):
    """The objective's gradient: <dE> of data minus <dE> of the samples of the chains."""

    of = (RBM,)
    name = "objective"
    property = "the gradient is <v h> of the chains' ends minus <v h> of the data"
    source = "Tieleman, 2008, section 2; Hinton, 2002, eq. 8"

    def measure(self) -> float:
        model, batch = self.subject.model(), self.subject.batch
        with recorded(model, "run_chain") as chains, recorded(model, "values") as values:
            model.objective(batch).loss.backward()
        data, ends, scale = values[0].result, chains[0].result, model.visible.scale
        start = data if model.chains is None else chains[0].args[0]
        fresh = error(start, data) if model.chains is None else 0.0
        expected = self.correlations(model, ends, scale) - self.correlations(model, data, scale)
        kept = 0.0 if model.chains is None else error(model.chains, ends)
        return largest(error(model.W.grad, expected), fresh, kept)

    def correlations(self, model: Any, v: Tensor, scale: float) -> Tensor:
        """<v p(h = 1 | v)>, (D, hidden)."""
        v = v / scale
        return (v.T @ torch.sigmoid(v @ model.W + model.c)).detach() / len(v)


# --- Boltzmann machines ---------------------------------------------------------------------------


class PairsOfUnits(Certificate):
    of = (Boltzmann,)
    property = "E(s) = -sum_(i<j) w_ij s_i s_j - sum_i b_i s_i, by a double loop"
    source = "Ackley et al., 1985, eq. 1"

    def measure(self) -> float:
        model = self.subject.model(stirred=STIR, shape=SHAPE, hidden=2)
        x, n = states(model.units), model.units
        found = -x @ model.b
        for i in range(n):
            for j in range(i + 1, n):
                found = found - model.weight[i, j] * x[:, i] * x[:, j]
        return error(model.energy(x), found)


class GibbsOfUnits(Certificate):
    of = (Boltzmann,)
    property = "Gibbs sampling leaves p(s), enumerated, as it is"
    source = "Ackley et al., 1985, eq. 2 and 3"
    bound = 0.025  # of 20,000 chains

    def measure(self) -> float:
        model = self.subject.model(stirred=STIR, shape=SHAPE, hidden=2)
        x = states(model.units)
        return stays(model, x, model.energy(x).detach(), 2)


class LearningRule(Certificate):
    of = (Boltzmann,)
    name = "objective"
    property = "the gradient is <s_i s_j> of the free chains minus that of the clamped ones"
    source = "Ackley et al., 1985, eq. 6"

    def measure(self) -> float:
        model, batch = self.subject.model(), self.subject.batch
        with recorded(model, "run_chain") as chains, recorded(model, "with_hidden") as clamped:
            model.objective(batch).loss.backward()
        free, data = chains[0].result, clamped[0].result
        expected = (free.T @ free / len(free) - data.T @ data / len(data)).triu(1)
        values = clamped[0].args[0]
        return largest(
            error(model.weight.grad, expected),
            error(data[:, : model.size], values),
            error(model.chains, free),
        )


# --- Hopfield networks ----------------------------------------------------------------------------


class Hebb(Certificate):
    of = (Hopfield,)
    name = "objective"
    property = "one step of SGD from zero gives W = lr sum of x x^T, without its diagonal"
    source = "Hopfield, 1982, eq. 2"

    def measure(self) -> float | None:
        if self.node["unlearning"]:
            return None
        model = self.subject.model()
        model.objective(self.subject.batch).loss.backward()
        with torch.no_grad():
            model.weight -= model.weight.grad
        x = model.memories
        expected = x.T @ x / len(x)
        return error(model.W, expected - torch.diag(expected.diagonal()))


class Downhill(Certificate):
    of = (Hopfield,)
    property = "no sweep of a recall raises the energy"
    source = "Hopfield, 1982, eq. 7 and 8"

    def measure(self) -> float | None:
        if self.node["order"] != "asynchronous":
            return None
        model = self.subject.model(stirred=1.0)
        x = model.noise(20, "cpu").double()
        energies = [model.energy(x)]
        for _ in range(5):
            x = model.run_chain(x, 1)
            energies.append(model.energy(x))
        rise = torch.stack(energies).diff(dim=0).max()
        fallen = float(energies[-1].mean()) < float(energies[0].mean())
        return max(0.0, float(rise)) if fallen else float("inf")


# --- deep energies --------------------------------------------------------------------------------


class ContrastOfEnergies(Certificate):
    of = (EBM,)
    name = "objective"
    property = "E(x) - E(x~) + alpha (E(x)^2 + E(x~)^2), no gradient through the chains"
    source = "Du & Mordatch, 2019, algorithm 1"

    def measure(self) -> float:
        model, batch = self.subject.model(), self.subject.batch
        with recorded(model, "negatives") as chains, recorded(model, "energy") as energies:
            found = model.objective(batch).losses
        ends = chains[0].result.x
        seen = energies[-1].args[0]
        data, samples = energies[-1].result.split([len(seen) - len(ends), len(ends)])
        alpha = float(self.node["alpha"])
        expected = {"contrast": data.mean() - samples.mean()}
        if alpha:
            expected["regularizer"] = alpha * (data.square().mean() + samples.square().mean())
        off = seen[: len(data)] - model.values(batch[0])
        blurred = float(off.abs().max()) <= 6 * float(self.node["blur"]) + 1e-12
        apart = error(seen[len(data) :], ends[:, : model.size]) + float(ends.requires_grad)
        if found.keys() != expected.keys() or not blurred:
            return float("inf")
        return largest(apart, *(error(found[name], each) for name, each in expected.items()))


class ChainsOfTheBuffer(Certificate):
    of = (EBM,)
    property = "negative samples start from the buffer or from noise, and go back into it"
    source = "Du & Mordatch, 2019, section 3.1"
    bound = 0.0

    def measure(self) -> float:
        model, n = self.subject.model(), 8
        model.chains.copy_(model.noise(len(model.chains), "cpu").double())
        before = model.chains.clone()
        with recorded(model, "trace") as traces:
            model.negatives(n)
        start, length = traces[0].args
        known = (start[:, None] == before[None]).all(2).any(1)
        changed = (model.chains != before).any(1).sum()
        ends = traces[0].result.x
        stored = (ends[:, None] == model.chains[None]).all(2).any(1)
        wrong = int((~stored).sum()) + abs(int(changed) - n) + abs(length - self.node["k"])
        share = 1 - float(known.double().mean())  # those that began at noise
        return float(wrong) if share <= self.node["fresh"] + 0.5 else float("inf")


class Downwards(Certificate):
    """Chains without noise go down the energy: the drift has the right sign."""

    of = (EBM,)
    property = "from noise, chains of the sampler end at lower energies of a steep model"
    source = "Du & Mordatch, 2019, eq. 1"
    bound = 0.0

    def measure(self) -> float:
        model = self.subject.model(stirred=0.1)
        with recorded(model, "energy"):
            x = model.noise(16, "cpu").double()
            with torch.no_grad():
                before = model.energy(x).mean()
                after = model.energy(model.run_chain(x, int(self.node["k"]))).mean()
        return max(0.0, float(after - before))
