"""Leave-one-out: all tricks together, then all but one, for each of them, with the same seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

from gentrain.errors import UserError


def leave_one_out(arguments: list[str], config: DictConfig | None) -> list[str]:
    """The overrides of a command, with tricks=[a,b,c] as tricks=[a,b,c],[b,c],[a,c],[a,b].

    Args:
        arguments: the overrides.
        config: the configuration; nothing is changed without `sweep.leave_one_out`.

    Raises:
        UserError: where no tricks are named.
    """
    if config is None or not config.sweep.leave_one_out:
        return arguments
    parsed = OverridesParser.create().parse_overrides(arguments)
    values = [each.value() for each in parsed if each.key_or_group == "tricks"]
    match values:
        case [*_, [_, *_] as last]:
            names = [str(name) for name in last]
        case _:
            raise UserError(
                "sweep=ablate leaves out one trick after another (tricks); "
                "name them: 'tricks=[ema,label_smoothing]'"
            )
    lists = [names, *([name for name in names if name != out] for out in names)]
    others = [
        word for word, each in zip(arguments, parsed, strict=True) if each.key_or_group != "tricks"
    ]
    return [*others, "tricks=" + ",".join(f"[{','.join(kept)}]" for kept in lists)]


def effects(rows: Sequence[dict[str, Any]], keys: Sequence[str]) -> list[dict[str, Any]]:
    """What leaving out each trick does to the scores: a mean over pairs, and its standard error.

        d_i = score without the trick - score with all tricks,    error = s(d) / sqrt(n), n > 1

    The two runs of a pair have the same seed, and agree in all else that is swept.

    Args:
        rows: rows of the sweep's table.
        keys: the swept keys.

    Returns:
        A row a trick.
    """
    others = [key for key in keys if key != "tricks"]
    completed = {
        (tuple(str(row.get(key)) for key in others), row.get("tricks", "")): row
        for row in rows
        if row["status"] == "completed"
    }
    all_tricks = max(
        (row.get("tricks", "") for row in rows), key=lambda t: len(t.split()), default=""
    )
    found = []
    for trick in all_tricks.split():
        rest = " ".join(name for name in all_tricks.split() if name != trick)
        pairs = [
            (completed[where, rest], row)
            for (where, tricks), row in completed.items()
            if tricks == all_tricks and (where, rest) in completed
        ]
        scores = {name: difference(pairs, name) for name in ("final", "best")}
        found.append({"without": trick, "pairs": len(pairs)} | scores)
    return found


def difference(pairs: Sequence[tuple[dict[str, Any], dict[str, Any]]], name: str) -> str:
    """The mean difference of a score and its standard error, such as "+1.2 ± 0.4".

    Args:
        pairs: a row without the trick, and one with it.
        name: the column.
    """
    found = [without[name] - with_it[name] for without, with_it in pairs]
    found = [value for value in found if math.isfinite(value)]
    if not found:
        return ""
    mean = f"{statistics.fmean(found):+.4g}"
    if len(found) == 1:
        return mean
    return f"{mean} ± {statistics.stdev(found) / math.sqrt(len(found)):.2g}"
