"""Runs that differ by their seed alone are one group; groups are ranked by a score, within one protocol.

Of a score over the seeds of a group: mean and standard deviation (n - 1), of the *final* value and of the *best* on the way. Only runs that
came to their end count, where there are any; the others are counted beside.
"""

from __future__ import annotations

import json
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from gentrain.commands.compare.find import SEEDS, Run, matters
from gentrain.errors import UserError
from gentrain.runs import directory

# parts of the names of scores of which more is better; of any other score, less is
GREATER = ("/is_", "precision", "recall", "density", "coverage", "covered", "entropy", "confident", "agreement", "kept", "modes_found",
           "high_quality")  # fmt: skip
NO_SCORES = (
    "quality/n",
    "quality/nats_error",
    "quality/log_z",
    "quality/log_z_error",
)  # they tell of a score, and are none
NO_SCORE_ENDS = ("_floor", "_std", "_permuted")
OF_SUMMARY = ("steps", "wall_seconds", "images_per_second")
UNKNOWN = "not known before a run ends"


class Spread(NamedTuple):
    """Mean and standard deviation over n seeds; the latter is None for one."""

    mean: float
    sd: float | None
    n: int

    def __str__(self) -> str:
        return f"{self.mean:.4g}" + (f" +- {self.sd:.2g}" if self.sd is not None else "")


@dataclass
class Group:
    """Runs of one configuration and one protocol, a seed each."""

    runs: list[Run]
    protocol: dict[str, Any] | None  # of all its scores
    label: str = ""
    final: dict[str, Spread] = field(default_factory=dict)  # by the name of what is logged
    best: dict[str, Spread] = field(default_factory=dict)

    @property
    def config(self) -> dict[str, Any]:
        return next((run.config for run in self.runs if run.config), {})

    @property
    def counted(self) -> list[Run]:
        """Whose scores the table shows: of each seed one, the longest of those that came to an end."""
        ended = [run for run in self.runs if run.status == "completed"] or self.runs
        return list(
            {str(run.seed): run for run in sorted(ended, key=lambda run: run.step)}.values()
        )

    @property
    def settled(self) -> bool:
        return any(run.status == "completed" for run in self.runs)

    @property
    def statuses(self) -> Counter[str]:
        return Counter(run.status for run in self.runs)

    @property
    def collapsed(self) -> int | None:
        """Runs whose fakes were of few kinds when the doctor last looked; None where it never did."""
        seen = [run.collapsed for run in self.runs if run.collapsed is not None]
        return sum(seen) if seen else None

    @property
    def own(self) -> str | None:
        """The score by which its runs choose their best checkpoint, or the first that they have."""
        for run in self.runs:
            if metric := (run.end.get("best") or {}).get("metric"):
                return str(metric)
        scores = [name for name in self.final if is_score(name)]
        return next(
            (name for name in directory.MONITOR if name in scores), scores[0] if scores else None
        )

    def mean_of(self, key: str) -> float | None:
        values = [
            float(run.end[key]) for run in self.counted if isinstance(run.end.get(key), int | float)
        ]
        return statistics.fmean(values) if values else None


class Table(NamedTuple):
    """Groups whose `score` was measured in one way, in order; those with a rank first."""

    score: str | None
    protocol: Any
    rows: list[tuple[int | None, Group]]


# --- groups ---------------------------------------------------------------------------------------------------------------


def grouped(found: list[Run], across: Sequence[str] = ()) -> list[Group]:
    """Runs by configuration without its seed, and by protocol; `across` are parts of a protocol that may differ."""
    siblings = {swept(run): identity(run) for run in found if run.config and run.swept}
    protocols = {measure(run): run.protocols for run in reversed(found) if run.protocols}
    members: dict[tuple[str, str], Group] = {}
    for run in found:
        same = identity(run) if run.config else siblings.get(swept(run), swept(run))
        protocol = run.protocols or protocols.get(measure(run))
        if not run.config:  # it says nothing of how it would have been measured: beside its siblings, where there are any
            protocol = next(
                (group.protocol for (key, _), group in members.items() if key == same), None
            )
        group = members.setdefault((same, comparable(protocol, across)), Group([], protocol))
        group.runs.append(run)
    groups = list(members.values())
    for group in groups:
        summarise(group)
    label(groups)
    return groups


