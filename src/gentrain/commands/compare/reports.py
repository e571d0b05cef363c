"""The tables of a comparison as CSV: a row for each group, and a row for each run."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from typing import Any

from gentrain.commands.compare.directions import best, is_score
from gentrain.commands.compare.find import Run
from gentrain.commands.compare.groups import Group, Spread, differing
from gentrain.commands.compare.ranking import Table
from gentrain.protocols import readable

STATUSES = ("completed", "diverged", "failed")


def group_rows(shown: list[Table]) -> Iterator[dict[str, Any]]:
    """A row for each group: what the table has, every score, and the keys that differ."""
    groups = all_groups(shown)
    config, scores = differing(groups), score_names(groups)
    for number, table in enumerate(shown, 1):
        for rank, group in table.rows:
            yield {
                "table": number,
                "ranked_by": table.score,
                "protocol": readable(table.protocol),
                "rank": rank,
                "group": group.label,
                "runs": len(group.runs),
                **{status: group.statuses[status] for status in STATUSES},
                "collapsed": group.collapsed,
                **spreads(table.score, group),
                "scored_at": steps_of(table.score, group.counted),
                "steps": max(run.step for run in group.runs),
                "images_per_second": group.mean_of("images_per_second"),
                "wall_seconds": group.mean_of("wall_seconds"),
                **{
                    f"{kind}:{name}": value
                    for name in scores
                    for kind, value in spreads(name, group).items()
                },
                **{key: values[groups.index(group)] for key, values in config.items()},
            }


def steps_of(name: str | None, runs: Iterable[Run]) -> str:
    """The steps of the final values of a score, such as "500" or "500 1000"."""
    found = {run.curves[name][0][-1] for run in runs if name in run.curves}
    return " ".join(map(str, sorted(found)))


def spreads(name: str | None, group: Group) -> dict[str, Any]:
    """Mean and standard deviation of a score, final and best."""
    return parts("final", group.final.get(name or "")) | parts("best", group.best.get(name or ""))


def parts(kind: str, spread: Spread | None) -> dict[str, Any]:
    """The two columns of a spread."""
    return {f"{kind}_mean": spread and spread.mean, f"{kind}_sd": spread and spread.sd}


def run_rows(shown: list[Table]) -> Iterator[dict[str, Any]]:
    """A row for each run: how it ended, and its scores."""
    scores = score_names(all_groups(shown))
    for table in shown:
        for _, group in table.rows:
            for run in group.runs:
                yield run_row(run, group, table, scores)


def run_row(run: Run, group: Group, table: Table, scores: list[str]) -> dict[str, Any]:
    """The row of one run."""
    curves = {name: run.curves[name][1] for name in scores if name in run.curves}
    final = {name: curve[-1] for name, curve in curves.items()}
    top = {name: best(name)(curve) for name, curve in curves.items()}
    return {
        "run": run.name,
        "group": group.label,
        "seed": run.seed,
        "status": run.status,
        "reason": run.reason,
        "protocol": readable(table.protocol),
        "steps": run.step,
        "scored_at": steps_of(table.score, [run]),
        "images_per_second": run.end.get("images_per_second"),
        "wall_seconds": run.end.get("wall_seconds"),
        **{f"final:{name}": final.get(name) for name in scores},
        **{f"best:{name}": top.get(name) for name in scores},
        "path": run.path,
    }


def all_groups(shown: list[Table]) -> list[Group]:
    """The groups of all tables, in their order."""
    return [group for table in shown for _, group in table.rows]


def score_names(groups: list[Group]) -> list[str]:
    """The scores that some group has."""
    names = dict.fromkeys(name for group in groups for name in group.final)
    return [name for name in names if is_score(name)]


def as_csv(rows: Iterable[dict[str, Any]]) -> str:
    """Rows with equal keys as the text of a CSV file."""
    rows, text = list(rows), io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
