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
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import frame

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


def tables(args: argparse.Namespace, works: list[str], folder: Path) -> Iterator[Any]:
    from loop import WORKS

    found = measured(args, works, folder)
    for work in works:
        mine = {one.name: one for one in found if one.work == work}
        done = {name: one for name, one in mine.items() if one.seconds}
        more = {
            "processor ms": {n: frame.spread([t * 1e3 for t in o.cpu]) for n, o in done.items()},
            "images/s": {
                n: f"{IMAGES[work] / statistics.median(o.seconds):,.0f}" for n, o in done.items()
            },
            "MiB": {n: f"{o.last['memory']:.0f}" for n, o in done.items()},
        }
        seconds = {name: one.seconds for name, one in mine.items()}
        yield frame.Table(WORKS[work].name, seconds, ("minimal loop", "eager"), more=more)
        for one in mine.values():
            if one.failure is not None:
                yield f"\n{one.name} failed: {one.failure}"
            elif "compiled" in one.name and one.last.get("eager"):
                yield f"\n{one.name}: {', '.join(one.last['eager'])} went on eagerly. {one.said()}"
        states = {one.last.get("tf32") for one in mine.values() if one.failure is None}
        if args.device == "cuda":
            yield f"\nTF32 in convolutions: {', '.join(map(str, states))}."
    for one in found:
        one.close()


IMAGES = {"nf16": 320, "nf64": 320, "mlp": 320, "dcgan": 128, "tiny": 4}  # of an iteration


def report(args: argparse.Namespace) -> Iterator[Any]:
    yield "Milliseconds of a generator iteration of whole runs, each in a process of its own."
    groups = [args.work] if args.device == "cuda" else [[work] for work in args.work]
    with tempfile.TemporaryDirectory() as folder:
        for works in groups:
            yield from tables(args, works, Path(folder))


def arguments() -> argparse.Namespace:
    parser = frame.parser(__doc__, rounds=7)
    parser.add_argument("--work", nargs="+", default=["nf16", "nf64"])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each turn")
    parser.add_argument("--patience", type=float, default=600.0, help="seconds to compile in")
    parser.add_argument("--quick", action="store_true", help="on a GPU, within 90 seconds")
    parser.add_argument("--variant", choices=VARIANTS, help=argparse.SUPPRESS)
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
    frame.publish("Eager, compiled, bf16 and both", report(args), args)


if __name__ == "__main__":
    main()
