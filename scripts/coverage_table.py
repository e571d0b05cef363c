"""Write the modes that GANs find, beside VEEGAN's and PacGAN's tables.

    gentrain -m sweep=mode_coverage sweep.name=mode_coverage
    python scripts/coverage_table.py outputs/sweeps/mode_coverage

Runs on the ring and the grid make docs/results/coverage.md, and runs on Stacked MNIST
stacked_mnist.md beside it.

The numbers of the papers below were read on the pictures of their tables in the authors'
repositories: tab.png of akashgit/VEEGAN; in fjxmlzn/PacGAN Table1.png of
synthetic_data_experiments/results, and Table2.png of stacked_MNIST_experiments/results.
"""

from __future__ import annotations

import argparse
import math
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import torch
import yaml
from omegaconf import OmegaConf
from run_tables import (
    ROOT,
    Record,
    command_line,
    devices,
    exit_code,
    mean_and_spread,
    paragraph,
    protocols,
    records,
    shown_words,
    with_scores,
    write_page,
)

import gentrain
from gentrain.errors import UserError
from gentrain.tables import markdown_table

MODELS = ("gan", "improved_gan", "pacgan", "wgan", "wgan_gp", "sngan", "r3gan")
MIXTURES = {"gaussian_ring": 8, "gaussian_grid": 25}
STACKED = "stacked_mnist"
FOUND = "test/modes_found"  # the score that all runs have
PACGAN = "PacGAN, Table 1"
VEEGAN = "VEEGAN, Table 1"
# modes and share of high quality on the ring, and on the grid
PUBLISHED = (
    ("GAN", VEEGAN, "1", "99.3 %", "3.3", "0.5 %"),
    ("ALI", VEEGAN, "2.8", "0.13 %", "15.8", "1.6 %"),
    ("Unrolled GAN", VEEGAN, "7.6", "35.6 %", "23.6", "16 %"),
    ("VEEGAN", VEEGAN, "8", "52.9 %", "24.6", "40 %"),
    ("GAN", PACGAN, "6.3 ± 0.5", "98.2 ± 0.2 %", "17.3 ± 0.8", "94.8 ± 0.7 %"),
    ("ALI", PACGAN, "6.6 ± 0.3", "97.6 ± 0.4 %", "24.1 ± 0.4", "95.7 ± 0.6 %"),
    ("PacGAN2", PACGAN, "7.9 ± 0.1", "95.6 ± 2.0 %", "23.8 ± 0.7", "91.3 ± 0.8 %"),
    ("PacGAN3", PACGAN, "7.8 ± 0.1", "97.7 ± 0.3 %", "24.6 ± 0.4", "94.2 ± 0.4 %"),
    ("PacGAN4", PACGAN, "7.8 ± 0.1", "95.9 ± 1.4 %", "24.8 ± 0.2", "93.6 ± 0.6 %"),
)
# modes of 1,000, and the KL divergence
PUBLISHED_STACKED = (
    ("DCGAN", "VEEGAN, Table 2", "99", "3.4"),
    ("ALI", "VEEGAN, Table 2", "16", "5.4"),
    ("Unrolled GAN", "VEEGAN, Table 2", "48.7", "4.32"),
    ("VEEGAN", "VEEGAN, Table 2", "150", "2.95"),
    ("DCGAN", "PacGAN, Table 2", "78.9 ± 6.46", "4.50 ± 0.127"),
    ("PacDCGAN2", "PacGAN, Table 2", "1000.0 ± 0.00", "0.06 ± 0.003"),
    ("PacDCGAN3", "PacGAN, Table 2", "1000.0 ± 0.00", "0.06 ± 0.003"),
    ("PacDCGAN4", "PacGAN, Table 2", "1000.0 ± 0.00", "0.07 ± 0.005"),
)
LEFT_OUT = ("quality", "checkpoint", "data.root")  # of a command, beside what a page never has
SWEEP = ROOT / "conf/sweep/mode_coverage.yaml"
HEAD = (
    "method",
    "seeds",
    "steps",
    "ring: modes of 8",
    "within 3 sd",
    "grid: modes of 25",
    "within 3 sd",
    "minutes a run",
)


def of(runs: Sequence[Record], model: str, data: str) -> list[Record]:
    """The finished runs of a model on a data set."""
    return [
        run
        for run in runs
        if run.word("model") == model and run.word("data") == data and run.status == "completed"
    ]


def steps(runs: Sequence[Record]) -> str:
    return ", ".join(sorted({f"{run.summary['steps']:,}" for run in runs}))


