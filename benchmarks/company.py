"""What a run makes beside other work: the threads that gentrain chooses, and fixed numbers of them.

Busy processes are started, then whole runs take turns: each is stopped between its turns, so that
only one of them computes at a time. With --together, several trainings compute at once, and the sum
of what they make is compared with one alone.

    python benchmarks/company.py [--busy 0 1 2 4] [--work nf16] [--out FILE]
    python benchmarks/company.py --together 1 2 4 [--work nf16] [--out FILE]

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

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "src")]

from variants import IMAGES, Variant, publish  # noqa: E402

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


def rows(number: int, args: argparse.Namespace, folder: Path) -> Iterator[str]:
    """The lines of one load."""
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
            for label in list(SETTINGS) if turn % 2 == 0 else list(SETTINGS)[::-1]:
                found[label].turn(args.seconds, 600)
    rates = {
        label: [IMAGES[args.work] / seconds for seconds in one.seconds]
        for label, one in found.items()
    }
    best = max(statistics.median(rate) for rate in rates.values() if rate)
    for label, rate in rates.items():
        if not rate:
            yield f"| {number} | {label} | failed: {found[label].failure} | |"
            continue
        middle = statistics.median(rate)
        spread = f"{middle:,.0f} [{min(rate):,.0f}-{max(rate):,.0f}]"
        yield f"| {number} | {label} | {spread} | {middle / best:.2f} |"
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


def at_once(args: argparse.Namespace) -> Iterator[str]:
    """Several trainings at once, in rounds with one alone before and after."""
    from loop import WORKS, provenance

    yield "# Trainings at once\n"
    yield from provenance(args)
    yield (
        f"{WORKS[args.work].name}. Images a second of all together, medians of {args.rounds} turns "
        "[least-most]. At least 0.8 of one alone is asked.\n"
    )
    yield "| trainings | images/s | of one alone |"
    yield "|---|---|---|"
    with tempfile.TemporaryDirectory() as folder:
        first = sums(1, args, made(Path(folder) / "first"))
        found = {number: sums(number, args, Path(folder)) for number in args.together}
        alone = statistics.median(first + sums(1, args, made(Path(folder) / "last")))
    yield f"| one alone, before and after | {alone:,.0f} | 1.00 |"
    for number, rates in found.items():
        middle = statistics.median(rates)
        spread = f"{middle:,.0f} [{min(rates):,.0f}-{max(rates):,.0f}]"
        yield f"| {number} | {spread} | {middle / alone:.2f} |"


def made(place: Path) -> Path:
    """A new directory."""
    place.mkdir()
    return place


def report(args: argparse.Namespace) -> Iterator[str]:
    from loop import WORKS, provenance

    yield "# A run beside other work\n"
    yield from provenance(args)
    yield f"{WORKS[args.work].name}. Images a second, medians of {args.rounds} turns.\n"
    yield "| busy processes | threads | images/s | of the best |"
    yield "|---|---|---|---|"
    with tempfile.TemporaryDirectory() as folder:
        for number in args.busy:
            yield from rows(number, args, Path(folder))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Time runs beside busy processes.")
    parser.add_argument("--work", default="nf16", choices=IMAGES)
    parser.add_argument("--busy", nargs="+", type=int, default=[0, 1, 2, 4])
    parser.add_argument("--together", nargs="+", type=int, help="trainings at once, such as 1 2 4")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each turn")
    parser.add_argument("--settle", type=float, default=30.0, help="until the load shows")
    parser.add_argument("--out", type=Path, help="also write the table to a file")
    args = parser.parse_args()
    args.device, args.threads = "cpu", 0
    return args


def main() -> None:
    args = arguments()
    publish(at_once(args) if args.together else report(args), args.out)


if __name__ == "__main__":
    main()
