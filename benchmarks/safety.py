"""What safety costs: an atomic checkpoint with a checksum beside torch.save, and the divergence
guard beside none. They take turns in one process.

    python benchmarks/safety.py [--megabytes 100] [--rounds 15] [--folder DIR] [--out FILE]

See README.md beside this file for how to read the table.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import frame
import loop
import torch
from torch import Tensor

from gentrain.training.checkpoint_io import AtomicIO
from gentrain.training.divergence import DivergenceGuard
from gentrain.training.job import Job


def plain(state: dict[str, Any], path: Path) -> None:
    torch.save(state, path)


def synced(state: dict[str, Any], path: Path) -> None:
    with open(path, "wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())


def ours(state: dict[str, Any], path: Path) -> None:
    AtomicIO().save_checkpoint(state, path)


def saving(megabytes: int, rounds: int, folder: Path) -> Iterator[Any]:
    """A model of 20 tensors and Adam's two moments of each."""
    state = {
        "state": {i: torch.randn(megabytes * 250_000 // 60) for i in range(60)},
        "global_step": 1,
    }
    with tempfile.TemporaryDirectory(dir=folder) as place:
        names = {
            "torch.save": plain,
            "torch.save and fsync": synced,
            "gentrain: checksum, fsync, rename, the last two kept": ours,
        }
        calls = {
            name: partial(save, state, Path(place, f"{save.__name__}.ckpt"))
            for name, save in names.items()
        }
        times = frame.in_turn(calls, rounds)
    yield frame.Table(f"A checkpoint of {megabytes} MB", times, tuple(list(names)[:2]), digits=1)


class Unguarded(DivergenceGuard):
    """Checks nothing."""

    def check_gradients(self, norm: Tensor, *_: Any) -> bool:
        return True


def guarding(work: loop.Work, rounds: int, folder: Path) -> Iterator[Any]:
    """The same run with and without the check of the gradient's norm.

    Both compute the norm, because it is logged.
    """
    runs = {}
    for name in ("guarded", "unguarded"):
        job = Job(
            loop.configuration(work, "cpu"),
            {"model": "benchmark", "data": "mnist_5k"},
            folder / name,
        )
        if name == "unguarded":
            job.scheme.guard = Unguarded("stop", 0)
        runs[name] = loop.Gentrain(job)
        runs[name].iterate(3)
    calls = {name: partial(run.iterate, 10) for name, run in runs.items()}
    times = frame.in_turn(calls, rounds)
    yield frame.Table(f"The guard: {work.name}", times, ("unguarded",), scale=100, digits=1)
    for run in runs.values():
        run.close()


def report(args: argparse.Namespace) -> Iterator[Any]:
    yield from saving(args.megabytes, args.rounds, args.folder)
    with tempfile.TemporaryDirectory() as folder:
        yield from guarding(loop.WORKS["mlp"], args.rounds, Path(folder))


def main() -> None:
    parser = frame.parser(__doc__, rounds=15)
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument(
        "--folder", type=Path, default=Path.cwd(), help="a folder on the disk to be measured"
    )
    args = parser.parse_args()
    frame.publish_in_process("What safety costs", report(args), args)


if __name__ == "__main__":
    main()
