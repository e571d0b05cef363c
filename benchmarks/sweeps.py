"""What a sweep adds to the time of its cells.

Trivial cells are trained through joblib. Tables of thousands of finished cells are printed.

    python benchmarks/sweeps.py [--cells 200] [--jobs 2] [--rows 1000 10000] [--out FILE]

See README.md beside this file for what is counted.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import frame

from gentrain.files import write_json
from gentrain.sweeps.ledger import Ledger
from gentrain.sweeps.table import print_sweep

TRIVIAL = (
    "model=gan",
    "network=mlp",
    "model.generator.width=8",
    "model.critic.width=8",
    "data=gaussian_ring",
    "data.batch_size=16",
    "steps=1",
    "trainer=cpu",
    "logger=csv",
    "quality=none",
    "samples.every=0",
)


def gentrain(place: Path, *overrides: str) -> float:
    """Seconds that a command takes."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "gentrain", *overrides]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return time.perf_counter() - began


def overhead(cells: int, jobs: int) -> Iterator[Any]:
    """The table of a whole sweep."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        alone = min(gentrain(place, *TRIVIAL, f"seed={seed}") for seed in range(3))
        seeds = ",".join(map(str, range(cells)))
        sweep = ("-m", *TRIVIAL, f"seed={seeds}", "sweep.name=s", f"cluster.jobs={jobs}")
        whole = gentrain(place, *sweep)
        statuses = place.glob("outputs/sweeps/s/*/status.json")
        own = [json.loads(file.read_text())["seconds"] for file in statuses]
        again = gentrain(place, *sweep)
    assert len(own) == cells
    yield frame.Table(
        f"{cells} cells, {jobs} at a time",
        {
            "from the command to its end": [whole],
            "the cells' own times / jobs": [sum(own) / jobs],
            "each as a command of its own / jobs (by the least of 3)": [alone * cells / jobs],
            "the same command again, with nothing left to train": [again],
        },
        ("the cells' own times / jobs",),
        "s",
        1,
    )


def table(count: int) -> Iterator[str]:
    """The table of finished cells. Their files have just been written, so they are in memory."""
    with tempfile.TemporaryDirectory() as name:
        ledger = Ledger(Path(name) / "s", "s")
        for number in range(count):
            overrides = {
                "model": f"model{number % 7}",
                "scheme.critic_steps": number % 5,
                "seed": number // 35,
            }
            ledger.add_cell(str(number), overrides, [])
        ledger.write(["model", "scheme.critic_steps", "seed"])
        for cell in ledger.cells:
            best = {"metric": "quality/fid", "value": float(cell), "step": 7}
            metrics = {f"a/{number}": 1.0 for number in range(20)} | {"quality/fid": float(cell)}
            summary = {"steps": 9, "best": best, "metrics": metrics, "verdicts": []}
            write_json(ledger.dir / cell / "summary.json", summary)
            ledger.record(cell, status="completed", attempts=1, score=float(cell), seconds=1.0)
        times = []
        for _ in range(5):
            began = time.perf_counter()
            print_sweep(Ledger(ledger.dir), io.StringIO())
            times.append(time.perf_counter() - began)
    median = sorted(times)[2]
    yield f"\nThe table of {count:,} cells, read and printed: {median:.2f} s (median of 5)."


def report(args: argparse.Namespace) -> Iterator[Any]:
    for rows in args.rows:
        yield from table(rows)
    yield from overhead(args.cells, args.jobs)


def main() -> None:
    parser = frame.parser(__doc__, rounds=1)
    parser.add_argument("--cells", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--rows", type=int, nargs="+", default=[1000, 10_000], help="of tables")
    args = parser.parse_args()
    frame.publish_in_process("Sweeps", report(args), args)


if __name__ == "__main__":
    main()
