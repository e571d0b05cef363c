"""The ledger of a sweep: which cells there are, and how each of them stands.

It is made of files alone, so anybody may read it at any time.

    outputs/sweeps/<name>/
      sweep.json      {"name": "s", "keys": ["model", "seed"], "cells": {"003": {...}}}
      table.csv       a row a cell, written when the sweep ends
      003/            a cell: a run directory (.hydra/, metrics.csv, summary.json, samples/,
                      checkpoints/, train.log), and
        status.json   {"cell": "003", "status": "missing", "overrides": {"model": "wgan"},
                       "reason": null, "log": "cell.log", "attempts": 0}
        cell.log      all that the cell's process has printed, errors too; `log` is relative to the
                      cell's directory

`status` is missing (not begun), running, completed, interrupted (half done: it goes on when the
sweep is started again), diverged or failed. `reason` is one line or null. `keys` are the keys that
are swept, or that differ between cells. Once a cell has begun, status.json also says `started`
(seconds since 1970), `seconds` (of all attempts), `host`, `pid` and `job` (SLURM's number). Once it
has ended, it says `score` (what a sweeper minimises: the best score, null for none) and `exit`.

In sweep.json a cell has `identity`, `words` (its overrides, key to value), `command` (its overrides
as typed) and `overrides` (those of `keys`); `aside` are swept keys that the fingerprint
leaves out.

A cell is known by its whole composed configuration (`runs.directory.fingerprint`, and the keys
`aside`). A grid that grew, or the same values in another order, find the cells that are there. The
number of a cell is its name, and never changes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from gentrain.errors import UserError
from gentrain.files import is_locked, write_json
from gentrain.runs.directory import LAST

STATUSES = ("missing", "running", "completed", "interrupted", "diverged", "failed")
LOG = "cell.log"
CELL_LOCK = ".cell.lock"  # held by the process that manages the cell
RUN_LOCK = ".lock"  # held by the process that trains in the directory
Status = dict[str, Any]


class Ledger:
    """The cells of one sweep, by their names "000", "001" ...

    Args:
        sweep_dir: the directory; what is there is read.
        name: the name of a new sweep.
    """

    def __init__(self, sweep_dir: Path, name: str | None = None) -> None:
        self.dir = sweep_dir
        found = read_json(sweep_dir / "sweep.json")
        self.name = found.get("name") or name or sweep_dir.name
        self.keys: list[str] = found.get("keys", [])
        self.cells: dict[str, dict[str, Any]] = found.get("cells", {})
        # swept keys that tell cells apart although the fingerprint leaves them out
        self.extra_identity_keys: list[str] = found.get("aside", [])
        # whether tricks are left out one after another
        self.ablation: bool = found.get("ablation", False)

    def add_cell(self, identity: str, values: dict[str, Any], command: list[str]) -> str:
        """Add a cell, or find the one of the same identity.

        Args:
            identity: what it is known by.
            values: its overrides, key to value. They replace those of a known cell: the same cell
                may now have more steps.
            command: its overrides as typed.

        Returns:
            Its name.
        """
        for name, cell in self.cells.items():
            if cell["identity"] == identity:
                cell["command"], cell["words"] = command, values
                return name
        name = f"{len(self.cells):03d}"
        self.cells[name] = {"identity": identity, "words": values, "command": command}
        return name

    def write(self, swept: Iterable[str]) -> None:
        """Write sweep.json, and status.json for each cell that has none.

        Args:
            swept: the keys that this command sweeps.
        """
        self.keys = self.shown_keys(set(swept) | set(self.keys))
        for name, cell in self.cells.items():
            cell["overrides"] = {k: cell["words"][k] for k in self.keys if k in cell["words"]}
            file = self.dir / name / "status.json"
            file.parent.mkdir(parents=True, exist_ok=True)
            status = self.read_status(name)
            if status["overrides"] != cell["overrides"] or not file.exists():
                write_json(file, status | {"overrides": cell["overrides"]})
        content = {
            "name": self.name,
            "keys": self.keys,
            "aside": self.extra_identity_keys,
            "ablation": self.ablation,
            "cells": self.cells,
        }
        write_json(self.dir / "sweep.json", content)

    def shown_keys(self, asked: set[str]) -> list[str]:
        """The keys that tell cells apart: those asked for, and those whose values differ."""
        cells = [cell["words"] for cell in self.cells.values()]
        known = dict.fromkeys(key for values in cells for key in values)

        def differ(key: str) -> bool:
            return len({json.dumps(values.get(key), default=str) for values in cells}) > 1

        return [key for key in known if key in asked or differ(key)]

    def read_status(self, name: str) -> Status:
        """What status.json says."""
        overrides = self.cells[name].get("overrides", {})
        missing = {"cell": name, "status": "missing", "overrides": overrides, "reason": None}
        return missing | {"log": LOG, "attempts": 0} | read_json(self.dir / name / "status.json")

    def status(self, name: str) -> Status:
        """What status.json says, unless the process that was running is gone."""
        return effective_status(self.dir / name, self.read_status(name))

    def statuses(self) -> list[Status]:
        """The `status` of every cell."""
        return [self.status(name) for name in self.cells]

    def record(self, name: str, **news: Any) -> Status:
        """Write news about a cell into its status.json."""
        status = self.read_status(name) | news
        write_json(self.dir / name / "status.json", status)
        return status


def read_json(path: Path) -> dict[str, Any]:
    """The content of a file of the ledger; empty where there is none.

    Raises:
        UserError: where it is damaged. Our own files are whole, since `write_json` replaces them.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except json.JSONDecodeError as error:
        raise UserError(
            f"{path} is damaged: {error} (sweep.name); delete it, or give another name"
        ) from error


def effective_status(cell: Path, status: Status) -> Status:
    """How a cell stands.

    Args:
        cell: its directory.
        status: what its status.json says; "running" is believed only while a process holds a lock.
    """
    if status.get("status") != "running" or alive(cell):
        return status
    unsaved = "" if (cell / LAST).exists() else ", before anything was saved"
    reason = f"its process is gone{unsaved}"
    return status | {"status": "interrupted", "reason": reason}


def alive(cell: Path) -> bool:
    """Whether a process manages this cell, or trains in its directory."""
    return any(is_locked(cell / name) for name in (CELL_LOCK, RUN_LOCK))
