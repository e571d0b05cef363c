"""Energies against enumeration: constants, gradients, minima; what is drawn follows them."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from gentrain.commands.sample import energy_modes
from gentrain.config.build import build
from gentrain.errors import UserError
from gentrain.models.base import Trace
from gentrain.models.energy import rbm as rbm_module
from gentrain.models.energy.base import Clamped, EnergyModel
from gentrain.models.energy.boltzmann import Boltzmann
from gentrain.models.energy.ebm import EBM
from gentrain.models.energy.hopfield import Hopfield
from gentrain.models.energy.rbm import RBM
from gentrain.models.energy.visible import BinaryUnits, GaussianUnits, Visible
from gentrain.networks.energy import MLP, Conv
from gentrain.quality.ais import Annealed
from gentrain.samplers import gibbs, kernel, langevin, metropolis, tempering
from gentrain.training.callbacks.checkpoint import Checkpoint
from gentrain.training.callbacks.rng import RNG
from gentrain.training.datamodule import DataModule
from gentrain.training.single_objective import SingleObjective
from tests.support import compose
from tests.support.tensors import assert_equal
from tests.support.toy import Noise, trainer

D = torch.float64


def every(n: int) -> Tensor:
    """All 2^n settings of n bits."""
    return torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=D)] * n).view(-1, n)


def stirred(model: Any, sd: float = 0.5) -> Any:
    """Double precision, and no weight zero."""
    for p in model.to(D).parameters():
        nn.init.normal_(p, 0, sd)
    return model


def rbm(
    visible: Visible | None = None, side: int = 3, hidden: int = 4, sd: float = 0.5, **options: Any
) -> RBM:
    return stirred(RBM(visible or BinaryUnits(), [1, side, side], hidden, **options), sd)


def joint(model: RBM, v: Tensor, h: Tensor) -> Tensor:
    """-E(v, h) of each pair, (V, H), from the formula."""
    s = model.visible.scale
    return -model.visible.energy(v, model.b)[:, None] + h @ model.c + (v / s) @ model.W @ h.T


def assert_within(value: Tensor, error: Tensor, expected: Tensor, errors: float = 4.5) -> None:
    assert ((value - expected).abs() <= errors * error + 1e-9).all(), (
        ((value - expected) / error).abs().max()
    )


# --- restricted Boltzmann machine -----------------------------------------------------------------


def test_the_free_energy_sums_over_the_hidden_units() -> None:
    model, v = rbm(), every(9)
    torch.testing.assert_close(-model.energy(v), torch.logsumexp(joint(model, v, every(4)), 1))
    model, v = rbm(GaussianUnits(0.7)), torch.randn(20, 9, dtype=D)
    torch.testing.assert_close(-model.energy(v), torch.logsumexp(joint(model, v, every(4)), 1))


def test_the_constant() -> None:
    """Over hidden units as over both sides; with Gaussian units, an integral on a grid."""
    model = rbm()
    torch.testing.assert_close(
        model.exact_log_partition(), torch.logsumexp(joint(model, every(9), every(4)).flatten(), 0)
    )
    assert model.log_partition(10, 10).error == 0
    model = stirred(RBM(GaussianUnits(0.4), [2], 3))
    line = torch.linspace(-6, 6, 601, dtype=D)
    integral = torch.logsumexp(-model.energy(torch.cartesian_prod(line, line)), 0) + 2 * math.log(
        line[1] - line[0]
    )
    torch.testing.assert_close(model.exact_log_partition(), integral, atol=1e-6, rtol=0)


@pytest.mark.parametrize("visible", [BinaryUnits(), GaussianUnits(0.5)], ids=["binary", "gaussian"])
def test_annealing_finds_the_constant(visible: Visible, monkeypatch: pytest.MonkeyPatch) -> None:
    """15 hidden units, weights of a size as after training: within 0.1 nat and within its own error
    bar.
    """
    model = stirred(RBM(visible, [1, 8, 8], 15), 0.3)
    model.base.normal_(0, 0.3)
    value, error = model.annealed_log_partition(200, torch.linspace(0, 1, 501).tolist())
    assert error < 0.05
    assert abs(value - model.exact_log_partition()) < min(0.1, 4 * error)
    monkeypatch.setattr(rbm_module, "ENUMERABLE", 0)  # as for a larger one
    value, error = model.log_partition(200, 500)
    assert 0 < error < 0.06 and abs(value - model.exact_log_partition()) < min(0.1, 4 * error)


def gradients(model: EnergyModel, loss: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(loss, [p for p in model.parameters() if p.requires_grad]))


@pytest.mark.parametrize(
    "visible", [BinaryUnits(threshold=True), GaussianUnits(0.7)], ids=["binary", "gaussian"]
)
def test_the_gradient_is_data_less_model_by_hand(
    visible: Visible, monkeypatch: pytest.MonkeyPatch
) -> None:
    """<v h>_model - <v h>_data with probabilities for h, for samples that are given."""
    model = rbm(visible, persistent=False)
    x, samples = torch.rand(6, 1, 3, 3, dtype=D) * 2 - 1, every(9)[torch.randint(512, (6,))]
    monkeypatch.setattr(model, "run_chain", lambda *_: samples)
    torch.manual_seed(0)
    W, b, c = gradients(model, model.objective((x,)).losses["contrast"])
    torch.manual_seed(0)  # of dequantisation
    v, s = model.values(x), visible.scale
    on_data, on_samples = (torch.sigmoid(model.c + (y / s) @ model.W) for y in (v, samples))
    torch.testing.assert_close(W, (samples.T @ on_samples - v.T @ on_data) / 6 / s)
    torch.testing.assert_close(c, (on_samples - on_data).mean(0))
    torch.testing.assert_close(b, (samples - v).mean(0) / s**2)


def test_the_gradient_with_the_models_own_distribution_is_that_of_the_likelihood(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Against autograd through log Z by enumeration: exact samples, weighted; then CD-k, which
    comes near as k grows.
    """
    model = rbm(BinaryUnits(threshold=True), persistent=False, sd=0.6)
    x = torch.rand(40, 1, 3, 3, dtype=D) * 2 - 1
    exact = gradients(model, model.energy(model.values(x)).mean() + model.exact_log_partition())
    v = every(9)
    p = (-model.energy(v)).softmax(0).detach()
    weighted = gradients(model, model.energy(model.values(x)).mean() - (p * model.energy(v)).sum())
    for one, other in zip(exact, weighted, strict=True):
        torch.testing.assert_close(one, other)

    def off(k: int) -> float:
        many = x.repeat(100, 1, 1, 1)
        model.k = k
        found = gradients(model, model.objective((many,)).losses["contrast"])
        return math.sqrt(
            sum(float((a - b).square().sum()) for a, b in zip(found, exact, strict=True))
        )

    errors = [off(k) for k in (1, 5, 25)]
    assert errors[0] > 3 * errors[1] > 3 * errors[2] and errors[2] < 0.1


