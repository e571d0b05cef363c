"""What a sweep says while its cells are trained, wherever its launcher has put them.

cell 003 (model=wgan, seed=1) starts; 2 of 9 cells done
cell 003 (model=wgan, seed=1): step 500/3000  quality/fid 12.3  03:20 left; 2 of 9 cells done
"""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from pathlib import Path

from gentrain.patience import SECONDS, patience
from gentrain.sweeps.ledger import LOG, Ledger, Status
from gentrain.tables import quantity

log = logging.getLogger("gentrain")

WIDTH = 200  # characters of a line of a cell


class CellProgress:
    """Lines about one cell; each says what the cell's own log has said last.

    Args:
        ledger: the cells of the sweep.
        name: the cell.
        jobs: how many cells are trained at a time: so many share the lines.
    """

    def __init__(self, ledger: Ledger, name: str, jobs: int = 1) -> None:
        self.ledger, self.name = ledger, name
        self.file = ledger.dir / name / LOG
        self.title = title(ledger.read_status(name))
        self.seconds = SECONDS * max(1, jobs)
        self.pause = min(self.seconds, patience())  # until the next line; it doubles with each
        self.due, self.last = time.monotonic() + self.pause, ""

    def start(self) -> None:
        """Say that the cell starts."""
        self.last = last_line(self.file)  # of an earlier start
        log.info("%s starts; %s", self.title, tally(self.ledger))

    def look(self) -> None:
        """Say how far the cell is, if that is due and there is news."""
        if time.monotonic() < self.due:
            return
        if (line := last_line(self.file)) not in ("", self.last):
            log.info("%s: %s; %s", self.title, line, tally(self.ledger))
            self.pause = min(self.seconds, 2 * self.pause)
            self.due, self.last = time.monotonic() + self.pause, line
        else:
            self.due = time.monotonic() + min(self.pause, 1.0)


def title(status: Status) -> str:
    """The name of a cell with what tells it from others: cell 003 (model=wgan, seed=1)."""
    what = ", ".join(f"{key}={value}" for key, value in status["overrides"].items())
    return f"cell {status['cell']}" + (f" ({what})" if what else "")


def tally(ledger: Ledger) -> str:
    """How many cells are done, and how many have failed."""
    found = [ledger.read_status(name)["status"] for name in ledger.cells]
    bad = sum(status in ("failed", "diverged") for status in found)
    failed = f", {bad} failed" if bad else ""
    return f"{found.count('completed')} of {quantity(len(found), 'cell')} done{failed}"


def last_line(file: Path) -> str:
    """The last line of a log; empty where there is none."""
    with suppress(OSError), file.open("rb") as log_file:
        log_file.seek(max(0, file.stat().st_size - 2000))
        lines = log_file.read().decode(errors="replace").split("\n")
        whole = [line for line in lines[:-1] if line.strip()]  # the last one may be half written
        return whole[-1].split("\r")[-1].strip()[:WIDTH] if whole else ""
    return ""
