"""Acceptance, effective sample size and R-hat of an EBM's chains, against formulas by hand; log Z
in the plane against a closed form.
"""

from __future__ import annotations

import logging
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gentrain.data.gaussians import GaussianRing
from gentrain.data.plane import TwoMoons
from gentrain.errors import UserError
from gentrain.models.base import HasTrace
from gentrain.models.energy.boltzmann import Boltzmann
from gentrain.models.energy.ebm import EBM
from gentrain.models.energy.hopfield import Hopfield
from gentrain.models.energy.rbm import RBM
from gentrain.models.energy.visible import BinaryUnits
from gentrain.quality.chains import ChainMixing
from gentrain.quality.plane import PlaneLikelihood, on_grid
from gentrain.samplers.diagnostics import mixing
from gentrain.samplers.hamiltonian import HMC
from gentrain.samplers.kernel import Kernel
from gentrain.samplers.langevin import MALA, Langevin
from gentrain.samplers.metropolis import RandomWalk

CPU = torch.device("cpu")


class Bowl(nn.Module):
    """E(x) = |x|^2 / (2 sd^2) + shift: a Gaussian, with log Z = log(2 pi sd^2) - shift."""

    def __init__(self, sd: float = 0.3, shift: float = 2.0) -> None:
        super().__init__()
        self.sd, self.shift = sd, nn.Parameter(torch.tensor(shift))

    def forward(self, x: Tensor) -> Tensor:
        return x.square().flatten(1).sum(1) / (2 * self.sd**2) + self.shift


def ebm(sampler: Kernel, sd: float = 0.3, **options: Any) -> EBM:
    return EBM(Bowl(sd), sampler, [2], **({"k": 40, "buffer": 50} | options))


def by_hand(x: np.ndarray) -> tuple[float, float]:
    """Split R-hat and Geyer's effective sample size of (T, C), by loops over lags."""
    half = len(x) // 2
    x = np.concatenate([x[:half], x[-half:]], 1).astype(np.float64)
    t, c = x.shape
    within = x.var(0, ddof=1).mean()
    whole = (t - 1) / t * within + x.mean(0).var(ddof=1)
    off = x - x.mean(0)
    covariance = [np.mean([(off[: t - lag, j] * off[lag:, j]).sum() / t for j in range(c)])
                  for lag in range(t)]  # fmt: skip
    rho = [1.0] + [1 - (within * (t - 1) / t - each) / whole for each in covariance[1:]]
    total, least = 0.0, math.inf
    for k in range(0, t - 1, 2):
        pair = rho[k] + rho[k + 1]
        if pair <= 0:
            break
        least = min(least, pair)
        total += least
    return math.sqrt(whole / within), t * c / max(2 * total - 1, 1 / math.log10(t * c))


@pytest.mark.parametrize(
    "sampler", [MALA(0.02), HMC(0.1, 3), RandomWalk(0.3)], ids=lambda s: type(s).__name__
)
def test_an_ebm_logs_how_its_negative_chains_move(sampler: Kernel) -> None:
    model = ebm(sampler)
    torch.manual_seed(1)
    objective = model.objective((torch.rand(16, 2) * 2 - 1,))
    assert set(objective.metrics) > {"acceptance", "ess", "r_hat"}
    start = model.chains.clone()
    torch.manual_seed(2)
    seen = model.trace(start, 40)
    torch.manual_seed(2)
    x, energies, moved = start, [], []
    for _ in range(40):  # one transition at a time
        new = model.run_chain(x, 1)
        moved.append((new != x).any(1))
        x = new
        energies.append(model.energy(x).detach())
    torch.testing.assert_close(seen.energies, torch.stack(energies))
    assert seen.accepted is not None and torch.equal(seen.accepted, torch.stack(moved))
    found = mixing(seen.energies, seen.accepted)
    r_hat, ess = by_hand(seen.energies.numpy())
    assert found["acceptance"].item() == pytest.approx(torch.stack(moved).double().mean().item())
    assert found["r_hat"].item() == pytest.approx(r_hat, rel=1e-6)
    assert found["ess"].item() == pytest.approx(ess, rel=1e-6)


def test_a_kernel_that_never_rejects_has_no_acceptance_and_few_steps_no_diagnostics() -> None:
    batch = (torch.rand(16, 2) * 2 - 1,)
    assert "acceptance" not in ebm(Langevin(1e-3)).objective(batch).metrics
    assert "ess" in ebm(Langevin(1e-3)).objective(batch).metrics
    assert "ess" not in ebm(Langevin(1e-3), k=3).objective(batch).metrics


