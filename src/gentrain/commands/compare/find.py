"""Find runs below a directory, finished or not: configuration, end, curves and pictures."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from gentrain.commands.compare import directions, older
from gentrain.commands.compare.records import (
    Curve,
    read_curves,
    read_json,
    read_yaml,
    saved_config,
)
from gentrain.errors import UserError
from gentrain.protocols import by_score
from gentrain.runs import directory
from gentrain.sweeps.ledger import effective_status

CONFIG, PROTOCOLS = Path(".hydra", "config.yaml"), "protocols.json"
SEEDS = ("seed", "data.seed")
# a run may be continued with other values of these, and yet they make two runs different
COMPARED = ("steps", "compile", "trainer.precision", "data.file", "data.a", "data.b")
RATE = "images_per_second"


@dataclass
class Run:
    """A run directory, or a cell of a sweep that has none yet.

    `status` is completed, running, interrupted, diverged, failed, missing (a cell that never
    began), or unfinished (there is no summary yet).
    """

    name: str  # its path below the directory that was given
    path: Path
    status: str
    reason: str | None = None  # why it failed, in one line
    log: Path | None = None
    # as typed, without those that only say where and how the run was made
    overrides: dict[str, str] = field(default_factory=dict)
    # the swept keys, for a cell of a sweep
    swept: dict[str, str] = field(default_factory=dict)
    # the names that were chosen for the groups of the configuration
    choices: dict[str, str] = field(default_factory=dict)
    # flat; empty where nothing was composed yet
    config: dict[str, Any] = field(default_factory=dict)
    # summary.json
    end: dict[str, Any] = field(default_factory=dict)

    @property
    def seed(self) -> Any:
        """The seed, as far as it is known."""
        return self.config.get("seed", self.overrides.get("seed"))

    @property
    def protocols(self) -> dict[str, Any]:
        """How its metrics measured, by their keys; empty before it ends."""
        return self.end.get("protocols") or {}

    @cached_property
    def protocol_of_score(self) -> dict[str, Any]:
        """How each of its scores was measured, as far as that is known; empty before it ends."""
        measured_by = self.end.get("measured_by")
        if measured_by is None:  # of an older version
            measured_by = older.measured_by(self.protocols, self.end, self.config)
        return by_score(self.protocols, measured_by)

    @cached_property
    def protocol_lines(self) -> dict[str, str]:
        """The protocols of its metrics in a line each, as it wrote them when it began."""
        return {str(key): str(line) for key, line in read_json(self.path / PROTOCOLS).items()}

    @property
    def has_weights(self) -> bool:
        """Whether there is a checkpoint to draw from."""
        return (self.path / directory.LAST).exists()

    @cached_property
    def curves(self) -> dict[str, Curve]:
        """Every logged value against the step."""
        return read_curves(self.path / "metrics.csv")

    @property
    def collapsed(self) -> bool | None:
        """Whether its samples had collapsed when the doctor last looked; None if it never did."""
        if "doctor/collapsed" in self.curves:
            return self.curves["doctor/collapsed"][1][-1] > 0
        verdicts = self.end.get("verdicts")
        return any(name in directory.COLLAPSE for name in verdicts) if verdicts else None

    @cached_property
    def step(self) -> int:
        """The last step that is known of."""
        return max([self.end.get("steps") or 0, *(steps[-1] for steps, _ in self.curves.values())])

    @cached_property
    def images_per_step(self) -> int:
        """Real images that one step takes.

        Each process takes a batch for every critic update, `accumulate` times.
        """
        processes = re.match(r"(\d+) x ", str(self.end.get("device", "")))
        factors = ("data.batch_size", "scheme.critic_steps", "scheme.accumulate")
        images = math.prod(int(self.config.get(key) or 1) for key in factors)
        return images * (int(processes[1]) if processes else 1)

    def images_until(self, step: int) -> int:
        """Real images that the first steps take, with the critic's pre-training and warm-up.

        Both are made in rounds of as many critic updates as a step has.
        """
        updates = int(self.config.get("scheme.critic_steps") or 1)
        pretraining = int(self.config.get("scheme.pretraining") or 0)
        rounds = step + (math.ceil(pretraining / updates) if step else 0)
        if long := self.config.get("scheme.critic_warmup.steps"):
            first, every = (
                int(self.config[f"scheme.critic_warmup.{k}"]) for k in ("first", "every")
            )
            later = math.ceil(step / every) - math.ceil(first / every) if every else 0
            rounds += (math.ceil(long / updates) - 1) * (min(step, first) + max(0, later))
        return rounds * self.images_per_step

    @cached_property
    def clock(self) -> tuple[list[int], list[float]]:
        """Steps, and the hours of training until then: images / (images a second).

        Scores, pictures and checkpoints are not counted.
        """
        steps, hours, images = [0], [0.0], self.images_until(0)
        for step, rate in zip(*self.curves.get(RATE, ([], [])), strict=True):
            if step > steps[-1] and rate > 0:
                before, images = images, self.images_until(step)
                hours.append(hours[-1] + (images - before) / rate / 3600)
                steps.append(step)
        return steps, hours

    @cached_property
    def pictures(self) -> list[tuple[int, Path]]:
        """(step, file) of every sample grid, in order; the last is the final one, if any."""
        folder = self.path / "samples"
        found = {
            int(file.stem[5:]): file
            for file in folder.glob("step-*.png")
            if file.stem[5:].isdigit()
        }
        if (folder / "final.png").exists():
            found[self.step] = folder / "final.png"
        return sorted(found.items())


# --- where runs are -------------------------------------------------------------------------------


def find(places: list[Path]) -> list[Run]:
    """Find every run in or below some directories, also a cell of a sweep that never began.

    Raises:
        UserError: for a directory without any run.
    """
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
                f"no run in {place} or below (runs); give run directories, sweeps, or a directory "
                "above them"
            )
        for path in paths:
            if path.resolve() not in found:
                found[path.resolve()] = read_run(path, name_of(path, place, len(places) > 1))
    return list(found.values())


def name_of(path: Path, place: Path, several: bool) -> str:
    """A run's path below the place that was given."""
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


