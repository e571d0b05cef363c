"""Two processes of one run beside one: images a second on a CPU, gradients averaged by gloo.

    python benchmarks/ddp.py [--steps 60] [--rounds 3] [--out FILE]

Whole commands take turns. The batch is that of each process, so two see twice the images of a step.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import frame
import loop

DDP = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2")
ONE = "one process, one thread"
CONTENDERS: dict[str, tuple[int, tuple[str, ...]]] = {
    ONE: (1, ("trainer=cpu",)),
    "one process, two threads": (2, ("trainer=cpu",)),
    "two processes, one thread each": (1, DDP),
}


def images_per_second(work: loop.Work, steps: int, threads: int, words: tuple[str, ...]) -> float:
    """What a run says of itself: without its start, and without the time of its callbacks."""
    with tempfile.TemporaryDirectory() as folder:
        quiet = [word for word in loop.QUIET if not word.startswith("steps=")]
        words = (*quiet, *work.overrides, *words, f"steps={steps}", "hydra.run.dir=run")
        env = os.environ | {"OMP_NUM_THREADS": str(threads), "WANDB_MODE": "disabled"}
        done = subprocess.run(
            [sys.executable, "-m", "gentrain", *words],
            cwd=folder,
            env=env | {"PYTHONPATH": os.pathsep.join(sys.path[:2])},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise SystemExit(done.stderr[-1000:])
        return float(json.loads(Path(folder, "run/summary.json").read_text())["images_per_second"])


def report(args: argparse.Namespace) -> Iterator[Any]:
    for key in args.work:
        work = loop.WORKS[key]
        rates: dict[str, list[float]] = {name: [] for name in CONTENDERS}
        for number in range(args.rounds):
            for name in frame.order(CONTENDERS, number):
                rates[name].append(images_per_second(work, args.steps, *CONTENDERS[name]))
        yield frame.Table(work.name, rates, (ONE,), "images/s", 1, 0)


def main() -> None:
    parser = frame.parser(__doc__, rounds=3)
    parser.add_argument("--work", nargs="+", choices=loop.WORKS, default=["nf16"])
    parser.add_argument("--steps", type=int, default=60)
    args = parser.parse_args()
    frame.publish("One run in two processes", report(args), args)


if __name__ == "__main__":
    main()
