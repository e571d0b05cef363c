"""What `gentrain compare` costs on 60 runs: the command, and its page in headless Chromium.

    python benchmarks/compare.py [--groups 20] [--seeds 3] [--rounds 7] [--out FILE]

The runs are made up, and of usual size: 200 logged rows of 24 values, and 11 sample grids each. See
README.md beside this file.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import frame

from gentrain.cli.main import run

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.support.browser import CHROMIUM, Page, browser
from tests.support.made_runs import many

Times = tuple[float, float]  # milliseconds: by the clock, and of the processor


def main_thread(page: Page) -> float:
    """Seconds of processor time that the page's main thread has taken since it began to load."""
    metrics = page.ask("Performance.getMetrics")["metrics"]
    return {metric["name"]: metric["value"] for metric in metrics}["TaskDuration"]


def opened(page: Page, file: Path) -> Times:
    """From the start of loading until the table, the chart and the pictures are there."""
    wall = page.open(file)
    return wall, main_thread(page) * 1e3


def redrawn(page: Page) -> Times:
    """Another value is chosen, with a line for each seed."""
    before, began = main_thread(page), time.perf_counter()
    page.choose("#seeds", "each")
    page.choose("#value", "critic/value_01")
    page.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return (time.perf_counter() - began) * 1e3, (main_thread(page) - before) * 1e3


def measured(file: Path, rounds: int) -> dict[str, list[Times]]:
    """The times of each round, in a browser of its own."""
    first, again, changed = [], [], []
    for _ in range(rounds):
        with browser() as page:
            page.ask("Performance.enable", timeDomain="threadTicks")
            first.append(opened(page, file))
            again.append(opened(page, file))
            changed.append(redrawn(page))
            assert not page.complaints, page.complaints
    return {
        "in a browser just started": first,
        "loaded again": again,
        "another value, every seed a line": changed,
    }


def grids(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8").split("data:image/png")[1:]


def report(args: argparse.Namespace) -> Iterator[Any]:
    with tempfile.TemporaryDirectory() as folder:
        place = many(Path(folder) / "runs", args.groups, args.seeds)
        began, processor = time.perf_counter(), time.process_time()
        assert run(["compare", f"runs={place}"]) == 0
        wall, processor = time.perf_counter() - began, time.process_time() - processor
        yield (
            f"{args.groups} x {args.seeds} runs. The command: {processor:.1f} s of processor time "
            f"({wall:.1f} s by the clock).\n"
        )
        file = place / "compare.html"
        size = file.stat().st_size / 1e6
        yield f"The page: {size:.1f} MB, {len(grids(file))} sample grids among them.\n"
        yield "Milliseconds from the start of loading until all is drawn."
        times = measured(file, args.rounds)
    for number, clock in enumerate(("by the clock", "processor time of the page")):
        columns = {name: [pair[number] for pair in pairs] for name, pairs in times.items()}
        yield frame.Table(clock, columns, (next(iter(columns)),), scale=1, digits=0)


def main() -> None:
    parser = frame.parser(__doc__, rounds=7)
    parser.add_argument("--groups", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    if CHROMIUM is None:
        raise SystemExit("no Chromium on this machine (apt-get install chromium)")
    frame.publish_in_process("The page of gentrain compare", report(args), args)


if __name__ == "__main__":
    main()