def test_the_scores_of_chains() -> None:
    """Independent draws have R-hat 1 and as many effective draws as draws; chains that hardly move
    have neither. An associative memory converges to no distribution.
    """
    data = TwoMoons(name="two_moons", shape=(2,), n=100)
    metric = ChainMixing(chains=30, transitions=60)
    for model, good in ((ebm(HMC(0.16, 3), fresh=1.0), True), (ebm(RandomWalk(1e-3)), False)):
        metric.check(data, model)
        if good:
            model.chains.copy_(torch.randn(50, 2) * 0.3)
        scores = metric.compute(data, model, CPU)
        assert scores["acceptance"] > 0.7
        assert (scores["r_hat"] < 1.05) == good and (scores["ess"] > 600) == good
        assert metric.compute(data, model, CPU) == scores
    with pytest.raises(UserError, match=r"\(quality=chains\)"):
        metric.check(data, Hopfield([1, 3, 3]))
    for machine in (RBM(BinaryUnits(), [1, 3, 3], 4), Boltzmann([1, 3, 3], hidden=4)):
        assert isinstance(machine, HasTrace)
        assert set(metric.compute(data, machine, CPU)) == {"ess", "r_hat"}


def test_log_z_in_the_plane_is_the_closed_form(caplog: pytest.LogCaptureFixture) -> None:
    model, exact = ebm(RandomWalk(0.3)), math.log(2 * math.pi * 0.3**2) - 2
    data = TwoMoons(name="two_moons", shape=(2,), n=500)
    metric = PlaneLikelihood(box=2.0, side=128)
    metric.check(data, model)
    scores = metric.compute(data, model, CPU)
    assert scores["log_z"] == pytest.approx(exact, abs=1e-5) and scores["log_z_border"] < 1e-6
    points = data.load("test").images
    normal = torch.distributions.Normal(0.0, 0.3)
    assert scores["nats"] == pytest.approx(-normal.log_prob(points).sum(1).mean().item(), abs=1e-4)
    about = metric.protocol(data, model)
    assert about["box"] == [-2, 2] and about["side"] == 128 and "[-2, 2]^2" in about["likelihood"]
    # half the box cuts much of a wide bowl off: no number is given
    caplog.set_level(logging.WARNING, "gentrain")
    scores = PlaneLikelihood(box=1.0).compute(data, ebm(RandomWalk(0.3), sd=0.9), CPU)
    assert set(scores) == {"log_z_border"} and scores["log_z_border"] > 1e-3
    assert "at the border of the box" in caplog.text
    # chains that are held in a box have their density there
    held = ebm(Langevin(1e-3, bounds=[-0.3, 0.3]))
    inside = math.log(math.erf(1 / math.sqrt(2)))
    assert metric.compute(data, held, CPU)["log_z"] == pytest.approx(exact + 2 * inside, abs=1e-4)
    assert metric.protocol(data, held)["box"] == [-0.3, 0.3]
    with pytest.raises(UserError, match=r"of two numbers.*\(quality=plane\)"):
        metric.check(data, EBM(Bowl(), RandomWalk(0.3), [1, 2, 2]))


def test_the_mass_at_the_border_is_that_of_the_outermost_squares() -> None:
    grid = on_grid(ebm(RandomWalk(0.3), sd=1e6), CPU, 10)
    assert grid.border == pytest.approx(36 / 100) and grid.cell == pytest.approx(0.04)


def test_the_weights_of_modes_are_those_of_the_density() -> None:
    """Modes of 2, 1 and 1/2 of their true weight, the last with half of its mass elsewhere."""
    data = GaussianRing(
        name="gaussian_ring", shape=(2,), classes=4, radius=2.0, std=0.1, n=100, draw_seed=0
    )
    modes, sd = data.modes(), data.sd
    centres = torch.cat([modes, modes[3:] / 2])
    shares = torch.tensor([2.0, 1.0, 0.5, 0.25, 0.25])

    class Mixture(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            off = torch.cdist(x, centres).square() / (2 * sd**2)
            return -torch.logsumexp(shares.log() - off, 1)

    model = EBM(Mixture(), RandomWalk(0.3), [2], k=40, buffer=50)
    metric = PlaneLikelihood(box=1.5, side=400)
    metric.check(data, model)
    scores = metric.compute(data, model, CPU)
    assert scores["most_weight"] == pytest.approx(2.0, abs=1e-3)
    assert scores["least_weight"] == pytest.approx(0.5, abs=1e-3)
    inside = 1 - math.exp(-(3**2) / 2)  # of a normal in the plane, within 3 sd
    assert scores["near_modes"] == pytest.approx(inside * 3.75 / 4, abs=3e-3)
