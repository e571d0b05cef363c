"""Paths of two players in the smallest games that GANs resemble."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from gentrain.adversarial.lipschitz import input_gradient
from gentrain.adversarial.losses import wasserstein
from gentrain.commands.demo.base import Demo, Finding, Row, Shown, figure
from gentrain.config.types import Count, Positive


class BilinearGame(Demo):
    """min over theta, max over psi of psi * theta, the Dirac-GAN with a linear critic psi x.

    Data are the point 0, the generator's sample is the point theta.

    Args:
        steps: updates of both players.
        rate: length of a step.
        penalty: weight of the squared slope of the critic at the data.
    """

    title = "Games that circle"
    claim = (
        "In min-max games simultaneous gradient steps leave the equilibrium in a spiral, "
        "alternating steps circle around it, and the average of the path, extragradient steps and "
        "a gradient penalty at the data converge."
    )
    formula = (
        r"\min_\theta \max_\psi \psi\theta: \quad "
        r"\begin{pmatrix} \theta \\ \psi \end{pmatrix} \leftarrow "
        r"\begin{pmatrix} 1 & -\eta \\ \eta & 1 \end{pmatrix} "
        r"\begin{pmatrix} \theta \\ \psi \end{pmatrix}, \qquad "
        r"|\lambda| = \sqrt{1 + \eta^2} > 1"
    )
    papers = (
        "Mescheder, Geiger & Nowozin, Which Training Methods for GANs do actually Converge?, 2018",
        "Salimans et al., Improved Techniques for Training GANs, 2016, section 3.3",
        "Gidel et al., A Variational Inequality Perspective on GANs, 2019",
    )
    code: ClassVar = (wasserstein, input_gradient)
    notes = "Every path begins at (1, 1). The equilibrium is (0, 0)."
    exercise = (
        "Which step length makes alternating steps unstable? The eigenvalues are on the unit "
        "circle as long as the trace of their matrix, 2 - eta^2, is above -2."
    )
    tiny: ClassVar = {"steps": 20}

    def __init__(self, steps: Count = 400, rate: Positive = 0.1, penalty: Positive = 0.5) -> None:
        self.steps, self.rate, self.penalty = steps, rate, penalty

    def show(self, place: Path) -> Shown:
        paths = {
            "simultaneous": self.path(self.simultaneous),
            "alternating": self.path(self.alternating),
            "extragradient": self.path(self.extragradient),
            "gradient penalty at the data": self.path(self.penalised),
        }
        alternating = paths["alternating"]
        count = torch.arange(1, len(alternating) + 1)[:, None]
        paths["average of alternating"] = alternating.cumsum(0) / count
        rows: list[Row] = [
            {
                "steps": name,
                "distance at the end": path[-1].norm().item(),
                "|eigenvalue|": modulus(path) if "average" not in name else None,
            }
            for name, path in paths.items()
        ]
        made, axes = figure(self.title, columns=2)
        for name, path in paths.items():
            shown = path[path.norm(dim=1) < 4]
            axes[0, 0].plot(*shown.T, label=name, linewidth=1)
            axes[0, 1].plot(path.norm(dim=1), label=name)
        axes[0, 0].set(xlabel="theta, the generator", ylabel="psi, the critic", aspect="equal")
        axes[0, 1].set(xlabel="step", ylabel="distance from the equilibrium", yscale="log")
        axes[0, 1].legend(fontsize="small")
        return Shown(made, rows, self.findings(rows))

    def findings(self, rows: list[Row]) -> list[Finding]:
        """What the distances at the end and the eigenvalues say."""
        start = math.sqrt(2)
        end = {row["steps"]: row["distance at the end"] for row in rows}
        grown = {row["steps"]: row["|eigenvalue|"] for row in rows}
        expected = math.sqrt(1 + self.rate**2)
        converged = [name for name in end if name not in ("simultaneous", "alternating")]
        return [
            Finding(
                f"simultaneous steps grow by {grown['simultaneous']:.6f} a step, and "
                f"sqrt(1 + eta^2) is {expected:.6f}",
                abs(grown["simultaneous"] - expected) < 1e-5,
            ),
            Finding(
                f"alternating steps end {end['alternating']:.2f} away, as far as they began",
                0.8 * start < end["alternating"] < 1.25 * start,
            ),
            Finding(
                "the others end nearer: "
                + ", ".join(f"{name} {end[name]:.1e}" for name in converged),
                all(end[name] < 0.2 * start for name in converged),
            ),
        ]

    def path(self, step: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> Tensor:
        """Both players' numbers after each step, (steps + 1, 2)."""
        theta = psi = torch.ones((), dtype=torch.float64)
        found = [torch.stack([theta, psi])]
        for _ in range(self.steps):
            theta, psi = step(theta, psi)
            found.append(torch.stack([theta, psi]))
        return torch.stack(found)

    def simultaneous(self, theta: Tensor, psi: Tensor) -> tuple[Tensor, Tensor]:
        """Both players move at once."""
        d_theta, d_psi = gradients(theta, psi)
        return theta - self.rate * d_theta, psi - self.rate * d_psi

    def alternating(self, theta: Tensor, psi: Tensor) -> tuple[Tensor, Tensor]:
        """The critic moves, and then the generator sees it."""
        psi = psi - self.rate * gradients(theta, psi)[1]
        return theta - self.rate * gradients(theta, psi)[0], psi

    def extragradient(self, theta: Tensor, psi: Tensor) -> tuple[Tensor, Tensor]:
        """Both players use the gradients of where simultaneous steps would lead."""
        d_theta, d_psi = gradients(*self.simultaneous(theta, psi))
        return theta - self.rate * d_theta, psi - self.rate * d_psi

    def penalised(self, theta: Tensor, psi: Tensor) -> tuple[Tensor, Tensor]:
        """Alternating steps, with the squared slope of the critic at the data."""
        weight = psi.clone().requires_grad_()
        data = torch.zeros(1, 1, dtype=psi.dtype)
        slope = input_gradient(lambda x: weight * x, data)  # type: ignore[arg-type]
        (more,) = torch.autograd.grad(self.penalty * slope.square().sum(), weight)
        psi = psi - self.rate * (gradients(theta, psi)[1] + more)
        return theta - self.rate * gradients(theta, psi)[0], psi


def gradients(theta: Tensor, psi: Tensor) -> tuple[Tensor, Tensor]:
    """What each player descends, by its loss of the Wasserstein game."""
    loss = wasserstein()
    theta, psi = theta.clone().requires_grad_(), psi.clone().requires_grad_()
    real, fake = psi * torch.zeros(1, dtype=psi.dtype), psi * theta[None]
    (d_psi,) = torch.autograd.grad(loss.critic(real, fake), psi, retain_graph=True)
    (d_theta,) = torch.autograd.grad(loss.generator(real, fake), theta)
    return d_theta, d_psi


def modulus(path: Tensor) -> float:
    """The largest |eigenvalue| of the linear map of a path, by least squares over its steps."""
    before, after = path[:-1], path[1:]
    scale = before.norm(dim=1, keepdim=True).clamp_min(1e-300)
    matrix = torch.linalg.lstsq(before / scale, after / scale).solution.T
    return torch.linalg.eigvals(matrix).abs().max().item()
