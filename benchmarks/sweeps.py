"""What a sweep adds to the time of its cells.

Trivial cells are trained through joblib; then the table of a thousand finished cells is printed.

    python benchmarks/sweeps.py [--cells 200] [--jobs 2] [--rows 1000] [--out FILE]

See README.md beside this file for what is counted.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import loop

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


def overhead(cells: int, jobs: int) -> Iterator[str]:
    """The lines of the table about a whole sweep."""
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
    by_hand = alone * cells / jobs
    yield f"| {cells} cells, {jobs} at a time, from the command to its end | {whole:.0f} s |"
    yield f"| the cells' own times, all of them / {jobs} | {sum(own) / jobs:.0f} s |"
    yield f"| ratio | {whole / (sum(own) / jobs):.3f} |"
    yield f"| such a cell as a command of its own (least of 3) | {alone:.1f} s |"
    yield f"| all of them as commands of their own / {jobs}, by that | {by_hand:.0f} s |"
    yield f"| the same command again, with nothing left to train | {again:.1f} s |"


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
    yield f"| the table of {count:,} cells, read and printed (median of 5) | {median:.2f} s |"


def report(args: argparse.Namespace) -> Iterator[str]:
    yield "# Sweeps\n"
    yield from loop.provenance(args)
    yield "| | |"
    yield "|---|---|"
    yield from table(args.rows)
    yield from overhead(args.cells, args.jobs)


def main() -> None:
    parser = argparse.ArgumentParser(description="Time what a sweep adds to the time of its cells.")
    parser.add_argument("--cells", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--rows", type=int, default=1000, help="cells of the table")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="also write the table to a file")
    args = parser.parse_args()
    args.device, args.rounds = "cpu", 1
    os.environ["OMP_NUM_THREADS"] = str(args.threads)
    loop.publish(report(args), args.threads, args.out)


if __name__ == "__main__":
    main()
