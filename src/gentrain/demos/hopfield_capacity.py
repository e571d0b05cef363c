"""How many patterns a Hopfield network recalls."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import torch

from gentrain.commands.demo.base import Demo, Finding, Row, Shown, figure
from gentrain.config.types import Count
from gentrain.models.energy.hopfield import Hopfield


class HopfieldCapacity(Demo):
    """Random patterns are stored, a twentieth of each is flipped, and each is recalled.

    Args:
        units: of the network.
        loads: numbers of patterns that are tried, evenly from 0.02 to 0.24 of the units.
        seed: of the patterns.
    """

    title = "A memory that holds 0.138 N patterns"
    claim = (
        "Recall in a Hopfield network never raises the energy. N units recall up to 0.138 N random "
        "patterns with few errors, and beyond that suddenly none."
    )
    formula = (
        r"E(x) = -\tfrac12 x^\top W x, \quad W = \tfrac1N \sum_\mu x^\mu x^{\mu\top}, \quad "
        r"x_i \leftarrow \operatorname{sign} \sum_j W_{ij} x_j, \qquad \alpha_c \approx 0.138"
    )
    papers = (
        "Hopfield, Neural Networks and Physical Systems with Emergent Collective Computational "
        "Abilities, 1982",
        "Amit, Gutfreund & Sompolinsky, Storing Infinite Numbers of Patterns in a Spin-Glass "
        "Model of Neural Networks, 1985",
    )
    code: ClassVar = (Hopfield,)
    notes = "The overlap of two patterns is their mean product: 1 if equal, 0 if unrelated."
    exercise = (
        "Store digits: gentrain model=hopfield data=mnist_5k. Why are so few of them recalled?"
    )
    tiny: ClassVar = {"units": 60, "loads": 2}

    def __init__(self, units: Count = 700, loads: Count = 12, seed: int = 0) -> None:
        self.units, self.loads, self.seed = units, loads, seed

    def show(self, place: Path) -> Shown:
        rows, falls = [], []
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            for load in torch.linspace(0.02, 0.24, self.loads).tolist():
                row, fell = self.recalled(load)
                rows.append(row)
                falls.append(fell)
        return self.shown(rows, all(falls))

    @torch.no_grad()
    def recalled(self, load: float) -> tuple[Row, bool]:
        """The overlap with the stored patterns after recall, and whether no energy rose."""
        count = max(2, round(load * self.units))
        model = Hopfield([1, 1, self.units], memories=count, steps=30)
        patterns = torch.where(torch.rand(count, self.units) < 0.5, -1.0, 1.0)
        model.memories.copy_(patterns)
        model.weight.copy_(patterns.T @ patterns / self.units)
        x = torch.where(torch.rand_like(patterns) < 0.05, -patterns, patterns)
        energies = [model.energy(x)]
        for _ in range(model.steps):
            new = model.run_chain(x, 1)
            energies.append(model.energy(new))
            if torch.equal(new, x):
                break
            x = new
        rises = torch.stack(energies).diff(dim=0).max().item()
        overlap = (x * patterns).mean(1)
        row: Row = {
            "patterns": count,
            "load": count / self.units,
            "overlap": overlap.mean().item(),
            "recalled": (overlap > 0.95).float().mean().item(),
        }
        return row, rises < 1e-3

    def shown(self, rows: list[Row], falls: bool) -> Shown:
        """The figure of the table, with the theory's knee."""
        made, axes = figure(self.title)
        x = [row["load"] for row in rows]
        axes[0, 0].plot(x, [row["overlap"] for row in rows], marker="o", label="mean overlap")
        share = [row["recalled"] for row in rows]
        axes[0, 0].plot(x, share, "--", marker="x", label="share with an overlap above 0.95")
        axes[0, 0].axvline(0.138, color="grey", label="0.138")
        axes[0, 0].set(xlabel="patterns / units", ylabel="recall", ylim=(0, 1.05))
        axes[0, 0].legend()
        below = [row["recalled"] for row in rows if row["load"] < 0.125]
        above = [row["recalled"] for row in rows if row["load"] > 0.175]
        findings = [
            Finding("no sweep of a recall raised the energy", falls),
            Finding(
                f"below a load of 0.125 at least {min(below):.0%} of the patterns are recalled, "
                f"above 0.175 at most {max(above):.0%}",
                min(below) > 0.9 and max(above) < 0.3,
            ),
        ]
        return Shown(made, rows, findings)
