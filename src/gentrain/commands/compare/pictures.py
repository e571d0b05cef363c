"""Sample grids inside a page: small PNGs as data URIs, as many as a limit allows."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from PIL import Image

from gentrain.commands.compare.find import Run

SOURCES = ("root", "file", "a", "b")  # keys of data that say where they are


class Budget:
    """Pictures of at most `pixels` a side, until `megabytes` are spent."""

    def __init__(self, pixels: int, megabytes: float) -> None:
        self.pixels, self.left = pixels, megabytes * 1e6

    def take(self, path: Path) -> str | None:
        """A picture as a data URI; None for no picture, and for one that is too large."""
        uri = data_uri(path, self.pixels)
        if uri is None or len(uri) > self.left:
            return None
        self.left -= len(uri)
        return uri


def album(found: list[Run], pixels: int, megabytes: float) -> tuple[dict[str, Any], str]:
    """Choose the pictures of a page.

    Real images and the last grid of every run come first. The rest of the limit goes to earlier
    grids: the same share of each run's, evenly spread over its time.

    Args:
        found: the runs.
        pixels: the longer side of a picture.
        megabytes: the limit for all of them.

    Returns:
        {"runs": [[[step, data URI], ...] of each run], "real": [[name, data URI], ...]}, and a
        sentence on what was left out.
    """
    budget = Budget(pixels, megabytes)
    runs: list[dict[int, str]] = [{} for _ in found]
    real = [
        [name, uri] for name, path in first_of_data(found) if (uri := budget.take(path)) is not None
    ]
    for i, run in enumerate(found):
        if run.pictures and (uri := budget.take(run.pictures[-1][1])) is not None:
            runs[i][run.pictures[-1][0]] = uri
    share = share_of_earlier(found, runs, budget.left)
    for i, run in enumerate(found):
        for step, path in evenly(run.pictures[:-1], share):
            if (uri := budget.take(path)) is not None:
                runs[i][step] = uri
    kept, wanted = sum(map(len, runs)), sum(len(run.pictures) for run in found)
    note = ""
    if kept < wanted:
        note = (
            f"{kept} of {wanted} sample grids are in this page (picture_megabytes={megabytes:g})."
        )
    return {"runs": [sorted(pictures.items()) for pictures in runs], "real": real}, note


def share_of_earlier(found: list[Run], runs: list[dict[int, str]], left: float) -> float:
    """The share of the earlier grids that fits into `left` bytes."""
    sizes = [len(uri) for pictures in runs for uri in pictures.values()]
    earlier = sum(len(run.pictures) - 1 for run in found if run.pictures)
    if not earlier or not sizes:
        return 0.0
    # a margin: later grids can be larger files
    return min(1.0, left * 0.8 / (earlier * sum(sizes) / len(sizes)))


def first_of_data(found: Iterable[Run]) -> list[tuple[str, Path]]:
    """real.png of the first run on each data set, with the name of the data."""
    paths: dict[Any, tuple[str, Path]] = {}
    for run in found:
        if (path := run.path / "samples" / "real.png").exists():
            name, size = run.choices.get("data", "data"), run.config.get("data.size")
            title = f"{name}, {in_pixels(size)}" if size else name
            source = [str(run.config.get(f"data.{key}")) for key in ("size", *SOURCES)]
            paths.setdefault((name, *source), (title, path))
    return list(paths.values())


def in_pixels(size: Any) -> str:
    """`data.size` in words.

    >>> in_pixels(32), in_pixels([32, 48])
    ('32 px', '32 x 48 px')
    """
    match size:
        case [height, width]:
            return f"{height} x {width} px"
    return f"{size} px"


def evenly(items: list[Any], share: float) -> list[Any]:
    """A share of the items, evenly spread, the first among them.

    >>> evenly([0, 1, 2, 3, 4, 5], 0.5)
    [0, 2, 4]
    """
    n = math.floor(len(items) * share + 1e-9)
    return [items[i * len(items) // n] for i in range(n)]


def data_uri(path: Path, pixels: int) -> str | None:
    """A picture of at most `pixels` a side as a PNG in a data URI; None for no picture."""
    try:
        with Image.open(path) as image:
            halves = image.width >= 2 * pixels
            image.thumbnail(
                (pixels, pixels), Image.Resampling.BOX if halves else Image.Resampling.LANCZOS
            )
            small = lean(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    buffer = io.BytesIO()
    small.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def lean(image: Image.Image) -> Image.Image:
    """32 shades of grey, or 128 colours.

    That is a quarter of the bytes, and no difference can be seen at this size.
    """
    red, green, blue = image.split()
    if red.tobytes() == green.tobytes() == blue.tobytes():
        return red.point([round(value / 8.226) * 255 // 31 for value in range(256)])
    return image.quantize(128, method=Image.Quantize.FASTOCTREE)
