"""Files of a run directory: atomic writes, locks, disk errors."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from gentrain.errors import UserError


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Whole or not at all."""
    write_text(path, json.dumps(content, indent=2, default=str) + "\n")


@contextmanager
def report_disk_errors(out: Path) -> Iterator[None]:
    """A disk that is full, or that may not be written, in one line."""
    from gentrain.errors import Unavailable

    try:
        yield
    except OSError as error:
        raise Unavailable(
            f"cannot write in {out}: {error.strerror or error} (out); make room, or give another out=DIR"
        ) from error


def write_text(path: Path, content: str) -> None:
    """Whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(content, encoding="utf-8", errors="backslashreplace")
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def check_place(run_dir: Path) -> None:
    """Can the directory be made? Asked before anything is imported, read or computed, and answered without making it."""
    from gentrain.errors import Unavailable

    place = run_dir.absolute()
    try:
        while not place.exists():
            place = place.parent
    except OSError as error:  # a name too long
        raise Unavailable(
            f"cannot make {run_dir}: {error.strerror} (hydra.run.dir); choose another directory"
        ) from error
    if not place.is_dir():
        raise Unavailable(
            f"cannot make {run_dir}: {place} is a file (hydra.run.dir); choose another directory"
        )
    if not os.access(place, os.W_OK | os.X_OK):
        raise Unavailable(
            f"cannot make {run_dir}: {place} is not writable (hydra.run.dir); choose another directory"
        )


def missing(run_dir: Path) -> list[Path]:
    """The run directory and those above it that do not exist yet, the deepest first."""
    return [path for path in (run_dir, *run_dir.parents) if not path.exists()]


def discard(made: list[Path]) -> None:
    """Remove what a run that never began has made: its directory, and those above it where nobody else has put anything."""
    for path in made[:1]:
        shutil.rmtree(path, ignore_errors=True)
    for path in made[1:]:
        with suppress(OSError):
            path.rmdir()


_locks: dict[Path, TextIO] = {}  # locks live as long as this process


def lock(run_dir: Path) -> None:
    """Make this process the one that writes in a run directory. Raises UserError while another does.

    The kernel gives up the lock of a process that dies, however it dies, so a lock is never stale.
    """
    run_dir = run_dir.resolve()
    if run_dir in _locks or any(
        os.environ.get(rank, "0") != "0" for rank in ("LOCAL_RANK", "NODE_RANK", "SLURM_PROCID")
    ):
        return
    file = open(run_dir / ".lock", "a+")  # noqa: SIM115 (held until the end)
    try:
        fcntl.lockf(
            file, fcntl.LOCK_EX | fcntl.LOCK_NB
        )  # flock's would live on in a data worker that outlives its killed run
    except OSError:
        file.seek(0)
        owner = file.read().strip() or "another process"
        file.close()
        raise UserError(
            f"{owner} is writing in {run_dir} (hydra.run.dir, resume); wait for it, or give another directory"
        ) from None
    file.truncate(0)
    file.write(f"process {os.getpid()} on {platform.node()}")
    file.flush()
    _locks[run_dir] = file


def unlock(run_dir: Path) -> None:
    """The run is over; a multirun goes on."""
    if (file := _locks.pop(run_dir.resolve(), None)) is not None:
        file.close()


def probe(run_dir: Path) -> None:
    """Make the directory and write to it, before anything is computed that could not be kept."""
    from gentrain.errors import Unavailable

    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        test = run_dir / ".probe"
        test.write_text("")
        test.unlink()
    except OSError as error:
        raise Unavailable(
            f"cannot write to {run_dir}: {error.strerror} (hydra.run.dir); choose another directory"
        ) from error
