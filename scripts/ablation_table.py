"""Write docs/results/ablation.md: what leaving out one technique of improved_gan does.

    gentrain -m sweep=ablate model=improved_gan data=mnist_5k seed=0,1,2 sweep.name=ablate \\
        'tricks=[label_smoothing,minibatch_discrimination,feature_matching_added,\\
        historical_averaging,virtual_batch_norm]'
    gentrain -m model=improved_gan data=mnist_5k seed=0,1,2 sweep.name=ablate 'tricks=[]'
    python scripts/ablation_table.py outputs/sweeps/ablate

The second command adds the runs without any of them to the sweep. Two runs of one seed are a pair:
the same weights at the start, and the same batches. The interval is Student's, of the mean of their
differences. Runs that failed are counted.
"""

from __future__ import annotations

import argparse
import math
import re
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from run_tables import (
    ROOT,
    Record,
    command_line,
    devices,
    exit_code,
    failures,
    mean_and_spread,
    paragraph,
    protocols,
    records,
    shown_words,
    with_scores,
    write_page,
)
from scipy.special import stdtrit

from gentrain.errors import UserError
from gentrain.tables import markdown_table

SCORE = "test/fid_classifier"
# Table 3 of the paper: its row, what that leaves out, and the row here
PAPER = (
    ("Real data", "", "11.24 ± 0.12", ""),
    (
        "Our methods",
        "nothing; it has no feature matching and no historical averaging",
        "8.09 ± 0.07",
        "",
    ),
    (
        "-VBN+BN",
        "virtual batch norm of the generator, for batch norm",
        "7.54 ± 0.07",
        "without `virtual_batch_norm`",
    ),
    ("-L+HA", "labels, for historical averaging", "6.86 ± 0.06", ""),
    ("-LS", "label smoothing", "6.83 ± 0.06", "without `label_smoothing`"),
    ("-L", "labels", "4.36 ± 0.04", ""),
    ("-MBF", "minibatch features", "3.87 ± 0.03", "without `minibatch_discrimination`"),
)
ALL, NONE = "all five", "none of them"


def tricks(run: Record) -> list[str]:
    """The tricks of a run, as they were typed or as the ledger has them."""
    return re.findall(r"\w+", run.word("tricks"))


def interval(differences: Sequence[float], share: float = 0.95) -> float:
    """Half the width of Student's interval of a mean.

    >>> round(interval([1.0, 2.0, 3.0]), 2)
    2.48
    """
    n = len(differences)
    if n < 2:
        return math.nan
    error = statistics.stdev(differences) / math.sqrt(n)
    return float(stdtrit(n - 1, (1 + share) / 2)) * error


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
    """The runs by what they leave out, failed ones, too: all five first, and none of them last."""
    names = max((tricks(run) for run in runs), key=len)
    found: dict[str, list[Record]] = {ALL: [], **{name: [] for name in names}, NONE: []}
    for run in runs:
        missing = [name for name in names if name not in tricks(run)]
        match missing:
            case []:
                found[ALL].append(run)
            case [name]:
                found[name].append(run)
            case _ if missing == names:
                found[NONE].append(run)
            case _:
                raise UserError(
                    f"{run.path} leaves out {', '.join(missing)} (tricks); "
                    "give runs that leave out one trick, all, or none"
                )
    return found


def label(name: str) -> str:
    return name if name in (ALL, NONE) else f"without `{name}`"


def completed(runs: Sequence[Record]) -> list[Record]:
    return [run for run in runs if run.status == "completed"]


def rows(found: dict[str, list[Record]]) -> list[list[str]]:
    """A row for each trick that is left out, between those of all and of none."""
    lines = []
    for name, runs in found.items():
        ended = completed(runs)
        pairs = [] if name == ALL else differences(completed(found[ALL]), ended)
        told = f"{statistics.fmean(pairs):+.1f} ± {interval(pairs):.1f}" if pairs[1:] else ""
        score = mean_and_spread(run.score(SCORE) for run in ended)
        covered = mean_and_spread(run.score("test/classes_covered") for run in ended)
        collapsed = str(sum(run.collapsed for run in ended))
        minutes = mean_and_spread(run.minutes for run in ended)
        counts = [str(len(ended)), failures(runs) or "0"]
        lines.append([label(name), *counts, score, told, covered, collapsed, minutes])
    return lines