def label(runs: Sequence[Record], model: str, data: Sequence[str]) -> str:
    """A model with the options that its runs have and others, or the sweep itself, do not."""
    found = [run for name in data for run in of(runs, model, name)]
    same = common([run for name in data for run in runs if run.word("data") == name])
    swept = ("model=", "data=", "seed=", "network=")
    own = [word for word in shown_words(found[0].typed, *LEFT_OUT, *swept) if word not in same]
    shown = own if STACKED in data else beside_the_sweep(own)
    return " ".join(f"`{word}`" for word in (model, *shown))


def plane_row(runs: Sequence[Record], model: str) -> list[str]:
    """The row of a model on the two mixtures."""
    ring, grid = (of(runs, model, data) for data in MIXTURES)
    cells = []
    for found in (ring, grid):
        cells.append(mean_and_spread(run.score(FOUND) for run in found))
        shares = [run.score("test/high_quality") for run in found]
        cells.append(mean_and_spread(shares, percent=True))
    seeds = " and ".join(str(len(found)) for found in (ring, grid))
    minutes = mean_and_spread(run.minutes for run in (*ring, *grid))
    return [label(runs, model, list(MIXTURES)), seeds, steps([*ring, *grid]), *cells, minutes]


def stacked_row(runs: Sequence[Record], name: str) -> list[str]:
    """The row of a model on Stacked MNIST."""
    found = of(runs, name, STACKED)
    modes = mean_and_spread(run.score(FOUND) for run in found)
    kl = mean_and_spread((run.score("test/kl_to_uniform") for run in found), 2)
    minutes = mean_and_spread(run.minutes for run in found)
    return [label(runs, name, [STACKED]), str(len(found)), steps(found), modes, kl, minutes]


def common(runs: Sequence[Record]) -> list[str]:
    """What was typed for all of these runs, but for where they lie."""
    same = [word for word in runs[0].typed if all(word in run.typed for run in runs)]
    return shown_words(same, *LEFT_OUT)


def of_the_sweep() -> dict[str, str]:
    """The values that the sweep itself gives to keys."""
    params = yaml.safe_load(SWEEP.read_text("utf-8"))["hydra"]["sweeper"]["params"]
    return {key: str(value) for key, value in params.items()}


def parsed(value: str) -> Any:
    """A value as a command line has it: a number for 2e-3 as well."""
    return OmegaConf.from_dotlist([f"value={value}"]).value


def beside_the_sweep(words: Sequence[str]) -> list[str]:
    """The words that say something else than the sweep does.

    >>> beside_the_sweep(["steps=6000", "scheme.optimizers.critic.lr=2e-3", "samples.every=0"])
    ['samples.every=0']
    """
    own = of_the_sweep()
    pairs = [word.partition("=") for word in words]
    return [
        f"{key}={value}"
        for key, _, value in pairs
        if key not in own or parsed(own[key]) != parsed(value)
    ]


def by_chance(run: Record) -> str:
    """The share of the square [-1, 1]^2 within three standard deviations of a mode."""
    about = run.summary["protocols"]["quality"]
    return f"{about['modes'] * math.pi * (3 * about['sd']) ** 2 / 4:.1%}".replace("%", " %")


def chances(runs: Sequence[Record]) -> str:
    """What samples spread evenly over the square would have on each mixture."""
    found = {run.word("data"): by_chance(run) for run in runs if run.status == "completed"}
    return " and ".join(f"{found[name]} ({name})" for name in MIXTURES if name in found)


def draw(runs: Sequence[Record], models: Sequence[str], file: Path) -> None:
    """A row for each mixture, a column for each model: samples of its first seed."""
    size = (1.9 * len(models), 5.4)
    fig, axes = plt.subplots(len(MIXTURES), len(models), figsize=size, squeeze=False)
    for row, (data, modes) in zip(axes, MIXTURES.items(), strict=True):
        row[0].set_ylabel(f"{data.removeprefix('gaussian_')} of {modes}")
        for axis, model in zip(row, models, strict=True):
            found = sorted(of(runs, model, data), key=lambda run: run.summary["seed"])
            axis.set(xticks=[], yticks=[], xlim=(-1, 1), ylim=(-1, 1), aspect="equal")
            if not found:
                continue
            opened = gentrain.load(found[0].path)
            centres = opened.data.modes()  # type: ignore[attr-defined]
            points = torch.as_tensor(opened.sample(2500))
            axis.scatter(*centres.T, s=70, facecolors="none", edgecolors="0.6", linewidths=0.8)
            axis.scatter(*points.T, s=1, alpha=0.3, color="tab:blue", linewidths=0)
            count = found[0].score(FOUND)
            good = found[0].score("test/high_quality")
            axis.set_title(f"{model}\n{count:.0f} modes, {good:.0%} near one", fontsize=8)
    fig.suptitle("2,500 samples of one seed (blue), and the modes of the data (grey)", fontsize=10)
    fig.tight_layout(h_pad=2)
    file.parent.mkdir(parents=True, exist_ok=True)
    fig.savefig(file, dpi=110)


