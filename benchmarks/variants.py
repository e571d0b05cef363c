"""What a generator iteration costs eagerly, compiled, in bf16, and both: whole runs, in turn.

Each variant is a process of its own: all start and compile at once, then they take turns, A B C,
then C B A. One that fails is reported with its last line, and the others go on.

    python benchmarks/variants.py [--quick] [--device cpu] [--work nf16 nf64] [--out FILE]

See README.md beside this file for how to read the table.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "src")]

VARIANTS: dict[str, tuple[str, ...] | None] = {
    "minimal loop": None,
    "eager": (),
    "compiled": ("compile=true",),
    "bf16": ("trainer.precision=bf16-mixed",),
    "compiled, bf16": ("compile=true", "trainer.precision=bf16-mixed"),
}
WARM = 6  # iterations before anything is timed: graphs are built, recorded and replayed in them


# --- one variant, in its own process --------------------------------------------------------------


class Channel:
    """Where a variant is asked for iterations, and says how long they took."""

    def __init__(self) -> None:
        self.answers = os.fdopen(os.dup(1), "w", buffering=1)
        os.dup2(2, 1)  # whatever else is printed

    def say(self, **what: Any) -> None:
        self.answers.write(json.dumps(what) + "\n")

    def asked(self) -> int:
        """How many iterations; 0 ends the process."""
        line = sys.stdin.readline()
        return int(line) if line.strip() else 0


def wait_for(device: str) -> None:
    import torch

    if device == "cuda":
        torch.cuda.synchronize()


class Turns:
    """Counts iterations, and stops the run between two turns."""

    def __init__(self, channel: Channel, device: str, note: Callable[[], dict[str, Any]]) -> None:
        self.channel, self.device, self.note = channel, device, note
        self.left, self.number = WARM, WARM
        self.began = self.cpu = 0.0

    def begin(self) -> None:
        wait_for(self.device)
        self.began, self.cpu = time.perf_counter(), time.process_time()

    def iterated(self) -> bool:
        """After each iteration; False where no more are wanted."""
        self.left -= 1
        if self.left:
            return True
        wait_for(self.device)
        seconds, cpu = time.perf_counter() - self.began, time.process_time() - self.cpu
        self.channel.say(seconds=seconds / self.number, cpu=cpu / self.number, **self.note())
        self.left = self.number = self.channel.asked()
        self.begin()
        return bool(self.left)


def work_alone(args: argparse.Namespace) -> None:
    """Be one variant until no more iterations are asked for."""
    channel = Channel()
    if args.threads:
        os.environ["OMP_NUM_THREADS"] = str(args.threads)
    from gentrain.cores import wait_politely

    wait_politely()
    import lightning as L
    import loop
    import torch

    from gentrain.training.devices import mallopt
    from gentrain.training.job import Job

    mallopt()
    overrides, more = VARIANTS[args.variant], {"model": "benchmark", "data": "mnist_5k"}
    work = loop.WORKS[args.work[0]]
    work = loop.Work(work.name, (*work.overrides, *(overrides or ())))
    with tempfile.TemporaryDirectory() as folder:
        job = Job(loop.configuration(work, args.device), more, Path(folder))

        def note() -> dict[str, Any]:
            steps = job.scheme.steps.items()
            eager = [player for player, step in steps if not step.compiled]
            peak = torch.cuda.max_memory_allocated() / 2**20 if args.device == "cuda" else 0.0
            return {"eager": eager, "memory": peak, "tf32": torch.backends.cudnn.allow_tf32}

        turns = Turns(channel, args.device, note)
        if overrides is None:
            by_hand = loop.Minimal(job, args.device)
            turns.begin()
            by_hand.iterate(1)
            while turns.iterated():
                by_hand.iterate(1)
            return

        class Gate(L.Callback):
            def on_train_start(self, *_: Any) -> None:
                turns.begin()

            def on_train_batch_end(self, *_: Any) -> None:
                if not turns.iterated():
                    os._exit(0)

        job.trainer.callbacks.append(Gate())  # type: ignore[attr-defined]
        job.fit()


# --- all of them, in turn -------------------------------------------------------------------------


class Variant:
    """A process that runs iterations when it is asked to."""

    def __init__(
        self,
        name: str,
        work: str,
        args: argparse.Namespace,
        folder: Path,
        env: dict[str, str] | None = None,
    ) -> None:
        self.name, self.work = name, work
        self.log = (folder / f"{work}-{name.replace(' ', '-')}.log").open("w+")
        words = ["--variant", name, "--work", work, "--device", args.device]
        self.process = subprocess.Popen(
            [sys.executable, __file__, *words, "--threads", str(args.threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            env=env,
        )
        self.seconds: list[float] = []
        self.cpu: list[float] = []
        self.last: dict[str, Any] = {}
        self.failure: str | None = None
        self.warm: float = float("nan")

    def answer(self, patience: float) -> bool:
        """Wait for the end of a turn; False where the process has failed."""
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], max(0.0, patience))
        line = self.process.stdout.readline() if ready else ""
        if not line:
            self.fail(f"no answer after {patience:.0f} s" if not ready else "")
            return False
        self.last = json.loads(line)
        return True

    def turn(self, seconds: float, patience: float) -> None:
        """Run for some seconds, and note what an iteration took."""
        self.ask(seconds)
        self.note(patience)

    def ask(self, seconds: float) -> None:
        """Let it run for some seconds."""
        if self.failure is not None:
            return
        assert self.process.stdin is not None
        n = max(1, round(seconds / self.last["seconds"]))
        try:
            self.process.stdin.write(f"{n}\n")
            self.process.stdin.flush()
        except OSError:
            self.fail("")

    def note(self, patience: float) -> None:
        """Wait for the end of its turn, and note what an iteration took."""
        if self.failure is None and self.answer(patience):
            self.seconds.append(self.last["seconds"])
            self.cpu.append(self.last["cpu"])

    def fail(self, why: str) -> None:
        """Keep the last line that the process wrote, and end it."""
        self.log.flush()
        self.log.seek(0)
        lines = [line.strip() for line in self.log if line.strip()]
        self.failure = "; ".join(x for x in (why, lines[-1][:300] if lines else "") if x)
        self.process.kill()

    def said(self) -> str:
        """Why a player's update is not compiled, where that is so."""
        self.log.flush()
        self.log.seek(0)
        return " ".join(line.strip() for line in self.log if "not compiled" in line)[:300]

    def close(self) -> None:
        if self.process.poll() is None and self.failure is None:
            assert self.process.stdin is not None
            self.process.stdin.write("0\n")
            self.process.stdin.flush()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait()
        self.log.close()


