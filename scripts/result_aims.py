"""The first table of docs/results.md: long runs beside the numbers that they should reach.

The numbers are in docs/results/aims.yaml, with where they are from. All else is computed from the
records: the slope of the validation curve at the end of a run, and what more steps would bring if
the slope stayed, which is an upper bound, since curves flatten.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import yaml
from result_groups import (
    VALIDATION,
    Tested,
    command,
    devices,
    is_trained,
    plain,
    seeds,
    steps_made,
    tests,
    told_best,
    told_final,
)
from result_records import device_kind
from run_tables import ROOT, paragraph

from gentrain.commands.compare.directions import higher_is_better
from gentrain.commands.compare.find import Run
from gentrain.commands.compare.groups import Group, as_number, configuration
from gentrain.errors import UserError
from gentrain.tables import markdown_table

AIMS = ROOT / "docs/results/aims.yaml"
SOURCES = ("read", "remembered")
LAST = 0.25  # share of a run, of which the slope is
HOUR = 3600.0
HEAD = (
    "command", "data", "steps", "seeds", "score", "aim", "the paper's number", "test", "reached",
    "validation", "best on validation", "slope for 1,000 steps", "one more hour, same device",
    "a GPU-hour", "device",
)  # fmt: skip


@dataclass(frozen=True)
class Aim:
    """What the long runs of a model should reach.

    Attributes:
        model, data: the options of these names.
        score: without the name of its split, such as "nats".
        aim: the value.
        paper: the paper's number, with its paper, and how it differs.
        source: whether the paper's number was read there or is remembered.
        having: keys or groups of the configuration with the values that they must have.
    """

    model: str
    data: str
    score: str
    aim: float
    paper: str
    source: str
    having: dict[str, Any] = field(default_factory=dict)

    def fits(self, run: Run) -> bool:
        """Whether the aim is one of a run's."""
        asked = {"model": self.model, "data": self.data} | self.having
        of_run = run.config | run.choices
        return all(of_run.get(key) == value for key, value in asked.items())

    def is_reached(self, value: float) -> bool:
        """Whether a score is as good as the aim."""
        return value >= self.aim if higher_is_better(self.score) else value <= self.aim


def read_aims(file: Path = AIMS) -> list[Aim]:
    """The aims of a file.

    Raises:
        UserError: for a key that an aim does not have, or one that is missing.
    """
    names = {each.name for each in fields(Aim)}
    found = []
    for number, node in enumerate(yaml.safe_load(file.read_text("utf-8")), 1):
        wrong = sorted((node.keys() - names) | (names - node.keys() - {"having"}))
        if wrong:
            raise UserError(f"{file}, aim {number}: {wrong[0]} is missing or unknown (aims)")
        if node["source"] not in SOURCES:
            raise UserError(f"{file}, aim {number}: no source {node['source']} (aims); {SOURCES}")
        found.append(Aim(**node))
    return found


def fitting(aims: Sequence[Aim], group: Group) -> list[Aim]:
    """The aims of a group, of which it has a score."""
    return [
        aim
        for aim in aims
        if aim.fits(group.runs[0]) and is_trained(group, f"{VALIDATION}{aim.score}")
    ]


# --- the end of a curve ---------------------------------------------------------------------------


def slope(run: Run, name: str) -> float | None:
    """How a score changes in a step: least squares over the last quarter of a run.

    Where fewer than two scores are in it, the slope is that of the last two. The score of step 0
    is left out. None where there is but one.
    """
    points = [point for point in zip(*run.curves.get(name, ([], [])), strict=True) if point[0] > 0]
    late = [point for point in points if point[0] >= (1 - LAST) * run.step]
    chosen = late if len(late) > 1 else points[-2:]
    if len(chosen) < 2:
        return None
    return statistics.linear_regression(*zip(*chosen, strict=True)).slope


def mean_slope(group: Group, name: str) -> float | None:
    """The mean of the slopes of the seeds."""
    found = [each for run in group.counted if (each := slope(run, name)) is not None]
    return statistics.fmean(found) if found else None


def zero_schedule(run: Run) -> str:
    """The schedule of a completed run whose learning rate ended at zero; empty for others."""
    key = "scheme.schedule"
    ends = {
        "CosineAnnealingLR": not run.config.get(f"{key}.eta_min"),
        "LinearLR": run.config.get(f"{key}.end_factor") == 0,
        "constant_then_linear": True,
    }
    kind = str(run.config.get(f"{key}._target_", "")).rpartition(".")[2]
    done = run.status == "completed" and ends.get(kind, False)
    return run.choices.get("schedule", kind) if done else ""


