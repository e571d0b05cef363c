"""One HTML page of compared runs, which opens from a file without a network: everything it shows is inside it.

What comes from runs (names, overrides, reasons) goes in as JSON and is shown as text, never as HTML; the page's own policy lets nothing
but its own script run and nothing be loaded.
"""

from __future__ import annotations

import base64
import html
import io
import json
import math
import secrets
import time
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Any

from PIL import Image

from gentrain.commands.compare.find import Run, between
from gentrain.commands.compare.ranking import (
    Group,
    Spread,
    Table,
    about,
    differing,
    flat_protocol,
    greater,
    is_score,
)

POINTS = 240  # of a curve; more do not fit in the width of a chart
ALL_POINTS = 24_000  # of one value in all runs, as long as that leaves each FEW
FEW = 40
INSTALL = "Curves are drawn by plotly, which is not installed: pip install 'gentrain[compare]', then compare again."


def html_page(shown: list[Table], places: list[Path], pixels: int, megabytes: float) -> str:
    """The whole page. `pixels` is the longer side of a picture, `megabytes` the limit for all of them."""
    groups = [group for table in shown for _, group in table.rows]
    pictures, left_out = album([run for group in groups for run in group.runs], pixels, megabytes)
    library = plotly()
    told = content(shown, groups, places) | {
        "left_out": left_out,
        "install": "" if library else INSTALL,
    }
    parts = {
        "NONCE": secrets.token_hex(16),
        "TITLE": html.escape(", ".join(map(str, places))),
        "STYLE": own("page.css"),
        "DATA": embedded(told),
        "PICTURES": embedded(pictures),
        "PLOTLY": library,
        "SCRIPT": own("page.js"),
    }
    text = own("page.html")
    pieces = text.split("%%")  # TEXT %%NAME%% TEXT
    return "".join(parts[piece] if i % 2 else piece for i, piece in enumerate(pieces))


