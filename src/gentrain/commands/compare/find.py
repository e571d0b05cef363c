"""The runs below a directory, finished or not: their configuration, how they ended, their curves and their pictures."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from gentrain.errors import UserError
from gentrain.runs import directory
from gentrain.sweeps.ledger import effective_status

CONFIG = Path(".hydra", "config.yaml")
SEEDS = ("seed", "data.seed")
COMPARED = (
    "steps",
    "compile",
    "trainer.precision",
)  # keys that a run may be continued with, and that tell two runs apart all the same
RATE = "images_per_second"

Curve = tuple[list[int], list[float]]  # steps, in order, and values


@dataclass
class Run:
    """A run directory, or a cell of a sweep that has none yet."""

    name: str  # its path as seen from the directory that was given
    path: Path
    status: str  # completed | running | interrupted | diverged | failed | missing | unfinished (that is, no summary yet)
    reason: str | None = None  # one line, where it failed
    log: Path | None = None
    overrides: dict[str, str] = field(
        default_factory=dict
    )  # as typed, without what only says where and how
    swept: dict[str, str] = field(
        default_factory=dict
    )  # of a cell of a sweep, the keys that are swept
    choices: dict[str, str] = field(default_factory=dict)  # the groups by the names typed
    config: dict[str, Any] = field(
        default_factory=dict
    )  # flat; empty where nothing was composed yet
    end: dict[str, Any] = field(default_factory=dict)  # summary.json

    @property
    def seed(self) -> Any:
        return self.config.get("seed", self.overrides.get("seed"))

    @property
    def protocols(self) -> dict[str, Any]:
        return self.end.get("protocols") or {}

    @cached_property
    def curves(self) -> dict[str, Curve]:
        """Every logged value against the step."""
        return read_curves(self.path / "metrics.csv")

    @property
    def collapsed(self) -> bool | None:
        """Were its fakes of few kinds when the doctor last looked? None where it never did."""
        if "doctor/collapsed" in self.curves:
            return self.curves["doctor/collapsed"][1][-1] > 0
        verdicts = self.end.get("verdicts")
        return any(name in directory.COLLAPSE for name in verdicts) if verdicts else None

    @property
    def step(self) -> int:
        """The last that is known of."""
        return max([self.end.get("steps") or 0, *(steps[-1] for steps, _ in self.curves.values())])

    @property
    def images_per_step(self) -> int:
        """Real images that one step takes: of each process a batch for every critic update, `accumulate` times."""
        processes = re.match(r"(\d+) x ", str(self.end.get("device", "")))
        factors = ("data.batch_size", "scheme.critic_steps", "scheme.accumulate")
        return math.prod(int(self.config.get(key) or 1) for key in factors) * (
            int(processes[1]) if processes else 1
        )

    @cached_property
    def clock(self) -> tuple[list[int], list[float]]:
        """Steps and the hours of training behind them, without scores, pictures and checkpoints: images / (images a second)."""
        steps, hours = [0], [0.0]
        for step, rate in zip(*self.curves.get(RATE, ([], [])), strict=True):
            if step > steps[-1] and rate > 0:
                hours.append(hours[-1] + (step - steps[-1]) * self.images_per_step / rate / 3600)
                steps.append(step)
        return steps, hours

    @cached_property
    def pictures(self) -> list[tuple[int, Path]]:
        """(step, file), in order; the last is the final one, where there is one."""
        folder = self.path / "samples"
        found = {
            int(file.stem[5:]): file
            for file in folder.glob("step-*.png")
            if file.stem[5:].isdigit()
        }
        if (folder / "final.png").exists():
            found[self.step] = folder / "final.png"
        return sorted(found.items())


def find(places: list[Path]) -> list[Run]:
    """Every run in or below the directories, a cell of a sweep that never began too. Raises UserError for a directory without any."""
    found: dict[Path, Run] = {}
    for place in places:
        if not place.is_dir():
            problem = "is a file" if place.exists() else "does not exist"
            raise UserError(
                f"{place} {problem} (runs); give run directories, sweeps, or a directory above them"
            )
        paths = list(directories(place))
        if not paths:
            raise UserError(
                f"no run in {place} or below (runs); give run directories, sweeps, or a directory above them"
            )
        for path in paths:
            if path.resolve() not in found:
                found[path.resolve()] = opened(path, shown(path, place, len(places) > 1))
    return list(found.values())


def shown(path: Path, place: Path, several: bool) -> str:
    """A run by its path from the place that was given."""
    return str(path) if several or path == place else str(path.relative_to(place))


def directories(place: Path) -> Iterator[Path]:
    """Run directories in the order of their names, and the cells of a sweep's ledger."""
    if (place / CONFIG).exists() or (place / "status.json").exists():
        yield place
        return
    cells = [str(cell) for cell in read_json(place / "sweep.json").get("cells", {})]
    try:
        below = [
            entry.name
            for entry in os.scandir(place)
            if entry.is_dir(follow_symlinks=False) and not entry.name.startswith(".")
        ]
    except OSError as error:
        raise UserError(
            f"{place} cannot be read: {error.strerror} (runs); give other directories"
        ) from error
    for name in sorted({*cells, *below}):
        path = place / name
        if path.is_dir():
            yield from directories(path) if name not in cells else [path]
        elif name in cells:
            yield path