def identity(run: Run) -> str:
    """The configuration without its seed."""
    return canonical(
        {key: value for key, value in run.config.items() if matters(key) and key not in SEEDS}
    )


def swept(run: Run) -> str:
    """Of a cell that was never composed, what is known of its configuration: its sweep, and the swept keys without the seed."""
    return canonical(
        [str(run.path.parent), {key: value for key, value in run.swept.items() if key not in SEEDS}]
    )


def measure(run: Run) -> str:
    """How a run will be judged, by its configuration: known before it ends."""
    how = ("quality.every", "quality.at_start", "quality.cache", "quality.batch_size")
    aside = (
        "data.batch_size",
        "data.seed",
        "data.flip",
        "data.workers",
        "data.resident",
        "data.cache",
        "data.labelled",
    )
    keys = [
        key
        for key in run.config
        if key.startswith(("quality.", "data.")) and key not in how + aside
    ]
    return canonical({key: run.config[key] for key in keys})


def comparable(protocol: Any, across: Sequence[str] = ()) -> str:
    """Equal for protocols whose scores may be ranked; numbers but for their rounding."""

    def reduced(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: reduced(part) for key, part in value.items() if key not in across}
        return f"{value:.5g}" if isinstance(value, float) else value

    return canonical(reduced(protocol))


def canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def summarise(group: Group) -> None:
    """Final and best of everything logged."""
    for name in sorted({name for run in group.counted for name in run.curves}):
        values = [run.curves[name][1] for run in group.counted if name in run.curves]
        group.final[name] = spread([curve[-1] for curve in values])
        group.best[name] = spread([best(name)(curve) for curve in values])
    for run in group.counted if not group.final else ():  # no metrics.csv
        for name, value in (run.end.get("metrics") or {}).items():
            group.final.setdefault(name, spread([value]))


def best(name: str) -> Callable[[Iterable[float]], float]:
    return max if greater(name) else min


def greater(name: str) -> bool:
    """Is more of it better?"""
    return name == "images_per_second" or any(part in name for part in GREATER)


def is_score(name: str) -> bool:
    return (
        name.startswith("quality/") and name not in NO_SCORES and not name.endswith(NO_SCORE_ENDS)
    )


def spread(values: list[float]) -> Spread:
    return Spread(
        statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None, len(values)
    )


def label(groups: list[Group]) -> None:
    """What was typed for one group and not for all; with the name of its first run where two would be called the same."""
    words = []
    for group in groups:
        told = max(
            group.runs, key=lambda run: len(run.overrides)
        )  # a cell that has not begun knows the swept keys alone
        words.append({key: value for key, value in told.overrides.items() if key not in SEEDS})
        if model := told.choices.get("model"):
            words[-1].setdefault("model", model)
    begun = [each for each, group in zip(words, groups, strict=True) if group.config] or words
    common = (
        {
            key: value
            for key, value in begun[0].items()
            if all(each.get(key) == value for each in begun)
        }
        if len(groups) > 1
        else {}
    )
    for each, group in zip(words, groups, strict=True):
        ordered = sorted(each, key=lambda key: key != "model")
        group.label = (
            " ".join(f"{key}={each[key]}" for key in ordered if key not in common)
            or group.runs[0].name
        )
    twice = Counter(group.label for group in groups)
    for group in groups:
        if twice[group.label] > 1:
            group.label = f"{group.label} ({group.runs[0].name})"


def differing(groups: list[Group]) -> dict[str, list[Any]]:
    """The keys of the configuration in which groups differ, each with its value in every group (None where it has no such key)."""
    configs = [group.config for group in groups]
    keys = dict.fromkeys(
        key for config in configs for key in config if matters(key) and key not in SEEDS
    )
    values = {key: [config.get(key) for config in configs] for key in keys}
    known = [i for i, config in enumerate(configs) if config]
    return {key: row for key, row in values.items() if len({canonical(row[i]) for i in known}) > 1}


# --- ranking --------------------------------------------------------------------------------------------------------------


def sort_keys(groups: list[Group]) -> list[str]:
    """What `sort` takes: a score, another logged value, a number of the summary, a differing key, `name`."""
    logged = sorted(
        {name for group in groups for name in group.final},
        key=lambda name: (not is_score(name), name),
    )
    return list(dict.fromkeys([*logged, "name", *OF_SUMMARY, *differing(groups)]))