def read_by_classifier(runs: Sequence[Record]) -> str:
    """The shares of test digits that the classifiers of some runs name."""
    found = {run.summary["protocols"]["quality"]["test_accuracy"] for run in runs}
    return " and ".join(f"{100 * share:.1f} %" for share in sorted(found))


def write_stacked(runs: Sequence[Record], file: Path) -> None:
    """The page of Stacked MNIST."""
    names = sorted({run.word("model") for run in runs})
    write_page(
        file,
        "# Modes of Stacked MNIST",
        paragraph(f"Written by `{command_line()}`."),
        markdown_table(
            ("method", "seeds", "steps", "modes of 1,000", "KL to uniform, nats", "minutes a run"),
            [stacked_row(runs, name) for name in names],
        ),
        paragraph(
            "Mean and standard deviation over seeds, of 26,000 samples. A classifier names their",
            f"digits; it is right for {read_by_classifier(runs)} of the test digits.",
            f"All runs have `{shlex.join(common(runs))}`.",
            f"Protocol {protocols(runs, FOUND)}; {devices(runs)}.",
        ),
        "## What the papers have",
        "Read on the pictures of the tables in the authors' repositories.",
        markdown_table(("method", "from", "modes of 1,000", "KL"), PUBLISHED_STACKED),
    )


def write_mixtures(runs: Sequence[Record], file: Path) -> None:
    """The page of the ring and the grid, and its picture."""
    models = [model for model in MODELS if any(of(runs, model, data) for data in MIXTURES)]
    picture = file.with_suffix(".png")
    draw(runs, models, picture)
    beside = beside_the_sweep(common(runs))
    write_page(
        file,
        "# Modes found",
        paragraph(
            f"Written by `{command_line()}` from the runs of",
            f"`{shlex.join(['gentrain', '-m', 'sweep=mode_coverage', *beside])}`. A method is",
            "named with the options in which its runs differ from the sweep's own.",
        ),
        markdown_table(HEAD, [plane_row(runs, model) for model in models]),
        paragraph(
            "Mean and standard deviation over seeds, of 2,500 samples of the last weights. A mode",
            "is found with one sample within three standard deviations of it (VEEGAN's rule).",
            f"Samples spread evenly over the square would have {chances(runs)} near a mode, so",
            "that a share near this says that nothing of the modes has been learned, however many",
            f"are found. Protocol {protocols(runs, FOUND)}; {devices(runs)}.",
        ),
        f"![Samples of each method on both mixtures]({picture.name})",
        "## What the papers have",
        paragraph(
            "Read on the pictures of the tables in the authors' repositories. PacGAN's errors are",
            "standard errors of 10 trials. Its networks are 400 units wide, with 2 numbers of",
            "noise, and its runs 400 epochs of 100,000 points in batches of 100: 400,000 updates",
            "(config.py, read).",
        ),
        markdown_table(
            (
                *("method", "from", "ring: modes of 8", "of high quality"),
                *("grid: modes of 25", "of high quality"),
            ),
            PUBLISHED,
        ),
        "[The modes of Stacked MNIST](stacked_mnist.md) have a page of their own.",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+", help="directories of the sweeps")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/results/coverage.md")
    args = parser.parse_args()
    runs = [run for folder in args.runs for run in records(folder)]
    runs = with_scores(runs, FOUND)
    plane = [run for run in runs if run.word("data") in MIXTURES and run.word("model") in MODELS]
    stacked = [run for run in runs if run.word("data") == STACKED]
    if not plane and not stacked:
        raise UserError(
            f"no run is of {STACKED}, {' or '.join(MIXTURES)} (runs); give those of "
            "sweep=mode_coverage"
        )
    if plane:
        write_mixtures(plane, args.out)
    if stacked:
        write_stacked(stacked, args.out.with_name("stacked_mnist.md"))


if __name__ == "__main__":
    sys.exit(exit_code(main))