def measured(args: argparse.Namespace, works: list[str], folder: Path) -> list[Variant]:
    """All variants of some works, started together, then timed in turn."""
    began = time.perf_counter()
    found = [Variant(name, work, args, folder) for work in works for name in VARIANTS]
    for one in found:
        if one.answer(args.patience - (time.perf_counter() - began)):
            one.warm = time.perf_counter() - began
    for one in found:
        one.turn(args.seconds / 2, 60)  # the first turn gives the length of the others
        one.seconds.clear()
        one.cpu.clear()
    for number in range(args.rounds):
        for one in found if number % 2 == 0 else found[::-1]:
            one.turn(args.seconds, 60)
    return found


def table(args: argparse.Namespace, works: list[str], folder: Path) -> Iterator[str]:
    from loop import WORKS, ratio, spread

    found = measured(args, works, folder)
    for work in works:
        yield f"\n## {WORKS[work].name}\n"
        yield "| | ms | to the minimal loop | to eager | processor ms | images/s | MiB |"
        yield "|---|---|---|---|---|---|---|"
        mine = {one.name: one for one in found if one.work == work}
        for one in mine.values():
            if one.failure is not None or not one.seconds:
                yield f"| {one.name} | failed: {one.failure} | | | | | |"
                continue
            against = partial(compared, one, mine)
            ms, cpu = (spread([t * 1e3 for t in each]) for each in (one.seconds, one.cpu))
            rate = IMAGES[work] / sorted(one.seconds)[len(one.seconds) // 2]
            cells = [ms, against("minimal loop", ratio, spread), against("eager", ratio, spread)]
            yield f"| {one.name} | {' | '.join([*cells, cpu])} | {rate:,.0f} | " + (
                f"{one.last['memory']:.0f} |"
            )
        for one in mine.values():
            if one.failure is None and "compiled" in one.name and one.last.get("eager"):
                yield f"\n{one.name}: {', '.join(one.last['eager'])} went on eagerly. {one.said()}"
        states = {one.last.get("tf32") for one in mine.values() if one.failure is None}
        if args.device == "cuda":
            yield f"\nTF32 in convolutions: {', '.join(map(str, states))}."
    for one in found:
        one.close()


IMAGES = {"nf16": 320, "nf64": 320, "mlp": 320, "dcgan": 128, "tiny": 4}  # of an iteration


def compared(one: Variant, mine: dict[str, Variant], name: str, ratio: Any, spread: Any) -> str:
    """Ratios to another variant, round by round."""
    base = mine[name].seconds
    return spread(ratio(one.seconds, base)) if len(base) == len(one.seconds) else ""


def report(args: argparse.Namespace) -> Iterator[str]:
    from loop import provenance

    yield "# Eager, compiled, bf16 and both\n"
    yield from provenance(args)
    yield (
        f"Milliseconds of a generator iteration: medians of {args.rounds} rounds [least-most]; "
        "ratios are taken in each round. Whole runs, each in a process of its own."
    )
    groups = [args.work] if args.device == "cuda" else [[work] for work in args.work]
    with tempfile.TemporaryDirectory() as folder:
        for works in groups:
            yield from table(args, works, Path(folder))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Time eager, compiled and bf16 runs in turn.")
    parser.add_argument("--work", nargs="+", default=["nf16", "nf64"])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, default=1, help="0: as a run chooses them")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each turn")
    parser.add_argument("--patience", type=float, default=600.0, help="seconds to compile in")
    parser.add_argument("--quick", action="store_true", help="on a GPU, within 90 seconds")
    parser.add_argument("--variant", choices=VARIANTS, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help="also write the table to a file")
    args = parser.parse_args()
    if args.quick:
        args.rounds, args.seconds = 3, 0.4
        args.patience = 60.0 if args.device == "cuda" else 900.0
        args.work = args.work if args.device == "cuda" else ["nf16"]
    return args


def main() -> None:
    args = arguments()
    if args.variant:
        work_alone(args)
        return
    publish(report(args), args.out)


def publish(report: Iterator[str], out: Path | None) -> None:
    """Print the lines of a report as they come, and write them to a file at the end."""
    lines = []
    for line in report:
        print(line, flush=True)
        lines.append(line)
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
