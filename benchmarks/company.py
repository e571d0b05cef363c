"""What a run makes beside other work: the threads that gentrain chooses, and fixed numbers of them.

Busy processes are started, then whole runs take turns: each is stopped between its turns, so that
only one of them computes at a time. With --together, several trainings compute at once.

    python benchmarks/company.py [--busy 0 1 2 4] [--work nf16] [--out FILE]
    python benchmarks/company.py --together 2 4 [--work nf16] [--out FILE]

See README.md beside this file for how to read the table.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import frame
from variants import IMAGES, Variant

CORES = os.cpu_count() or 1
SETTINGS = {
    "as gentrain chooses": {},
    f"{CORES} threads that spin": {
        "OMP_NUM_THREADS": str(CORES),
        "GOMP_SPINCOUNT": "300000",  # libgomp's own, where there are as many cores as threads
    },
    f"{CORES} threads that sleep": {
        "OMP_NUM_THREADS": str(CORES),
        "OMP_WAIT_POLICY": "PASSIVE",
    },
    "1 thread": {"OMP_NUM_THREADS": "1"},
}
OURS = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "MKL_NUM_THREADS")


@contextmanager
def busy(number: int, settle: float) -> Iterator[None]:
    """So many processes that compute, until the load shows them."""
    each = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(number)]
    try:
        time.sleep(settle if number else 0)
        yield
    finally:
        for process in each:
            process.kill()
            process.wait()


def rows(number: int, args: argparse.Namespace, folder: Path) -> Iterator[Any]:
    """The table of one load."""
    clean = {name: value for name, value in os.environ.items() if name not in OURS}
    (folder / str(number)).mkdir()
    found: dict[str, Variant] = {}
    with busy(number, args.settle):
        for label, more in SETTINGS.items():
            place = folder / str(number) / label.replace(" ", "-")
            place.mkdir()
            found[label] = Variant("eager", args.work, args, place, clean | more)
            if found[label].answer(600):  # one after the other: each looks at the load
                found[label].turn(args.seconds, 600)
        for one in found.values():
            one.seconds.clear()
        for turn in range(args.rounds):
            for label in frame.order(SETTINGS, turn):
                found[label].turn(args.seconds, 600)
    rates = {
        label: [IMAGES[args.work] / seconds for seconds in one.seconds]
        for label, one in found.items()
    }
    best = max(rates, key=lambda label: statistics.median(rates[label] or [0]))
    title = f"Beside {number} busy process(es)"
    yield frame.Table(title, rates, (best,), "images/s", 1, 0)
    for label, one in found.items():
        if one.failure:
            yield f"\n{label}: {one.failure}"
    for one in found.values():
        one.close()


def sums(number: int, args: argparse.Namespace, folder: Path) -> list[float]:
    """Images a second of several trainings together, in each round.

    They start at once, each with the threads that it chooses, and compute at once.
    """
    clean = {name: value for name, value in os.environ.items() if name not in OURS}
    places = [folder / f"{number}-{i}" for i in range(number)]
    for place in places:
        place.mkdir()
    each = [Variant("eager", args.work, args, place, clean) for place in places]
    for one in each:
        one.answer(600)
    found = []
    for _ in range(1 + args.rounds):
        for one in each:
            one.ask(args.seconds)
        for one in each:
            one.note(600)
        if failures := [one.failure for one in each if one.failure is not None]:
            raise SystemExit(f"a training failed: {failures[0]}")
        found.append(sum(IMAGES[args.work] / one.seconds[-1] for one in each))
    for one in each:
        one.close()
    return found[1:]  # the first turn gives the length of the others


def at_once(args: argparse.Namespace) -> Iterator[Any]:
    """One training alone, several at once, and one alone again."""
    from loop import WORKS

    yield f"{WORKS[args.work].name}. Images a second of all together; 0.8 of one alone is asked."
    with tempfile.TemporaryDirectory() as folder:
        places = [Path(folder) / name for name in ("first", "several", "last")]
        for place in places:
            place.mkdir()
        rates = {"one alone": sums(1, args, places[0])}
        rates |= {f"{number} at once": sums(number, args, places[1]) for number in args.together}
        rates["one alone, afterwards"] = sums(1, args, places[2])
    yield frame.Table("", rates, ("one alone",), "images/s", 1, 0)


def report(args: argparse.Namespace) -> Iterator[Any]:
    from loop import WORKS

    yield f"{WORKS[args.work].name}. Images a second; ratios are to the best."
    with tempfile.TemporaryDirectory() as folder:
        for number in args.busy:
            yield from rows(number, args, Path(folder))


def main() -> None:
    parser = frame.parser(__doc__, rounds=5)
    parser.add_argument("--work", default="nf16", choices=IMAGES)
    parser.add_argument("--busy", nargs="+", type=int, default=[0, 1, 2, 4])
    parser.add_argument("--together", nargs="+", type=int, help="trainings at once, such as 2 4")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each turn")
    parser.add_argument("--settle", type=float, default=30.0, help="until the load shows")
    parser.set_defaults(threads=0)
    args = parser.parse_args()
    if args.together:
        frame.publish("Trainings at once", at_once(args), args)
    else:
        frame.publish("A run beside other work", report(args), args)


if __name__ == "__main__":
    main()