def opened(path: Path, name: str) -> Run:
    """What there is to know of one run. Raises UserError for a record that cannot be read."""
    end, cell = (
        read_json(path / "summary.json"),
        effective_status(path, read_json(path / "status.json")),
    )
    if not cell and not (path / CONFIG).exists():
        cell = entry(path)
    config = directory.flat(directory.saved_config(path)) if (path / CONFIG).exists() else {}
    swept = {str(key): plain(value) for key, value in (cell.get("overrides") or {}).items()}
    reason, log = cell.get("reason"), cell.get("log")
    return Run(
        name=name,
        path=path,
        status=str(
            cell.get("status") or end.get("status") or ("unfinished" if config else "missing")
        ),
        reason=" ".join(str(reason).split()) if reason else None,
        log=log_of(path, str(log) if log else "train.log"),
        overrides={key: value for key, value in (typed(path) | swept).items() if matters(key)},
        swept=swept,
        choices={
            str(key): str(value) for key, value in (end.get("choices") or choices(path)).items()
        },
        config=config,
        end=end,
    )


def entry(path: Path) -> dict[str, Any]:
    """What the sweep's ledger says of a cell that has no record of its own."""
    said = read_json(path.parent / "sweep.json").get("cells", {})
    cell = said.get(path.name) if isinstance(said, dict) else None
    if not isinstance(cell, dict):
        return {}
    return cell if "overrides" in cell or "status" in cell else {"overrides": cell}


def log_of(path: Path, name: str) -> Path | None:
    """The log, whose path a ledger may give from the cell or from its sweep."""
    return next(
        (file for file in (path / name, path.parent / name, Path(name)) if file.exists()), None
    )


def typed(path: Path) -> dict[str, str]:
    """The overrides of the command line."""
    words = read_yaml(path / ".hydra" / "overrides.yaml")
    pairs = (
        (str(word).lstrip("+").partition("=") for word in words if isinstance(word, str))
        if isinstance(words, list)
        else ()
    )
    return {key: value for key, _, value in pairs}


def choices(path: Path) -> dict[str, Any]:
    """The groups of a run that has no summary yet."""
    found = read_yaml(path / ".hydra" / "hydra.yaml")
    named = (
        found.get("hydra", {}).get("runtime", {}).get("choices", {})
        if isinstance(found, dict)
        else {}
    )
    return {
        key: value
        for key, value in named.items()
        if not str(key).startswith("hydra/") and value is not None
    }


def matters(key: str) -> bool:
    """Is this part of what is compared, and not of where and how a run was made?"""
    aside = key.startswith(("hydra.", "hydra/", "~hydra")) or any(
        key == o or key.startswith(o + ".") for o in directory.OPERATIONAL
    )
    return key in COMPARED or not aside


def plain(value: Any) -> str:
    """A value as it is typed."""
    return value if isinstance(value, str) else json.dumps(value, default=str).replace('"', "")


def read_yaml(path: Path) -> Any:
    """Plain containers; None where there is no such file, or where it is being written."""
    try:
        return OmegaConf.to_container(OmegaConf.load(path)) if path.exists() else None
    except (YAMLError, OmegaConfBaseException, OSError, UnicodeError):
        return None


def read_json(path: Path) -> dict[str, Any]:
    """Empty where there is none. Raises UserError where it cannot be read: our own are never half-written."""
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        told = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise UserError(
            f"{path} cannot be read: {told[:120]} (runs); mend or remove it, or give other runs"
        ) from error
    if not isinstance(found, dict):
        raise UserError(f"{path} is no record of a run (runs); remove it, or give other runs")
    return found


def read_curves(path: Path) -> dict[str, Curve]:
    """Of metrics.csv. A row that is still being written, and a value that is no finite number, are left out."""
    try:
        text = path.read_bytes().decode(errors="replace")
    except OSError:
        return {}
    rows = csv.reader(io.StringIO(text[: text.rfind("\n") + 1]))
    columns = next(rows, [])
    if "step" not in columns:
        return {}
    at = columns.index("step")
    curves: dict[str, dict[int, float]] = {}
    for row in rows:
        if len(row) != len(columns) or not row[at].isdigit():
            continue
        for name, word in zip(columns, row, strict=True):
            if word and name != "step" and (value := number(word)) is not None:
                curves.setdefault(name, {})[int(row[at])] = value
    return {
        name: (steps := sorted(values), [values[step] for step in steps])
        for name, values in curves.items()
    }


def number(word: str) -> float | None:
    try:
        value = float(word)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def between(at: float, xs: list[int], ys: list[float]) -> float:
    """The value at `at` on the line through the points, which goes on as its last piece did."""
    if len(xs) < 2:
        return ys[0] if ys else 0.0
    i = min(max(bisect_right(xs, at), 1), len(xs) - 1)
    return ys[i - 1] + (ys[i] - ys[i - 1]) * (at - xs[i - 1]) / (xs[i] - xs[i - 1])
