"""The files of a run, read fast: sixty runs are compared in a second.

A configuration is read as it was written. A value that names another key, `${data.size}`, is that
key's; what was computed while a command ran, `${points_shape:...}`, stays as it was written, for it
may need data that is gone, or torch.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf._utils import get_yaml_loader

from gentrain.errors import UserError
from gentrain.runs import directory

Curve = tuple[list[int], list[float]]  # steps, in order, and values

REFERENCE = re.compile(r"\$\{(\.*)(\w+(?:\.\w+)*)\}")  # ${data.size}, ${.size}, ${..size}
AS_OMEGACONF = get_yaml_loader()


class Loader(yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader):  # type: ignore[misc]
    """A YAML loader with the numbers and the words of OmegaConf's, ten times as fast."""

    yaml_implicit_resolvers = AS_OMEGACONF.yaml_implicit_resolvers
    yaml_constructors = AS_OMEGACONF.yaml_constructors


def saved_config(run_dir: Path) -> dict[str, Any]:
    """The configuration of a run as it was written, in today's terms.

    Raises:
        UserError: where the file is damaged, or is not a run's configuration.
    """
    path = run_dir / directory.CONFIG
    try:
        found = yaml.load(path.read_text(encoding="utf-8"), Loader)
    except (yaml.YAMLError, OSError, ValueError) as error:
        raise unreadable(path, " ".join(str(error).split())) from error
    match found:
        case {"model": _}:
            return directory.in_todays_terms(followed(found, [found], ()))
        case _:
            raise UserError(
                f"{path} is no configuration of a run (runs); give a run as it was made"
            )


def followed(value: Any, parents: list[Any], trail: tuple[int, ...]) -> Any:
    """A value of a configuration, with what its references name in their place.

    Args:
        value: what is read.
        parents: the nodes that it is in, from the root.
        trail: the references that led here; one that leads to itself stays as it was written.

    >>> tree = {"size": 28, "shape": [1, "${..size}"], "other": {"shape": "${shape}"}}
    >>> followed(tree, [tree], ())
    {'size': 28, 'shape': [1, 28], 'other': {'shape': [1, 28]}}
    """
    match value:
        case dict():
            return {key: followed(one, [*parents, one], trail) for key, one in value.items()}
        case list():
            return [followed(one, [*parents, one], trail) for one in value]
        case str() if named := REFERENCE.fullmatch(value):
            # parents end with the value itself
            up = len(parents) - len(named[1]) if named[1] else 1
            return target(value, parents[:up], named[2].split("."), trail)
        case _:
            return value


def target(reference: str, parents: list[Any], keys: list[str], trail: tuple[int, ...]) -> Any:
    """What a reference names; the reference itself where there is no such key, or a circle."""
    for key in keys:
        match parents[-1] if parents else None:
            case dict() as node if key in node:
                parents = [*parents, node[key]]
            case _:
                return reference
    found = parents[-1]
    return reference if id(found) in trail else followed(found, parents, (*trail, id(found)))


def read_yaml(path: Path) -> Any:
    """Plain containers; None where there is no such file, or where it is being written."""
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader)
    except (yaml.YAMLError, OSError, ValueError):
        return None


def read_json(path: Path) -> dict[str, Any]:
    """Read a record; empty where there is none.

    Raises:
        UserError: where it cannot be read. Our own records are never half-written.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise unreadable(path, error.strerror or str(error)) from error
    except ValueError as error:
        raise unreadable(path, " ".join(str(error).split())) from error
    match found:
        case dict():
            return found
        case _:
            raise UserError(f"{path} is no record of a run (runs); remove it, or give other runs")


def unreadable(path: Path, why: str) -> UserError:
    """The refusal of a damaged record."""
    return UserError(
        f"{path} cannot be read: {why[:120]} (runs); mend or remove it, or give other runs"
    )


def read_curves(path: Path) -> dict[str, Curve]:
    """Read the curves of a metrics.csv.

    A row that is still being written, and a value that is not a finite number, are left out.
    """
    try:
        text = path.read_bytes().decode(errors="replace")
    except OSError:
        return {}
    lines = csv.reader(io.StringIO(text[: text.rfind("\n") + 1]))
    columns = next(lines, [])
    if "step" not in columns:
        return {}
    at = columns.index("step")
    rows = [row for row in lines if len(row) == len(columns) and row[at].isdigit()]
    steps = [int(row[at]) for row in rows]
    curves = {
        name: curve(steps, words)
        for name, words in zip(columns, zip(*rows, strict=True), strict=False)  # no rows: no words
        if name != "step"
    }
    return {name: (xs, ys) for name, (xs, ys) in curves.items() if xs}


def curve(steps: list[int], words: Sequence[str]) -> Curve:
    """The curve of a column; of a step that is there twice, the last number counts."""
    pairs = [(step, word) for step, word in zip(steps, words, strict=True) if word]
    try:
        values = {step: float(word) for step, word in pairs}
        fine = all(map(math.isfinite, values.values()))
    except ValueError:
        fine = False
    if not fine:
        read = ((step, number(word)) for step, word in pairs)
        values = {step: value for step, value in read if value is not None}
    xs = sorted(values)
    return xs, [values[step] for step in xs]


def number(word: str) -> float | None:
    """A finite number; None for anything else."""
    try:
        value = float(word)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def between(at: float, xs: list[int], ys: list[float]) -> float:
    """The value at `at` on the line through some points; the last piece goes on.

    >>> between(5, [0, 10], [0.0, 1.0]), between(20, [0, 10], [0.0, 1.0])
    (0.5, 2.0)
    """
    if len(xs) < 2:
        return ys[0] if ys else 0.0
    i = min(max(bisect_right(xs, at), 1), len(xs) - 1)
    return ys[i - 1] + (ys[i] - ys[i - 1]) * (at - xs[i - 1]) / (xs[i] - xs[i - 1])
