"""Write docs/results.md: a row for each configuration of which a record of a run is kept.

    python scripts/results.py [DIR ...]

The runs below the directories are found as `gentrain compare` does it, and a small record of each
that has ended is kept in docs/results/records (`result_records.py`). The page is then written from
all records, so that a row outlives its runs; without directories, from the records alone. The runs
of a row differ by the seed alone, were scored in one way, and ran on one kind of device. Nothing of
a row is typed. The first table compares runs with docs/results/aims.yaml (`result_aims.py`).
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from result_aims import AIMS, Aim, aims_section, fitting, read_aims
from result_groups import (
    VALIDATION,
    command,
    devices,
    groups_of,
    is_trained,
    minutes,
    protocols_of,
    seeds,
    steps_made,
    tests,
    told_best,
    told_final,
    told_hash,
)
from result_records import POINTS, RECORDS, keep, kept
from run_tables import ROOT, exit_code, paragraph, write_page

from gentrain.commands.compare.find import Run, find
from gentrain.commands.compare.groups import Group
from gentrain.protocols import NOT_KNOWN
from gentrain.tables import markdown_table, quantity

PAGE = ROOT / "docs/results.md"
MAX_BYTES = 1_000_000  # of the records
HEAD = (
    "command", "data", "steps", "seeds", "score", "validation", "best on validation", "test",
    "minutes", "device", "picture", "protocol",
)  # fmt: skip
OTHERS = (
    "[Earlier results](results/earlier.md) are typed from runs whose directories are gone, and",
    "[earlier runs](results/earlier_runs.md) a table of such runs. Pages of their own:",
    "[losses by Lipschitz methods](results/losses.md),",
    "[the ablation of improved_gan](results/ablation.md),",
    "[log-likelihoods of all families](results/likelihood.md),",
    "[modes found](results/coverage.md), [those of Stacked MNIST](results/stacked_mnist.md)",
    "and [what the doctor sees](doctor.md).",
)


def score_names(group: Group, aims: Sequence[Aim]) -> list[str]:
    """The scores of which a group has rows: the one that chose the best checkpoint, and those of
    its aims.
    """
    names = [group.main_score or "", *(VALIDATION + aim.score for aim in fitting(aims, group))]
    return [
        name.removeprefix(VALIDATION)
        for name in dict.fromkeys(names)
        if name.startswith(VALIDATION) and is_trained(group, name)
    ]


def row(group: Group, score: str, page: Path) -> list[str]:
    """The row of a group and a score."""
    name, run = f"{VALIDATION}{score}", group.runs[0]
    floor = group.final.get(f"{name}_floor")
    return [
        f"`{command(group)}`",
        run.choices.get("data", ""),
        steps_made(group),
        seeds(group),
        score + (f" (floor {floor.mean:.1f})" if floor else ""),
        told_final(group, name),
        told_best(group, name),
        "<br>".join(map(str, tests(group, score))),
        minutes(group),
        devices(group),
        picture(group, page),
        "<br>".join(map(told_hash, protocols_of(group, score))),
    ]


def picture(group: Group, page: Path) -> str:
    """A link to the last samples of its first run that has some; empty where none has."""
    files = [run.pictures[-1][1] for run in group.counted if run.pictures]
    if not files:
        return ""
    return f"![samples]({os.path.relpath(files[0], page.parent)})"


def about(runs: Sequence[Run], rows: int) -> str:
    """What the tables show."""
    seconds = [run.end["wall_seconds"] for run in runs if "wall_seconds" in run.end]
    total, each = (sum(seconds) / 60, statistics.median(seconds) / 60) if seconds else (0, 0)
    return paragraph(
        f"{quantity(rows, 'row')} of {quantity(len(runs), 'kept run')}; {total:,.0f} minutes",
        f"in all, {each:.1f} in the median, of machines that did other work as well. Scores are",
        "the mean ± standard deviation over seeds, of the last step, or of the one beside them.",
        "Checkpoints are chosen by the score of the validation split. The test split is scored at",
        "the end, with the weights of the last step, and again where somebody has used `gentrain",
        "eval`; a standard error is that of a mean over its images. Of each protocol there is the",
        "hash, first that of validation: only scores of one hash compare. `data.root=DATA` stands",
        "for a folder of data. A run without a score after step 0 has no row. Records have at most",
        f"{POINTS} points of a curve, and its best one.",
    )


def page_parts(runs: Sequence[Run], aims: Sequence[Aim], page: Path) -> list[str]:
    """The paragraphs and the tables of the page."""
    groups = groups_of(runs)
    shown = [(group, score) for group in groups for score in score_names(group, aims)]
    rows = [row(group, score, page) for group, score in shown]
    rows.sort(key=lambda cells: (cells[1], cells[4], cells[0], cells[9]))
    parts = [
        "# Results",
        paragraph(
            "Written by `make results` (`python scripts/results.py DIR ...`) from the records in",
            "docs/results/records, which `gentrain compare runs=docs/results/records` reads as",
            "well. Nothing on this page is typed.",
        ),
        paragraph(*OTHERS),
        *aims_section(aims, groups, runs),
        "## Runs",
        about(runs, len(rows)),
    ]
    for data in dict.fromkeys(cells[1] for cells in rows):
        of_data = [cells for cells in rows if cells[1] == data]
        parts += [f"### {data}", markdown_table(HEAD, of_data)]
    return [*parts, *protocols_section(shown)]


def protocols_section(shown: Sequence[tuple[Group, str]]) -> list[str]:
    """What each hash on the page stands for."""
    found: dict[str, str] = {}
    for group, score in shown:
        found |= protocols_of(group, score)
    found.pop(NOT_KNOWN, None)
    rows = [[told_hash(key), line.removeprefix(f"{key}: ")] for key, line in sorted(found.items())]
    table = markdown_table(("protocol", "how it was measured"), rows)
    return ["## Protocols", table] if rows else []


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runs", nargs="*", type=Path, help="directories of runs; none: no new ones")
    parser.add_argument("--out", type=Path, default=PAGE, help="the page")
    parser.add_argument("--records", type=Path, help="where records are kept")
    parser.add_argument("--aims", type=Path, default=AIMS)
    args = parser.parse_args(words)
    default = RECORDS if args.out == PAGE else args.out.with_suffix("") / "records"
    records = args.records or default
    for line in keep(find(args.runs), records) if args.runs else ():
        print(line)
    write_page(args.out, *page_parts(kept(records), read_aims(args.aims), args.out))
    size = sum(file.stat().st_size for file in records.glob("*/**/*") if file.is_file())
    if size > MAX_BYTES:
        print(f"{size / 1e6:.1f} MB of records in {records}; remove some", file=sys.stderr)
    return int(size > MAX_BYTES)


if __name__ == "__main__":
    sys.exit(exit_code(main))
