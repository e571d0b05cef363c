"""Samplers against known targets: a mixture of Gaussians, an Ising model of nine spins by
enumeration, eight states by matrices.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from gentrain.errors import UserError
from gentrain.samplers import (
    diagnostics,
    gibbs,
    hamiltonian,
    importance,
    langevin,
    metropolis,
    tempering,
)
from gentrain.samplers.gibbs import Gibbs
from gentrain.samplers.kernel import Kernel, State, run, slope
from gentrain.samplers.metropolis import Flip, MetropolisHastings, Proposal
from gentrain.samplers.tempering import swap_log_ratio

D = torch.float64
MEANS, SHARES, SD = (
    torch.tensor([[-1.0, 0.5], [1.0, -0.5]], dtype=D),
    torch.tensor([0.3, 0.7], dtype=D),
    0.6,
)
TOLERANCE = 4.5  # standard errors

mixture = MixtureSameFamily(
    Categorical(SHARES), MultivariateNormal(MEANS, (SD**2 * torch.eye(2, dtype=D)).expand(2, 2, 2))
)
LOG_Z = 1.7


def two_bumps(x: Tensor) -> Tensor:
    """The mixture, times e^1.7: written out, so that it takes any leading size and nothing is
    validated.
    """
    parts = (
        -(x[:, None] - MEANS).square().sum(2) / (2 * SD**2)
        + SHARES.log()
        - math.log(2 * math.pi * SD**2)
    )
    return torch.logsumexp(parts, 1) + LOG_Z


MEAN = SHARES @ MEANS
COVARIANCE = SD**2 * torch.eye(2, dtype=D) + (
    SHARES[:, None, None] * (MEANS - MEAN)[:, :, None] * (MEANS - MEAN)[:, None]
).sum(0)
WIDE = MultivariateNormal(torch.zeros(2, dtype=D), 2 * torch.eye(2, dtype=D))

COUPLING, FIELD = 0.3, 0.15
SPINS = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=D)] * 9).view(-1, 3, 3)


def ising(x: Tensor) -> Tensor:
    bonds = (x[:, 1:] * x[:, :-1]).sum((1, 2)) + (x[:, :, 1:] * x[:, :, :-1]).sum((1, 2))
    return COUPLING * bonds + FIELD * x.sum((1, 2))


ISING_P = ising(SPINS).softmax(0)
ISING_LOG_Z = torch.logsumexp(ising(SPINS), 0)


def spins_of_a_colour(colour: int, x: Tensor) -> Tensor:
    """Half of the checkerboard given the other half: p(x_i = 1) = sigmoid(2 (J sum of neighbours +
    h)).
    """
    padded = torch.nn.functional.pad(x, (1, 1, 1, 1))
    field = padded[:, 2:, 1:-1] + padded[:, :-2, 1:-1] + padded[:, 1:-1, 2:] + padded[:, 1:-1, :-2]
    new = 2 * torch.bernoulli(torch.sigmoid(2 * (COUPLING * field + FIELD))) - 1
    mine = (torch.arange(3)[:, None] + torch.arange(3)) % 2 == colour
    return torch.where(mine, new, x)


LADDER = [1.0, 0.6, 0.3]
# a sampler, and steps after which its chains have forgotten where they started
CONTINUOUS: dict[str, tuple[Kernel, int]] = {
    "metropolis_hastings": (MetropolisHastings(metropolis.Independent(WIDE)), 40),
    "random_walk": (metropolis.RandomWalk(1.0), 120),
    "random_walk_of_all_lengths": (metropolis.RandomWalk(3.0, least=0.1), 250),
    "langevin": (langevin.Langevin(0.01), 700),
    "mala": (langevin.MALA(0.2), 100),
    "hmc": (hamiltonian.HMC(0.3, leaps=5), 40),
    "parallel_tempering": (tempering.ParallelTempering(metropolis.RandomWalk(1.0), LADDER), 60),
    "parallel_tempering_mala": (tempering.ParallelTempering(langevin.MALA(0.2), LADDER), 50),
    "parallel_tempering_moves": (
        tempering.ParallelTempering(metropolis.RandomWalk(1.0), LADDER, moves=4),
        15,
    ),
}
DISCRETE: dict[str, tuple[Kernel, int]] = {
    "gibbs": (Gibbs(torch.tensor([-1.0, 1.0])), 12),
    "gibbs_in_blocks": (Gibbs(torch.tensor([-1.0, 1.0]), [[0, 1, 2], [3, 4, 5], [6, 7, 8]]), 8),
    "block_gibbs": (
        gibbs.BlockGibbs([partial(spins_of_a_colour, 0), partial(spins_of_a_colour, 1)]),
        15,
    ),
    "metropolis_hastings": (MetropolisHastings(Flip(-1, 1)), 120),
    "parallel_tempering": (
        tempering.ParallelTempering(MetropolisHastings(Flip(-1, 1)), LADDER),
        80,
    ),
}
EVERY = [(True, name) for name in CONTINUOUS] + [(False, name) for name in DISCRETE]


def case(continuous: bool, name: str, chains: int) -> tuple[Kernel, int, Any, Tensor]:
    """A sampler, its steps, the target, and a start that is far from it."""
    kernel, steps = (CONTINUOUS if continuous else DISCRETE)[name]
    if continuous:
        return kernel, steps, two_bumps, 0.3 * torch.randn(chains, 2, dtype=D) - 0.5
    return kernel, steps, ising, -torch.ones(chains, 3, 3, dtype=D)


def assert_mean(values: Tensor, expected: Tensor, bias: float = 0.0) -> None:
    """Of independent rows (N, ...), within standard errors of what it should be."""
    error = values.std(0) / math.sqrt(len(values))
    off = (values.mean(0) - expected).abs()
    assert (off <= TOLERANCE * error + bias + 1e-9).all(), (off / error).max()


# --- the contract ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("continuous", "name"), EVERY)
def test_contract(continuous: bool, name: str) -> None:
    """Means and (co)variances of independent chains, and what every state must say."""
    kernel, steps, target, x = case(continuous, name, chains=3000)
    chains = run(kernel, target, x, 1, burn_in=steps)
    state, end = chains.state, chains.draws[-1]
    assert end.shape == x.shape and end.dtype == x.dtype and torch.equal(end, state.x)
    torch.testing.assert_close(state.log_p, target(end))
    assert state.accepted.dtype == torch.bool and state.accepted.shape == (3000,)
    if continuous:
        # of a step of 0.01, see the test of its variance
        bias = 0.03 if name == "langevin" else 0.0
        centred = end - MEAN
        assert_mean(end, MEAN, bias)
        assert_mean(centred[:, :, None] * centred[:, None], COVARIANCE, bias)
    else:
        assert_mean(end, (ISING_P[:, None, None] * SPINS).sum(0))
        pairs = end.flatten(1)[:, :, None] * end.flatten(1)[:, None]
        every = SPINS.flatten(1)
        assert_mean(pairs, (ISING_P[:, None, None] * every[:, :, None] * every[:, None]).sum(0))


@pytest.mark.parametrize(("continuous", "name"), EVERY)
def test_equal_random_numbers_draw_equal_chains_and_a_run_goes_on(
    continuous: bool, name: str
) -> None:
    kernel, _, target, x = case(continuous, name, chains=5)

    def drawn(*parts: int) -> Tensor:
        torch.manual_seed(3)
        found, state = [], x
        for steps in parts:
            draws, _, state = run(kernel, target, state, steps)  # type: ignore[assignment]
            found.append(draws)
        return torch.cat(found)

    assert torch.equal(drawn(6), drawn(6)) and torch.equal(drawn(6), drawn(2, 4))


@pytest.mark.parametrize(("continuous", "name"), EVERY)
def test_chains_go_on_from_their_replicas(continuous: bool, name: str) -> None:
    """A state is known by its replicas: the first is the draw, and none is lost or made equal."""
    kernel, _, target, x = case(continuous, name, chains=40)
    state = run(kernel, target, x, 3).state
    replicas = kernel.replicas_of(state)
    assert replicas.shape == (40, kernel.replicas, *x.shape[1:])
    assert torch.equal(replicas[:, 0], state.x)
    assert kernel.replicas == 1 or not torch.equal(replicas[:, -1], state.x)
    resumed = kernel.resume(target, replicas)
    torch.testing.assert_close((resumed.x, resumed.log_p), (state.x, state.log_p))
    assert torch.equal(kernel.replicas_of(resumed), replicas)


def test_lengths_of_a_random_walk_are_log_uniform() -> None:
    proposal, x = metropolis.RandomWalk(2.0, least=0.02).proposal, torch.zeros(4000, 500, dtype=D)
    lengths = (proposal.draw(x).square().mean(1).sqrt().log() - math.log(0.02)) / math.log(100)
    assert -0.05 < lengths.min() < 0.05 and 0.95 < lengths.max() < 1.05
    torch.testing.assert_close(
        lengths.sort().values, torch.linspace(0, 1, 4000, dtype=D), atol=0.04, rtol=0
    )
    with pytest.raises(UserError, match=r"model\.sampler\.least"):
        metropolis.RandomWalk(0.1, least=0.2)


@pytest.mark.parametrize(
    "kernel", [metropolis.RandomWalk(30.0), langevin.MALA(8.0), hamiltonian.HMC(1.2, leaps=3)]
)
def test_a_rejected_step_counts_the_old_sample_again(kernel: Kernel) -> None:
    draws, accepted, _ = run(kernel, two_bumps, torch.zeros(200, 2, dtype=D), 20)
    stood = (draws[1:] == draws[:-1]).all(2)
    assert 0 < accepted.mean() < 0.6
    assert torch.equal(stood, accepted[1:] == 0)


def test_burn_in_and_thinning_are_steps_left_out() -> None:
    kernel, x = metropolis.RandomWalk(1.0), torch.zeros(4, 2, dtype=D)
    torch.manual_seed(1)
    every = run(kernel, two_bumps, x, 10)
    torch.manual_seed(1)
    some = run(kernel, two_bumps, x, 3, burn_in=1, thin=3)
    assert torch.equal(some.draws, every.draws[3::3])
    torch.testing.assert_close(some.accepted, every.accepted[1:].view(3, 3, 4).mean(1))


# --- detailed balance, exactly, on the eight states of three bits ---------------------------------

STATES = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=D)] * 3)
TABLE = torch.tensor([0.3, -1.0, 0.8, 0.1, -0.4, 1.2, -2.0, 0.5], dtype=D)
PI = TABLE.softmax(0)


def number(x: Tensor) -> Tensor:
    return (x @ torch.tensor([4.0, 2.0, 1.0], dtype=D)).long()


def table(x: Tensor) -> Tensor:
    return TABLE[number(x)]


class Biased(Proposal):
    """To any state, by a table whose rows are not each other's."""

    q = torch.randn(8, 8, dtype=D, generator=torch.Generator().manual_seed(5)).softmax(1)

    def draw(self, x: Tensor) -> Tensor:
        return STATES[Categorical(self.q[number(x)]).sample()]

    def log_q(self, y: Tensor, x: Tensor) -> Tensor:
        return self.q[number(x), number(y)].log()


