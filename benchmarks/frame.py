"""What all benchmarks share: turns, ratios, the heading, and reports as Markdown and JSON.

A report is an iterator of lines and of `Table`s. The Markdown has what was measured; the JSON, and
the page that `all.py` makes of it, have ratios alone, with what they were measured on.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import logging
import os
import platform
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "src")]
PACKAGES = ("torch", "lightning", "zuko", "scikit-learn", "normflows", "nflows", "pythae")


@dataclass
class Table:
    """Values of several contenders in every round, and their ratios to some of them.

    Args:
        title: a heading; "" for none.
        values: by contender, one for each round.
        bases: contenders that all are divided by, round by round. A contender that has missed
            rounds has no ratio.
        unit: of the values, when they have been multiplied by `scale`.
        more: further columns, by their headings: a cell for each contender.
    """

    title: str
    values: Mapping[str, list[float]]
    bases: tuple[str, ...]
    unit: str = "ms"
    scale: float = 1e3
    digits: int = 3
    more: dict[str, dict[str, str]] = field(default_factory=dict)

    def ratios(self, name: str, base: str) -> list[float]:
        own, other = self.values[name], self.values[base]
        return ratio(own, other) if own and len(own) == len(other) else []

    def lines(self) -> Iterator[str]:
        """The table in Markdown."""
        if self.title:
            yield f"\n## {self.title}\n"
        yield f"| | {' | '.join([self.unit, *(f'to {base}' for base in self.bases), *self.more])} |"
        yield "|---|" + "---|" * (1 + len(self.bases) + len(self.more))
        for name, own in self.values.items():
            ratios = (self.ratios(name, base) for base in self.bases)
            cells = [
                spread([value * self.scale for value in own], self.digits) if own else "failed",
                *(spread(each) if each else "" for each in ratios),
                *(column.get(name, "") for column in self.more.values()),
            ]
            yield f"| {name} | {' | '.join(cells)} |"

    def record(self) -> dict[str, Any]:
        """The ratios: {"title": ..., "ratios": {base: {contender: one for each round}}}."""
        found = {base: {n: self.ratios(n, base) for n in self.values} for base in self.bases}
        return {"title": self.title, "ratios": found}


def in_turn(contenders: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of every contender in every round: A B C, then C B A. Round 0 does not count."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name in order(contenders, number):
            began = time.perf_counter()
            contenders[name]()
            if number:
                times[name].append(time.perf_counter() - began)
    return times


def order(contenders: Mapping[str, object], number: int) -> list[str]:
    """The order of a round: A B C, and C B A in every second one."""
    return list(contenders) if number % 2 == 0 else list(contenders)[::-1]


def ratio(times: list[float], base: list[float]) -> list[float]:
    """The ratios of two contenders, round by round."""
    return [a / b for a, b in zip(times, base, strict=True)]


def spread(values: list[float], digits: int = 3) -> str:
    """Format values as "median [least-most]"."""
    return "{} [{}-{}]".format(
        *(f"{v:.{digits}f}" for v in (statistics.median(values), min(values), max(values)))
    )


# --- the machine ----------------------------------------------------------------------------------


def environment(args: argparse.Namespace) -> dict[str, Any]:
    """The command and the day, and the machine with its versions and its load at the start."""
    words = [Path(sys.argv[0]).name, *sys.argv[1:]]
    return {
        "command": f"python benchmarks/{shlex.join(words)}",
        "day": time.strftime("%Y-%m-%d"),
        "device": device_name(args.device),
        "cores": os.cpu_count(),
        "threads": args.threads or "chosen",
        "load": round(os.getloadavg()[0], 1),
        "rounds": args.rounds,
        "versions": {"Python": platform.python_version()} | versions(PACKAGES),
    }


def versions(packages: tuple[str, ...]) -> dict[str, str]:
    """The versions of those packages that are installed."""
    found = {}
    for name in packages:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def device_name(device: str) -> str:
    if device == "cuda":
        import torch

        return torch.cuda.get_device_name()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next(
        (line.split(":")[1].strip() for line in lines if line.startswith("model name")),
        platform.machine(),
    )


def heading(found: dict[str, Any]) -> Iterator[str]:
    """The lines that say where, when and with what."""
    yield f"`{found['command']}`, {found['day']}.\n"
    packages = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    yield (
        f"{found['device']}, {found['cores']} cores, {found['threads']} thread(s); "
        f"load {found['load']} at the start; {packages}. Medians of {found['rounds']} rounds "
        "[least-most]; ratios are taken in each round.\n"
    )


# --- the report -----------------------------------------------------------------------------------


def parser(about: str | None, rounds: int, **defaults: Any) -> argparse.ArgumentParser:
    """The options that all benchmarks have."""
    made = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--rounds", type=int, default=rounds)
    made.add_argument("--threads", type=int, default=1)
    made.add_argument("--out", type=Path, help="also write the report to FILE.md and FILE.json")
    made.set_defaults(device="cpu", **defaults)
    return made


def with_work(title: str, work: str | list[str] | None) -> str:
    """The title of a report: pages of one benchmark differ in what was trained.

    >>> with_work("Flows", ["maf", "nice"]), with_work("Scores", None)
    ('Flows: maf, nice', 'Scores')
    """
    named = [work] if isinstance(work, str) else work or []
    return ": ".join([title, *filter(None, [", ".join(named)])])


def publish(title: str, report: Iterator[str | Table], args: argparse.Namespace) -> None:
    """Print a report while it is measured, and write it to files as well."""
    began, where = time.monotonic(), environment(args)
    title = with_work(title, vars(args).get("work"))
    lines, records = [], []

    def say(text: str) -> None:
        print(text, flush=True)
        lines.append(text)

    for line in (f"# {title}\n", *heading(where)):
        say(line)
    for part in report:
        logging.getLogger("gentrain").setLevel(logging.WARNING)
        if isinstance(part, str):
            say(part)
            continue
        records.append(part.record())
        for line in part.lines():
            say(line)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.with_suffix(".md").write_text("\n".join(lines) + "\n")
        seconds = round(time.monotonic() - began)
        found = {"title": title, "environment": where | {"seconds": seconds}, "tables": records}
        args.out.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")


def publish_in_process(title: str, report: Iterator[str | Table], args: argparse.Namespace) -> None:
    """`publish`, where this very process computes: with so many threads, and one heap for all.

    glibc gives each thread a heap of its own, whose pages must be faulted in. Here gentrain's
    trainer runs in a thread, and must not pay for that.
    """
    os.environ["OMP_NUM_THREADS"] = str(args.threads)  # a run leaves the number as it is
    import torch

    from gentrain.training.devices import mallopt

    torch.set_num_threads(args.threads)
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").mallopt(-8, 1)  # M_ARENA_MAX
    mallopt()
    publish(title, report, args)
