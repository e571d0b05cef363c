"""The tables of a comparison as text for a terminal."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator

from gentrain.commands.compare.directions import higher_is_better, is_score
from gentrain.commands.compare.find import Run
from gentrain.commands.compare.groups import Group
from gentrain.commands.compare.ranking import Table, about

HEAD = ["rank", "", "final", "best", "collapsed", "runs", "steps", "images/s", "time"]
NAME = 1  # the column of a group's name
ALWAYS = 4  # columns that are shown even when they are empty
FAILED = ("failed", "diverged", "missing")


def report(shown: list[Table]) -> Iterator[str]:
    """Lines: a table for each protocol, and the runs that failed, by name."""
    for table in shown:
        yield heading(table)
        yield from aligned([HEAD, *(row(table, rank, group) for rank, group in table.rows)])
        yield ""
    runs = [run for table in shown for _, group in table.rows for run in group.runs]
    for run in sorted(runs, key=lambda run: run.name):
        if run.status in FAILED:
            yield failure(run)


def heading(table: Table) -> str:
    """What the groups of a table are ranked by."""
    if table.score is None:
        return "without scores"
    if not is_score(table.score):
        return f"{table.score}, which is no score: not ranked"
    better = "more is better" if higher_is_better(table.score) else "less is better"
    return f"{table.score} ({better}); protocol: {about(table.protocol)}"


def row(table: Table, rank: int | None, group: Group) -> list[str]:
    """The cells of one group; "-" for what is not known."""
    final, best = group.final.get(table.score or ""), group.best.get(table.score or "")
    rate = group.mean_of("images_per_second")
    return [
        str(rank or "-"),
        group.label,
        str(final or "-"),
        str(best or "-"),
        "-" if group.collapsed is None else str(group.collapsed),
        progress(group),
        str(max(run.step for run in group.runs)),
        f"{rate:,.0f}" if rate is not None else "-",
        duration(group.mean_of("wall_seconds")),
    ]


def duration(seconds: float | None) -> str:
    """Seconds in the unit that fits.

    >>> duration(42), duration(90), duration(5400)
    ('42 s', '1.5 min', '1.5 h')
    """
    if seconds is None:
        return "-"
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h"


def progress(group: Group) -> str:
    """'3 completed', or '2 completed, 1 diverged'."""
    return ", ".join(f"{count} {status}" for status, count in sorted(group.statuses.items()))


def failure(run: Run) -> str:
    """A run that failed: its name, what was typed, the reason and the log."""
    typed = " ".join(f"{key}={value}" for key, value in run.overrides.items())
    cell = f"{run.name} ({typed})" if typed else run.name
    log = f"; its log is {run.log}" if run.log else ""
    return f"{cell} {run.status}" + (f": {run.reason}" if run.reason else "") + log


def aligned(rows: list[list[str]]) -> Iterator[str]:
    """Lines whose columns are as wide as their widest cell.

    Columns without any value are left out, and a long name is cut to the terminal's width.
    """
    kept = [i for i in range(len(rows[0])) if i < ALWAYS or any(row[i] != "-" for row in rows[1:])]
    widths = {i: max(len(row[i]) for row in rows) for i in kept}
    if sys.stdout.isatty():
        spare = shutil.get_terminal_size().columns - sum(widths[i] + 2 for i in kept)
        widths[NAME] = min(widths[NAME], max(24, widths[NAME] + spare))
    for row in rows:
        yield "  " + "  ".join(cut(row[i], widths[i]).ljust(widths[i]) for i in kept).rstrip()


def cut(text: str, width: int) -> str:
    """A text of at most `width` characters.

    >>> cut("model=wgan_gp", 9)
    'model=...'
    """
    return text if len(text) <= width else text[: width - 3] + "..."