def chosen(sort: str, groups: list[Group]) -> str:
    """`sort` in full. Raises UserError for a key that no run has."""
    known = ["auto", *sort_keys(groups)]
    for name in (sort, f"quality/{sort}"):
        if name in known:
            return name
    raise UserError(f"no run has {sort} (sort); there are {', '.join(known)}")


def tables(
    groups: list[Group],
    sort: str = "auto",
    descending: bool | None = None,
    across: Sequence[str] = (),
) -> list[Table]:
    """A table for each protocol of a score: `sort` where that is one, else each group's own."""
    logged = any(sort in group.final for group in groups) and sort not in OF_SUMMARY
    parts: dict[tuple[str | None, str], tuple[Any, list[Group]]] = {}
    for group in groups:
        score = (
            (sort if sort in group.final or not group.settled else None)
            if logged
            else group.own or expected(group, groups)
        )
        protocol = section(group, score)
        parts.setdefault((score, comparable(protocol, across)), (protocol, []))[1].append(group)
    found = [
        Table(score, protocol, ordered(members, score, sort, descending))
        for (score, _), (protocol, members) in parts.items()
    ]
    return sorted(found, key=lambda table: (table.score is None, -len(table.rows)))


def expected(group: Group, groups: list[Group]) -> str | None:
    """The score of a group that has none yet: that of a group which is measured alike."""
    alike = [
        other
        for other in groups
        if other.own and other.protocol and other.protocol == group.protocol
    ]
    return alike[0].own if alike else None


def section(group: Group, score: str | None) -> Any:
    """The protocol of one score; the values that are no scores have none."""
    if score is None or not score.startswith("quality/"):
        return None
    protocols = group.protocol or {}
    return protocols.get(score.removeprefix("quality/"), protocols.get("quality", UNKNOWN))


def ordered(
    groups: list[Group], score: str | None, sort: str, descending: bool | None
) -> list[tuple[int | None, Group]]:
    """Ranked by the score, those that have come to an end; then in the order of `sort`, what has no value last."""

    def value(group: Group, key: str | None) -> float | None:
        return group.final[key].mean if key in group.final else None

    ranked = (
        [group for group in groups if group.settled and value(group, score) is not None]
        if score and is_score(score)
        else []
    )
    ranked.sort(key=lambda group: value(group, score), reverse=greater(score or ""))  # type: ignore[arg-type, return-value]
    rank = {id(group): number for number, group in enumerate(ranked, 1)}
    by = score if sort == "auto" or sort == score else sort

    def key(group: Group) -> Any:
        if by == score:
            return value(group, score)
        if by in OF_SUMMARY:
            return group.mean_of(by)
        return group.label if by == "name" else group.config.get(str(by))

    reverse = descending if descending is not None else by == score and greater(score or "")
    have = [group for group in groups if key(group) is not None]
    numbers = all(isinstance(key(group), int | float) for group in have)
    have.sort(key=lambda group: key(group) if numbers else str(key(group)), reverse=reverse)
    if by == score:  # what has not ended is no match for what has
        have.sort(key=lambda group: not group.settled)
    rest = [group for group in groups if key(group) is None]
    return [(rank.get(id(group)), group) for group in have + rest]


def about(protocol: Any) -> str:
    """A protocol in a few words."""
    if not isinstance(protocol, dict):
        return str(protocol) if protocol else ""
    reference = (
        protocol.get("reference") if isinstance(protocol.get("reference"), dict) else protocol
    )
    features = " ".join(
        str(protocol[key]) for key in ("features", "features_hash") if protocol.get(key)
    )
    method = features or str(protocol.get("likelihood") or protocol.get("protocol") or "")
    count = next(
        (
            f"{protocol[key]} {word}"
            for key, word in (("samples", "fakes"), ("images", "images"))
            if protocol.get(key)
        ),
        "",
    )
    data = " ".join(str(reference[key]) for key in ("data", "split") if reference.get(key))  # type: ignore[index, union-attr]
    weights = {True: "averaged weights", False: "the last weights"}.get(protocol.get("ema"), "")  # type: ignore[arg-type]
    return ", ".join(
        part for part in (method, count, data, str(protocol.get("pixels") or ""), weights) if part
    )


def flat_protocol(protocol: Any) -> dict[str, Any]:
    return directory.flat(protocol) if isinstance(protocol, dict) else {}
