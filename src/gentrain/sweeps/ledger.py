"""The ledger of a sweep: which cells there are, and how each of them stands. Files alone, so that everyone may read it at any time.

    outputs/sweeps/<name>/
      sweep.json      {"name": "s", "keys": ["model", "seed"], "cells": {"003": {"overrides": {"model": "wgan", "seed": 1}, ...}}}
      table.csv       a row a cell, written when the sweep ends
      003/            a cell: an ordinary run directory (.hydra/, metrics.csv, summary.json, samples/, checkpoints/, train.log), and
        status.json   {"cell": "003", "status": "missing", "overrides": {"model": "wgan", "seed": 1}, "reason": null,
                       "log": "cell.log", "attempts": 0}
        cell.log      all that the cell's process has printed, errors too; `log` is relative to the cell's directory

`status` is missing (not begun), running, completed, interrupted (half done: it goes on when the sweep is started again), diverged
or failed; `reason` is one line or null. `keys` are the keys that are swept, or that differ between cells. Once a cell has begun,
status.json also says `started` (seconds since 1970), `seconds` (of all attempts), `host`, `pid` and `job` (SLURM's number), and once it
has ended `score` (what a sweeper minimises: the best score, null for none) and `exit`.

A cell is known by the whole of its configuration, as it was composed (`runs.fingerprint`, and the swept keys that it leaves out): a grid
that grew, or the same values in another order, find the cells that are there. Its number is its name and never changes.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from gentrain.errors import UserError
from gentrain.runs.directory import LAST
from gentrain.runs.files import write_json

STATUSES = ("missing", "running", "completed", "interrupted", "diverged", "failed")
LOG = "cell.log"
KEEPER = ".keeper"  # locked by the process that keeps the cell
Status = dict[str, Any]


class Ledger:
    """The cells of one sweep directory, by their names: "000", "001" ..."""

    def __init__(self, sweep_dir: Path, name: str | None = None) -> None:
        self.dir = sweep_dir
        found = read_json(sweep_dir / "sweep.json")
        self.name = found.get("name") or name or sweep_dir.name
        self.keys: list[str] = found.get("keys", [])
        self.cells: dict[str, dict[str, Any]] = found.get("cells", {})
        self.excluded_keys: list[str] = found.get(
            "aside", []
        )  # swept keys that the fingerprint of a configuration leaves out
        self.ablation: bool = found.get("ablation", False)  # tricks are left out one after another

    def add_cell(self, identity: str, words: dict[str, Any], command: list[str]) -> str:
        """The name of the cell of this identity: one that is there, or the next number. `words` are its overrides, key to value."""
        for name, cell in self.cells.items():
            if cell["identity"] == identity:
                cell["command"], cell["words"] = (
                    command,
                    words,
                )  # more steps, say: other words for the same cell
                return name
        name = f"{len(self.cells):03d}"
        self.cells[name] = {"identity": identity, "words": words, "command": command}
        return name

    def write(self, swept: Iterable[str]) -> None:
        """Keep the cells, and a status.json for each that has none. `swept` are the keys of this command's sweep."""
        every = [cell["words"] for cell in self.cells.values()]
        known = list(dict.fromkeys(key for words in every for key in words))
        asked = set(swept) | set(self.keys)
        self.keys = [
            key
            for key in known
            if key in asked or len({json.dumps(words.get(key), default=str) for words in every}) > 1
        ]
        for name, cell in self.cells.items():
            cell["overrides"] = {
                key: cell["words"][key] for key in self.keys if key in cell["words"]
            }
            (self.dir / name).mkdir(parents=True, exist_ok=True)
            status = self.read_status(name)
            if (
                status["overrides"] != cell["overrides"]
                or not (self.dir / name / "status.json").exists()
            ):
                write_json(
                    self.dir / name / "status.json", status | {"overrides": cell["overrides"]}
                )
        write_json(
            self.dir / "sweep.json",
            {
                "name": self.name,
                "keys": self.keys,
                "aside": self.excluded_keys,
                "ablation": self.ablation,
                "cells": self.cells,
            },
        )

    def read_status(self, name: str) -> Status:
        """status.json as it stands."""
        fresh = {
            "cell": name,
            "status": "missing",
            "overrides": self.cells[name].get("overrides", {}),
        }
        return (
            fresh
            | {"reason": None, "log": LOG, "attempts": 0}
            | read_json(self.dir / name / "status.json")
        )

    def status(self, name: str) -> Status:
        """How the cell stands."""
        return effective_status(self.dir / name, self.read_status(name))

    def statuses(self) -> list[Status]:
        return [self.status(name) for name in self.cells]

    def record(self, name: str, **news: Any) -> Status:
        status = self.read_status(name) | news
        write_json(self.dir / name / "status.json", status)
        return status


def read_json(path: Path) -> dict[str, Any]:
    """Empty where there is none; a file that is there is whole, since `write_json` replaces it in one go."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except json.JSONDecodeError as error:
        raise UserError(
            f"{path} is damaged: {error} (sweep.name); delete it, or give another name"
        ) from error


def effective_status(cell: Path, told: Status) -> Status:
    """What its status.json has told, unless the process that was running is gone."""
    if told.get("status") != "running" or alive(cell):
        return told
    gone = "its process and its keeper are gone" + (
        "" if (cell / LAST).exists() else ", before anything was saved"
    )
    return told | {"status": "interrupted", "reason": gone}


@contextmanager
def held(file: Path, refusal: str) -> Iterator[None]:
    """Hold a lock that the kernel gives up with this process. Raises UserError while another process has it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with open(file, "a+") as lock:
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            raise UserError(
                refusal.format(owner=lock.read().strip() or "another process")
            ) from None
        lock.truncate(0)
        lock.write(f"process {os.getpid()} on {platform.node()}")
        lock.flush()
        yield


def alive(run_dir: Path) -> bool:
    """Is there a process that keeps this cell, or one that trains in its directory?"""
    return any(locked(run_dir / name) for name in (KEEPER, ".lock"))


def locked(file: Path) -> bool:
    with suppress(FileNotFoundError), open(file, "a+" if os.access(file, os.W_OK) else "r") as lock:
        try:
            fcntl.lockf(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False
