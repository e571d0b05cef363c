"""metrics.csv: every scalar of a run, on disk at once."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.csv_logs import _ExperimentWriter
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.logger import rank_zero_experiment

from gentrain.files import atomic_write


class RunCSV(CSVLogger):
    """Writes `metrics.csv` in the run directory: a row for everything logged, on disk at once.

    A resumed run keeps the rows up to the step from which it goes on; a new run begins with an
    empty file. The first column is `step`.
    """

    def __init__(self, run_dir: str | os.PathLike[str], resumed_step: int | None = None) -> None:
        super().__init__(os.fspath(run_dir), name="", version="", flush_logs_every_n_steps=1)
        self.resumed_step = resumed_step

    @property
    def log_dir(self) -> str:
        return self.save_dir

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        if self._experiment is None:
            self._experiment = Rows(self.save_dir, self.resumed_step)
        return self._experiment

    def log_hyperparams(self, params: Any = None) -> None:
        """They are in .hydra/config.yaml."""


class Rows(_ExperimentWriter):
    """A writer that goes on with an earlier file; at every moment the file can be read.

    Lightning's own writer deletes an earlier file.
    """

    def __init__(self, log_dir: str, resumed_step: int | None) -> None:
        super().__init__(log_dir)
        if os.path.exists(self.metrics_file_path):
            kept, columns = earlier(
                self.metrics_file_path, -1 if resumed_step is None else resumed_step
            )
            self.metrics_keys = columns if kept else []
            self.replace(kept, self.metrics_keys)

    def _check_log_dir_exists(self) -> None:
        """Accept an earlier file."""

    def _record_new_keys(self) -> set[str]:
        new = super()._record_new_keys()
        self.metrics_keys.sort(key=lambda name: (name != "step", name))
        return new

    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:
        with open(self.metrics_file_path, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        self.replace(rows, fieldnames)

    def replace(self, rows: list[dict[str, str]], columns: list[str]) -> None:
        """Replace the whole file at once; remove it if there are no rows."""
        if not rows:
            os.unlink(self.metrics_file_path)
            return
        with (
            atomic_write(Path(self.metrics_file_path)) as part,
            part.open("w", encoding="utf-8", newline="") as file,
        ):
            writer = csv.DictWriter(file, fieldnames=columns)
            writer.writeheader()
            writer.writerows(rows)


def earlier(path: str, last_step: int) -> tuple[list[dict[str, str]], list[str]]:
    """The rows of a file up to a step, and its columns.

    A row that a crash cut short is later than any checkpoint, and is left out.
    """
    with open(path, encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        rows = [row for row in reader if None not in row.values() and row.get("step", "").isdigit()]
    return [row for row in rows if int(row["step"]) <= last_step], list(reader.fieldnames or [])


def last_step(run_dir: Path) -> int:
    """The last step in the metrics.csv of a run; -1 where there is none."""
    file = run_dir / "metrics.csv"
    if not file.exists():
        return -1
    rows, _ = earlier(str(file), 2**63)
    return max((int(row["step"]) for row in rows), default=-1)
