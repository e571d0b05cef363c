"""Importance sampling of an integral that is known, from good and from bad proposals."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Independent, Normal

from gentrain.commands.demo.base import Demo, Finding, Row, Shown, figure, name_ticks, seeded
from gentrain.config.types import Count
from gentrain.samplers import importance_sampling

TRUE = math.exp(0.5)  # E exp(x) under N(0, 1)
MEANS = [k / 4 for k in range(-4, 11)]
DIMENSIONS = (1, 2, 4, 8, 16, 32, 64)
WIDE, NARROW = 1.3, 0.6  # deviations of q


class ImportanceWeights(Demo):
    """E exp(x) under p = N(0, 1), from proposals q = N(m, 1) and N(0, s^2).

    Args:
        draws: of each estimate.
        repeats: estimates of each proposal.
        seed: of the draws.
    """

    title = "Where to draw from"
    claim = (
        "An expectation under p can be had from draws of another q, weighted by p / q. The error "
        "is smallest for q proportional to p |f|: zero where f has one sign. A q with tails "
        "lighter than those of p gives errors that the weights do not tell, and in many dimensions "
        "a few weights are all that count."
    )
    formula = (
        r"\mathbb{E}_p f = \mathbb{E}_q \frac{p}{q} f, \qquad q^* \propto p \, |f|, \qquad "
        r"\mathrm{ESS} = \frac{(\sum_i w_i)^2}{\sum_i w_i^2} \approx "
        r"N \Big(\frac{\sqrt{2 s^2 - 1}}{s^2}\Big)^D"
    )
    papers = (
        "Kahn & Marshall, Methods of Reducing Sample Size in Monte Carlo Computations, 1953",
        "Kong, A Note on Importance Sampling Using Standardized Weights, 1992",
    )
    code: ClassVar = (importance_sampling,)
    notes = (
        "First panel: f = exp(x), so p f is N(1, 1) times a constant, and q = N(1, 1) has no error "
        "at all. Weights that are divided by their sum need no constant of p, but their best q is "
        "proportional to p |f - E f|, which is not N(1, 1). Second panel: p and q are normal in D "
        "dimensions with deviations 1 and s."
    )
    exercise = (
        "Which normal q has the smallest error for f = x^2, and why is none of them without error?"
    )
    tiny: ClassVar = {"draws": 50, "repeats": 5}

    def __init__(self, draws: Count = 1000, repeats: Count = 300, seed: int = 0) -> None:
        self.draws, self.repeats, self.seed = draws, repeats, seed

    def show(self, place: Path) -> Shown:
        with seeded(self.seed):
            rows: list[Row] = [self.errors(mean) for mean in MEANS]
            sizes = [self.size(dimension) for dimension in DIMENSIONS]
            covered = {sd: self.covered(sd) for sd in (NARROW, WIDE)}
        made, axes = figure(self.title, columns=2)
        draw_errors(axes[0, 0], rows)
        expected = [(math.sqrt(2 * WIDE**2 - 1) / WIDE**2) ** d for d in DIMENSIONS]
        axes[0, 1].plot(DIMENSIONS, expected, label="formula")
        axes[0, 1].plot(DIMENSIONS, sizes, "o", label=f"measured, {self.draws:,} draws")
        axes[0, 1].axhline(1 / self.draws, color="grey", linestyle="--", label="one draw")
        axes[0, 1].set(
            xlabel="dimensions D",
            ylabel="effective share of the draws",
            yscale="log",
            title=f"q = N(0, {WIDE:g}²) in D dimensions",
        )
        name_ticks(axes[0, 1], DIMENSIONS)
        axes[0, 1].legend()
        return Shown(made, rows, self.findings(rows, sizes, expected, covered))

    def errors(self, mean: float) -> Row:
        """The deviation of both estimates of E exp(x) from q = N(mean, 1), and the sample size."""
        plain, divided, size = [], [], []
        for _ in range(self.repeats):
            weighted = importance_sampling(log_p, normal(mean, 1.0), self.draws)
            f = weighted.x[:, 0].exp()
            plain.append((weighted.log_w.exp() * f).mean())
            divided.append(weighted.mean(f).value)
            size.append(weighted.ess() / self.draws)
        return {
            "mean of q": mean,
            "error": deviation(plain),
            "theory": theory(mean) / math.sqrt(self.draws),
            "error, divided weights": deviation(divided),
            "ESS / N": torch.stack(size).mean().item(),
        }

    def size(self, dimension: int) -> float:
        """ESS / N of q = N(0, s^2) in some dimensions, the mean of the repeats."""
        q = normal(0.0, WIDE, dimension)
        each = [importance_sampling(log_p, q, self.draws).ess() for _ in range(self.repeats)]
        return torch.stack(each).mean().item() / self.draws

    def covered(self, sd: float) -> float:
        """How often E x^4 = 3 is within two of the errors that the estimate states."""
        hits = []
        for _ in range(self.repeats):
            weighted = importance_sampling(log_p, normal(0.0, sd), self.draws)
            estimate = weighted.mean(weighted.x[:, 0] ** 4)
            hits.append((estimate.value - 3).abs() <= 2 * estimate.error)
        return torch.stack(hits).double().mean().item()

    def findings(
        self,
        rows: list[Row],
        sizes: list[float],
        expected: list[float],
        covered: dict[float, float],
    ) -> list[Finding]:
        """Where the error is least, how draws are lost, and what the weights do not tell."""
        best = min(rows, key=lambda row: row["error"])
        divided = min(rows, key=lambda row: row["error, divided weights"])
        own = next(row for row in rows if row["mean of q"] == 0)
        kept = [
            d for d, share in zip(DIMENSIONS, expected, strict=True) if share * self.draws > 100
        ] or [DIMENSIONS[0]]
        off = max(abs(sizes[i] / expected[i] - 1) for i in range(len(kept)))
        return [
            Finding(
                f"the error is least, {best['error']:.1e}, at q = N({best['mean of q']:g}, 1); "
                f"draws of p itself have {own['error']:.3f}",
                best["mean of q"] == 1 and best["error"] < 1e-3 * own["error"],
            ),
            Finding(
                f"divided weights are best from N({divided['mean of q']:g}, 1), with an error of "
                f"{divided['error, divided weights']:.3f}: not zero",
                divided["error, divided weights"] > 0.1 * own["error"],
            ),
            Finding(
                f"up to {kept[-1]} dimensions the share of draws that count is within {off:.0%} of "
                f"the formula; in {DIMENSIONS[-1]} it is {sizes[-1]:.4f}",
                off < 0.2 and sizes[-1] < 0.05,
            ),
            Finding(
                f"two stated errors around E x^4 hold the truth in {covered[WIDE]:.0%} of the "
                f"repeats for a q with s = {WIDE:g}, and in {covered[NARROW]:.0%} for s = "
                f"{NARROW:g}; 95 % were stated",
                covered[WIDE] > 0.9 and covered[NARROW] < 0.7,
            ),
        ]


def normal(mean: float, sd: float, dimensions: int = 1) -> Independent:
    """N(mean, sd^2) of vectors."""
    like = torch.full((dimensions,), mean)
    return Independent(Normal(like, torch.full_like(like, sd)), 1)


def log_p(x: Tensor) -> Tensor:
    """log N(x; 0, I) of points (N, D)."""
    return Normal(0.0, 1.0).log_prob(x).sum(1)


def theory(mean: float) -> float:
    """The deviation of p f / q under q = N(mean, 1): E_q of its square is exp((m - 1)^2 + 1)."""
    return TRUE * math.sqrt(math.expm1((mean - 1) ** 2))


def deviation(estimates: list[Tensor]) -> float:
    """The root of the mean squared error of estimates of E exp(x)."""
    return (torch.stack(estimates) - TRUE).square().mean().sqrt().item()


def draw_errors(axes: Any, rows: list[Row]) -> None:
    """Both errors against the mean of the proposal."""
    x = [row["mean of q"] for row in rows]
    axes.plot(x, [row["theory"] for row in rows], color="grey", label="p f / q, theory")
    axes.plot(x, [row["error"] for row in rows], "o", label="p f / q, measured")
    divided = [row["error, divided weights"] for row in rows]
    axes.plot(x, divided, "x--", label="weights divided by their sum")
    axes.axvline(1, color="grey", linestyle=":", label="q proportional to p f")
    axes.set(xlabel="mean of q", ylabel="error of E exp(x)", title="p = N(0, 1), f = exp(x)")
    axes.legend(fontsize="small")
