"""The tables of a comparison as text for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from gentrain.commands.compare.directions import higher_is_better, is_score
from gentrain.commands.compare.find import Run
from gentrain.commands.compare.groups import Group
from gentrain.commands.compare.ranking import Table
from gentrain.config.overrides import command
from gentrain.protocols import readable
from gentrain.tables import text_table

HEAD = ["rank", "group", "final", "best", "collapsed", "runs", "steps", "images/s", "time"]
ALWAYS = 4  # columns that are shown even when they are empty
OPTIONAL = ("steps", "time", "images/s")  # a narrow terminal leaves out the last first
FAILED = ("failed", "diverged", "missing")


def report(shown: list[Table]) -> Iterator[str]:
    """Lines: a table for each protocol with its best run, and the runs that failed, by name."""
    for table in shown:
        yield heading(table)
        head, *rows = known([HEAD, *(row(table, rank, group) for rank, group in table.rows)])
        yield from text_table(head, rows, OPTIONAL).splitlines()
        yield from best_run(table)
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
    return f"{table.score} ({better}); protocol: {readable(table.protocol)}"


def row(table: Table, rank: int | None, group: Group) -> list[str]:
    """The cells of one group; "-" for what is not known."""
    final, best = group.final.get(table.score or ""), group.best.get(table.score or "")
    rate = group.mean_of("images_per_second")
    return [
        str(rank or "-"),
        group.label,
        f"{final}{group.told_step(table.score)}" if final else "-",
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
    said = ", ".join(f"{count} {status}" for status, count in sorted(group.statuses.items()))
    if not group.repeats:
        return said
    seeds = len(group.runs) - group.repeats
    return f"{said} of {seeds} seed{'s' if seeds > 1 else ''}"


def failure(run: Run) -> str:
    """A run that failed: its name, what was typed, the reason and the log."""
    typed = " ".join(f"{key}={value}" for key, value in run.overrides.items())
    cell = f"{run.name} ({typed})" if typed else run.name
    log = f"; its log is {run.log}" if run.log else ""
    return f"{cell} {run.status}" + (f": {run.reason}" if run.reason else "") + log


def known(rows: list[list[str]]) -> list[list[str]]:
    """Rows without the columns in which nothing is known."""
    kept = [i for i in range(len(rows[0])) if i < ALWAYS or any(row[i] != "-" for row in rows[1:])]
    return [[row[i] for i in kept] for row in rows]


def best_run(table: Table) -> Iterator[str]:
    """The best run of the group of rank 1, and the command that draws from it."""
    winner = next((group for rank, group in table.rows if rank == 1), None)
    score = table.score or ""
    if winner is None:
        return
    choose = max if higher_is_better(score) else min
    runs = [run for run in winner.counted if score in run.curves]
    if not runs:
        return
    run = choose(runs, key=lambda run: run.curves[score][1][-1])
    steps, values = run.curves[score]
    old = f", step {steps[-1]}" if steps[-1] < run.step else ""
    yield f"best run: {run.path} ({values[-1]:.4g}{old})"
    if run.has_weights:
        yield f"  {command('sample', run.path)}"
