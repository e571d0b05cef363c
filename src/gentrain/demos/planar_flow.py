"""The determinant of a planar flow, and how many planar maps a density takes."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from gentrain.commands.demo.base import Demo, Finding, Row, Shown, figure, name_ticks, seeded
from gentrain.config.types import Count
from gentrain.models.flow.base import log_normal
from gentrain.models.flow.planar import Planar, PlanarMaps

MAPS = (1, 2, 4, 8, 16)
HALF = 4.0  # of the side of the square that is looked at


class PlanarFlow(Demo):
    """Planar maps of N(0, I) are fitted to a density along a wave, by KL(q || p).

    Args:
        steps: updates of each fit.
        batch_size: points of an update.
        seeds: fits of each number of maps.
        seed: of the first.
    """

    title = "What few planar maps cannot bend"
    claim = (
        "A planar map has a determinant that costs D multiplications, not D cubed. It bends space "
        "along one direction only, so few maps cannot make a density that many maps can."
    )
    formula = (
        r"f(z) = z + \hat u \tanh(w^\top z + b), \qquad "
        r"\Big|\det \frac{\partial f}{\partial z}\Big| = "
        r"\big|1 + (1 - \tanh^2(w^\top z + b)) \, w^\top \hat u\big|"
    )
    papers = ("Rezende & Mohamed, Variational Inference with Normalizing Flows, 2015",)
    code: ClassVar = (Planar, PlanarMaps)
    notes = (
        "The target is N(0, 4) along a sine wave and N(0, 0.16) around it, as the second of the "
        "paper's figure 3, so its normaliser is known and the divergence is in nats from 0. It is "
        "the mean over 20,000 samples; bars span the seeds."
    )
    exercise = (
        "Fit two bumps that are far apart instead, log_target(x) = log(N(x; a) + N(x; -a)). Why do "
        "fits end with a divergence of log 2, however many maps they have?"
    )
    tiny: ClassVar = {"steps": 2, "batch_size": 16, "seeds": 1}

    def __init__(
        self, steps: Count = 700, batch_size: Count = 256, seeds: Count = 2, seed: int = 0
    ) -> None:
        self.steps, self.batch_size, self.seeds, self.seed = steps, batch_size, seeds, seed

    def show(self, place: Path) -> Shown:
        with seeded(self.seed):
            off = {size: brute_force(size) for size in (1, 2, 5, 20)}
        rows: list[Row] = []
        samples: dict[int, Tensor] = {}
        for maps in MAPS:
            found = []
            for k in range(self.seeds):
                with seeded(self.seed + k):
                    flow = self.fitted(maps)
                    kl, drawn = divergence(flow)
                found.append(kl)
                samples.setdefault(maps, drawn)
            mean = sum(found) / len(found)
            rows.append({"maps": maps, "KL": mean, "least": min(found), "most": max(found)})
        return self.shown(rows, samples, off)

    def fitted(self, maps: int) -> PlanarMaps:
        """Planar maps whose samples have a small KL(q || p)."""
        flow = PlanarMaps([2], maps)
        optimizer = torch.optim.Adam(flow.parameters(), lr=0.01)
        decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.steps)
        for _ in range(self.steps):
            z = torch.randn(self.batch_size, 2)
            x, log_det = flow(z)
            optimizer.zero_grad()
            (log_normal(z) - log_det - log_target(x)).mean().backward()
            optimizer.step()
            decay.step()
        return flow

    def shown(self, rows: list[Row], samples: dict[int, Tensor], off: dict[int, float]) -> Shown:
        """The target, the samples of few and of many maps, and the divergences."""
        made, axes = figure(self.title, columns=4, size=3.0)
        x = torch.linspace(-HALF, HALF, 200)
        grid = torch.cartesian_prod(x, x)
        draw(axes[0, 0], "the target", log_target(grid).exp().view(200, 200))
        for panel, maps in zip(axes[0, 1:3], (MAPS[1], MAPS[-1]), strict=True):
            counts = torch.histogramdd(samples[maps], [80, 80], [-HALF, HALF] * 2)
            draw(panel, f"samples of {maps} maps", counts.hist)
        mean = [row["KL"] for row in rows]
        bars = [
            [row["KL"] - row["least"] for row in rows],
            [row["most"] - row["KL"] for row in rows],
        ]
        axes[0, 3].errorbar(MAPS, mean, bars, marker="o", capsize=3)
        axes[0, 3].set(xlabel="planar maps", ylabel="KL(q || p), nats", ylim=(0, None))
        axes[0, 3].set(title="distance from the target")
        name_ticks(axes[0, 3], MAPS)
        few, best = rows[1], min(row["least"] for row in rows[-2:])
        findings = [
            Finding(
                "the determinant is that of brute force, up to "
                + ", ".join(f"{error:.0e} (D = {size})" for size, error in off.items())
                + " nats",
                max(off.values()) < 1e-9,
            ),
            Finding(
                f"{MAPS[1]} maps stay {few['least']:.2f} nats away, and {MAPS[-2]} or {MAPS[-1]} "
                f"come to {best:.2f}",
                best < 0.5 * few["least"],
            ),
            Finding(
                "the mean divergence falls with every doubling of the maps: "
                + ", ".join(f"{value:.2f}" for value in mean),
                all(after < before for before, after in pairwise(mean)),
            ),
        ]
        return Shown(made, rows, findings)


def brute_force(size: int) -> float:
    """The largest difference of log |det| from that of the whole Jacobian, of 20 flows."""
    flow = Planar(size, layers=4).double()
    worst = 0.0
    for _ in range(20):
        z = torch.randn(1, size, dtype=torch.float64)
        context = torch.randn(1, flow.context, dtype=torch.float64)
        whole = torch.func.jacrev(lambda z, given=context: flow(z[None], given)[0][0])(z[0])
        worst = max(worst, (flow(z, context)[1] - whole.slogdet().logabsdet).abs().item())
    return worst


def log_target(x: Tensor) -> Tensor:
    """log of N(x_1; 0, 2^2) N(x_2; sin(pi x_1 / 2), 0.4^2), of points (N, 2)."""
    along = x[:, 0] / 2
    around = (x[:, 1] - torch.sin(torch.pi * x[:, 0] / 2)) / 0.4
    return log_normal(torch.stack([along, around], 1)) - math.log(2 * 0.4)


@torch.no_grad()
def divergence(flow: PlanarMaps) -> tuple[float, Tensor]:
    """KL(q || p) in nats, and 20,000 samples of q."""
    z = torch.randn(20_000, 2)
    x, log_det = flow(z)
    return (log_normal(z) - log_det - log_target(x)).mean().item(), x


def draw(axes: Any, title: str, density: Tensor) -> None:
    """A density on the square, with the first coordinate to the right."""
    axes.imshow(density.T.numpy(), origin="lower", extent=[-HALF, HALF] * 2, cmap="cividis")
    axes.set(xlabel="first coordinate", ylabel="second coordinate", title=title)