def metropolis_matrix(proposal: Proposal, q: Tensor) -> Tensor:
    """P(x, y) = q(y | x) a(x, y), and what is rejected stays."""
    kernel, (x, y) = (
        MetropolisHastings(proposal),
        (STATES.repeat_interleave(8, 0), STATES.repeat(8, 1)),
    )
    moves = q * kernel.log_ratio(x, table(x), y, table(y)).view(8, 8).clamp(max=0).exp()
    moves.fill_diagonal_(0)
    return moves + torch.diag(1 - moves.sum(1))


def gibbs_matrix(block: list[int]) -> Tensor:
    kernel = Gibbs(torch.tensor([0.0, 1.0], dtype=D))
    ways = kernel.candidates(table, STATES, block)[0]
    matrix = torch.zeros(8, 8, dtype=D)
    return matrix.scatter_add(1, number(ways), kernel.conditional(table, STATES, block))


FLIPS = ((STATES[:, None] != STATES).sum(2) == 1).to(D) / 3
MATRICES = {
    "flip": metropolis_matrix(Flip(), FLIPS),
    "biased": metropolis_matrix(Biased(), Biased.q),
    **{f"gibbs {block}": gibbs_matrix(block) for block in ([0], [1], [2], [0, 2])},
}


@pytest.mark.parametrize("name", MATRICES)
def test_detailed_balance(name: str) -> None:
    P = MATRICES[name]
    torch.testing.assert_close(P.sum(1), torch.ones(8, dtype=D))
    torch.testing.assert_close(PI[:, None] * P, (PI[:, None] * P).T)


