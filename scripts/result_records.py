"""Kept records: run directories of a few kilobytes, which outlive the runs that they are of.

A record has the form of a run directory, so that `gentrain compare` and its code read it:

    .hydra/config.yaml     the keys that tell configurations apart, and the seeds
    .hydra/overrides.yaml  the words of the command
    summary.json           how the run ended, its scores, protocols, times, device and versions
    metrics.csv            the curve of each score, of at most about 60 points
    eval*.json             what `gentrain eval` found later
    samples/final.png      its last samples, small

It holds no path of a machine. Two runs have one record where they agree in configuration, data,
protocols, kind of device and seeds.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

from PIL import Image
from run_tables import ROOT, shown_words

from gentrain.commands.compare import older
from gentrain.commands.compare.directions import PREFIXES, best, is_score
from gentrain.commands.compare.find import SEEDS, Run, find, is_compared
from gentrain.commands.compare.groups import configuration, digest, in_training, seeds_of
from gentrain.commands.compare.records import Curve, number, read_json
from gentrain.errors import UserError
from gentrain.files import atomic_write, to_json, write_text
from gentrain.protocols import by_score, canonical
from gentrain.runs.directory import typed_words

RECORDS = ROOT / "docs/results/records"
ENDED = ("completed", "interrupted", "diverged", "failed")
POINTS = 60  # of a curve; its best one is kept besides
DIGITS = 6  # of scores
SIDE, COLOURS = 80, 16  # of a picture
SUMMARY = (
    "choices", "seed", "steps", "metrics", "directions", "best", "protocols", "measured_by",
    "verdicts",
    "images_per_second", "seconds_per_step", "wall_seconds", "device", "versions",
)  # fmt: skip
EVAL = (
    "checkpoint", "step", "averaged", "scores", "protocols", "measured_by", "device",
    "versions",
)  # fmt: skip
INNER_PATH = re.compile(r"(?<![^\s=,\[('\"])~?/\w[^\s,\])'\"]*")


# --- keeping --------------------------------------------------------------------------------------


def keep(runs: Iterable[Run], folder: Path) -> list[str]:
    """Keep a record of each run that has ended and was scored, or that failed.

    Of two runs with one record the completed one stays, then the longer one, then the later one.

    Args:
        runs: as `compare` finds them.
        folder: of the records.

    Returns:
        A line for each run of which no record was kept.
    """
    left_out = []
    for run in sorted(runs, key=rank):
        small = thinned(run)
        place = folder / name_of(small)
        if why := unfit(run, place):
            left_out.append(f"not kept: {run.name} {why}")
        else:
            write(small, place, run.config)
    return left_out


def unfit(run: Run, place: Path) -> str:
    """Why there is no record of a run; empty where it is kept."""
    if run.status not in ENDED or not run.config:
        return f"has not ended ({run.status})"
    if run.status in ("completed", "interrupted") and not is_scored(run):
        return "has no score after step 0"
    if place.exists() and is_better(place, run):
        return f"is shorter than the run of {place.name}, or has not completed as that has"
    return ""


def is_better(place: Path, run: Run) -> bool:
    """Whether the record that is there goes before a run. A damaged one makes way for it."""
    try:
        return rank(read(place)) > rank(run)
    except UserError:
        return False


def rank(run: Run) -> tuple[bool, int]:
    """The order in which runs of one record replace each other."""
    return run.status == "completed", run.step


def is_scored(run: Run) -> bool:
    """Whether a run has a score of trained weights."""
    return any(is_score(name) and steps[-1] > 0 for name, (steps, _) in run.curves.items())


def thinned(run: Run) -> Run:
    """A run with what its record says of it."""
    config = {
        key: without_paths(value)
        for key, value in run.config.items()
        if is_compared(key) or key in SEEDS
    }
    end = {"seed": run.seed, "steps": run.step, "choices": run.choices}
    end |= {key: run.end[key] for key in SUMMARY if key in run.end}
    for key in ("metrics", "directions"):
        found = end.get(key) or {}
        end[key] = {name: one for name, one in found.items() if name.startswith(PREFIXES)}
    end["metrics"] = {name: rounded(value) for name, value in end["metrics"].items()}
    end["best"] = {key: one for key, one in (end.get("best") or {}).items() if key != "path"}
    end["data"] = {"digest": digest(run)}
    end["measured_by"] = measured_by(run.end, run.end.get("metrics") or {}, run.config)
    end["status"] = run.status
    return replace(run, config=config, end=without_paths(end))


def measured_by(
    found: dict[str, Any], scores: dict[str, float], config: dict[str, Any]
) -> dict[str, str]:
    """The key of the metric of each score, which a record must say: it has no metrics' options.

    Args:
        found: a summary, or what `gentrain eval` wrote.
        scores: its scores.
        config: of the run.
    """
    if "measured_by" in found:
        return found["measured_by"]
    of_an_older_version = {"metrics": scores, "best": found.get("best")}
    return older.measured_by(found.get("protocols") or {}, of_an_older_version, config)


def rounded(value: float | None) -> float | None:
    """A score with as many digits as its curve has; None, where it was not finite, stays."""
    return None if value is None else float(f"{value:.{DIGITS}g}")


def without_paths(value: Any) -> Any:
    """A value in which only the last part of each path of a machine is left.

    >>> without_paths({"a": "/data/my set", "b": ["x=[/c/d,e]", "nats / (D ln 2)"]})
    {'a': 'my set', 'b': ['x=[d,e]', 'nats / (D ln 2)']}
    """
    match value:
        case dict():
            return {key: without_paths(one) for key, one in value.items()}
        case list():
            return [without_paths(one) for one in value]
        case str() if value.startswith(("/", "~/")):
            return PurePath(value).name
        case str():
            return INNER_PATH.sub(lambda found: PurePath(found[0]).name, value)
        case _:
            return value


def name_of(run: Run) -> str:
    """The folder of a record: the same for runs that replace each other."""
    same = [configuration(run), digest(run), in_training(run.protocols), device_kind(run)]
    found = hashlib.sha256(canonical([*same, seeds_of(run)]).encode()).hexdigest()[:8]
    names = [run.choices.get("model", "run"), run.choices.get("data", "data"), found]
    return "-".join(re.sub(r"[^\w.]", "_", name) for name in names)


def device_kind(run: Run) -> str:
    """The device of a run without its numbers of cores and threads, such as "CPU"."""
    return str(run.end.get("device", "")).partition(",")[0]


def write(run: Run, place: Path, config: dict[str, Any]) -> None:
    """Write the record of a run, in the place of an earlier one.

    Args:
        run: with what its record says of it.
        place: of the record.
        config: the whole configuration of the run.
    """
    typed = shown_words(typed_words(run.path) or [f"{k}={v}" for k, v in run.swept.items()])
    files = {
        ".hydra/config.yaml": to_json(nested(run.config)),  # JSON is YAML
        ".hydra/overrides.yaml": to_json(without_paths(typed)),
        "summary.json": to_json(run.end),
        "metrics.csv": curves_text(run.curves),
    }
    for file in sorted(run.path.glob("eval*.json")):
        found = read_json(file)
        found["measured_by"] = measured_by(found, found.get("scores") or {}, config)
        kept = {key: without_paths(found[key]) for key in EVAL if key in found}
        files[file.name] = to_json(kept)
    with atomic_write(place) as part:
        for name, text in files.items():
            (part / name).parent.mkdir(parents=True, exist_ok=True)
            write_text(part / name, text.rstrip("\n") + "\n")
        if run.pictures:
            write_picture(run.pictures[-1][1], part / "samples/final.png")


def nested(flat: dict[str, Any]) -> dict[str, Any]:
    """A configuration from its dotted keys.

    >>> nested({"a.b": 1, "a.c": [2], "d": 3})
    {'a': {'b': 1, 'c': [2]}, 'd': 3}
    """
    made: dict[str, Any] = {}
    for key, value in flat.items():
        node = made
        *parents, last = key.split(".")
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = value
    return made


def curves_text(curves: dict[str, Curve]) -> str:
    """The metrics.csv of a record: thinned curves of scores, and the last value of what is no score
    (errors and floors).
    """
    rows: dict[int, dict[str, str]] = {}
    names = sorted(name for name in curves if name.startswith(PREFIXES))
    for name in names:
        for step, value in zip(*shortened(name, *curves[name]), strict=True):
            rows.setdefault(step, {})[name] = f"{value:.{DIGITS}g}"
    text = io.StringIO()
    writer = csv.DictWriter(text, ["step", *names], lineterminator="\n")
    writer.writeheader()
    writer.writerows({"step": step} | row for step, row in sorted(rows.items()))
    return text.getvalue()


def shortened(name: str, steps: Sequence[int], values: Sequence[float]) -> Curve:
    """A curve of at most POINTS points at even distances, and its best one."""
    if not is_score(name):
        return [steps[-1]], [values[-1]]
    last = len(steps) - 1
    even = {round(i * last / (POINTS - 1)) for i in range(POINTS)} if last >= POINTS else None
    kept = sorted(even | {values.index(best(name)(values))}) if even else range(last + 1)
    return [steps[i] for i in kept], [values[i] for i in kept]


def write_picture(source: Path, place: Path) -> None:
    """Write a picture as a thumbnail of few colours."""
    place.parent.mkdir()
    shown = Image.open(source).convert("RGB")
    shown.thumbnail((SIDE, SIDE))
    shown.convert("P", palette=Image.Palette.ADAPTIVE, colors=COLOURS).save(place, optimize=True)


# --- reading --------------------------------------------------------------------------------------


def kept(folder: Path) -> list[Run]:
    """All records of a folder, as runs. There are none where there is no folder.

    Raises:
        UserError: for a damaged record.
    """
    names = sorted(each for each in folder.glob("[!.]*") if each.is_dir())
    return [read(place) for place in names]


def read(place: Path) -> Run:
    """The run of a record.

    Raises:
        UserError: where it is damaged.
    """
    if not (place / "metrics.csv").exists() or not (place / ".hydra/config.yaml").exists():
        raise damaged(place, "it has no metrics.csv or no .hydra/config.yaml")
    (run,) = find([place])
    if run.status not in ENDED:
        raise damaged(place, "its summary.json has no status")
    text = (place / "metrics.csv").read_text("utf-8", errors="replace")
    head, *rows = csv.reader(io.StringIO(text)) if text else [[]]
    whole = text.endswith("\n") and head[:1] == ["step"]
    if not whole or not all(len(row) == len(head) and all(map(is_cell, row)) for row in rows):
        raise damaged(place, "its metrics.csv is cut off, or holds what is no number")
    return run


def is_cell(text: str) -> bool:
    """Whether a cell of metrics.csv is empty or a number."""
    return not text or number(text) is not None


def damaged(place: Path, why: str) -> UserError:
    """The refusal of a record."""
    return UserError(
        f"{place} is a damaged record: {why} (records); remove it, or give its run again"
    )


def evals(run: Run) -> list[dict[str, Any]]:
    """What `gentrain eval` found of a run of which there is a record.

    `protocols` are those of its scores, by their names.
    """
    found = [read_json(file) for file in sorted(run.path.glob("eval*.json"))]
    return [
        one | {"protocols": by_score(one["protocols"], one.get("measured_by") or {})}
        for one in found
    ]
