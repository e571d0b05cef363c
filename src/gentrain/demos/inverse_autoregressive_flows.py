"""Autoregressive against inverse autoregressive flows, and a student of one kind of the other."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from gentrain.commands.demo.base import Demo, Finding, Row, Shown, figure, seeded
from gentrain.commands.demo.training import batches, fit
from gentrain.config.types import Count
from gentrain.data.plane import TwoMoons
from gentrain.models.flow.autoregressive import InverseAutoregressive, MaskedAutoregressive
from gentrain.models.flow.base import FlowDensity, Reversed
from gentrain.models.flow.distillation import Distilled
from gentrain.models.pixels import Real

FIRST = 4  # the smallest dimension that is timed
BATCH = 64
TIMES = 7  # that a pass is timed


class InverseAutoregressiveFlows(Demo):
    """Processor time of an update and of sampling, of flows of 4 dimensions and more.

    A student of two moons then learns from a teacher.

    Args:
        teacher_steps: updates of the teacher, on the data.
        student_steps: updates of the student, on its own samples.
        largest: dimension that is timed.
        seed: of weights and batches.
    """

    title = "One pass or D passes"
    claim = (
        "A masked autoregressive flow is trained in one pass, and samples one value after the "
        "other. An inverse one samples in one pass, and training on data takes D passes. So the "
        "first is the teacher of the second, whose own samples have a cheap density: "
        "KL(student || teacher) falls without any data."
    )
    formula = (
        r"\text{MAF: } u_i = (x_i - m_i(x_{<i})) \, e^{-a_i(x_{<i})}, \qquad "
        r"\text{IAF: } x_i = u_i \, e^{a_i(u_{<i})} + m_i(u_{<i}), \qquad "
        r"\mathrm{KL}(S \,\|\, T) = H(S, T) - H(S)"
    )
    papers = (
        "Kingma et al., Improved Variational Inference with Inverse Autoregressive Flow, 2016",
        "Papamakarios, Pavlakou & Murray, Masked Autoregressive Flow for Density Estimation, 2017",
        "van den Oord et al., Parallel WaveNet: Fast High-Fidelity Speech Synthesis, 2018",
    )
    code: ClassVar = (MaskedAutoregressive, InverseAutoregressive, Reversed, Distilled)
    notes = (
        "Times are processor seconds of 64 points, two maps of 256 units, the least of several. "
        "Sampling from the masked flow keeps what hidden units have computed, so its D small steps "
        "cost the arithmetic of one pass: its curve rises less steeply than that of D whole passes."
    )
    exercise = (
        "Train the inverse flow on the moons themselves, gentrain model=iaf data=two_moons. Which "
        "of the two ways is better in nats, for as many seconds?"
    )
    tiny: ClassVar = {"teacher_steps": 3, "student_steps": 3, "largest": 8}

    def __init__(
        self,
        teacher_steps: Count = 1000,
        student_steps: Count = 1500,
        largest: Count = 64,
        seed: int = 0,
    ) -> None:
        self.teacher_steps, self.student_steps = teacher_steps, student_steps
        self.largest, self.seed = max(largest, 2 * FIRST), seed

    def show(self, place: Path) -> Shown:
        dimensions = [FIRST]
        while 2 * dimensions[-1] <= self.largest:
            dimensions.append(2 * dimensions[-1])
        with seeded(self.seed):
            rows: list[Row] = [timed(dimension) for dimension in dimensions]
            model, looks = self.taught()
            drawn = [each.sample((torch.empty(3000, 2),)) for each in (model.teacher, model)]
        made, axes = figure(self.title, columns=4, size=3.2)
        draw_times(axes[0, 0], rows)
        axes[0, 1].plot(*zip(*looks, strict=True), marker=".")
        axes[0, 1].set(xlabel="updates of the student", ylabel="KL(student || teacher), nats")
        axes[0, 1].set(yscale="log", title="distillation")
        for panel, points, who in zip(axes[0, 2:], drawn, ("teacher", "student"), strict=True):
            panel.scatter(*points.T, s=2, alpha=0.5)
            panel.set(xlabel="first value", ylabel="second value", title=f"samples of the {who}")
            panel.set(xlim=(-3, 3), ylim=(-3, 3))
        return Shown(made, rows, findings(rows, looks))

    def taught(self) -> tuple[Distilled, list[tuple[int, float]]]:
        """The student of a teacher of two moons, and its divergence on the way."""
        moons = TwoMoons(name="two_moons", shape=(2,), n=20_000, validation=0.0)
        points = moons.load("train").images
        points = (points - points.mean(0)) / points.std(0)
        options: dict[str, Any] = {"layers": 5, "width": 64, "depth": 2, "bound": 2.0}
        student = partial(InverseAutoregressive, gated=False, **options)
        teacher: Any = partial(MaskedAutoregressive, **options)
        model = Distilled(
            partial(Reversed, flow=student),
            teacher,
            Real(),
            [2],
            teacher_steps=self.teacher_steps,
        )
        looks: list[tuple[int, float]] = []

        def look(step: int) -> None:
            if step == 1 or step % max(1, self.student_steps // 30) == 0:
                with torch.no_grad():
                    cross, entropy = model.entropies(5000, torch.device("cpu"))
                looks.append((step, (cross - entropy).item()))

        fit(model, batches(256, points), self.teacher_steps)
        fit(model, batches(256, points), self.student_steps, 4e-3, look)
        return model.eval(), looks


def timed(dimension: int) -> Row:
    """Processor seconds of one update and of one batch of samples, for both flows."""
    options: dict[str, Any] = {"layers": 2, "width": 256, "depth": 1}
    flows: dict[str, Any] = {
        "MAF": partial(MaskedAutoregressive, **options),
        "IAF": partial(Reversed, flow=partial(InverseAutoregressive, gated=False, **options)),
    }
    x = torch.randn(BATCH, dimension)
    row: dict[str, Any] = {"D": dimension}
    for name, flow in flows.items():
        model = FlowDensity(flow, Real(), [dimension])
        row[f"{name}, an update"] = least(partial(update, model, x))
        row[f"{name}, samples"] = least(partial(model.sample, (x,)))
    return row


def update(model: FlowDensity, x: Tensor) -> None:
    """The gradients of the loss of a batch."""
    model.objective((x,)).losses["nll"].backward()


def least(work: Callable[[], Any]) -> float:
    """Processor seconds of some work, the least of several times after a first one."""
    found = []
    for _ in range(TIMES + 1):
        began = time.process_time()
        work()
        found.append(time.process_time() - began)
    return min(found[1:])


def draw_times(axes: Any, rows: list[Row]) -> None:
    """All four times against the dimension."""
    dimensions = [row["D"] for row in rows]
    for name in [*rows[0]][1:]:
        line = "-" if name.startswith("MAF") else "--"
        marker = "o" if name.endswith("update") else "x"
        axes.plot(dimensions, [row[name] for row in rows], line, marker=marker, label=name)
    axes.set(xlabel="dimensions D", ylabel="processor seconds", xscale="log", yscale="log")
    axes.set(title="an update, and 64 samples", xticks=dimensions, xticklabels=dimensions)
    axes.minorticks_off()
    axes.legend(fontsize="small")


def findings(rows: list[Row], looks: list[tuple[int, float]]) -> list[Finding]:
    """How times grow with the dimension, and how far the student comes."""
    first, last = rows[0], rows[-1]
    grown = {name: last[name] / first[name] for name in [*rows[0]][1:]}
    times = last["D"] / first["D"]
    start, end = looks[0][1], sum(kl for _, kl in looks[-5:]) / len(looks[-5:])
    return [
        Finding(
            f"for {times:.0f} times the dimensions the one-pass directions take "
            f"{grown['MAF, an update']:.1f} (MAF, an update) and {grown['IAF, samples']:.1f} times "
            f"as long (IAF, samples), the others {grown['MAF, samples']:.1f} and "
            f"{grown['IAF, an update']:.1f}",
            max(grown["MAF, an update"], grown["IAF, samples"]) < 0.25 * times
            and min(grown["MAF, samples"], grown["IAF, an update"]) > 0.25 * times,
        ),
        Finding(
            f"at D = {last['D']} an update of IAF takes "
            f"{last['IAF, an update'] / last['MAF, an update']:.0f} times that of MAF, and samples "
            f"of MAF {last['MAF, samples'] / last['IAF, samples']:.0f} times those of IAF",
            last["IAF, an update"] > 5 * last["MAF, an update"]
            and last["MAF, samples"] > 5 * last["IAF, samples"],
        ),
        Finding(
            f"the student's divergence falls from {start:.2f} to {end:.3f} nats",
            end < 0.1 * start,
        ),
    ]
