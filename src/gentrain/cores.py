"""How many threads a process gets, and how they wait: chosen before torch is imported.

Threads that spin while they wait take time from whoever else wants the cores, and two threads that
wait for each other both wait for the scheduler. On a busy machine one thread trains faster than
two. So a process gets as many threads as there are free cores: those that it may use (affinity,
cgroup quota) without those on which others compute.

A sum of many numbers depends in its last bits on how many threads add them. A run that is resumed
therefore keeps its number.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

SPINS = "20000"  # of a waiting thread; libgomp's default is 300,000 and more, and delays others
USERS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


@dataclass(frozen=True)
class Threads:
    """A number of threads, and why it is that."""

    number: int | None  # None: the user has chosen
    reason: str


def choose(root: Path = Path("/")) -> Threads:
    """Choose the number of threads of this process.

    Args:
        root: below which `proc` and `sys` are.
    """
    for name in USERS:
        if value := os.environ.get(name):
            return Threads(None, f"{name}={value}")
    allowed, others = cores(root), busy_elsewhere(root)
    free = max(1, min(int(allowed), round(allowed - others)))
    if others >= 0.5:
        return Threads(free, f"{others:.1f} of {allowed:g} cores are busy")
    return Threads(free, "")


def free_beside(own: int, root: Path = Path("/")) -> int:
    """The cores that are free at this moment for a process that computes with some threads.

    Args:
        own: its threads, which are running as well.
        root: below which `proc` and `sys` are.
    """
    match text(root / "proc/loadavg").split():
        case [_, _, _, running, *_]:
            others = max(0, int(running.partition("/")[0]) - own)
            return max(0, int(cores(root)) - others)
    return own


def wait_politely() -> None:
    """Let waiting threads of OpenMP spin briefly, then sleep; the user's setting wins.

    libgomp reads it when torch loads it.
    """
    if not any(name in os.environ for name in WAITING):
        os.environ["GOMP_SPINCOUNT"] = SPINS


def cores(root: Path) -> float:
    """The cores that this process may use, a part of one included."""
    try:
        allowed = float(len(os.sched_getaffinity(0)))
    except AttributeError:  # macOS
        allowed = float(os.cpu_count() or 1)
    quotas = [quota for folder in cgroups(root) if (quota := quota_of(folder)) is not None]
    return min([allowed, *quotas])


def cgroups(root: Path) -> list[Path]:
    """The folders of this process's cgroups, of version 2 and of version 1, up to the topmost."""
    found: list[Path] = []
    for line in text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = root / "sys/fs/cgroup" / controllers
        place = top / path.strip("/")
        found += [place, *(folder for folder in place.parents if folder.is_relative_to(top))]
    return found or [root / "sys/fs/cgroup"]


def quota_of(folder: Path) -> float | None:
    """The cores that a cgroup's quota allows, or None."""
    match text(folder / "cpu.max").split():
        case [quota, period] if quota != "max":
            return int(quota) / int(period)
    quota = text(folder / "cpu.cfs_quota_us").strip()
    period = text(folder / "cpu.cfs_period_us").strip()
    if quota and period and int(quota) > 0:
        return int(quota) / int(period)
    return None


def busy_elsewhere(root: Path) -> float:
    """How many cores others compute on.

    Both the load of the last minute and the number of running threads must say so: the first
    remembers what has just ended, and the second is a moment.
    """
    match text(root / "proc/loadavg").split():
        case [load, _, _, running, *_]:
            now = int(running.partition("/")[0]) - 1  # without this one
            return max(0.0, min(float(load), float(now)))
    return 0.0


def text(path: Path) -> str:
    """What a file holds; nothing where it cannot be read."""
    try:
        return path.read_text(encoding="ascii")
    except OSError:
        return ""
