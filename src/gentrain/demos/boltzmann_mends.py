"""Boltzmann machines that fill in a part of a digit, and how long a sweep takes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from gentrain.commands.demo.base import Demo, Finding, Row, Shown, figure, seeded
from gentrain.commands.demo.training import batches, digits, fit
from gentrain.config.types import Count
from gentrain.models.energy.base import EnergyModel
from gentrain.models.energy.boltzmann import Boltzmann
from gentrain.models.energy.rbm import RBM
from gentrain.models.energy.visible import BinaryUnits

SIDE = 14
TIMES = 7  # that a transition is timed
DRAWS = 10  # completions of each digit, whose mean is the answer


class BoltzmannMends(Demo):
    """Both machines learn digits of 14 x 14 pixels; then three columns of new digits are hidden.

    Args:
        steps: updates of each machine.
        hidden: units of each machine.
        digits: held-out digits that are mended.
        largest: side of the images of the largest machines that are timed.
        seed: of weights, batches and chains.
    """

    title = "A broken digit is mended"
    claim = (
        "A Boltzmann machine whose known pixels are held fills in the others. Its units are drawn "
        "one after the other; without connections inside a layer, the restricted machine draws a "
        "layer at once, in two products of matrices."
    )
    formula = (
        r"p(s) \propto e^{\frac12 s^\top W s + b^\top s}, \qquad "
        r"p(s_i = 1 \,|\, s_{\setminus i}) = \sigma\Big(\sum_j W_{ij} s_j + b_i\Big), \qquad "
        r"p(h = 1 \,|\, v) = \sigma(W^\top v + c)"
    )
    papers = (
        "Ackley, Hinton & Sejnowski, A Learning Algorithm for Boltzmann Machines, 1985",
        "Hinton, Training Products of Experts by Minimizing Contrastive Divergence, 2002",
    )
    code: ClassVar = (Boltzmann, RBM)
    notes = (
        "A hidden pixel is called wrong where the mean of ten completions is on the wrong side of "
        "grey. Without neighbours the best answer is the pixel's most frequent value. Times are "
        "processor seconds of 100 chains, for as many hidden as visible units."
    )
    exercise = "Hide the lower half instead. Which digits can no longer be mended, and why?"
    tiny: ClassVar = {"steps": 1, "hidden": 3, "digits": 4, "largest": 6}

    def __init__(
        self,
        steps: Count = 800,
        hidden: Count = 60,
        digits: Count = 100,
        largest: Count = 24,
        seed: int = 0,
    ) -> None:
        self.steps, self.hidden, self.digits = steps, hidden, digits
        self.largest, self.seed = largest, seed

    def show(self, place: Path) -> Shown:
        images, test = digits(SIDE)[0], digits(SIDE, "test")[0][: self.digits].sign()
        known = torch.ones(1, SIDE, SIDE, dtype=torch.bool)
        known[..., 6:9] = False
        guess = torch.where(images.sign().mean(0, keepdim=True) > 0, 1.0, -1.0)
        mended = {"most frequent value": torch.where(known, test, guess.expand_as(test))}
        with seeded(self.seed):
            for name, model in self.machines().items():
                model.init_from_data((images,))
                fit(model, batches(100, images), self.steps, 3e-3)
                many = test.repeat(DRAWS, 1, 1, 1)
                means = model.complete((many,), known).unflatten(0, (DRAWS, -1)).mean(0)
                mended[name] = torch.where(known, test, means)
            sides = [side for side in (4, 6, 8, 12, 16, 24, 32) if side <= self.largest]
            times = [timed(side) for side in sides]
        rows = [row_of(name, found, test, known) for name, found in mended.items()]
        made, axes = figure(self.title, columns=2, size=4)
        draw_digits(axes[0, 0], test, known, mended)
        draw_times(axes[0, 1], times)
        return Shown(made, rows, findings(rows, times))

    def machines(self) -> dict[str, EnergyModel]:
        """Both, untrained, with as many hidden units."""
        shape = [1, SIDE, SIDE]
        return {
            "Boltzmann machine": Boltzmann(shape, threshold=True, hidden=self.hidden),
            "restricted": RBM(BinaryUnits(threshold=True), shape, hidden=self.hidden),
        }


def row_of(name: str, found: Tensor, test: Tensor, known: Tensor) -> Row:
    """The share of hidden pixels that are wrong, the mean over digits with its error."""
    wrong = ((found > 0) != (test > 0))[:, ~known].float().mean(1)
    return {
        "answer": name,
        "wrong hidden pixels": wrong.mean().item(),
        "standard error": (wrong.std() / len(wrong) ** 0.5).item(),
    }


def timed(side: int) -> tuple[int, float, float]:
    """Units, and the processor seconds of one transition of both machines, the least of several."""
    shape, hidden = [1, side, side], side**2
    each = []
    for model in (Boltzmann(shape, hidden=hidden), RBM(BinaryUnits(), shape, hidden=hidden)):
        x, found = model.noise(100, "cpu"), []
        for _ in range(TIMES + 1):
            began = time.process_time()
            model.run_chain(x, 1)
            found.append(time.process_time() - began)
        each.append(min(found[1:]))
    return 2 * hidden, each[0], each[1]


def draw_digits(axes: Any, test: Tensor, known: Tensor, mended: dict[str, Tensor]) -> None:
    """Eight digits: whole, broken, and mended in each way."""
    pictures = {"digit": test, "broken": torch.where(known, test, 0.0)} | mended
    table = torch.cat([torch.cat([*row[:8, 0]], 1) for row in pictures.values()])
    axes.imshow(table.numpy(), cmap="gray", vmin=-1, vmax=1)
    ticks = [SIDE * (k + 0.5) for k in range(len(pictures))]
    axes.set(xticks=[], yticks=ticks, yticklabels=[*pictures], title="three columns are hidden")
    axes.set(xlabel="held-out digits", ylabel="")


def draw_times(axes: Any, times: list[tuple[int, float, float]]) -> None:
    """Processor time of a transition against the number of units."""
    units, sweep, products = zip(*times, strict=True)
    axes.plot(units, sweep, marker="o", label="Boltzmann machine, one sweep")
    axes.plot(units, products, "--", marker="x", label="restricted, two products")
    axes.set(xlabel="units", ylabel="processor seconds", xscale="log", yscale="log")
    axes.set(title="one transition of 100 chains")
    axes.legend()


def findings(rows: list[Row], times: list[tuple[int, float, float]]) -> list[Finding]:
    """Whether both machines mend digits, and how their times differ."""
    guess, *machines = rows
    ratios = [sweep / products for _, sweep, products in times]
    return [
        *[
            Finding(
                f"{row['answer']}: {row['wrong hidden pixels']:.1%} +- "
                f"{row['standard error']:.1%} of the hidden pixels are wrong, and "
                f"{guess['wrong hidden pixels']:.1%} where the neighbours are not seen",
                row["wrong hidden pixels"] + 3 * row["standard error"]
                < guess["wrong hidden pixels"],
            )
            for row in machines
        ],
        Finding(
            f"a sweep takes {min(ratios):.0f} to {max(ratios):.0f} times as long as two products "
            f"of the same units",
            min(ratios) > 3,
        ),
    ]