def test_chains_follow_the_model_and_what_is_held_is_held() -> None:
    """Means of the visible units, free and given four of them, against enumeration."""
    model, v = rbm(), every(9)
    p = (-model.energy(v)).softmax(0)
    end = model.run_chain(torch.ones(8000, 9, dtype=D), 40)
    assert_within(end.mean(0), end.std(0) / math.sqrt(8000), p @ v)
    known = torch.tensor([1, 1, 1, 1, 0, 0, 0, 0, 0]).bool()
    values = torch.tensor([1, 0, 0, 1, 0, 0, 0, 0, 0], dtype=D)
    agree = (v[:, known] == values[known]).all(1)
    given = p * agree / (p * agree).sum()
    end = model.run_chain(
        values.expand(8000, -1), 40, model.clamp(values.expand(8000, -1), known.expand(8000, -1))
    )
    assert (end[:, known] == values[known]).all()
    assert_within(end.mean(0), end.std(0) / math.sqrt(8000), given @ v)


def test_gaussian_chains_have_the_models_moments() -> None:
    model, h = rbm(GaussianUnits(0.5), sd=0.4), every(4)
    weight = (h @ model.c + model.visible.log_partition(model.b, h @ model.W.T)).softmax(0)
    mean = model.b + 0.5 * h @ model.W.T
    end = model.run_chain(torch.zeros(8000, 9, dtype=D), 40)
    assert_within(end.mean(0), end.std(0) / math.sqrt(8000), weight @ mean)
    squares = end.square()
    assert_within(
        squares.mean(0), squares.std(0) / math.sqrt(8000), weight @ (mean.square() + 0.25)
    )


def test_the_block_step_is_the_room_of_samplers_gibbs() -> None:
    """The chain's law on (v) is that of samplers.Gibbs on the free energy: both have the model's
    means.
    """
    model = rbm(side=2)
    chains = kernel.run(
        gibbs.Gibbs(torch.tensor([0.0, 1.0])),
        lambda v: -model.energy(v),
        torch.zeros(4000, 4, dtype=D),
        1,
        20,
    )
    end, p = chains.draws[-1].detach(), (-model.energy(every(4))).softmax(0)
    assert_within(end.mean(0), end.std(0) / math.sqrt(4000), p @ every(4))


