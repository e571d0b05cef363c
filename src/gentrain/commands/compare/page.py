"""One HTML page of compared runs, which opens from a file without a network.

Everything it shows is inside it. What comes from runs (names, overrides, reasons) goes in as JSON,
and is shown as text, never as HTML. The page's own policy runs no script but its own, and loads
nothing.
"""

from __future__ import annotations

import html
import math
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path
from typing import Any

from gentrain.commands.compare.directions import higher_is_better, is_score
from gentrain.commands.compare.find import Run
from gentrain.commands.compare.groups import Group, Spread, differing, hyperparameters
from gentrain.commands.compare.pictures import album
from gentrain.commands.compare.ranking import Table, flat_protocol
from gentrain.commands.compare.records import between
from gentrain.config.overrides import command
from gentrain.files import to_json
from gentrain.protocols import readable

POINTS = 240  # of a curve; more do not fit in the width of a chart
ALL_POINTS = 24_000  # of one value in all runs, if that leaves each at least MIN_POINTS
MIN_POINTS = 40
SCRIPTS = ("page.js", "curves.js", "hyperparameters.js", "start.js")
INSTALL = (
    "Curves are drawn by plotly, which is not installed: pip install 'gentrain[compare]', "
    "then compare again."
)


def html_page(shown: list[Table], places: list[Path], pixels: int, megabytes: float) -> str:
    """Write the whole page.

    Args:
        shown: the tables.
        places: the directories that were given.
        pixels: the longer side of a picture.
        megabytes: the limit for all pictures.
    """
    groups = [group for table in shown for _, group in table.rows]
    runs = [run for group in groups for run in group.runs]
    with ThreadPoolExecutor(1) as aside:  # pictures are made while the curves are written
        begun = aside.submit(album, runs, pixels, megabytes)
        told, library = content(shown, groups, places), plotly()
        pictures, left_out = begun.result()
    notes = {"left_out": left_out, "install": "" if library else INSTALL}
    parts = {
        "NONCE": secrets.token_hex(16),
        "TITLE": html.escape(", ".join(map(str, places))),
        "STYLE": resource("page.css"),
        "DATA": embedded(told | notes),
        "PICTURES": embedded(pictures),
        "PLOTLY": library,
        "SCRIPT": "\n".join(map(resource, SCRIPTS)),
    }
    pieces = resource("page.html").split("%%")  # TEXT %%NAME%% TEXT
    return "".join(parts[piece] if i % 2 else piece for i, piece in enumerate(pieces))


def resource(name: str) -> str:
    """A text file of this package."""
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def plotly() -> str:
    """The library's JavaScript; empty where it is not installed."""
    try:
        import plotly
    except ImportError:
        return ""
    return files(plotly).joinpath("package_data", "plotly.min.js").read_text(encoding="utf-8")