# --- what is known of a run -----------------------------------------------------------------------


def read_run(path: Path, name: str) -> Run:
    """Read what there is of one run. Raises UserError for a record that cannot be read."""
    end = read_json(path / "summary.json")
    directions.declare(end)
    cell = effective_status(path, read_json(path / "status.json"))
    if not cell and not (path / CONFIG).exists():
        cell = ledger_entry(path)
    config = directory.flat(saved_config(path)) if (path / CONFIG).exists() else {}
    swept = {str(key): as_typed(value) for key, value in (cell.get("overrides") or {}).items()}
    reason, log = cell.get("reason"), cell.get("log")
    unfinished = "unfinished" if config else "missing"
    return Run(
        name=name,
        path=path,
        status=str(cell.get("status") or end.get("status") or unfinished),
        reason=" ".join(str(reason).split()) if reason else None,
        log=log_of(path, str(log) if log else "train.log"),
        overrides={
            key: resolved(key, value, config)
            for key, value in (overrides(path) | swept).items()
            if is_compared(key)
        },
        swept=swept,
        choices={str(k): str(value) for k, value in (end.get("choices") or choices(path)).items()},
        config=config,
        end=end,
    )


def ledger_entry(path: Path) -> dict[str, Any]:
    """What the sweep's ledger says of a cell that has no record of its own."""
    match read_json(path.parent / "sweep.json").get("cells"):
        case dict() as cells:
            cell = cells.get(path.name)
        case _:
            return {}
    match cell:
        case dict() if "overrides" in cell or "status" in cell:
            return cell
        case dict():
            return {"overrides": cell}
        case _:
            return {}


def log_of(path: Path, name: str) -> Path | None:
    """The log; a ledger gives its path from the cell or from its sweep."""
    places = (path / name, path.parent / name, Path(name))
    return next((file for file in places if file.exists()), None)


def overrides(path: Path) -> dict[str, str]:
    """The overrides of the command line, by their keys."""
    match read_yaml(path / ".hydra" / "overrides.yaml"):
        case list() as words:
            pairs = [str(word).lstrip("+").partition("=") for word in words if type(word) is str]
            return {key: value for key, _, value in pairs}
        case _:
            return {}


def resolved(key: str, value: str, config: dict[str, Any]) -> str:
    r"""An override as it took effect, where it names other keys.

    >>> resolved("data.size", "${model.size}", {"data.size": 28})
    '28'
    >>> resolved("data.root", r"$\{oc.env:HOME}/x", {})
    '${oc.env:HOME}/x'
    """
    plain = value.replace("$\\{", "${")
    return as_typed(config[key]) if "${" in plain and key in config else plain


def choices(path: Path) -> dict[str, Any]:
    """The chosen groups of a run that has no summary yet."""
    match read_yaml(path / ".hydra" / "hydra.yaml"):
        case {"hydra": {"runtime": {"choices": dict() as named}}}:
            return {
                key: value
                for key, value in named.items()
                if not str(key).startswith("hydra/") and value is not None
            }
        case _:
            return {}


def is_compared(key: str) -> bool:
    """Whether a key is part of what is compared, and not of where and how a run was made."""
    operational = key.startswith(("hydra.", "hydra/", "~hydra")) or any(
        key == other or key.startswith(f"{other}.") for other in directory.OPERATIONAL
    )
    return key in COMPARED or not operational


def as_typed(value: Any) -> str:
    """A value as it is typed on a command line."""
    return value if type(value) is str else json.dumps(value, default=str).replace('"', "")