SWEEP = gibbs_matrix([0]) @ gibbs_matrix([1]) @ gibbs_matrix([2])
STEPS: dict[str, tuple[Kernel, Tensor]] = {
    "flip": (MetropolisHastings(Flip()), MATRICES["flip"]),
    "biased": (MetropolisHastings(Biased()), MATRICES["biased"]),
    "gibbs": (Gibbs(torch.tensor([0.0, 1.0])), SWEEP),
    "gibbs in blocks": (
        Gibbs(torch.tensor([0.0, 1.0]), [[0, 2], [1]]),
        gibbs_matrix([0, 2]) @ gibbs_matrix([1]),
    ),
}


@pytest.mark.parametrize("name", STEPS)
def test_a_step_has_the_transition_matrix(name: str) -> None:
    """From each of the eight states 4,000 chains, one step; and the sweep leaves the target as it
    is.
    """
    kernel, P = STEPS[name]
    torch.testing.assert_close(PI @ P, PI)
    end = kernel.step(table, kernel.start(table, STATES.repeat_interleave(4000, 0))).x
    found = torch.nn.functional.one_hot(number(end), 8).view(8, 4000, 8).to(D).mean(1)
    assert ((found - P).abs() <= TOLERANCE * (P * (1 - P) / 4000).sqrt() + 1e-12).all()