def embedded(content: Any) -> str:
    """JSON for a script element: no character could end the element."""
    text = to_json(content, ensure_ascii=True, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


# --- what the page shows --------------------------------------------------------------------------


def content(shown: list[Table], groups: list[Group], places: list[Path]) -> dict[str, Any]:
    """What page.js reads."""
    names = sorted(
        {name for group in groups for run in group.runs for name in run.curves},
        key=lambda name: (not is_score(name), name),
    )
    number = {id(group): i for i, group in enumerate(groups)}
    points = max(MIN_POINTS, min(POINTS, ALL_POINTS // sum(len(group.runs) for group in groups)))
    first = names[0] if names else None
    return {
        "places": [str(place) for place in places],
        "made": time.strftime("%Y-%m-%d %H:%M"),
        "values": names,
        "greater": [name for name in names if higher_is_better(name)],
        "first": next((table.score for table in shown if table.score), first),
        "tables": [
            table_content(table, [[rank, number[id(group)]] for rank, group in table.rows])
            for table in shown
        ],
        "groups": [group_content(group) for group in groups],
        "runs": [
            run_content(run, number[id(group)], points) for group in groups for run in group.runs
        ],
        "config": {
            key: [None if value is None else as_text(value) for value in values]
            for key, values in differing(groups).items()
        },
        "hyperparameters": {
            key: [None if value is None else as_text(value) for value in values]
            for key, values in hyperparameters(groups).items()
        },
    }


def table_content(table: Table, rows: list[list[int | None]]) -> dict[str, Any]:
    """A table, whose rows are pairs of a rank and the number of a group."""
    protocol = flat_protocol(table.protocol)
    return {
        "score": table.score,
        "ranked": bool(table.score and is_score(table.score)),
        "about": readable(table.protocol),
        "protocol": {key: as_text(value) for key, value in protocol.items()},
        "rows": rows,
    }


def as_text(value: Any) -> str:
    """A string as it is, anything else as JSON."""
    return value if type(value) is str else to_json(value)


def group_content(group: Group) -> dict[str, Any]:
    """A row of a table."""
    final = {name: pair(spread) for name, spread in group.final.items() if is_score(name)}
    best = {name: pair(spread) for name, spread in group.best.items() if is_score(name)}
    return {
        "label": group.label,
        "statuses": dict(group.statuses),
        "settled": group.settled,
        "counted": len(group.counted),
        "collapsed": group.collapsed,
        "final": final,
        "best": best,
        "older": {name: group.told_step(name) for name in group.older if is_score(name)},
        "steps": max(run.step for run in group.runs),
        "rate": rounded(group.mean_of("images_per_second")),
        "seconds": rounded(group.mean_of("wall_seconds")),
    }


def pair(spread: Spread) -> list[float | None]:
    """[mean, standard deviation]."""
    return [rounded(spread.mean), rounded(spread.sd)]


def run_content(run: Run, group: int, points: int) -> dict[str, Any]:
    """A run, with its curves in at most `points` points."""
    steps, hours = run.clock
    few = thinned(steps, hours, points)
    return {
        "name": run.name,
        "group": group,
        "seed": run.seed,
        "status": run.status,
        "reason": run.reason,
        "log": str(run.log) if run.log else None,
        "overrides": " ".join(f"{key}={value}" for key, value in run.overrides.items()),
        "step": run.step,
        "of": run.config.get("steps"),
        "directory": str(run.path.absolute()),
        "command": command("sample", run.path.absolute()) if run.has_weights else None,
        "images": run.images_per_step,
        "clock": [
            few,
            [rounded(between(step, steps, hours)) for step in few],
            [run.images_until(int(step)) for step in few],
        ],
        "curves": packed(run, points),
    }


def packed(run: Run, points: int) -> dict[str, Any]:
    """The curves of a run; most values are logged at the same steps, which are stored once.

    Returns:
        {"axes": [steps, ...], "of": {name: [number of its axis, values]}}.
    """
    axes: dict[tuple[int, ...], int] = {}
    curves = {}
    for name, (steps, values) in run.curves.items():
        few = thinned(steps, values, points)
        if len(few) < len(steps):
            at = dict(zip(steps, values, strict=True))
            values = [at[step] for step in few]
        curves[name] = [
            axes.setdefault(tuple(few), len(axes)),
            [float(f"{one:.5g}") for one in values],
        ]
    return {"axes": list(axes), "of": curves}


def thinned(steps: list[int], values: list[float], points: int) -> list[int]:
    """At most `points` of the steps.

    Every stretch keeps its least and its greatest value, so that no spike is lost; the ends stay.
    """
    if len(steps) <= points:
        return steps
    size = math.ceil(len(steps) / (points // 2 - 1))
    kept = {0, len(steps) - 1}
    for start in range(0, len(steps), size):
        stretch = range(start, min(start + size, len(steps)))
        kept |= {min(stretch, key=values.__getitem__), max(stretch, key=values.__getitem__)}
    return [steps[i] for i in sorted(kept)]


def rounded(value: float | None) -> float | None:
    """Five digits, which is more than a chart shows; None for what is not a finite number."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.5g}")