def caution(count: int) -> str:
    """How often at least one of so many 95 % intervals misses the truth, if they are independent.

    >>> caution(6)
    'Of 6 such intervals, at least one misses the truth in 26 % of tables.'
    """
    share = f"{1 - 0.95**count:.0%}".replace("%", " %")
    return f"Of {count} such intervals, at least one misses the truth in {share} of tables."


def finding(found: dict[str, list[Record]]) -> str:
    """The rows whose interval leaves out zero, and the others, in one sentence."""
    clear: list[str] = []
    unclear: list[str] = []
    for name, runs in found.items():
        pairs = [] if name == ALL else differences(completed(found[ALL]), completed(runs))
        if len(pairs) > 1:  # one alone has no interval
            apart = abs(statistics.fmean(pairs)) > interval(pairs)
            (clear if apart else unclear).append(
                "with none of them" if name == NONE else label(name)
            )
    outside, inside = (listed(names) or "in no row" for names in (clear, unclear))
    return f"Zero is outside the interval {outside}; it is inside {inside}."


def listed(names: Sequence[str]) -> str:
    """Names in a sentence.

    >>> listed(["a", "b", "c"])
    'a, b and c'
    """
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def draw(found: dict[str, list[Record]], file: Path) -> None:
    """The differences of each seed, their mean and its interval."""
    import matplotlib  # here, so that the rows can be had without it

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names = [name for name in found if name != ALL]
    fig, axis = plt.subplots(figsize=(8, 3.4))
    for place, name in enumerate(names):
        pairs = differences(completed(found[ALL]), completed(found[name]))
        if not pairs:
            continue
        mean = statistics.fmean(pairs)
        axis.errorbar(mean, place, xerr=interval(pairs), fmt="o", color="tab:blue", capsize=4)
        axis.plot(pairs, [place + 0.2] * len(pairs), "x", color="0.5", markersize=5)
    axis.axvline(0, color="0.3", linewidth=0.8)
    axis.set_yticks(
        range(len(names)), [label(name).replace("`", "").replace("_", " ") for name in names]
    )
    axis.set_xlabel("change of classifier-FID (to the right: worse without it)")
    axis.set_title("one technique left out (mean, 95 % interval; x: a seed)")
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
    with_scores(runs, SCORE)
    found = groups(runs)
    picture = args.out.with_suffix(".png")
    draw(found, picture)
    words = " ".join(shown_words(runs[0].typed, "tricks=", "seed="))
    seeds = sorted({str(run.summary["seed"]) for run in completed(runs)})
    floor = mean_and_spread((run.score(f"{SCORE}_floor") for run in runs), 1)
    minutes = sum(run.minutes for run in runs if run.summary)
    head = ("", "seeds", "failed", "classifier-FID", "paired difference", "classes", "collapsed")
    write_page(
        args.out,
        "# Ablation of improved_gan",
        paragraph(
            f"Written by `{command_line()}` from the runs of `gentrain -m sweep=ablate {words}",
            f"seed={','.join(seeds)}` with its five tricks named, and of the same without",
            "`sweep=ablate`, with `'tricks=[]'`.",
        ),
        markdown_table((*head, "minutes a run"), rows(found)),
        paragraph(
            "Scores of the test split, mean and standard deviation over seeds; the paired",
            "difference to all five has a 95 % interval (Student's). Above zero, the score is",
            "worse without the technique. These are early runs, and say what a technique does to",
            f"the first steps of narrow networks. {caution(len(found) - 1)}",
            finding(found),
            f"Floor {floor}; protocol {protocols(runs, SCORE)}; {devices(runs)};",
            f"{minutes:.0f} minutes in all, beside other work.",
        ),
        f"![Paired differences]({picture.name})",
        "## What the paper has",
        paragraph(
            "Salimans et al. (2016), Table 3: Inception scores of 50,000 samples on CIFAR-10,",
            "where more is better. What the rows mean was read in its caption; the numbers are a",
            "picture there, and are remembered. Its networks are a classifier's and a generator's",
            "of labelled photographs, trained to their end, so that only the order compares.",
        ),
        markdown_table(("row", "leaves out", "Inception score", "here"), PAPER),
    )


if __name__ == "__main__":
    sys.exit(exit_code(main))
