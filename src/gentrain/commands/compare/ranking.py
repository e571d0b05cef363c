"""Tables of groups, ranked by a score; scores are compared within one protocol alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from gentrain.commands.compare.directions import PREFIXES, higher_is_better, is_score
from gentrain.commands.compare.groups import Group, as_number, differing
from gentrain.config.validate import nearest
from gentrain.errors import UserError
from gentrain.protocols import comparable, of_score
from gentrain.runs import directory

OVER = ("completed", "diverged", "failed")  # statuses of runs that do not go on
SUMMARY_KEYS = ("steps", "wall_seconds", "images_per_second")
# in the place of a protocol that no run of a group has recorded
NOT_YET = "not known before a run ends"
NO_SUMMARY = "not known, since no run has left a summary.json"
NOT_AT_END = "not known, since no run had this score at its end"
NOT_RECORDED = "not known, since an older gentrain did not record it"


class Table(NamedTuple):
    """Groups whose `score` was measured in one way, in order; those with a rank come first."""

    score: str | None
    protocol: Any
    rows: list[tuple[int | None, Group]]


def sort_keys(groups: list[Group]) -> list[str]:
    """What `sort` accepts: a score, another logged value, a summary's number, a key, `name`."""
    logged = sorted(
        {name for group in groups for name in group.final},
        key=lambda name: (not is_score(name), name),
    )
    return list(dict.fromkeys([*logged, "name", *SUMMARY_KEYS, *differing(groups)]))


def chosen(sort: str, groups: list[Group]) -> str:
    """`sort` in full. Raises UserError for a key that no run has."""
    known = ["auto", *sort_keys(groups)]
    for name in (sort, f"quality/{sort}"):
        if name in known:
            return name
    near = [name for name in known if sort.lower() in name.lower()]
    hint = f"; did you mean {' or '.join(near[:3])}?" if sort and near else nearest(sort, known)
    raise UserError(f"no run has {sort} (sort){hint}")


def tables(
    groups: list[Group],
    sort: str = "auto",
    descending: bool | None = None,
    across: Sequence[str] = (),
) -> list[Table]:
    """Make a table for each protocol of a score.

    Args:
        groups: of all runs.
        sort: the score to rank by, or another value to sort by; "auto" takes each group's own.
        descending: the order of `sort`; None puts the better first.
        across: keys of a protocol that may differ within a table.
    """
    logged = any(sort in group.final for group in groups) and sort not in SUMMARY_KEYS
    parts: dict[tuple[str | None, str], tuple[Any, list[Group]]] = {}
    for group in groups:
        if logged:
            score = sort if sort in group.final or not group.settled else None
        else:
            score = group.main_score or expected(group, groups)
        protocol = protocol_of(group, score)
        parts.setdefault((score, comparable(protocol, across)), (protocol, []))[1].append(group)
    found = [
        Table(score, protocol, ordered(members, score, protocol, sort, descending))
        for (score, _), (protocol, members) in parts.items()
    ]
    return sorted(found, key=lambda table: (table.score is None, -len(table.rows)))


def expected(group: Group, groups: list[Group]) -> str | None:
    """The score of a group that has none yet: that of a group with the same protocol."""
    alike = [
        other
        for other in groups
        if other.main_score and other.protocol and other.protocol == group.protocol
    ]
    return alike[0].main_score if alike else None


def protocol_of(group: Group, score: str | None) -> Any:
    """The protocol of one score; None for a value that is no score."""
    if score is None or not score.startswith(PREFIXES):
        return None
    return of_score(group.protocol or {}, score) or unknown(group)


def unknown(group: Group) -> str:
    """Why the protocol of a score of a group is not known."""
    ends = [run.end for run in group.runs if run.end]
    if not ends:
        over = all(run.status in OVER for run in group.runs)
        return NO_SUMMARY if over else NOT_YET
    return NOT_AT_END if any("measured_by" in end for end in ends) else NOT_RECORDED


def ordered(
    groups: list[Group], score: str | None, protocol: Any, sort: str, descending: bool | None
) -> list[tuple[int | None, Group]]:
    """Rank groups by the score, and put them in the order of `sort`.

    Only settled groups have a rank, and none has where nobody knows how the score was measured.
    Groups without a value come last.
    """
    rank = ranks(groups, score) if flat_protocol(protocol) else {}
    by = score if sort in ("auto", score) else sort

    def key(group: Group) -> Any:
        if by == score:
            return final_mean(group, score)
        if by in SUMMARY_KEYS:
            return group.mean_of(by)
        return group.label if by == "name" else group.config.get(str(by))

    reverse = descending
    if reverse is None:
        reverse = by == score and higher_is_better(score or "")
    have = [group for group in groups if key(group) is not None]
    numbers = all(as_number(key(group)) is not None for group in have)
    have.sort(key=lambda group: key(group) if numbers else str(key(group)), reverse=reverse)
    if by == score:
        # what has not completed comes after what has
        have.sort(key=lambda group: not group.settled)
    rest = [group for group in groups if key(group) is None]
    return [(rank.get(id(group)), group) for group in have + rest]


def ranks(groups: list[Group], score: str | None) -> dict[int, int]:
    """The rank of each settled group that has the score, by the group's id."""
    if not score or not is_score(score):
        return {}
    means = [
        (mean, group)
        for group in groups
        if group.settled and (mean := final_mean(group, score)) is not None
    ]
    means.sort(key=lambda pair: pair[0], reverse=higher_is_better(score))
    return {id(group): number for number, (_, group) in enumerate(means, 1)}


def final_mean(group: Group, score: str | None) -> float | None:
    """The mean of a score's final values; None where a group has none."""
    return group.final[score].mean if score in group.final else None


def flat_protocol(protocol: Any) -> dict[str, Any]:
    """A protocol by dotted keys; empty where it is unknown."""
    match protocol:
        case dict():
            return directory.flat(protocol)
        case _:
            return {}
