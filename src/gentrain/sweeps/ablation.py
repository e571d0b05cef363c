"""Leave-one-out: all of the tricks together, then all but one, for each of them, with the same seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

from gentrain.errors import UserError


def leave_one_out(arguments: list[str], config: DictConfig | None) -> list[str]:
    """The command's words, of which tricks=[a,b,c] has become tricks=[a,b,c],[b,c],[a,c],[a,b] where `sweep.leave_one_out` says so."""
    if config is None or not config.sweep.leave_one_out:
        return arguments
    parsed = OverridesParser.create().parse_overrides(arguments)
    tricks = [each for each in parsed if each.key_or_group == "tricks"]
    value = tricks[-1].value() if tricks else None
    if not isinstance(value, list) or len(value) < 1:
        raise UserError(
            "sweep=ablate leaves out one trick after another (tricks); name them: 'tricks=[ema,label_smoothing]'"
        )
    names = [str(name) for name in value]
    kept = [names, *([name for name in names if name != out] for out in names)]
    others = [
        word for word, each in zip(arguments, parsed, strict=True) if each.key_or_group != "tricks"
    ]
    return [*others, "tricks=" + ",".join(f"[{','.join(few)}]" for few in kept)]


def effects(rows: Sequence[dict[str, Any]], keys: Sequence[str]) -> list[dict[str, Any]]:
    """What leaving out each trick does to the scores: the mean over pairs of equal seeds (and of all else that is swept) of

    d_i = score without the trick - score with all of them,    and its standard error s(d) / sqrt(n) for n > 1.
    """
    others = [key for key in keys if key != "tricks"]
    scored = {
        (tuple(str(row.get(key)) for key in others), row.get("tricks", "")): row
        for row in rows
        if row["status"] == "completed"
    }
    sets = dict.fromkeys(row.get("tricks", "") for row in rows)
    whole = max(sets, key=lambda tricks: len(tricks.split()), default="")
    found = []
    for trick in whole.split():
        without = " ".join(name for name in whole.split() if name != trick)
        pairs = [
            (scored[where, without], row)
            for (where, tricks), row in scored.items()
            if tricks == whole and (where, without) in scored
        ]
        found.append(
            {"without": trick, "pairs": len(pairs)}
            | {name: difference(pairs, name) for name in ("final", "best")}
        )
    return found


def difference(pairs: Sequence[tuple[dict[str, Any], dict[str, Any]]], name: str) -> str:
    """+1.2 ± 0.4"""
    found = [
        without[name] - with_all[name]
        for without, with_all in pairs
        if math.isfinite(without[name] - with_all[name])
    ]
    if not found:
        return ""
    error = f" ± {statistics.stdev(found) / math.sqrt(len(found)):.2g}" if len(found) > 1 else ""
    return f"{statistics.fmean(found):+.4g}{error}"
