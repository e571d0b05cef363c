"""One normal distribution, fitted to two bumps by four measures of distance."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import Normal
from torch.nn.functional import softplus

from gentrain.adversarial.losses import js, wasserstein
from gentrain.commands.demo.base import Demo, Finding, Row, Shown, figure
from gentrain.config.types import Count, Positive

Measure = Callable[[Tensor, Tensor, Tensor], Tensor]  # (x, log p, log q) -> the distance


class TwoDivergences(Demo):
    """The mean and the deviation of q are found by gradient descent on an integral.

    Args:
        steps: of Adam, of each fit.
        distance: of each bump from 0.
        points: of the quadrature.
    """

    title = "Which way the divergence points"
    claim = (
        "The inclusive KL(p || q), that of maximum likelihood, makes one normal cover both bumps "
        "of p. The exclusive KL(q || p) makes it choose one of them. JSD and the Wasserstein "
        "distance lie between."
    )
    formula = (
        r"\mathrm{KL}(p \,\|\, q) = \int p \log \frac{p}{q}, \qquad "
        r"\mathrm{KL}(q \,\|\, p) = \int q \log \frac{q}{p}, \qquad "
        r"W_1(p, q) = \int |F_p - F_q|"
    )
    papers = (
        "Bishop, Pattern Recognition and Machine Learning, 2006, section 10.1.2",
        "Theis, van den Oord & Bethge, A Note on the Evaluation of Generative Models, 2016",
    )
    code: ClassVar = (js, wasserstein)
    notes = (
        "JSD is the value of the JS game at its best critic, and W that of the Wasserstein game. "
        "Each fit begins at 1 with a deviation of 1/2. The exclusive KL has a second minimum, in "
        "the middle, where it is larger; a fit that begins wide ends there. The curves of "
        "KL(p || q), JSD and W nearly lie on each other."
    )
    exercise = "How near must the bumps be until the exclusive KL covers both? Try demo.distance=1."
    tiny: ClassVar = {"steps": 3, "points": 101}

    def __init__(self, steps: Count = 1500, distance: Positive = 3.0, points: Count = 1201) -> None:
        self.steps, self.distance, self.points = steps, distance, points

    def show(self, place: Path) -> Shown:
        x = torch.linspace(-12, 12, self.points, dtype=torch.float64)
        bumps = [Normal(mean, 0.8) for mean in (-self.distance, self.distance)]
        log_p = torch.stack([bump.log_prob(x) for bump in bumps]).logsumexp(0) - math.log(2)
        fits = {name: self.fitted(measure, x, log_p) for name, measure in MEASURES.items()}
        rows: list[Row] = [
            {"minimised": name, "mean": mean, "deviation": deviation}
            | {
                other: measure(x, log_p, log_normal(x, mean, deviation)).item()
                for other, measure in MEASURES.items()
            }
            for name, (mean, deviation) in fits.items()
        ]
        made, axes = figure(self.title)
        axes[0, 0].fill_between(x.numpy(), log_p.exp().numpy(), color="lightgrey", label="p")
        for name, (mean, deviation) in fits.items():
            axes[0, 0].plot(x, log_normal(x, mean, deviation).exp(), label=name)
        axes[0, 0].set(xlabel="x", ylabel="density", xlim=(-8, 8))
        axes[0, 0].legend(fontsize="small")
        return Shown(made, rows, self.findings(fits))

    def fitted(self, measure: Measure, x: Tensor, log_p: Tensor) -> tuple[float, float]:
        """The mean and the deviation of the nearest normal."""
        mean = torch.tensor(1.0, dtype=x.dtype, requires_grad=True)
        log_deviation = torch.tensor(-0.7, dtype=x.dtype, requires_grad=True)
        optimizer = torch.optim.Adam([mean, log_deviation], lr=0.02)
        for _ in range(self.steps):
            log_q = Normal(mean, log_deviation.exp()).log_prob(x)
            optimizer.zero_grad()
            measure(x, log_p, log_q).backward()
            optimizer.step()
        return mean.item(), log_deviation.exp().item()

    def findings(self, fits: Mapping[str, tuple[float, float]]) -> list[Finding]:
        """Which fit covers both bumps, and which chooses one."""
        whole = math.sqrt(self.distance**2 + 0.64)
        inclusive, exclusive = fits["KL(p || q)"], fits["KL(q || p)"]
        between = [fits[name][1] for name in ("JSD", "W")]
        return [
            Finding(
                f"KL(p || q) gives mean {inclusive[0]:.3f} and deviation {inclusive[1]:.3f}: those "
                f"of p are 0 and {whole:.3f}",
                abs(inclusive[0]) < 0.02 and abs(inclusive[1] - whole) < 0.02,
            ),
            Finding(
                f"KL(q || p) gives mean {exclusive[0]:.3f} and deviation {exclusive[1]:.3f}: the "
                f"bump at {self.distance:g}, whose deviation is 0.8",
                abs(exclusive[0] - self.distance) < 0.05 and abs(exclusive[1] - 0.8) < 0.05,
            ),
            Finding(
                f"JSD gives a deviation of {between[0]:.3f} and W of {between[1]:.3f}, between "
                "the two",
                all(exclusive[1] - 0.05 < each < inclusive[1] + 0.05 for each in between),
            ),
        ]


def log_normal(x: Tensor, mean: float, deviation: float) -> Tensor:
    """log N(x; mean, deviation^2)."""
    return Normal(mean, deviation).log_prob(x)


def inclusive_kl(x: Tensor, log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p || q) by quadrature."""
    return torch.trapezoid(log_p.exp() * (log_p - log_q), x)


def exclusive_kl(x: Tensor, log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(q || p) by quadrature."""
    return torch.trapezoid(log_q.exp() * (log_q - log_p), x)


def jsd(x: Tensor, log_p: Tensor, log_q: Tensor) -> Tensor:
    """log 2 minus half of the JS game's loss at the best critic, log p - log q."""
    best = log_p - log_q
    on_p, on_q = softplus(-best), softplus(best)
    value = torch.trapezoid(log_p.exp() * on_p + log_q.exp() * on_q, x)
    return math.log(2) - value / 2


def distance(x: Tensor, log_p: Tensor, log_q: Tensor) -> Tensor:
    """W_1: the area between both distribution functions."""
    gap = torch.cumulative_trapezoid(log_p.exp() - log_q.exp(), x)
    return torch.trapezoid(gap.abs(), x[1:])


MEASURES: Mapping[str, Measure] = {
    "KL(p || q)": inclusive_kl,
    "KL(q || p)": exclusive_kl,
    "JSD": jsd,
    "W": distance,
}