def test_visible_biases_start_at_the_datas_log_odds() -> None:
    for make in (
        lambda: RBM(BinaryUnits(threshold=True), [1, 4, 4], 3),
        lambda: Boltzmann([1, 4, 4], threshold=True, hidden=3),
    ):
        model = make()
        x = torch.rand(200, 1, 4, 4) * 2 - 1
        model.init_from_data((x,))
        expected = ((x > 0).float().flatten(1).sum(0) + 1) / 202
        torch.testing.assert_close(torch.sigmoid(model.b[:16]), expected)
        torch.testing.assert_close(torch.sigmoid(model.base), expected)


def test_the_pseudo_likelihood(monkeypatch: pytest.MonkeyPatch) -> None:
    """sum_i log p(v_i | the others): from the table of p(v) of all 512 images."""
    model, v = rbm(BinaryUnits(threshold=True)), every(9)
    p = (-model.energy(v)).softmax(0).view(*[2] * 9)
    places = v.long()
    expected = torch.zeros(512, dtype=D)
    for i in range(9):
        given = p / p.sum(i, keepdim=True)
        expected += given[tuple(places.T)].log()
    torch.testing.assert_close(model.pseudo_log_likelihood(v), expected)
    monkeypatch.setattr(rbm_module, "AT_A_TIME", 1)  # one image at a time
    torch.testing.assert_close(model.pseudo_log_likelihood(v), expected)


def test_the_quality_of_a_model_that_is_known() -> None:
    """quality=ais gives what enumeration gives; pseudo-nats and protocol beside it."""
    model = rbm(BinaryUnits(threshold=True), hidden=5).float()
    data = Noise(name="noise", shape=(1, 3, 3), classes=4, batch_size=8)
    metric, device = Annealed(images=None), torch.device("cpu")
    metric.check(data, model)
    metric.prepare(data, model, device)
    scores = metric.compute(data, model, device)
    protocol = metric.protocol(data, model)
    v = (data.load("test").images.flatten(1) > 127).double()
    assert scores["nats"] == pytest.approx(
        (model.double().energy(v).mean() + model.exact_log_partition()).item(), abs=1e-4
    )
    pseudo = -model.pseudo_log_likelihood(v)
    assert scores["log_z_error"] == 0 and scores["nats_error"] == scores["nats_images_error"]
    assert scores["pseudo_nats"] == pytest.approx(pseudo.mean().item(), abs=1e-4)
    assert scores["pseudo_nats_error"] == pytest.approx(pseudo.std().item() / 96**0.5, abs=1e-4)
    assert "exact" in protocol["likelihood"] and protocol["images"] == 96
    grey = rbm(GaussianUnits(), hidden=5).float()
    assert "pseudo_nats" not in metric.compute(data, grey, device)
    with pytest.raises(UserError, match="quality=ais"):
        metric.check(data, Hopfield([1, 3, 3]))


