"""gentrain compare runs=DIR[,DIR...]: runs side by side, as a table in the terminal, as compare.csv and runs.csv, and as one HTML page.

Runs that are still going are shown as far as they are. torch is not imported.
"""

from __future__ import annotations

import csv
import io
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from gentrain.commands.compare.find import Run, find
from gentrain.commands.compare.page import html_page
from gentrain.commands.compare.ranking import (
    Group,
    Spread,
    Table,
    about,
    best,
    chosen,
    differing,
    grouped,
    is_score,
    tables,
)
from gentrain.config.types import Count, NonNegative
from gentrain.config.validate import coerced
from gentrain.errors import UserError
from gentrain.files import report_disk_errors, write_text

NAME = 1  # the column of a group's name
FAILED = ("failed", "diverged", "missing")


def compare(config: dict[str, Any]) -> Path:
    """As `config` (conf/compare.yaml) says; the directory of what was written. Raises UserError where there is no run."""
    config |= {
        key: coerced(config[key], hint, key)
        for key, hint in {"picture_pixels": Count, "picture_megabytes": NonNegative}.items()
    }
    places = [Path(place) for place in listed(config["runs"])]
    out = (
        Path(config["out"])
        if config["out"]
        else places[0]
        if len(places) == 1
        else Path("outputs", "compare")
    )
    groups = grouped(find(places), config["across"])
    sort = chosen(config["sort"], groups)
    shown = tables(
        groups,
        sort,
        {"auto": None, "ascending": False, "descending": True}[config["order"].name],
        config["across"],
    )
    reports = {"compare.csv": as_csv(group_rows(shown)), "runs.csv": as_csv(run_rows(shown))}
    if config["page"]:
        reports["compare.html"] = html_page(
            shown, places, config["picture_pixels"], config["picture_megabytes"]
        )
    with report_disk_errors(out, "out"):
        out.mkdir(parents=True, exist_ok=True)
        for name, text in reports.items():
            write_text(out / name, text)
    files_told = "compare.csv (a row a group), runs.csv (a row a run)" + (
        ", compare.html" if config["page"] else ""
    )
    say([*report(shown), f"all of it in {out}: {files_told}"])
    return out


def listed(given: Any) -> list[str]:
    """`runs=a,b` or `runs=[a,b]`."""
    places = [str(place) for place in given] if isinstance(given, list) else [str(given)]
    if not places or not all(places):
        raise UserError(
            "no directory is named (runs); give run directories, sweeps, or a directory above them"
        )
    return list(dict.fromkeys(places))


def say(lines: list[str]) -> None:
    """On stdout, whatever characters it can show."""
    encoding = sys.stdout.encoding or "utf-8"
    print("\n".join(lines).encode(encoding, "backslashreplace").decode(encoding))


# --- the terminal -----------------------------------------------------------------------------------------------------------


def report(shown: list[Table]) -> Iterator[str]:
    """A table for each protocol, then the cells that failed, by name."""
    for table in shown:
        yield heading(table)
        yield from aligned(
            [
                ["rank", "", "final", "best", "collapsed", "runs", "steps", "images/s", "time"],
                *map(terminal_row(table), table.rows),
            ]
        )
        yield ""
    everyone = [run for table in shown for _, group in table.rows for run in group.runs]
    for run in sorted((run for run in everyone if run.status in FAILED), key=lambda run: run.name):
        yield failure(run)


def heading(table: Table) -> str:
    if table.score is None:
        return "without scores"
    if not is_score(table.score):
        return f"{table.score}, which is no score: not ranked"
    better = "more is better" if best(table.score) is max else "less is better"
    return f"{table.score} ({better}); protocol: {about(table.protocol)}"


def terminal_row(table: Table) -> Any:
    def row(entry: tuple[int | None, Group]) -> list[str]:
        rank, group = entry
        final, top = group.final.get(table.score or ""), group.best.get(table.score or "")
        rate, seconds = group.mean_of("images_per_second"), group.mean_of("wall_seconds")
        return [
            str(rank or "-"),
            group.label,
            str(final or "-"),
            str(top or "-"),
            "-" if group.collapsed is None else str(group.collapsed),
            progress(group),
            str(max(run.step for run in group.runs)),
            f"{rate:,.0f}" if rate is not None else "-",
            duration(seconds),
        ]

    return row


def duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return (
        f"{seconds:.0f} s"
        if seconds < 60
        else f"{seconds / 60:.1f} min"
        if seconds < 3600
        else f"{seconds / 3600:.1f} h"
    )


def progress(group: Group) -> str:
    """'3 completed', '2 completed, 1 diverged'"""
    return ", ".join(f"{count} {status}" for status, count in sorted(group.statuses.items()))


def failure(run: Run) -> str:
    words = " ".join(f"{key}={value}" for key, value in run.overrides.items())
    cell = f"{run.name} ({words})" if words else run.name
    where = f"; its log is {run.log}" if run.log else ""
    return f"{cell} {run.status}" + (f": {run.reason}" if run.reason else "") + where


def aligned(rows: list[list[str]]) -> Iterator[str]:
    """Columns as wide as their widest word; a column that says nothing is left out, and a long name is cut to the terminal's width."""
    kept = [i for i in range(len(rows[0])) if i < 4 or any(row[i] != "-" for row in rows[1:])]
    widths = {i: max(len(row[i]) for row in rows) for i in kept}
    if sys.stdout.isatty():
        spare = shutil.get_terminal_size().columns - sum(widths[i] + 2 for i in kept)
        widths[NAME] = min(widths[NAME], max(24, widths[NAME] + spare))
    for row in rows:
        yield "  " + "  ".join(cut(row[i], widths[i]).ljust(widths[i]) for i in kept).rstrip()


def cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 3] + "..."


# --- CSV --------------------------------------------------------------------------------------------------------------------


def group_rows(shown: list[Table]) -> Iterator[dict[str, Any]]:
    """Of each group what the table has, and every score."""
    groups = [group for table in shown for _, group in table.rows]
    config = differing(groups)
    scores = [
        name
        for name in dict.fromkeys(name for group in groups for name in group.final)
        if is_score(name)
    ]
    for number, table in enumerate(shown, 1):
        for rank, group in table.rows:
            yield {
                "table": number,
                "ranked_by": table.score,
                "protocol": about(table.protocol),
                "rank": rank,
                "group": group.label,
                "runs": len(group.runs),
                **{
                    status: group.statuses[status] for status in ("completed", "diverged", "failed")
                },
                "collapsed": group.collapsed,
                **spreads(table.score, group),
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


def spreads(name: str | None, group: Group) -> dict[str, Any]:
    def parts(kind: str, spread: Spread | None) -> dict[str, Any]:
        return {f"{kind}_mean": spread and spread.mean, f"{kind}_sd": spread and spread.sd}

    return parts("final", group.final.get(name or "")) | parts("best", group.best.get(name or ""))


def run_rows(shown: list[Table]) -> Iterator[dict[str, Any]]:
    """Of each run its end and its scores."""
    groups = [group for table in shown for _, group in table.rows]
    scores = [
        name
        for name in dict.fromkeys(name for group in groups for name in group.final)
        if is_score(name)
    ]
    for table in shown:
        for _, group in table.rows:
            for run in group.runs:
                curves = {name: run.curves[name][1] for name in scores if name in run.curves}
                yield {
                    "run": run.name,
                    "group": group.label,
                    "seed": run.seed,
                    "status": run.status,
                    "reason": run.reason,
                    "protocol": about(table.protocol),
                    "steps": run.step,
                    "images_per_second": run.end.get("images_per_second"),
                    "wall_seconds": run.end.get("wall_seconds"),
                    **{
                        f"final:{name}": curves[name][-1] if name in curves else None
                        for name in scores
                    },
                    **{
                        f"best:{name}": best(name)(curves[name]) if name in curves else None
                        for name in scores
                    },
                    "path": run.path,
                }


def as_csv(rows: Iterable[dict[str, Any]]) -> str:
    rows, text = list(rows), io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
