"""Groups: runs that differ by their seed alone, and were scored in one way.

The scores of a group are the mean and the standard deviation (n - 1) over its seeds, of the *final*
value and of the *best* on the way. Only completed runs count, where there are any.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from gentrain.commands.compare.directions import PREFIXES, best, is_score
from gentrain.commands.compare.find import SEEDS, Run, is_compared
from gentrain.protocols import TEST, canonical, comparable
from gentrain.protocols import lines as lines_of
from gentrain.runs import directory

TRAINING = "gentrain.training."  # begins the classes of callbacks that are no metrics
WHEN = (".every", ".at_start", ".batch_size")  # options that change no score


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
    protocol: dict[str, Any] | None  # of each of its scores, by name
    label: str = ""
    # by the name of what is logged
    final: dict[str, Spread] = field(default_factory=dict)
    best: dict[str, Spread] = field(default_factory=dict)
    # the steps of final scores, of those that are older than the weights
    older: dict[str, list[int]] = field(default_factory=dict)

    @property
    def config(self) -> dict[str, Any]:
        """The configuration of its first run that has one, flat."""
        return next((run.config for run in self.runs if run.config), {})

    @property
    def counted(self) -> list[Run]:
        """The runs whose scores count: for each seed the longest of those that completed."""
        ended = [run for run in self.runs if run.status == "completed"] or self.runs
        by_length = sorted(ended, key=lambda run: run.step)
        return list({seeds_of(run): run for run in by_length}.values())

    @property
    def repeats(self) -> int:
        """Runs beyond the first of each seed: they are the same run again, and count once."""
        return len(self.runs) - len({seeds_of(run) for run in self.runs})

    @property
    def settled(self) -> bool:
        """Whether a run has completed."""
        return any(run.status == "completed" for run in self.runs)

    @property
    def statuses(self) -> Counter[str]:
        """How many runs have each status."""
        return Counter(run.status for run in self.runs)

    @property
    def collapsed(self) -> int | None:
        """Runs whose samples had collapsed when the doctor last looked; None if it never did."""
        seen = [run.collapsed for run in self.runs if run.collapsed is not None]
        return sum(seen) if seen else None

    @property
    def main_score(self) -> str | None:
        """The score by which its runs choose their best checkpoint, or the first that they have."""
        for run in self.runs:
            if metric := (run.end.get("best") or {}).get("metric"):
                return str(metric)
        scores = [name for name in self.final if is_score(name)]
        first = scores[0] if scores else None
        return next((name for name in directory.MONITOR if name in scores), first)

    def told_step(self, name: str | None) -> str:
        """What follows a final score that is older than the weights, its step in brackets."""
        steps = self.older.get(name or "", [])
        word = "step" if len(steps) == 1 else "steps"
        return f" ({word} {', '.join(f'{n:,}' for n in steps)})" if steps else ""

    def mean_of(self, key: str) -> float | None:
        """The mean of a number in the summaries; None without any."""
        values = [
            value for run in self.counted if (value := as_number(run.end.get(key))) is not None
        ]
        return statistics.fmean(values) if values else None


def seeds_of(run: Run) -> str:
    """All seeds of a run."""
    return canonical([run.seed, *(run.config.get(key) for key in SEEDS[1:])])


def as_number(value: Any) -> float | None:
    """A number of a JSON file; None for anything else."""
    match value:
        case int() | float():
            return float(value)
        case _:
            return None


def grouped(found: list[Run], across: Sequence[str] = ()) -> list[Group]:
    """Group runs by their configuration without the seed, and by their protocol.

    Args:
        found: the runs.
        across: keys of a protocol that may differ within a group.
    """
    known = digests_of(found)
    siblings = {swept(run): identity(run, known) for run in found if run.config and run.swept}
    scored = {scoring(run): run for run in reversed(found) if run.protocols}
    members: dict[tuple[str, str], Group] = {}
    for run in found:
        same = identity(run, known) if run.config else siblings.get(swept(run), swept(run))
        ended = run.protocols or run.status == "completed"
        alike = run if ended else measured_alike(run, scored.get(scoring(run)))
        protocols = alike.protocols if alike else {}
        way = (same, in_training(protocols, across))
        if not run.config:
            # a run that never began goes beside its siblings, where there are any
            way = next((other for other in members if other[0] == same), way)
        group = members.setdefault(way, Group([], None))
        found_here = alike.protocol_of_score if alike else {}
        group.protocol = found_here | (group.protocol or {}) or None
        group.runs.append(run)
    groups = list(members.values())
    for group in groups:
        summarise(group)
    label(groups)
    return groups


def measured_alike(run: Run, other: Run | None) -> Run | None:
    """Another run with the same options of scores, unless this run's own lines say otherwise.

    Args:
        run: a run that has not ended: it has lines of its protocols, and no protocols yet.
        other: a run that has.
    """
    if other is None:
        return None
    lines = lines_of(other.protocols)
    same = all(lines.get(key) == line for key, line in run.protocol_lines.items())
    return other if same else None


def identity(run: Run, known: Mapping[str, set[str]]) -> str:
    """The configuration without its seed, and the digest of the data.

    A run that has not ended has no digest yet. It has that of its siblings, if there is one alone.

    Args:
        run: the run.
        known: the digests of all runs, by their configuration.
    """
    config = configuration(run)
    own = digest(run) or (min(known[config]) if len(known.get(config, ())) == 1 else "")
    return canonical([config, own])


def configuration(run: Run) -> str:
    """The configuration without its seed; where its data lie is no part of it."""
    return canonical(
        {key: value for key, value in run.config.items() if is_compared(key) and key not in SEEDS}
    )


def digest(run: Run) -> str:
    """The digest of the data of a run that has ended; empty for any other."""
    return str((run.end.get("data") or {}).get("digest") or "")


def digests_of(found: list[Run]) -> dict[str, set[str]]:
    """The digests of the data, by configuration: folders with one name may have other pictures."""
    known: dict[str, set[str]] = {}
    for run in found:
        if run.config and digest(run):
            known.setdefault(configuration(run), set()).add(digest(run))
    return known


def in_training(protocols: Mapping[str, Any], across: Sequence[str] = ()) -> str:
    """A key of how runs were scored in training: one that failed has no scores of the test split.

    Args:
        protocols: of a run.
        across: keys of a protocol that may differ.
    """
    found = {key: one for key, one in protocols.items() if not key.startswith(TEST)}
    return comparable(found, across)


def swept(run: Run) -> str:
    """What is known of a cell that was never composed: its sweep, and the swept keys."""
    keys = {key: value for key, value in run.swept.items() if key not in SEEDS}
    return canonical([str(run.path.parent), keys])


def scoring(run: Run) -> str:
    """How a run will be scored, by its configuration: known before it ends."""
    excluded = (
        "quality.every",
        "quality.at_start",
        "quality.cache",
        "quality.batch_size",
        "data.batch_size",
        "data.seed",
        "data.flip",
        "data.workers",
        "data.resident",
        "data.cache",
        "data.labelled",
    )
    found = {
        key: value
        for key, value in run.config.items()
        if key.startswith(("quality.", "data.")) and key not in excluded
    }
    metrics = tuple(  # among its callbacks
        key.removesuffix("_target_")
        for key, target in run.config.items()
        if key.startswith("callbacks.")
        and key.endswith("._target_")
        and TRAINING not in str(target)
    )
    for key, value in run.config.items():
        if key.startswith(metrics) and not key.endswith(WHEN):
            found[key] = value
    return canonical(found)


def summarise(group: Group) -> None:
    """Compute final and best of everything logged."""
    counted = group.counted
    for name in sorted({name for run in counted for name in run.curves}):
        values = [run.curves[name][1] for run in counted if name in run.curves]
        group.final[name] = spread([curve[-1] for curve in values])
        group.best[name] = spread([best(name)(curve) for curve in values])
        last = {(run.curves[name][0][-1], run.step) for run in counted if name in run.curves}
        if name.startswith(PREFIXES) and any(at < end for at, end in last):
            group.older[name] = sorted({at for at, _ in last})
    for run in counted if not group.final else ():  # no metrics.csv
        for name, value in (run.end.get("metrics") or {}).items():
            group.final.setdefault(name, spread([value]))


def spread(values: list[float]) -> Spread:
    """Mean and standard deviation of some values."""
    mean, sd = statistics.fmean(values), None
    if len(values) > 1:  # statistics.stdev takes 20 times as long
        sd = math.hypot(*(value - mean for value in values)) / math.sqrt(len(values) - 1)
    return Spread(mean, sd, len(values))


def label(groups: list[Group]) -> None:
    """Name each group by the overrides that not all groups share.

    Where two would have the same name, the name of the first run follows.
    """
    overrides = [overrides_of(group) for group in groups]
    begun = [each for each, group in zip(overrides, groups, strict=True) if group.config]
    common = shared(begun or overrides) if len(groups) > 1 else {}
    for each, group in zip(overrides, groups, strict=True):
        ordered = sorted(each, key=lambda key: key != "model")
        words = [f"{key}={each[key]}" for key in ordered if key not in common]
        group.label = " ".join(words)
    for place in ("data.root", "data.file", "data.a"):  # other data in another place
        name_by_place(groups, place)
    for group in groups:
        group.label = group.label or group.runs[0].name
    twice = Counter(group.label for group in groups)
    for group in groups:
        if twice[group.label] > 1:
            group.label = f"{group.label} ({group.runs[0].name})"


def name_by_place(groups: list[Group], place: str) -> None:
    """Add the last part of a path to the names of groups that are told apart by it alone."""
    named: dict[str, list[Group]] = {}
    for group in groups:
        named.setdefault(group.label, []).append(group)
    for label, same in named.items():
        paths = [str(group.config.get(place) or "") for group in same]
        for group, path in zip(same, paths, strict=True) if len(set(paths)) > 1 else ():
            group.label = f"{label} {place}={Path(path).name}".strip()


def overrides_of(group: Group) -> dict[str, str]:
    """What was typed for a group, without seeds, and with its model."""
    # a cell that has not begun knows the swept keys alone
    fullest = max(group.runs, key=lambda run: len(run.overrides))
    found = {key: value for key, value in fullest.overrides.items() if key not in SEEDS}
    if model := fullest.choices.get("model"):
        found.setdefault("model", model)
    return found


def shared(overrides: list[dict[str, str]]) -> dict[str, str]:
    """The overrides that are the same everywhere."""
    first = overrides[0]
    return {
        key: value
        for key, value in first.items()
        if all(each.get(key) == value for each in overrides)
    }


def differing(groups: list[Group]) -> dict[str, list[Any]]:
    """The keys of the configuration in which groups differ.

    Returns:
        For each key its value in every group; None where a group has no such key.
    """
    configs = [group.config for group in groups]
    keys = dict.fromkeys(
        key for config in configs for key in config if is_compared(key) and key not in SEEDS
    )
    values = {key: [config.get(key) for config in configs] for key in keys}
    known = [i for i, config in enumerate(configs) if config]
    return {key: row for key, row in values.items() if len({canonical(row[i]) for i in known}) > 1}


def hyperparameters(groups: list[Group]) -> dict[str, list[Any]]:
    """The keys to draw scores against: first what was typed, then the rest of what differs.

    Of keys that say the same (`data.size` and the shapes that follow from it) only the first is
    kept, and of the rest only those that every group has.

    Returns:
        For each key its value in every group; None where it is not known.
    """
    typed = dict.fromkeys(key for group in groups for key in overrides_of(group))
    columns = {key: [known(group, key) for group in groups] for key in typed}
    rest = {key: row for key, row in differing(groups).items() if None not in row}
    found: dict[str, list[Any]] = {}
    for key, row in (columns | {key: row for key, row in rest.items() if key not in typed}).items():
        if len(set(map(canonical, row))) > 1 and partition(row) not in map(
            partition, found.values()
        ):
            found[key] = row
    return found


def known(group: Group, key: str) -> Any:
    """A key of a group: of its configuration, its choices, or as it was typed."""
    typed = overrides_of(group).get(key)
    return group.config.get(key, group.runs[0].choices.get(key, typed))


def partition(row: list[Any]) -> list[int]:
    """Which values of a row are equal: the place of each in the order of their first appearance.

    >>> partition([8, 16, 8, 4]) == partition(["b", "a", "b", "c"]) == [0, 1, 0, 2]
    True
    """
    order = list(dict.fromkeys(map(canonical, row)))
    return [order.index(canonical(value)) for value in row]