def steps_an_hour(runs: Sequence[Run]) -> float | None:
    """Training steps in an hour, without scores, by the records of some runs."""
    seconds = [one for run in runs if (one := as_number(run.end.get("seconds_per_step")))]
    return HOUR / statistics.fmean(seconds) if seconds else None


def on_gpu(group: Group, runs: Sequence[Run]) -> list[Run]:
    """The runs of a group's configuration on a GPU, of any length."""
    own = without_length(group.runs[0])
    return [
        run
        for run in runs
        if device_kind(run) and "CPU" not in device_kind(run) and without_length(run) == own
    ]


def without_length(run: Run) -> str:
    """The configuration of a run without its length and its schedule, which follows from it."""
    kept = {
        key: value
        for key, value in run.config.items()
        if key != "steps" and not key.startswith("scheme.schedule")
    }
    return configuration(replace(run, config=kept))


def told_hour(group: Group, name: str, an_hour: float | None) -> str:
    """What an hour more would bring: steps, and the change of a score if its slope held."""
    if an_hour is None:
        return ""
    longest = max(run.step for run in group.counted)
    steps = f"{an_hour:,.0f} steps, {plain(an_hour / longest, 2)} of this run"
    if schedule := zero_schedule(group.counted[0]):
        return f"{steps}: nothing, `schedule={schedule}` has ended at zero; train a longer run anew"
    change = mean_slope(group, name)
    if change is None:
        return f"{steps}: not known, one score"
    if (change > 0) != higher_is_better(name) or change == 0:
        return f"{steps}: nothing, the curve no longer improves"
    end = group.final[name].mean + change * an_hour
    return f"{steps}: at most {change * an_hour:+.3g}, to {plain(end)}"


# --- the section ----------------------------------------------------------------------------------


def reported(group: Group, aim: Aim) -> Tested | None:
    """The score that counts: of the weights that were chosen on validation, if these were tested
    for all seeds, and else of the weights at the end.
    """
    found = tests(group, aim.score)
    return next((each for each in found if each.chosen), found[0] if found else None)


def aim_row(group: Group, aim: Aim, runs: Sequence[Run]) -> list[str]:
    """The row of a configuration and its aim."""
    name, test = f"{VALIDATION}{aim.score}", reported(group, aim)
    if test is None:
        verdict = "not tested"
    else:
        verdict = "reached" if aim.is_reached(test.score.mean) else "missed"
    hours = ["", "", ""]
    if verdict != "reached":
        change = mean_slope(group, name)
        hours[0] = "" if change is None else f"{change * 1000:+.3g}"
        hours[1] = told_hour(group, name, steps_an_hour(group.counted))
        hours[2] = told_hour(group, name, steps_an_hour(on_gpu(group, runs)))
    return [
        f"`{command(group)}`",
        aim.data,
        steps_made(group),
        seeds(group),
        aim.score,
        plain(aim.aim),
        f"{aim.paper} ({aim.source})",
        str(test or ""),
        verdict,
        told_final(group, name),
        told_best(group, name),
        *hours,
        devices(group),
    ]


def aims_section(
    aims: Sequence[Aim], groups: Sequence[Group], runs: Sequence[Run]
) -> Iterator[str]:
    """The paragraphs of the section.

    Args:
        aims: in the order of the rows.
        groups: of all kept runs.
        runs: all of them.
    """
    rows, without = [], []
    for aim in aims:
        found = [aim_row(group, aim, runs) for group in groups if aim in fitting([aim], group)]
        rows += sorted(found)
        without += [] if found else [f"`model={aim.model}` ({aim.score} {plain(aim.aim)})"]
    yield "## Long runs against the papers"
    yield paragraph(
        "A row for each configuration that has an aim (docs/results/aims.yaml). The paper's number",
        "is of other networks, lengths or pixels where its column says so, and was read or is",
        "remembered. The test score is of the weights that did best on validation, where `gentrain",
        "eval` has tested these for all seeds, and else of the weights at the end. Scores are the",
        "mean ± standard deviation over seeds. For a miss there is the slope of the validation",
        "curve: least squares over the last quarter of the run, or over its last two scores. One",
        "more hour brings that slope times its steps at most, since curves flatten. A schedule",
        "that has ended at zero leaves nothing to go on with. A GPU-hour is counted where the",
        "record of a run with the same configuration on a GPU is kept.",
    )
    if rows:
        yield markdown_table(HEAD, rows)
    if without:
        yield paragraph(f"No kept run has these aims: {', '.join(without)}.")
