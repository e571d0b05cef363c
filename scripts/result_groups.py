"""What the tables of docs/results.md say of a group of kept runs."""

from __future__ import annotations

import shlex
import statistics
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from result_records import device_kind, evals
from run_tables import shown_words

from gentrain.commands.compare.directions import best
from gentrain.commands.compare.find import Run
from gentrain.commands.compare.groups import Group, Spread, grouped, spread
from gentrain.protocols import NOT_KNOWN, TEST, of_score, readable, short_hash
from gentrain.runs.directory import typed_words

VALIDATION = "quality/"  # begins the names of scores by which checkpoints are chosen
LEFT_OUT = ("seed=", "data.seed=", "samples.", "steps=")  # of a command; steps have a column


def groups_of(runs: Sequence[Run]) -> list[Group]:
    """Groups as `compare` makes them, each of one kind of device."""
    kinds = sorted({device_kind(run) for run in runs})
    parts = [[run for run in runs if device_kind(run) == kind] for kind in kinds]
    return [group for part in parts for group in grouped(part)]


# --- what was run ---------------------------------------------------------------------------------


def command(group: Group) -> str:
    """The command that makes the runs of a group."""
    typed = next(filter(None, (typed_words(run.path) for run in group.runs)), [])
    words = shown_words(typed, *LEFT_OUT)
    numbers = sorted({str(run.seed) for run in group.runs}, key=lambda seed: (len(seed), seed))
    many = ["-m"] if len(numbers) > 1 else []
    lengths = [word for word in typed if word.startswith("steps=")][-1:]
    return shlex.join(["gentrain", *many, *words, *lengths, f"seed={','.join(numbers)}"])


def seeds(group: Group) -> str:
    """How many seeds have completed, and what became of the others."""
    failed = {status: n for status, n in group.statuses.items() if status != "completed"}
    parts = [f"{n} {status}" for status, n in sorted(failed.items())]
    done = len(group.counted) if group.settled else 0
    return ", ".join([str(done), *parts])


def steps_made(group: Group) -> str:
    """The lengths of the runs that count."""
    return numbers(run.step for run in group.counted)


def numbers(found: Iterable[int]) -> str:
    """Different whole numbers in their order.

    >>> numbers([2000, 1000, 2000])
    '1,000, 2,000'
    """
    return ", ".join(f"{n:,}" for n in sorted(set(found)))


def minutes(group: Group) -> str:
    """The mean of the minutes of its runs."""
    seconds = group.mean_of("wall_seconds")
    return "" if seconds is None else f"{seconds / 60:.1f}"


def devices(group: Group) -> str:
    """The devices of the runs that count."""
    return ", ".join(
        sorted({str(run.end["device"]) for run in group.counted if "device" in run.end})
    )


# --- its scores -----------------------------------------------------------------------------------


class Tested(NamedTuple):
    """A score of the test split.

    Attributes:
        score: over seeds.
        weights: whose it is.
        error: its standard error, by the number of images; None where it has none.
        protocol: how it was measured.
        chosen: whether the weights were chosen by a score of the validation split.
    """

    score: Spread
    weights: str
    error: float | None
    protocol: Any
    chosen: bool

    def __str__(self) -> str:
        error = "" if self.error is None else f"; standard error {plain(self.error, 2)}"
        return f"{shown(self.score)} ({self.weights}{error})"


def shown(found: Spread) -> str:
    """A mean with its standard deviation over seeds."""
    return plain(found.mean) + (f" ± {plain(found.sd, 2)}" if found.sd is not None else "")


def plain(value: float, digits: int = 4) -> str:
    """A number of so many digits, without an exponent for large ones.

    >>> plain(1324.96), plain(88.5234), plain(213.4, 2), plain(0.00012)
    ('1325', '88.52', '213', '0.00012')
    """
    text = f"{value:.{digits}g}"
    return f"{value:.0f}" if "e+" in text else text


def is_trained(group: Group, name: str) -> bool:
    """Whether a score was computed after step 0."""
    return any(name in run.curves and run.curves[name][0][-1] > 0 for run in group.counted)


def best_of(group: Group, name: str) -> tuple[Spread, list[int]]:
    """The best value of a score on the way, over seeds, and its steps."""
    values, steps = [], []
    for run in group.counted:
        if name in run.curves:
            at, curve = run.curves[name]
            values.append(best(name)(curve))
            steps.append(at[curve.index(values[-1])])
    return spread(values), steps


def told_final(group: Group, name: str) -> str:
    """The final value, with its step if that is not the last, and its split if that is test."""
    of_test = is_of_test(of_score(group.protocol or {}, name))
    held_out = " (of the test split: no validation)" if of_test else ""
    return shown(group.final[name]) + group.told_step(name) + held_out


def told_best(group: Group, name: str) -> str:
    """The best value on the way with its step."""
    value, steps = best_of(group, name)
    return f"{shown(value)} (step{'s' if len(set(steps)) > 1 else ''} {numbers(steps)})"


def tests(group: Group, score: str) -> list[Tested]:
    """A score of the test split: of the weights at the end, and what `gentrain eval` found later.

    Args:
        group: of runs.
        score: such as "nats".
    """
    name, found = f"{TEST}{score}", []
    if name in group.final:
        protocol = of_score(group.protocol or {}, name)
        averaged = (protocol or {}).get("ema")
        weights = f"{'averaged' if averaged else 'last'} weights{group.told_step(name)}"
        error = group.final.get(f"{name}_error")
        found.append(Tested(group.final[name], weights, error and error.mean, protocol, False))
    later: dict[tuple[str, bool, str], list[dict[str, Any]]] = {}
    for run in group.counted:
        for record in evals(run):
            protocol = of_score(record["protocols"], f"{VALIDATION}{score}")
            if f"{VALIDATION}{score}" in record["scores"] and is_of_test(protocol):
                way = (record["checkpoint"], record["averaged"], short_hash(protocol))
                later.setdefault(way, []).append(record)
    return found + [told_eval(score, same, group) for _, same in sorted(later.items())]


def told_eval(score: str, records: list[dict[str, Any]], group: Group) -> Tested:
    """What `gentrain eval` found in one way, over seeds."""
    name, first = f"{VALIDATION}{score}", records[0]
    checkpoint, all_seeds = first["checkpoint"], len(records) == len(group.counted)
    averaged = "averaged " if first["averaged"] else ""
    steps = numbers(record["step"] for record in records)
    weights = f"{checkpoint} {averaged}weights, step {steps}, eval"
    weights += "" if all_seeds else f" of {len(records)} of {len(group.counted)} seeds"
    errors = [each for record in records if (each := record["scores"].get(f"{name}_error"))]
    return Tested(
        spread([record["scores"][name] for record in records]),
        weights,
        statistics.fmean(errors) if errors else None,
        of_score(first["protocols"], name),
        checkpoint == "best" and all_seeds,
    )


def is_of_test(protocol: Any) -> bool:
    """Whether a score is of the test split, by its protocol."""
    about = protocol or {}
    split = about.get("split") or (about.get("reference") or {}).get("split") or ""
    return str(split).startswith("test")


def protocols_of(group: Group, score: str) -> dict[str, str]:
    """The lines of a score's protocols by their hashes: of validation, and of test."""
    found = [of_score(group.protocol or {}, f"{VALIDATION}{score}")]
    found += [each.protocol for each in tests(group, score)]
    return {short_hash(protocol): readable(protocol) for protocol in found}


def told_hash(found: str) -> str:
    """The hash of a protocol as code."""
    return found if found == NOT_KNOWN else f"`{found}`"
