"""Sample grids inside a page: small PNGs as data URIs, as many as a limit allows."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path
from typing import Any

from PIL import Image

from gentrain.commands.compare.find import Run

BYTES_A_PIXEL = 0.12  # of a picture in few shades, about
SOURCES = ("root", "file", "a", "b")  # keys of data that say where they are


class Budget:
    """Pictures of at most `pixels` a side, until `megabytes` are spent."""

    def __init__(self, pixels: int, megabytes: float) -> None:
        self.pixels, self.left = pixels, megabytes * 1e6

    def take(self, paths: list[Path]) -> list[str | None]:
        """Pictures as data URIs; None for no picture, and for one that is too large.

        Pillow works without Python's lock: the threads take as many pictures at a time as there
        are cores.
        """
        if self.left <= 0:
            return [None] * len(paths)
        with ThreadPoolExecutor() as threads:
            return [self.paid(uri) for uri in threads.map(data_uri, paths, repeat(self.pixels))]

    def paid(self, uri: str | None) -> str | None:
        """The picture, if there is room for it."""
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

    def add(wanted: list[tuple[int, int, Path]]) -> None:
        """Take pictures, each with the number of its run and its step."""
        uris = budget.take([path for _, _, path in wanted])
        for (i, step, _), uri in zip(wanted, uris, strict=True):
            if uri is not None:
                runs[i][step] = uri

    data = first_of_data(found)
    uris = budget.take([path for _, path in data])
    real = [[name, uri] for (name, _), uri in zip(data, uris, strict=True) if uri]
    add([(i, *run.pictures[-1]) for i, run in enumerate(found) if run.pictures])
    share = share_of_earlier(found, runs, budget.left)
    add([(i, *each) for i, run in enumerate(found) for each in evenly(run.pictures[:-1], share)])
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
        content = path.read_bytes()
        with Image.open(io.BytesIO(content)) as image:
            if is_small(image, len(content), pixels):
                image.verify()  # its checksums, without decoding it
            else:
                content = reduced(image, pixels)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    return "data:image/png;base64," + base64.b64encode(content).decode("ascii")


def is_small(image: Image.Image, size: int, pixels: int) -> bool:
    """Whether a file of `size` bytes is about as small as it would be in few shades."""
    fits = max(image.size) <= pixels
    return fits and image.format == "PNG" and size <= image.width * image.height * BYTES_A_PIXEL


def reduced(image: Image.Image, pixels: int) -> bytes:
    """A picture as a PNG of at most `pixels` a side, in few shades."""
    buffer = io.BytesIO()
    small = lean(scaled(in_grey(image.convert("RGB")), pixels))
    # the highest levels take ten times as long, for a seventh of the bytes
    small.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def in_grey(image: Image.Image) -> Image.Image:
    """One channel where all three are equal."""
    red, green, blue = image.split()
    return red if red.tobytes() == green.tobytes() == blue.tobytes() else image


def scaled(image: Image.Image, pixels: int) -> Image.Image:
    """At most `pixels` a side."""
    halves = image.width >= 2 * pixels
    image.thumbnail((pixels, pixels), Image.Resampling.BOX if halves else Image.Resampling.LANCZOS)
    return image


def lean(image: Image.Image) -> Image.Image:
    """32 shades of grey, or 128 colours.

    That is a quarter of the bytes, and no difference can be seen at this size.
    """
    if image.mode == "L":
        return image.point([round(value / 8.226) * 255 // 31 for value in range(256)])
    return image.quantize(128, method=Image.Quantize.FASTOCTREE)