def test_exchanges_of_tempered_chains_balance() -> None:
    """On the pairs (cold, hot) of eight states, whose target is pi^b0(x) pi^b1(y)."""
    b0, b1 = torch.tensor([1.0], dtype=D), torch.tensor([0.4], dtype=D)
    joint = (b0 * TABLE[:, None] + b1 * TABLE).flatten().softmax(0).view(8, 8)
    taken = (
        torch.stack(
            [
                swap_log_ratio(TABLE[x : x + 1, None].expand(1, 8), TABLE[None], b0, b1)[0]
                for x in range(8)
            ]
        )
        .clamp(max=0)
        .exp()
    )
    torch.testing.assert_close(joint * taken, (joint * taken).T)


def test_proposals_that_follow_the_slope_balance() -> None:
    """p(x) q(y | x) a(x, y) = p(y) q(x | y) a(y, x), q by torch's normal distribution."""
    kernel, x, y = langevin.MALA(0.3), torch.randn(50, 2, dtype=D), torch.randn(50, 2, dtype=D)
    one, other = kernel.start(two_bumps, x), kernel.start(two_bumps, y)

    def flow(a: State, b: State) -> Tensor:
        forward = MultivariateNormal(a.x + 0.3 * a.carry, 0.6 * torch.eye(2, dtype=D)).log_prob(b.x)
        return a.log_p + forward + kernel.log_ratio(a, b).clamp(max=0)

    torch.testing.assert_close(flow(one, other), flow(other, one))


# --- what is each sampler's own -------------------------------------------------------------------


def test_langevins_variance_has_the_error_of_its_step() -> None:
    """On N(0, 1): s^2 / (1 - e / 2); and p^(1/T) at another temperature, s^2 T / (1 - e / 2)."""
    for e, temperature in ((0.4, 1.0), (0.4, 0.5)):
        chains = run(
            langevin.Langevin(e, temperature),
            lambda x: -x.square().sum(1) / 2,
            torch.zeros(20_000, 1, dtype=D),
            1,
            30,
        )
        assert_mean(chains.draws[-1].square(), torch.tensor([temperature / (1 - e / 2)], dtype=D))


