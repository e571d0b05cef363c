"""Write docs/results/losses.md: four losses by four Lipschitz methods, as a table and heat maps.

    python scripts/loss_heatmap.py outputs/losses

It trains what is missing in the folder, one small run after the other, and then draws what the
runs have recorded. All have one network, one rate, and one update of the critic for each of the
generator, so no cell is at its paper's best.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LogNorm
from run_tables import (
    ROOT,
    Record,
    command_line,
    devices,
    exit_code,
    has_ended,
    mean_and_spread,
    paragraph,
    protocols,
    records,
    write_page,
)

import gentrain
from gentrain.errors import UserError
from gentrain.tables import markdown_table
from gentrain.training.divergence import Diverged

LOSSES = {
    "js": "non-saturating",
    "ls": "least squares",
    "wasserstein": "Wasserstein",
    "hinge": "hinge",
}
METHODS = {
    "none": "none",
    "clip": "clipped weights",
    "gp": "gradient penalty",
    "spectral_norm": "spectral norm",
}
SCORE = "test/fid_classifier"
COMMON = (
    "model=gan",
    "network=mlp",
    "data=mnist_5k",
    "model.generator.norm=batch",
    "model.generator.width=256",
    "model.critic.width=256",
    "quality.samples=1000",
    "samples.every=0",
    "trainer=cpu",
    "logger=csv",
)
Value = Callable[[Sequence[Record]], float]


def cells() -> Iterator[tuple[str, str]]:
    """Each loss with each method."""
    yield from ((loss, method) for loss in LOSSES for method in METHODS)


def train(folder: Path, seeds: int, steps: int) -> None:
    """Make the runs that have no summary yet."""
    for seed in range(seeds):
        for loss, method in cells():
            place = folder / f"{loss}-{method}-{seed}"
            if has_ended(place):
                continue
            words = (f"loss={loss}", f"lipschitz={method}", f"seed={seed}", f"steps={steps}")
            end = (f"quality.every={steps}", f"hydra.run.dir={place}", "resume=auto")
            try:
                gentrain.train(*COMMON, *words, *end)
            except (Diverged, UserError) as error:
                print(f"{place.name}: {error}", flush=True)


def of(runs: Sequence[Record], loss: str, method: str) -> list[Record]:
    return [run for run in runs if (run.word("loss"), run.word("lipschitz")) == (loss, method)]


def mean_score(runs: Sequence[Record]) -> float:
    """The mean score of the runs that came to their end."""
    found = [run.score(SCORE) for run in runs if run.status == "completed"]
    found = [value for value in found if math.isfinite(value)]
    return float(np.mean(found)) if found else math.nan


def failures(runs: Sequence[Record]) -> float:
    """How many runs diverged or collapsed; not a number where there is none."""
    return math.nan if not runs else sum(run.status == "diverged" or run.collapsed for run in runs)


def grid(runs: Sequence[Record], value: Value) -> np.ndarray:
    """A value of each cell (losses, methods)."""
    return np.array([[value(of(runs, loss, method)) for method in METHODS] for loss in LOSSES])


def draw(runs: Sequence[Record], seeds: int, file: Path) -> None:
    """Two heat maps: the score, and the runs that failed."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(11.5, 4.6), sharey=True)
    scores, failed = grid(runs, mean_score), grid(runs, failures)
    norm = LogNorm(np.nanmin(scores), np.nanmax(scores))
    shown = left.imshow(scores, cmap="viridis_r", norm=norm)
    fig.colorbar(shown, ax=left, label="classifier-FID (log scale; lower is better)")
    counted = right.imshow(failed, cmap="Reds", vmin=0, vmax=seeds)
    fig.colorbar(counted, ax=right, label="runs", ticks=range(seeds + 1))
    for axis, values, form in ((left, scores, "{:.0f}"), (right, failed, "{:.0f}")):
        axis.set_xticks(range(len(METHODS)), METHODS.values(), rotation=20, ha="right")
        axis.set_xlabel("how the critic is kept Lipschitz")
        for place, value in np.ndenumerate(values):
            missing = "none ended" if math.isfinite(failed[place]) else "refused"
            text = form.format(value) if math.isfinite(value) else missing
            box = {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 2}
            axis.text(place[1], place[0], text, ha="center", va="center", fontsize=11, bbox=box)
    left.set_yticks(range(len(LOSSES)), LOSSES.values())
    left.set_ylabel("loss")
    steps = ", ".join(sorted({run.word("steps") for run in runs}))
    left.set_title(f"FID after {steps} steps, mean of {seeds} seeds")
    right.set_title(f"Diverged or collapsed, of {seeds} seeds")
    fig.tight_layout()
    file.parent.mkdir(parents=True, exist_ok=True)
    fig.savefig(file, dpi=110)


def row(runs: Sequence[Record], loss: str) -> list[str]:
    """Scores of a loss by each method."""
    found = [of(runs, loss, method) for method in METHODS]
    texts = []
    for group in found:
        ended = [run for run in group if run.status == "completed"]
        failed = f" ({failures(group):.0f} failed)" if failures(group) > 0 else ""
        texts.append(mean_and_spread((run.score(SCORE) for run in ended), 0) + failed)
    return [f"`loss={loss}`", *texts]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runs", type=Path, help="the folder of the runs")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/results/losses.md")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=400)
    args = parser.parse_args()
    train(args.runs, args.seeds, args.steps)
    runs = records(args.runs)
    picture = args.out.with_suffix(".png")
    draw(runs, args.seeds, picture)
    steps = ", ".join(sorted({str(run.word("steps")) for run in runs}))
    floor = mean_and_spread((run.score(f"{SCORE}_floor") for run in runs), 1)
    minutes = sum(run.minutes for run in runs if run.summary)
    write_page(
        args.out,
        "# Losses and Lipschitz methods",
        f"Written by `{command_line()}`, which trains what is missing.",
        f"![Heat maps of FID and of failed runs]({picture.name})",
        markdown_table(
            ("", *(f"`lipschitz={method}`" for method in METHODS)),
            [row(runs, loss) for loss in LOSSES],
        ),
        paragraph(
            f"Classifier-FID of 1,000 samples on the test split (floor {floor}), mean and standard",
            f"deviation of {args.seeds} seeds after {steps} steps, early in a training. A run",
            "failed if it diverged,",
            "or if the doctor saw a collapse at its end.",
            f"{len(runs)} runs, {minutes:.0f} minutes, {devices(runs)}.",
            f"Protocol {protocols(runs, SCORE)}.",
        ),
        paragraph(
            f"Every run is `gentrain {' '.join(COMMON)}` with `steps=`, `loss=`,",
            "`lipschitz=` and `seed=`. A Wasserstein loss without a bound has no minimum: gentrain",
            "refuses it. All runs have one rate, and one critic update for each of the generator:",
            "this compares the parts under equal conditions, not each paper's best setting.",
        ),
    )


if __name__ == "__main__":
    sys.exit(exit_code(main))
