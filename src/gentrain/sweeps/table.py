"""The table of a sweep: a row a cell, or a row for all its seeds; then what failed, and why."""

from __future__ import annotations

import csv
import math
import shlex
import statistics
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from gentrain.config.overrides import command
from gentrain.files import atomic_write
from gentrain.runs.directory import COLLAPSE, LAST, summary
from gentrain.sweeps.ablation import effects
from gentrain.sweeps.ledger import Ledger, Status
from gentrain.tables import printable, text_table

BAD = ("diverged", "failed")  # a line each below the table
OPTIONAL = ("at", "seconds", "link")  # a narrow terminal leaves out the last first


def rows(ledger: Ledger) -> list[dict[str, Any]]:
    """A row a cell: its overrides, how it stands, its final and its best score."""
    return [row(ledger.dir, status) for status in ledger.statuses()]


def row(sweep_dir: Path, status: Status) -> dict[str, Any]:
    """The row of one cell; its overrides are columns too."""
    end = summary(sweep_dir / status["cell"]) if status["status"] != "missing" else {}
    best, metrics = end.get("best", {}), end.get("metrics", {})
    return {
        "cell": status["cell"],
        **status["overrides"],
        "status": status["status"],
        "steps": end.get("steps", 0),
        "metric": best.get("metric", ""),
        "final": metrics.get(best.get("metric"), math.nan),
        "best": best.get("value", math.nan),
        "at": best.get("step", ""),
        "collapsed": any(verdict in COLLAPSE for verdict in end.get("verdicts", [])),
        "seconds": status.get("seconds", ""),
        "link": link(sweep_dir / status["cell"]),
        "reason": status["reason"] or "",
        "log": str(sweep_dir / status["cell"] / status["log"]),
    }


def link(run_dir: Path) -> str:
    """The address of a run's page in W&B, where there is one."""
    file = run_dir / "wandb" / "url.txt"
    return file.read_text("utf-8").strip() if file.exists() else ""


def by_seed(found: list[dict[str, Any]], keys: Sequence[str]) -> list[dict[str, Any]]:
    """Join rows that differ only in the seed: means, standard deviations, and how many went wrong.

    Args:
        found: rows of the table.
        keys: the swept keys.
    """
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    others = [key for key in keys if key != "seed"]
    for each in found:
        groups.setdefault(tuple(str(each.get(key, "")) for key in others), []).append(each)
    return [
        joined(dict(zip(others, values, strict=True)), group) for values, group in groups.items()
    ]


def joined(values: dict[str, str], group: list[dict[str, Any]]) -> dict[str, Any]:
    """One row for the seeds of a cell.

    Args:
        values: the overrides that they share.
        group: their rows.
    """
    done = [each for each in group if each["status"] == "completed"]
    return {
        **values,
        "seeds": len(group),
        "done": len(done),
        "final": mean_spread([each["final"] for each in done]),
        "best": mean_spread([each["best"] for each in done]),
        "collapsed": sum(each["collapsed"] for each in done),
        "diverged": sum(each["status"] == "diverged" for each in group),
        "failed": sum(each["status"] == "failed" for each in group),
    }


def mean_spread(values: list[float]) -> str:
    """The mean and the standard deviation of the finite values.

    >>> mean_spread([12.0, 12.6])
    '12.3 ± 0.42'
    """
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return ""
    spread = f" ± {statistics.stdev(finite):.2g}" if len(finite) > 1 else ""
    return f"{statistics.fmean(finite):.4g}{spread}"


def print_sweep(ledger: Ledger, stream: TextIO | None = None) -> None:
    """Print the table of a sweep, and write it as table.csv.

    Args:
        ledger: the cells.
        stream: where it is printed; None for standard output.
    """
    found = rows(ledger)
    if not found:
        return
    write_csv(ledger.dir / "table.csv", found)
    stream = stream or sys.stdout
    for part in parts(ledger, found, stream):
        stream.write(printable(part, stream))


def parts(ledger: Ledger, found: list[dict[str, Any]], stream: TextIO) -> Iterator[str]:
    """What is printed of a sweep: the cells, their means over seeds, the best, and what failed.

    Args:
        ledger: the cells.
        found: their rows.
        stream: where it is printed.
    """
    shown = ["cell", *ledger.keys, "status", "steps", "final", "best", "at", "seconds"]
    if any(each["link"] for each in found):
        shown.append("link")
    metrics = sorted({each["metric"] for each in found} - {""})
    yield f"{ledger.dir}" + (f": {', '.join(metrics)}" if metrics else "") + "\n"
    yield aligned(found, shown, stream)
    if "seed" in ledger.keys:
        groups = by_seed(found, ledger.keys)
        yield "\nover seeds, mean ± standard deviation\n"
        yield aligned(groups, list(groups[0]), stream)
    if ledger.ablation and (differences := effects(found, ledger.keys)):
        yield "\nwithout a trick minus with all of them, pairs of equal seeds, "
        yield "mean ± standard error\n" + aligned(differences, list(differences[0]), stream)
    yield best_run(ledger.dir, found)
    yield f"side by side: `gentrain compare {shlex.quote(str(ledger.dir))}`\n"
    for each in found:
        if each["status"] in BAD:
            yield f"{each['status']} {each['cell']}: {each['reason']}\n  {each['log']}\n"
    runs = [ledger.dir / name for name in ledger.cells]
    if any(any(run.glob("wandb/offline-run-*")) and not link(run) for run in runs):
        files = f"{shlex.quote(str(ledger.dir))}/*/wandb/offline-run-*"
        yield f"W&B: upload the sweep with `wandb sync {files}`\n"


def best_run(sweep_dir: Path, found: list[dict[str, Any]]) -> str:
    """The path of the cell with the best final score, and the command that draws from it.

    Empty where no cell has a score, or where they have different ones.
    """
    scored = [
        each for each in found if each["status"] == "completed" and math.isfinite(each["final"])
    ]
    if not scored or len({each["metric"] for each in scored}) > 1:
        return ""
    more = summary(sweep_dir / scored[0]["cell"]).get("directions", {}).get(scored[0]["metric"])
    choose = max if more else min
    best = choose(scored, key=lambda each: float(each["final"]))
    run = sweep_dir / best["cell"]
    line = f"best run: {run} ({best['metric']} {best['final']:.4g})\n"
    return line + (f"  {command('sample', run)}\n" if (run / LAST).exists() else "")


def write_csv(path: Path, found: list[dict[str, Any]]) -> None:
    """Write rows with all of their columns."""
    columns = list(dict.fromkeys(key for each in found for key in each))
    utf8: dict[str, Any] = {"encoding": "utf-8", "errors": "surrogateescape"}
    with atomic_write(path) as part, part.open("w", **utf8, newline="") as file:
        writer = csv.DictWriter(file, fieldnames=columns)
        writer.writeheader()
        writer.writerows(found)


def aligned(found: list[dict[str, Any]], columns: Sequence[str], stream: TextIO) -> str:
    """Rows as a table; a narrow terminal is spared what table.csv has as well."""
    cells = [[cut(each.get(column, "")) for column in columns] for each in found]
    return text_table(columns, cells, OPTIONAL, stream)


def cut(value: Any) -> str:
    """A value of the table as text; a number with 5 digits, nothing for NaN."""
    match value:
        case float():
            return "" if math.isnan(value) else f"{value:.5g}"
    return str(value)
