"""Write docs/results/ablation.md: what leaving out one technique of improved_gan does.

    gentrain -m sweep=ablate model=improved_gan data=mnist_5k seed=0,1,2 sweep.name=ablate \\
        'tricks=[label_smoothing,minibatch_discrimination,feature_matching_added,\\
        historical_averaging,virtual_batch_norm]'
    python scripts/ablation_table.py outputs/sweeps/ablate

Two runs of one seed are a pair: the same weights at the start, and the same batches. The interval
is Student's, of the mean of their differences.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from run_tables import (
    ROOT,
    Record,
    command_line,
    devices,
    mean_and_spread,
    paragraph,
    protocols,
    records,
    write_page,
)
from scipy.stats import t

from gentrain.tables import markdown_table

SCORE = "test/fid_classifier"
LEFT_OUT = ("hydra.", "sweep.", "cluster.", "logger=", "trainer=", "tricks=", "seed=", "data.root=")
# Table 3 of the paper, of Inception scores on CIFAR-10, remembered
PAPER = (
    ("all", "8.09 ± 0.07"),
    ("batch norm for virtual batch norm", "7.54 ± 0.07"),
    ("historical averaging for labels", "6.86 ± 0.06"),
    ("without label smoothing", "6.83 ± 0.06"),
    ("without labels", "4.36 ± 0.04"),
    ("without minibatch features", "3.87 ± 0.03"),
)


def tricks(run: Record) -> list[str]:
    return [name for name in run.word("tricks").strip("[]").split(",") if name]


def interval(differences: Sequence[float], share: float = 0.95) -> float:
    """Half the width of Student's interval of a mean.

    >>> round(interval([1.0, 2.0, 3.0]), 2)
    2.48
    """
    n = len(differences)
    if n < 2:
        return math.nan
    error = statistics.stdev(differences) / math.sqrt(n)
    return float(t.ppf((1 + share) / 2, n - 1)) * error


def differences(all_of_them: Sequence[Record], without: Sequence[Record]) -> list[float]:
    """Score without a trick, minus the score with all, of each seed that has both."""
    scores = {run.summary["seed"]: run.score(SCORE) for run in all_of_them}
    found = [
        run.score(SCORE) - scores[run.summary["seed"]]
        for run in without
        if run.summary["seed"] in scores
    ]
    return [value for value in found if math.isfinite(value)]


def groups(runs: Sequence[Record]) -> dict[str, list[Record]]:
    """The finished runs by what they leave out; "" leaves out nothing."""
    names = max((tricks(run) for run in runs), key=len)
    found: dict[str, list[Record]] = {"": [], **{name: [] for name in names}}
    for run in runs:
        missing = [name for name in names if name not in tricks(run)]
        if run.status == "completed" and len(missing) < 2:
            found["".join(missing)].append(run)
    return found


def rows(found: dict[str, list[Record]]) -> list[list[str]]:
    """A row for each trick that is left out, the first without that."""
    lines = []
    for name, runs in found.items():
        pairs = differences(found[""], runs) if name else []
        told = f"{statistics.fmean(pairs):+.1f} ± {interval(pairs):.1f}" if pairs else ""
        score = mean_and_spread(run.score(SCORE) for run in runs)
        covered = mean_and_spread(run.score("test/classes_covered") for run in runs)
        label = f"without `{name}`" if name else "all five"
        collapsed = str(sum(run.collapsed for run in runs))
        minutes = mean_and_spread(run.minutes for run in runs)
        lines.append([label, str(len(runs)), score, told, covered, collapsed, minutes])
    return lines


def draw(found: dict[str, list[Record]], file: Path) -> None:
    """The differences of each seed, their mean and its interval."""
    names = [name for name in found if name]
    fig, axis = plt.subplots(figsize=(8, 3.4))
    for place, name in enumerate(names):
        pairs = differences(found[""], found[name])
        if not pairs:
            continue
        mean = statistics.fmean(pairs)
        axis.errorbar(mean, place, xerr=interval(pairs), fmt="o", color="tab:blue", capsize=4)
        axis.plot(pairs, [place + 0.2] * len(pairs), "x", color="0.5", markersize=5)
    axis.axvline(0, color="0.3", linewidth=0.8)
    axis.set_yticks(range(len(names)), [f"without {name.replace('_', ' ')}" for name in names])
    axis.set_xlabel("change of classifier-FID (to the right: worse without it)")
    axis.set_title("improved_gan: one technique left out (mean, 95 % interval; x: a seed)")
    axis.invert_yaxis()
    fig.tight_layout()
    file.parent.mkdir(parents=True, exist_ok=True)
    fig.savefig(file, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runs", type=Path, help="the directory of the sweep")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/results/ablation.md")
    args = parser.parse_args()
    runs = records(args.runs)
    found = groups(runs)
    picture = args.out.with_suffix(".png")
    draw(found, picture)
    words = " ".join(word for word in runs[0].typed if not word.startswith(LEFT_OUT))
    floor = mean_and_spread((run.score(f"{SCORE}_floor") for run in runs), 1)
    head = ("", "seeds", "classifier-FID", "paired difference", "classes", "collapsed", "minutes")
    write_page(
        args.out,
        "# Ablation of improved_gan",
        paragraph(
            f"Written by `{command_line()}` from the runs of `gentrain -m sweep=ablate {words}`",
            "with all five tricks named, and several seeds.",
        ),
        markdown_table(head, rows(found)),
        paragraph(
            "Scores of the test split, mean and standard deviation over seeds; the paired",
            "difference has a 95 % interval (Student's). Above zero, the score is worse without",
            f"the technique. Floor {floor}; protocol {protocols(runs)}; {devices(runs)}.",
        ),
        f"![Paired differences]({picture.name})",
        "## What the paper has",
        paragraph(
            "Salimans et al. (2016), Table 3: Inception scores on CIFAR-10, where more is better",
            "(remembered, not read again).",
        ),
        markdown_table(("", "Inception score"), PAPER),
    )


if __name__ == "__main__":
    main()
