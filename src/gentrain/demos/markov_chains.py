"""Markov chains on a small target that is known, and on two modes that are far apart."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Normal

from gentrain.commands.demo.base import Demo, Finding, Row, Shown, figure, seeded
from gentrain.config.types import Count
from gentrain.samplers import (
    Flip,
    Gibbs,
    Kernel,
    MetropolisHastings,
    ParallelTempering,
    RandomWalk,
    effective_sample_size,
    run,
    split_r_hat,
)

BITS = 4
BOTH = torch.tensor([0.0, 1.0])
KERNELS: Mapping[str, Kernel] = {
    "Metropolis-Hastings": MetropolisHastings(Flip()),
    "Gibbs, one variable": Gibbs(BOTH, [[0]]),
    "Gibbs, a sweep": Gibbs(BOTH),
}
BETAS = (1.0, 0.5, 0.25, 0.12, 0.06, 0.03)
RIGHT = 0.7  # the share of the right mode
CHAINS = 64  # between the two modes


class MarkovChains(Demo):
    """Four binary variables with a random table of probabilities, and a mixture of two normals.

    Args:
        chains: on the table; each takes one step from the target, and 20 from all zeros.
        steps: of tempered chains between the modes; the others take as many for each temperature.
        seed: of the table and the chains.
    """

    title = "Chains that reach their target, and chains that do not"
    claim = (
        "Gibbs sampling and Metropolis-Hastings leave their target as it is, and reach it from "
        "anywhere; Metropolis-Hastings by detailed balance, as many moves one way as back. Between "
        "modes that are far apart they do not mix in any time one has, until they are tempered."
    )
    formula = (
        r"p(x) \, T(x \to y) = p(y) \, T(y \to x), \qquad "
        r"T(x \to y) = q(y | x) \min\Big(1, \frac{p(y) \, q(x | y)}{p(x) \, q(y | x)}\Big)"
    )
    papers = (
        "Metropolis et al., Equation of State Calculations by Fast Computing Machines, 1953",
        "Hastings, Monte Carlo Sampling Methods Using Markov Chains, 1970",
        "Geman & Geman, Stochastic Relaxation, Gibbs Distributions, and the Bayesian Restoration "
        "of Images, 1984",
        "Geyer, Markov Chain Monte Carlo Maximum Likelihood, 1991",
    )
    code: ClassVar = (Gibbs, MetropolisHastings, ParallelTempering, RandomWalk, run, split_r_hat)
    notes = (
        "Second panel: moves of independent chains that start from the target. Detailed balance "
        "puts the points on the line. A sweep in a fixed order does not have it, though each of "
        "its parts does, and it leaves the target as it is all the same. Third panel: all chains "
        "start in the left mode, which has 30 % of the mass; bands are two standard errors over "
        "chains. R-hat of the chains that never left that mode is near 1: it does not see what "
        "no chain has found. Chains that start in both modes give them away."
    )
    exercise = "Bring the modes nearer, from 4 to 2 on both sides. Which chains cross now?"
    tiny: ClassVar = {"chains": 2000, "steps": 30}

    def __init__(self, chains: Count = 200_000, steps: Count = 4000, seed: int = 0) -> None:
        self.chains, self.steps, self.seed = chains, steps, seed

    def show(self, place: Path) -> Shown:
        with seeded(self.seed):
            table = torch.randn(2**BITS).log_softmax(0)
            reached = {name: reached_by(kernel, table) for name, kernel in KERNELS.items()}
            moves = {name: self.moves(kernel, table) for name, kernel in KERNELS.items()}
            paths = self.between_modes()
        off = {
            name: (reached[name] - table.exp()).abs().sum().item() / 2
            for name in ("Metropolis-Hastings", "Gibbs, a sweep")
        }
        chances = {name: balance(counts) for name, counts in moves.items()}
        rows: list[Row] = [row_of(name, draws) for name, draws in paths.items()]
        made, axes = figure(self.title, columns=3)
        draw_histograms(axes[0, 0], table, reached)
        draw_moves(axes[0, 1], moves)
        draw_shares(axes[0, 2], paths)
        return Shown(made, rows, findings(off, chances, rows))

    def moves(self, kernel: Kernel, table: Tensor) -> Tensor:
        """How many of the chains that start from the target go from x to y, (16, 16)."""
        codes = torch.multinomial(table.exp(), self.chains, replacement=True)
        moved = run(kernel, lambda x: table[code_of(x)], bits_of(codes), 1).draws[0]
        pairs = codes * 2**BITS + code_of(moved)
        return pairs.bincount(minlength=4**BITS).view(2**BITS, 2**BITS)

    def between_modes(self) -> dict[str, Tensor]:
        """Draws (T, chains) of plain and of tempered chains, of as many evaluations each."""
        left = torch.full((CHAINS, 1), -4.0)
        spread = left * torch.where(torch.arange(CHAINS) % 2 == 0, 1.0, -1.0)[:, None]
        plain, many = RandomWalk(1.0), len(BETAS)
        tempered = ParallelTempering(plain, BETAS)
        started = {
            "plain": run(plain, two_modes, left, self.steps, thin=many),
            "plain, from both modes": run(plain, two_modes, spread, self.steps, thin=many),
            "tempered": run(tempered, two_modes, left, self.steps),
        }
        return {name: chains.draws.squeeze(2) for name, chains in started.items()}


def bits_of(codes: Tensor) -> Tensor:
    """Numbers (N,) as binary variables (N, 4)."""
    return (codes[:, None] >> torch.arange(BITS) & 1).float()


def code_of(x: Tensor) -> Tensor:
    """Binary variables (N, 4) as numbers (N,)."""
    return (x.long() << torch.arange(BITS)).sum(1)


def two_modes(x: Tensor) -> Tensor:
    """log p of 0.3 N(-4, 1/4) + 0.7 N(4, 1/4), at points (C, 1)."""
    each = [Normal(mean, 0.5).log_prob(x) for mean in (-4.0, 4.0)]
    return torch.logsumexp(torch.cat(each, 1) + torch.tensor([1 - RIGHT, RIGHT]).log(), 1)


def reached_by(kernel: Kernel, table: Tensor) -> Tensor:
    """The histogram (16,) of 1,000 chains that started at zero, after 20 steps and for 50 more."""
    chains = run(kernel, lambda x: table[code_of(x)], torch.zeros(1000, BITS), 50, burn_in=20)
    codes = code_of(chains.draws.flatten(0, 1))
    return codes.bincount(minlength=2**BITS) / len(codes)


def balance(counts: Tensor) -> float:
    """The chance of differences as large as these between moves one way and back.

    (n_xy - n_yx)^2 / (n_xy + n_yx) of each pair is chi-squared where balance holds.
    """
    upper = torch.triu_indices(len(counts), len(counts), 1)
    there, back = counts[upper[0], upper[1]].double(), counts.T[upper[0], upper[1]].double()
    seen = there + back >= 10
    squares = ((there - back).square() / (there + back))[seen].sum()
    return torch.special.gammaincc(seen.sum().double() / 2, squares / 2).item()


def row_of(name: str, draws: Tensor) -> Row:
    """What the second half of chains (T, C) between the modes says of them."""
    draws = draws[len(draws) // 2 :]
    each = (draws > 0).float().mean(0)
    return {
        "chains": name,
        "share of the right mode": each.mean().item(),
        "standard error": (each.std() / len(each) ** 0.5).item(),
        "R-hat": split_r_hat(draws).item(),
        "effective draws": effective_sample_size(draws).item(),
    }


def draw_histograms(axes: Any, table: Tensor, reached: Mapping[str, Tensor]) -> None:
    """The target beside what two kernels reach."""
    x = torch.arange(2**BITS)
    axes.bar(x.numpy(), table.exp().numpy(), color="lightgrey", label="target")
    for name, marker in (("Metropolis-Hastings", "x"), ("Gibbs, a sweep", "+")):
        axes.plot(x, reached[name], marker, label=name, markersize=8)
    axes.set(xlabel="state", ylabel="probability", title="after 20 steps from state 0")
    axes.set_xticks(range(0, 2**BITS, 3))
    axes.legend(fontsize="small")


def draw_moves(axes: Any, moves: Mapping[str, Tensor]) -> None:
    """Moves one way against moves back, of two kernels."""
    upper = torch.triu_indices(2**BITS, 2**BITS, 1)
    for name, marker in (("Metropolis-Hastings", "x"), ("Gibbs, a sweep", "+")):
        counts = moves[name]
        there, back = counts[upper[0], upper[1]], counts[upper[1], upper[0]]
        seen = there + back > 0
        axes.plot(there[seen] + 1, back[seen] + 1, marker, label=name)
    axes.axline((1, 1), slope=1, color="grey", linewidth=1)
    axes.set(
        xlabel="moves from x to y, + 1",
        ylabel="moves from y to x, + 1",
        xscale="log",
        yscale="log",
        title="detailed balance",
    )
    axes.legend(fontsize="small")


def draw_shares(axes: Any, paths: Mapping[str, Tensor]) -> None:
    """The share of the right mode in the last half so far, with two standard errors."""
    for name in ("plain", "tempered"):
        right = (paths[name] > 0).float()
        steps = torch.arange(1, len(right) + 1)
        sums = torch.cat([torch.zeros(1, CHAINS), right.cumsum(0)])
        so_far = (sums[steps] - sums[steps // 2]) / (steps - steps // 2)[:, None]
        mean, error = so_far.mean(1), 2 * so_far.std(1) / CHAINS**0.5
        axes.plot(steps * len(BETAS), mean, label=name)
        low, high = ((mean + sign * error).numpy() for sign in (-1, 1))
        axes.fill_between((steps * len(BETAS)).numpy(), low, high, alpha=0.3)
    axes.axhline(RIGHT, color="grey", linestyle="--", label="true share")
    axes.set(
        xlabel="evaluations of log p, a chain",
        ylabel="share of the right mode",
        xscale="log",
        title="from the left mode, last half of the draws",
    )
    axes.legend(fontsize="small")


def findings(off: Mapping[str, float], chances: Mapping[str, float], rows: list[Row]) -> Any:
    """What the histograms, the moves and the shares show."""
    plain, spread, tempered = rows
    near = abs(tempered["share of the right mode"] - RIGHT) < 3 * tempered["standard error"]
    return [
        Finding(
            "the histograms are "
            + ", ".join(f"{value:.4f} ({name})" for name, value in off.items())
            + " from the target, in total variation",
            max(off.values()) < 0.02,
        ),
        Finding(
            f"moves of Metropolis-Hastings balance (p = {chances['Metropolis-Hastings']:.2f} for "
            f"chance alone), those of one Gibbs update too ({chances['Gibbs, one variable']:.2f}), "
            f"those of a sweep do not ({max(chances['Gibbs, a sweep'], 1e-16):.0e} at most)",
            min(chances["Metropolis-Hastings"], chances["Gibbs, one variable"]) > 0.01
            and chances["Gibbs, a sweep"] < 1e-6,
        ),
        Finding(
            f"plain chains give the right mode {plain['share of the right mode']:.0%}, tempered "
            f"ones {tempered['share of the right mode']:.1%} +- {tempered['standard error']:.1%}, "
            f"and it has {RIGHT:.0%}",
            plain["share of the right mode"] == 0 and near,
        ),
        Finding(
            f"R-hat is {plain['R-hat']:.3f} for plain chains from one mode, {spread['R-hat']:.1f} "
            f"from both, {tempered['R-hat']:.3f} for tempered ones",
            plain["R-hat"] < 1.05 < spread["R-hat"] and tempered["R-hat"] < 1.05,
        ),
    ]