def own(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def plotly() -> str:
    """The library's JavaScript, or nothing where it is not installed."""
    try:
        import plotly
    except ImportError:
        return ""
    return files(plotly).joinpath("package_data", "plotly.min.js").read_text(encoding="utf-8")


def embedded(content: Any) -> str:
    """JSON for a script element: no character that could end it."""
    text = json.dumps(
        content, ensure_ascii=True, allow_nan=False, separators=(",", ":"), default=str
    )
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


# --- what the page tells ----------------------------------------------------------------------------------------------------


def content(shown: list[Table], groups: list[Group], places: list[Path]) -> dict[str, Any]:
    names = sorted(
        {name for group in groups for run in group.runs for name in run.curves},
        key=lambda name: (not is_score(name), name),
    )
    number = {id(group): i for i, group in enumerate(groups)}
    points = max(FEW, min(POINTS, ALL_POINTS // sum(len(group.runs) for group in groups)))
    return {
        "places": [str(place) for place in places],
        "made": time.strftime("%Y-%m-%d %H:%M"),
        "values": names,
        "greater": [name for name in names if greater(name)],
        "first": next((table.score for table in shown if table.score), names[0] if names else None),
        "tables": [
            {
                "score": table.score,
                "ranked": bool(table.score and is_score(table.score)),
                "about": about(table.protocol),
                "protocol": {
                    key: plain(value) for key, value in flat_protocol(table.protocol).items()
                },
                "rows": [[rank, number[id(group)]] for rank, group in table.rows],
            }
            for table in shown
        ],
        "groups": [of_group(group) for group in groups],
        "runs": [of_run(run, number[id(group)], points) for group in groups for run in group.runs],
        "config": {
            key: [None if value is None else plain(value) for value in values]
            for key, values in differing(groups).items()
        },
    }


def plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def of_group(group: Group) -> dict[str, Any]:
    return {
        "label": group.label,
        "statuses": dict(group.statuses),
        "settled": group.settled,
        "counted": len(group.counted),
        "collapsed": group.collapsed,
        "final": {
            name: of_spread(spread) for name, spread in group.final.items() if is_score(name)
        },
        "best": {name: of_spread(spread) for name, spread in group.best.items() if is_score(name)},
        "steps": max(run.step for run in group.runs),
        "rate": short(group.mean_of("images_per_second")),
        "seconds": short(group.mean_of("wall_seconds")),
    }


def of_spread(spread: Spread) -> list[float | None]:
    return [short(spread.mean), short(spread.sd)]


def of_run(run: Run, group: int, points: int) -> dict[str, Any]:
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
        "images": run.images_per_step,  # of a step
        "clock": [few, [short(between(step, steps, hours)) for step in few]],
        "curves": packed(run, points),
    }


def packed(run: Run, points: int) -> dict[str, Any]:
    """{'axes': [steps], 'of': {name: [number of its axis, values]}}: most values are logged at the same steps."""
    axes: dict[tuple[int, ...], int] = {}
    curves = {}
    for name, (steps, values) in run.curves.items():
        few = thinned(steps, values, points)
        at = dict(zip(steps, values, strict=True))
        curves[name] = [axes.setdefault(tuple(few), len(axes)), [short(at[step]) for step in few]]
    return {"axes": list(axes), "of": curves}


def thinned(steps: list[int], values: list[float], points: int) -> list[int]:
    """At most `points` of the steps: of every stretch its least and its greatest value, so that no spike is lost; and the ends."""
    if len(steps) <= points:
        return steps
    size = math.ceil(len(steps) / (points // 2 - 1))
    kept = {0, len(steps) - 1}
    for start in range(0, len(steps), size):
        stretch = range(start, min(start + size, len(steps)))
        kept |= {min(stretch, key=values.__getitem__), max(stretch, key=values.__getitem__)}
    return [steps[i] for i in sorted(kept)]


def short(value: float | None) -> float | None:
    """Five digits are more than a chart shows."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.5g}")


# --- pictures ---------------------------------------------------------------------------------------------------------------


def album(found: list[Run], pixels: int, megabytes: float) -> tuple[dict[str, Any], str]:
    """({'runs': [[[step, data URI] of a run]], 'real': [[name, data URI]]}, what was left out).

    Real images and the last grid of every run come first; what is left of the limit goes to earlier grids, as many of each run, evenly
    spread over its time.
    """
    left = megabytes * 1e6
    runs: list[dict[int, str]] = [{} for _ in found]
    real, wanted = [], 0
    for name, path in first_of_data(found):
        if (uri := picture(path, pixels)) and len(uri) <= left:
            real.append([name, uri])
            left -= len(uri)
    for i, run in enumerate(found):
        wanted += len(run.pictures)
        if run.pictures and (uri := picture(run.pictures[-1][1], pixels)) and len(uri) <= left:
            runs[i][run.pictures[-1][0]] = uri
            left -= len(uri)
    sizes = [len(uri) for pictures in runs for uri in pictures.values()]
    rest = sum(len(run.pictures) - 1 for run in found if run.pictures)
    share = (
        min(1.0, left * 0.8 / (rest * sum(sizes) / len(sizes))) if rest and sizes else 0.0
    )  # later grids are the larger files
    for i, run in enumerate(found):
        for step, path in evenly(run.pictures[:-1], share):
            if (uri := picture(path, pixels)) and len(uri) <= left:
                runs[i][step] = uri
                left -= len(uri)
    kept = sum(map(len, runs))
    note = (
        f"{kept} of {wanted} sample grids are in this page (picture_megabytes={megabytes:g})."
        if kept < wanted
        else ""
    )
    return {"runs": [sorted(pictures.items()) for pictures in runs], "real": real}, note


def first_of_data(found: Iterable[Run]) -> list[tuple[str, Path]]:
    """real.png of the first run on each data set, by the name of the data."""
    paths: dict[Any, tuple[str, Path]] = {}
    for run in found:
        if (path := run.path / "samples" / "real.png").exists():
            name, size = run.choices.get("data", "data"), run.config.get("data.size")
            paths.setdefault(
                (name, size, run.config.get("data.root")),
                (f"{name}, {size} px" if size else name, path),
            )
    return list(paths.values())


def evenly(items: list[Any], share: float) -> list[Any]:
    """A share of the items, evenly spread, the first among them."""
    n = math.floor(len(items) * share + 1e-9)
    return [items[i * len(items) // n] for i in range(n)]


def picture(path: Path, pixels: int) -> str | None:
    """A picture of at most `pixels` a side as a PNG in a data URI, grey where it is; None for a file that is no picture."""
    try:
        with Image.open(path) as image:
            image.thumbnail(
                (pixels, pixels),
                Image.Resampling.BOX if image.width >= 2 * pixels else Image.Resampling.LANCZOS,
            )
            small = lean(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    buffer = io.BytesIO()
    small.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def lean(image: Image.Image) -> Image.Image:
    """32 shades of grey, or 128 colours: a quarter of the bytes, and no difference that is seen at this size."""
    red, green, blue = image.split()
    if red.tobytes() == green.tobytes() == blue.tobytes():
        return red.point([round(value / 8.226) * 255 // 31 for value in range(256)])
    return image.quantize(128, method=Image.Quantize.FASTOCTREE)