def test_the_leapfrog_can_be_run_backwards_keeps_volume_and_nearly_the_energy() -> None:
    kernel, x, r = (
        hamiltonian.HMC(0.1, leaps=8),
        torch.randn(6, 2, dtype=D),
        torch.randn(6, 2, dtype=D),
    )

    def flow(x: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
        state, r = kernel.leapfrog(two_bumps, kernel.start(two_bumps, x), r)
        return state.x, r

    there = flow(x, r)
    back = flow(there[0], -there[1])
    torch.testing.assert_close((back[0], -back[1]), (x, r))

    def energy(x: Tensor, r: Tensor) -> Tensor:
        return r.square().sum(1) / 2 - two_bumps(x)

    off = [(energy(*samplers_flow(e, x, r)) - energy(x, r)).abs().max() for e in (0.1, 0.05)]
    assert off[0] < 0.2 and 3 < off[0] / off[1] < 5  # of the second order in e
    for i in range(6):
        step, tiny = torch.cat([x[i], r[i]]), 1e-5
        ways = step + tiny * torch.cat([torch.eye(4, dtype=D), -torch.eye(4, dtype=D)])
        ends = torch.cat(flow(ways[:, :2], ways[:, 2:]), 1)
        torch.testing.assert_close(
            torch.det((ends[:4] - ends[4:]) / (2 * tiny)),
            torch.ones((), dtype=D),
            atol=1e-6,
            rtol=0,
        )


def samplers_flow(e: float, x: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
    """The same time at another step."""
    kernel = hamiltonian.HMC(e, leaps=round(0.8 / e))
    state, r = kernel.leapfrog(two_bumps, kernel.start(two_bumps, x), r)
    return state.x, r


def test_tempered_chains_cross_where_one_alone_does_not() -> None:
    """Two bumps six apart, 16 standard deviations: 3 of 10 in the left one, all started in the
    right.
    """

    def apart(x: Tensor) -> Tensor:
        off = torch.stack([(x + 3).square().sum(1), (x - 3).square().sum(1)], 1)
        return torch.logsumexp(-off / (2 * 0.375**2) + SHARES.log(), 1)

    start, walk = torch.full((400, 1), 3.0, dtype=D), metropolis.RandomWalk(0.7)
    alone = run(walk, apart, start, 1, burn_in=300).draws[-1]
    assert (alone > 0).all()
    tempered = tempering.ParallelTempering(walk, [1.0, 0.4, 0.15, 0.05, 0.015])
    chains = run(tempered, apart, start, 1, burn_in=600)
    assert_mean((chains.draws[-1] < 0).to(D), torch.tensor([0.3], dtype=D))
    assert 0.2 < chains.state.carry.swapped.nanmean() < 0.9
    with pytest.raises(UserError, match="temperatures must fall"):
        tempering.ParallelTempering(walk, [1.0, 0.5, 0.6])
    with pytest.raises(UserError, match="temperatures must fall"):
        tempering.ParallelTempering(walk, [1.0, math.nan])


def test_the_slope_leaves_weights_alone() -> None:
    weights = torch.nn.Linear(2, 1)
    log_p, gradient = slope(lambda x: weights(x).squeeze(1), torch.randn(3, 2))
    torch.testing.assert_close(gradient, weights.weight.detach().expand(3, 2))
    assert weights.weight.grad is None and not log_p.requires_grad


# --- weights, and the constant --------------------------------------------------------------------


def test_importance_sampling() -> None:
    """Means and log Z within their standard errors, and these are what repeated runs show."""
    found = [importance.importance_sampling(two_bumps, WIDE, 2000) for _ in range(200)]
    log_z = [w.log_z() for w in found]
    means = [w.mean(w.x) for w in found]
    assert abs(log_z[0].value - LOG_Z) < TOLERANCE * log_z[0].error
    assert ((means[0].value - MEAN).abs() < TOLERANCE * means[0].error).all()
    for estimates in (log_z, means):
        spread, claimed = (
            torch.stack([e.value for e in estimates]).std(0),
            torch.stack([e.error for e in estimates]).mean(0),
        )
        torch.testing.assert_close(spread, claimed, rtol=0.2, atol=0)
    assert 500 < found[0].ess() < 1999
    perfect = importance.importance_sampling(lambda x: WIDE.log_prob(x) + 3, WIDE, 50)
    torch.testing.assert_close(perfect.ess(), torch.tensor(50.0, dtype=D))
    torch.testing.assert_close(perfect.log_z().value, torch.tensor(3.0, dtype=D))


BETAS = torch.linspace(0, 1, 41).tolist()


@pytest.mark.parametrize(
    "kernel", [metropolis.RandomWalk(0.8), langevin.MALA(0.2), hamiltonian.HMC(0.4, leaps=3)]
)
def test_annealed_importance_sampling(kernel: Kernel) -> None:
    w = importance.ais(two_bumps, WIDE, kernel, BETAS, 1000)
    value, error = w.log_z()
    assert error < 0.05 and abs(value - LOG_Z) < TOLERANCE * error
    mean = w.mean(w.x)
    assert ((mean.value - MEAN).abs() < TOLERANCE * mean.error).all()
    assert w.ess() > importance.importance_sampling(two_bumps, WIDE, 1000).ess()


class Coins:
    """Nine fair spins."""

    def sample(self, shape: tuple[int]) -> Tensor:
        return 2.0 * torch.randint(2, (*shape, 3, 3)).to(D) - 1

    def log_prob(self, x: Tensor) -> Tensor:
        return x.new_full((len(x),), -9 * math.log(2))


def test_the_ising_models_constant() -> None:
    for w in (
        importance.importance_sampling(ising, Coins(), 20_000),
        importance.ais(ising, Coins(), Gibbs(torch.tensor([-1.0, 1.0])), BETAS[::4], 500),
    ):
        value, error = w.log_z()
        assert error < 0.05 and abs(value - ISING_LOG_Z) < TOLERANCE * error


def test_the_error_of_log_z_is_what_repeated_runs_show() -> None:
    found = [
        importance.ais(two_bumps, WIDE, metropolis.RandomWalk(0.8), BETAS[::4], 100).log_z()
        for _ in range(150)
    ]
    spread, claimed = (
        torch.stack([e.value for e in found]).std(),
        torch.stack([e.error for e in found]).mean(),
    )
    torch.testing.assert_close(spread, claimed, rtol=0.25, atol=0)


# --- what chains are worth ------------------------------------------------------------------------


def autoregressive(rho: float, steps: int, chains: int) -> Tensor:
    """x_t = rho x_(t-1) + sqrt(1 - rho^2) u, two of them a chain: one draw of it is worth (1 - rho)
    / (1 + rho) independent ones.
    """
    x = [torch.randn(chains, 2, dtype=D)]
    for _ in range(steps - 1):
        x.append(rho * x[-1] + math.sqrt(1 - rho**2) * torch.randn(chains, 2, dtype=D))
    return torch.stack(x)


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9, -0.5])
def test_effective_samples_of_a_known_autocorrelation(rho: float) -> None:
    found = diagnostics.effective_sample_size(autoregressive(rho, 2000, 20))
    torch.testing.assert_close(
        found, torch.full((2,), 40_000 * (1 - rho) / (1 + rho), dtype=D), rtol=0.12, atol=0
    )


def test_r_hat_sees_chains_apart_and_chains_that_drift() -> None:
    together = autoregressive(0.3, 1000, 4)
    apart, drifting = (
        together + torch.tensor([0.0, 0, 0, 1.0], dtype=D)[:, None],
        together + torch.linspace(0, 2, 1000, dtype=D)[:, None, None],
    )
    assert (diagnostics.split_r_hat(together) < 1.01).all()
    assert (diagnostics.split_r_hat(apart) > 1.05).all() and (
        diagnostics.split_r_hat(drifting) > 1.05
    ).all()
    assert (diagnostics.effective_sample_size(apart) < 100).all()
    assert diagnostics.split_r_hat(torch.arange(3.0).expand(10, 3)).isinf()  # stand apart


def test_acceptance_is_that_of_each_chain() -> None:
    kernel = MetropolisHastings(Flip(-1, 1))
    chains = run(kernel, ising, -torch.ones(3, 3, 3, dtype=D), 500)
    moved = (chains.draws[1:] != chains.draws[:-1]).flatten(2).any(2).to(D).mean(0)
    torch.testing.assert_close(diagnostics.acceptance(chains), moved, atol=0.01, rtol=0)