def test_the_error_of_the_nats_is_of_the_images_and_of_the_constant(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Chains change neither the binarised pixels nor the pseudo-nats."""
    monkeypatch.setattr(rbm_module, "ENUMERABLE", 0)
    model = rbm(hidden=5).float()
    data = Noise(name="noise", shape=(1, 3, 3), classes=4, batch_size=8)

    def scored(**options: int) -> dict[str, float]:
        return Annealed(images=None, **options).compute(data, model, torch.device("cpu"))

    few, many = scored(chains=4, temperatures=3), scored(chains=9, temperatures=5)
    for scores in (few, many):
        parts = scores["nats_images_error"], scores["log_z_error"]
        assert min(parts) > 0 and scores["nats_error"] == pytest.approx(math.hypot(*parts))
    assert few["log_z"] != many["log_z"]
    assert few["nats"] - few["log_z"] == pytest.approx(many["nats"] - many["log_z"], abs=1e-9)
    assert few["pseudo_nats"] == many["pseudo_nats"]


# --- Boltzmann machine ----------------------------------------------------------------------------


def boltzmann(**options: Any) -> Boltzmann:
    return stirred(Boltzmann([1, 2, 3], threshold=True, hidden=4, **options), 0.5)


def test_a_boltzmann_machines_gibbs_sampling() -> None:
    """Ten units: pairs of all against enumeration, and of the hidden ones given an image."""
    model, s = boltzmann(), every(10)
    p = (-model.energy(s)).softmax(0).detach()
    end = model.run_chain(torch.zeros(6000, 10, dtype=D), 25)
    pairs = end[:, :, None] * end[:, None]
    assert_within(
        pairs.mean(0), pairs.std(0) / math.sqrt(6000), torch.einsum("n,ni,nj->ij", p, s, s)
    )
    v = torch.tensor([1, 0, 1, 1, 0, 0], dtype=D)
    agree = (s[:, :6] == v).all(1)
    given = p * agree / (p * agree).sum()
    model.clamped = 10
    end = model.with_hidden(v.expand(6000, -1))
    assert (end[:, :6] == v).all()
    assert_within(end.mean(0), end.std(0) / math.sqrt(6000), given @ s)
    known = torch.tensor([1, 1, 1, 0, 0, 0]).bool()
    agree = (s[:, :6][:, known] == v[known]).all(1)
    given = p * agree / (p * agree).sum()
    held = model.clamp(v.expand(6000, -1), known.expand(6000, -1))
    end = model.run_chain(held.apply(torch.zeros(6000, 10, dtype=D)), 25, held)
    assert_within(end.mean(0), end.std(0) / math.sqrt(6000), given @ s)


def test_a_boltzmann_machines_gradient_against_enumeration() -> None:
    """Of -log p(v) = -log sum_h e^-E + log Z, by autograd; the objective's, from 6,000 chains,
    within its standard errors.
    """
    model = boltzmann(n_chains=6000, k=25, clamped=10)
    x = (every(6)[[3, 17, 42, 60]] * 2 - 1).view(4, 1, 2, 3)
    s = every(10)
    log_p = -model.energy(s)
    of_images = torch.stack(
        [torch.logsumexp(log_p[(s[:, :6] == v).all(1)], 0) for v in model.values(x)]
    )
    exact_W, exact_b = gradients(model, torch.logsumexp(log_p, 0) - of_images.mean())
    found_W, found_b = gradients(
        model, model.objective((x.repeat(1500, 1, 1, 1),)).losses["contrast"]
    )
    # of a mean of zeros and ones, on both sides at most
    error = torch.tensor(math.sqrt(0.25 * 2 / 6000), dtype=D)
    assert_within(found_W, error, exact_W)
    assert_within(found_b, error, exact_b)
    assert not found_W.tril().any() and exact_W.abs().max() > 20 * error


# --- Hopfield network -----------------------------------------------------------------------------


def memories(n: int, side: int = 10, **options: Any) -> Hopfield:
    """Random patterns, stored by one step of SGD."""
    model = Hopfield([1, side, side], n, **options)
    batch = (torch.rand(n, 1, side, side) * 2 - 1,)
    model.init_from_data(batch)
    step = torch.optim.SGD(model.parameters(), lr=1.0)
    model.objective(batch).loss.backward()
    step.step()
    return model


def test_a_step_is_hebbs_rule() -> None:
    model = memories(7)
    x = model.memories
    torch.testing.assert_close(model.W.detach(), (x.T @ x / 7).fill_diagonal_(0))
    torch.testing.assert_close(model.energy(x), -0.5 * torch.einsum("ni,ij,nj->n", x, model.W, x))


def test_the_energy_never_rises_unit_by_unit_and_all_at_once_may_cycle() -> None:
    model = memories(12)  # as many as are hard
    x, levels = model.noise(40, "cpu"), []
    for i in torch.randperm(100).tolist():  # one unit alone is not held
        levels.append(model.energy(x))
        x = model.run_chain(x, 1, Clamped((torch.arange(100) != i).expand(40, -1), x))
    assert (torch.stack(levels).diff(dim=0) <= 1e-4).all() and levels[0].mean() - levels[
        -1
    ].mean() > 1
    x = model.noise(40, "cpu")
    levels = [model.energy(x)]
    for _ in range(8):
        x = model.run_chain(x, 1)
        levels.append(model.energy(x))
    assert (torch.stack(levels).diff(dim=0) <= 1e-4).all() and levels[0].mean() - levels[
        -1
    ].mean() > 1
    assert torch.equal(
        model.run_chain(x, 50), model.run_chain(model.run_chain(x, 50), 50)
    )  # at rest
    pair = Hopfield([1, 1, 2], order="synchronous")
    with torch.no_grad():
        pair.weight.copy_(torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
    # there and back for ever
    assert torch.equal(pair.run_chain(torch.tensor([[1.0, -1.0]]), 3), torch.tensor([[-1.0, 1.0]]))
    pair.order = "asynchronous"
    assert pair.run_chain(torch.tensor([[1.0, -1.0]]), 3).prod() == 1


def test_recall_below_and_above_the_capacity() -> None:
    """N = 400: at 0.05 N patterns are exact minima that a tenth of wrong units leads to; at 0.25 N,
    above 0.138 N, they are lost.
    """

    def wrong(load: float, flips: float) -> float:
        model = memories(round(load * 400), side=20)
        x = torch.where(torch.rand_like(model.memories) < flips, -model.memories, model.memories)
        return (model.run_chain(x, 20) != model.memories).float().mean().item()

    assert wrong(0.05, 0.0) == 0 and wrong(0.05, 0.1) < 0.002
    assert wrong(0.25, 0.0) > 0.15


def test_half_an_image_is_completed() -> None:
    model = memories(5, side=12)
    x = model.images(model.memories)
    known = torch.zeros(1, 1, 12, 12, dtype=torch.bool)
    known[..., :6] = True
    grey = x * 0.9  # known pixels come back as they were, not as signs
    done = model.complete((grey,), known)
    assert torch.equal(done[..., :6], grey[..., :6])
    assert torch.equal(done[..., 6:], x[..., 6:])


def test_unlearning_stores_what_looks_alike() -> None:
    """Patterns of which three in four pixels agree: Hebb's rule loses them, sixty steps of
    unlearning do not.
    """
    torch.manual_seed(1)
    x = torch.where(
        torch.rand(10, 1, 10, 10) < 0.25,
        torch.rand(10, 1, 10, 10) * 2 - 1,
        torch.rand(1, 1, 10, 10) * 2 - 1,
    )
    lost = {}
    for unlearning, steps in ((0.0, 1), (0.1, 60)):
        model = Hopfield([1, 10, 10], 10, unlearning)
        model.init_from_data((x,))
        sgd = torch.optim.SGD(model.parameters(), lr=1.0)
        for _ in range(steps):
            sgd.zero_grad()
            model.objective((x,)).loss.backward()
            sgd.step()
        lost[unlearning] = (
            (model.run_chain(model.memories, 20) != model.memories).float().mean().item()
        )
    assert lost[0.0] > 0.03 and lost[0.1] == 0


def test_no_more_memories_than_images() -> None:
    with pytest.raises(UserError, match="give at most as many"):
        Hopfield([1, 2, 2], memories=5).init_from_data((torch.zeros(4, 1, 2, 2),))


# --- a deep energy --------------------------------------------------------------------------------


def ebm(sampler: kernel.Kernel | None = None, shape: tuple[int, ...] = (2,), **options: Any) -> EBM:
    settings = {"k": 5, "buffer": 64, "alpha": 0.0} | options
    return EBM(
        MLP(list(shape), width=16, depth=2),
        sampler or langevin.Langevin(1e-3, bounds=[-1, 1]),
        list(shape),
        **settings,
    )


def test_an_energys_gradient_against_the_integral(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of -log p on the box [-1, 1]^2, Z on a grid: the objective's, with samples drawn exactly,
    within their standard errors.
    """
    model = stirred(ebm(), 0.7)
    line = torch.linspace(-1, 1, 81, dtype=D)
    grid = torch.cartesian_prod(line, line)
    x = torch.rand(30, 2, dtype=D) * 2 - 1
    exact = gradients(model, model.energy(x).mean() + torch.logsumexp(-model.energy(grid), 0))
    p = (-model.energy(grid)).softmax(0).detach()
    drawn = [grid[torch.multinomial(p, 3000, replacement=True)] for _ in range(12)]
    found = []
    for samples in drawn:
        trace = Trace(samples, torch.randn(4, 2), None)
        monkeypatch.setattr(model, "negatives", lambda n, trace=trace: trace)
        found.append(
            torch.cat(
                [g.flatten() for g in gradients(model, model.objective((x.repeat(100, 1),)).loss)]
            )
        )
    spread = torch.stack(found)
    # t with 11 freedoms
    assert_within(
        spread.mean(0),
        spread.std(0) / math.sqrt(12),
        torch.cat([g.flatten() for g in exact]),
        errors=8,
    )
    assert (
        torch.cat([g.flatten() for g in exact]).norm() > 20 * (spread.std(0) / math.sqrt(12)).norm()
    )


@pytest.mark.parametrize(
    "sampler",
    [
        langevin.Langevin(2e-3, bounds=[-1, 1]),
        langevin.MALA(0.02),
        metropolis.RandomWalk(0.3),
        tempering.ParallelTempering(metropolis.RandomWalk(0.3), [1.0, 0.5, 0.25], moves=2),
    ],
)
def test_any_sampler_draws_a_deep_energy(sampler: kernel.Kernel) -> None:
    """exp(-E), E a quadratic in the box: means and what is held."""

    class Bowl(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return ((x - 0.1) / 0.2).square().sum(1) / 2

    model = EBM(Bowl(), sampler, [2], k=5, buffer=10)
    end = model.run_chain(model.noise(3000, "cpu"), 300)[:, :2]
    assert_within(end.mean(0), end.std(0) / math.sqrt(3000), torch.tensor([0.1, 0.1]))
    torch.testing.assert_close(end.std(0), torch.tensor([0.2, 0.2]), atol=0.015, rtol=0)
    values, known = (
        torch.tensor([[0.6, 0.0]]).expand(3000, 2),
        torch.tensor([[True, False]]).expand(3000, 2),
    )
    end = model.run_chain(model.with_hidden(values), 300, model.clamp(values, known))
    assert (end[:, ::2] == 0.6).all()
    assert_within(end[:, 1].mean(), end[:, 1].std() / math.sqrt(3000), torch.tensor(0.1))


def test_replicas_stay_with_their_temperatures() -> None:
    """The buffer keeps those of each chain, so that hot ones need not warm up in each update."""

    class Bowl(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x / 0.1).square().sum(1) / 2

    sampler = tempering.ParallelTempering(metropolis.RandomWalk(0.3), [1.0, 0.25, 0.04], moves=2)
    model = EBM(Bowl(), sampler, [2], k=4, buffer=4000, fresh=0.0)
    for _ in range(20):
        model.negatives(4000)
    spread = model.chains.view(-1, 3, 2).std(0).mean(1)
    torch.testing.assert_close(spread, torch.tensor([0.1, 0.2, 0.5]), rtol=0.04, atol=0)


def test_the_density_on_a_grid_is_the_energys_by_the_integral() -> None:
    """E(x) = |x|^2 / (2 s^2) + 3 in the box: two normals cut off at 1, whatever is added; a machine
    with hidden units beside has none.
    """

    class Bowl(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.square().flatten(1).sum(1) / (2 * 0.5**2) + 3

    model = EBM(Bowl(), langevin.Langevin(1e-3), [2])
    p, cell, log_z = energy_modes.density_on_grid(model, torch.device("cpu"), 64)
    line = (torch.arange(64) + 0.5) / 32 - 1
    inside = 2 * torch.distributions.Normal(0.0, 1.0).cdf(torch.tensor(2.0)) - 1
    want = (-line.square() / 0.5).exp() / (0.5 * math.sqrt(2 * math.pi) * inside)
    torch.testing.assert_close(p, want[:, None] * want[None], rtol=2e-3, atol=1e-4)
    assert float(p.sum()) * cell == pytest.approx(1, abs=1e-5)
    assert log_z == pytest.approx(
        2 * math.log(0.5 * math.sqrt(2 * math.pi) * float(inside)) - 3, abs=1e-3
    )
    session = SimpleNamespace(
        points=True,
        data=SimpleNamespace(shape=(2,), name="two_moons", things="points"),
        model=Boltzmann([1, 2, 1], hidden=3),
        chosen=[],
    )
    with pytest.raises(UserError, match="mode=density draws a density"):
        energy_modes.Density().check(session)  # type: ignore[arg-type]


@pytest.mark.slow
def test_parts_that_lie_apart_get_their_weights() -> None:
    """Two spots of 80 and 20 % of the points: wide proposals pass between them, so the energy
    learns what each weighs (on a grid), and comes near their entropy; all mass is in the box,
    though nothing holds the chains there.
    """
    torch.manual_seed(0)
    sd, share = 0.12, 0.8
    model = EBM(
        MLP([2], width=64, depth=2, scale=8.0),
        metropolis.RandomWalk(0.5),
        [2],
        k=10,
        buffer=500,
        alpha=0.0,
    )
    optimizer = torch.optim.Adam(model.parameters(), 3e-3, (0.0, 0.999))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 500)
    for _ in range(500):
        place = torch.where(torch.rand(128, 1) < share, -0.4, 0.4) * torch.tensor([1.0, 0.0])
        optimizer.zero_grad()
        model.objective((place + sd * torch.randn(128, 2),)).loss.backward()
        optimizer.step(), schedule.step()
    p, cell, log_z = energy_modes.density_on_grid(model, torch.device("cpu"))
    assert float(p[: len(p) // 2].sum()) * cell == pytest.approx(share, abs=0.08)
    sure = (
        -(share * math.log(share) + (1 - share) * math.log(1 - share))
        + 1
        + math.log(2 * math.pi * sd**2)
    )
    x = torch.where(torch.rand(2000, 1) < share, -0.4, 0.4) * torch.tensor(
        [1.0, 0.0]
    ) + sd * torch.randn(2000, 2)
    with torch.no_grad():
        assert float(model.energy(x).mean()) + log_z == pytest.approx(sure, abs=0.3)
        line = torch.linspace(-4, 4, 401)
        everywhere = (-model.energy(torch.cartesian_prod(line, line)).double()).logsumexp(
            0
        ) + 2 * math.log(0.02)
    assert everywhere.item() == pytest.approx(log_z, abs=0.05)


def test_the_scale_of_the_first_layer() -> None:
    torch.manual_seed(0)
    plain = MLP([2], width=4)
    torch.manual_seed(0)
    scaled = MLP([2], width=4, scale=8.0)
    x = torch.rand(5, 2)
    torch.testing.assert_close(scaled.body[1](x), 8 * plain.body[1](x))
    torch.testing.assert_close(scaled.body[3].weight, plain.body[3].weight)


def test_the_buffer_is_where_negatives_come_from_and_go_to() -> None:
    model = ebm(langevin.Langevin(1e-9, 0.0), fresh=0.0)
    before = model.chains.clone()
    samples = model.negatives(16).x
    # a transition that hardly moves
    torch.testing.assert_close(model.chains, before, atol=1e-6, rtol=0)
    assert all((before - s).abs().sum(1).min() < 1e-6 for s in samples)
    model.fresh = 1.0
    renewed = model.negatives(16).x
    assert ((model.chains - before).abs().sum(1) > 1e-4).sum() == 16
    assert all((model.chains == s).all(1).any() for s in renewed)
    assert model.negatives(100).x.shape == (100, 2)  # more than it holds
    assert all(p.requires_grad for p in model.parameters())


def test_the_regularizer_and_a_network_that_couples_samples() -> None:
    model = ebm(alpha=0.5, k=1)
    found = model.objective((torch.rand(8, 2),))
    assert set(found.losses) == {"contrast", "regularizer"} and found.losses["regularizer"] > 0
    with pytest.raises(UserError, match="couples the samples"):
        EBM(nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4)), langevin.Langevin(0.1), [2])


def spectral_network() -> Conv:
    return Conv([1, 8, 8], width=4, spectral_norm=True, unit_pixels=True)


def test_the_presets_chains_are_the_authors_in_pixels_from_0_to_1() -> None:
    """Du & Mordatch's train.py: steps of 10, clipped at 0.01, noise of 0.005, in [0, 1]."""
    sampler = build(compose.composed("model=ebm")["model"]["sampler"], "model.sampler")
    model = EBM(spectral_network(), sampler, [1, 8, 8], buffer=8).to(D).eval()
    x = model.noise(3, "cpu").to(D)
    torch.manual_seed(1)
    ours = model.run_chain(x, 6)
    torch.manual_seed(1)
    p = (x + 1) / 2
    for _ in range(6):
        p = p.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(model.network.body(p.view(-1, 1, 8, 8)).sum(), p)
        p = p - 10 * gradient.clamp(-0.01, 0.01) + 0.005 * torch.randn_like(p)
        p = p.clamp(0, 1)
    assert (gradient.abs() > 0.01).any() and (gradient.abs() < 0.01).any()
    torch.testing.assert_close(ours, 2 * p.detach() - 1)


def test_spectral_norm_bounds_all_layers_but_the_last() -> None:
    network = spectral_network().train()
    for _ in range(100):
        network(torch.rand(2, 1, 8, 8))
    *layers, last = [m for m in network.body if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(layers) == 2
    for layer in layers:
        norm = torch.linalg.matrix_norm(layer.weight.flatten(1), 2)
        torch.testing.assert_close(norm, torch.ones(()), atol=1e-3, rtol=0)
    assert not parametrize.is_parametrized(last)


def test_a_chain_computes_normalised_weights_once() -> None:
    model = EBM(spectral_network(), langevin.Langevin(1e-3), [1, 8, 8], buffer=8)
    calls: list[int] = []
    first: Any = model.network.body[0]
    first.parametrizations.weight[0].register_forward_hook(lambda *_: calls.append(1))
    model.run_chain(model.noise(2, "cpu"), 5)
    assert len(calls) == 1
    model.objective((torch.rand(2, 1, 8, 8),)).loss.backward()
    assert len(calls) == 3  # the chain of the negatives, and the energies
    assert first.parametrizations.weight.original.grad.any()


# --- the contract of all energies, and their resume -----------------------------------------------


def energies() -> dict[str, EnergyModel]:
    shape = [1, 8, 8]
    return {
        "rbm": RBM(BinaryUnits(), shape, 12, n_chains=10, steps=5),
        "cd": RBM(BinaryUnits(), shape, 12, k=2, persistent=False, steps=5),
        "gaussian rbm": RBM(GaussianUnits(), shape, 12, n_chains=10, steps=5),
        "boltzmann": Boltzmann(shape, hidden=5, n_chains=10, steps=3),
        "hopfield": Hopfield(shape, memories=3),
        "unlearning": Hopfield(shape, memories=6, unlearning=0.1),
        "ebm": ebm(shape=(1, 8, 8)),
        "ebm mala": ebm(langevin.MALA(1e-3), shape=(1, 8, 8), alpha=0.1),
        "ebm tempering": ebm(
            tempering.ParallelTempering(metropolis.RandomWalk(0.1), [1.0, 0.5]), shape=(1, 8, 8)
        ),
    }


@pytest.mark.parametrize("name", energies())
def test_contract(name: str) -> None:
    model, batch = energies()[name], (torch.rand(6, 1, 8, 8) * 2 - 1, torch.arange(6))
    model.init_from_data((torch.rand(30, 1, 8, 8) * 2 - 1,))
    before = None if model.chains is None else model.chains.clone()
    model.objective(batch).loss.backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []
    if before is not None:
        assert "chains" in model.state_dict() and not torch.equal(model.chains, before)
    state = model.noise(6, "cpu")
    assert state.shape == (6, model.units) and model.energy(state).shape == (6,)
    assert model.run_chain(state, 2).shape == state.shape
    chains = None if model.chains is None else model.chains.clone()
    images = [
        model.sample(batch),
        model.sample(batch, state),
        model.denoise(batch[0], steps=2, draws=3),
    ]
    known = torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    known[:, :, :4] = True
    completed = model.complete(batch, known)
    for shown in (*images, completed):
        assert shown.shape == batch[0].shape and shown.abs().max() <= 1 and not shown.requires_grad
    assert torch.equal(completed[:, :, :4], batch[0][:, :, :4]) and not torch.equal(
        completed, batch[0]
    )
    # drawing leaves the chains of the training alone
    assert chains is None or torch.equal(model.chains, chains)
    assert model.training


def fit(
    directory: Any, model: EnergyModel, steps: int, resume: Any = None, seed: int = 0
) -> dict[str, Any]:
    L.seed_everything(seed, verbose=False)
    scheme = SingleObjective(
        model, {"model": lambda p: torch.optim.SGD(p, 0.01, momentum=0.9)}, log_every=1
    )
    data = Noise(name="noise", shape=(1, 8, 8), classes=4, batch_size=8)
    trainer(directory, steps, [RNG(), Checkpoint(2)]).fit(
        scheme, datamodule=DataModule(data), ckpt_path=resume
    )
    assert {"model/gradient_norm"} < scheme.latest.keys()
    return torch.load(directory / "checkpoints" / "last.ckpt", weights_only=True)


@pytest.mark.parametrize("name", energies())
def test_a_resumed_run_equals_the_uninterrupted(name: str, tmp_path: Any) -> None:
    torch.manual_seed(0)
    start = energies()[name].state_dict()

    def model() -> EnergyModel:
        made = energies()[name]
        made.load_state_dict(start)
        return made

    whole = fit(tmp_path / "whole", model(), 4)
    fit(tmp_path / "parts", model(), 2)
    parts = fit(
        tmp_path / "parts",
        energies()[name],
        4,
        resume=tmp_path / "parts" / "checkpoints" / "last.ckpt",
        seed=99,
    )
    for key in ("state_dict", "optimizer_states", "rng"):
        assert_equal(whole[key], parts[key])


def test_what_cannot_be_compiled_is_refused() -> None:
    with pytest.raises(UserError, match="compile=false"):
        SingleObjective(energies()["rbm"], {}, compile=True)


@pytest.mark.parametrize(
    "words",
    [
        ("model=rbm", "visible=gaussian"),
        ("model=boltzmann", "model.hidden=5"),
        ("model=hopfield", "model.unlearning=0.1"),
        ("model=ebm", "sampler=mala", "model.buffer=10"),
        ("model=ebm", "network=energy_mlp", "sampler=hmc", "data=gaussian_ring", "model.buffer=10"),
        ("model=ebm", "experiment=plane", "data=rings"),
        ("model=ebm", "experiment=tempering", "data=gaussian_ring"),
    ],
    ids=" ".join,
)
def test_presets_are_built(words: tuple[str, ...]) -> None:
    """As a command composes them: each gives an objective of the data's shape."""
    model = compose.build_model(*words)
    shape = (
        (2,)
        if {"data=gaussian_ring", "data=rings"} & set(words)
        else (1, 14, 14)
        if "model=boltzmann" in words
        else (1, 28, 28)
    )
    if "model=ebm" in words:
        model.k = 1
    model.init_from_data((torch.rand(5, *shape) * 2 - 1,))
    assert model.objective((torch.rand(3, *shape) * 2 - 1,)).loss.isfinite()


def test_a_mistake_in_a_choice_is_one_line() -> None:
    with pytest.raises(UserError, match=r"model\.sampler\.step"):
        compose.build_model("model=ebm", "model.sampler.step=-1")
    with pytest.raises(UserError, match=r"visible\.sd"):
        compose.build_model("model=rbm", "visible=gaussian", "model.visible.sd=0")
