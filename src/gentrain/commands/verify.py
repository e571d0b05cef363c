"""gentrain verify model=NAME: what a preset promises, measured on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from omegaconf import OmegaConf

from gentrain.certificates import Finding, Subject, measured
from gentrain.certificates.bands import SEEDS, compared, stored
from gentrain.certificates.departures import System, departures, read, says
from gentrain.certificates.tiny import tiny
from gentrain.config import paths
from gentrain.config.experiments import experiments_in, model_of
from gentrain.config.overrides import key_of, last_value
from gentrain.config.schema import resolved
from gentrain.config.validate import nearest
from gentrain.errors import ChecksFailed, UserError
from gentrain.tables import text_table

# composes the configuration of a command: its name and overrides -> values, not resolved
Compose = Callable[[str, list[str]], Any]

ALL = "all"
HEAD = ["property", "from", "measured", "bound", ""]
# what no property of a system hangs on
OUTSIDE = {
    "steps", "seed", "seeds", "resume", "force", "compile", "probe", "trainer", "logger", "quality",
    "samples", "checkpoint", "callbacks", "sweep", "cluster",
}  # fmt: skip


def verify(config: dict[str, Any], compose: Compose) -> None:
    """Print the table of a system, or of every preset.

    Args:
        config: the keys of conf/verify.yaml.
        compose: gives the configuration of a command.

    Raises:
        UserError: for a system that cannot be built, or words that change none. Of all presets,
            those that the words do not fit are named, and the others are verified.
        ChecksFailed: where a property does not hold.
    """
    preset = config["preset"] or of_experiment(config["words"], compose)
    if preset is None:
        bad = next((key_of(word) for word in config["words"]), "")
        hint = nearest(bad, ["model"]) if bad else ""
        remedy = hint if "did you mean" in hint else "; give model=NAME, or all"
        raise UserError(f"nothing to verify ({bad or 'model'}){remedy}")
    refuse_outside(config["words"])
    names = presets() if preset == ALL else [preset]
    broken, refused, began = 0, list[str](), time.monotonic()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the networks are tiny: a second thread costs more than it gives
    try:
        for name in names:
            try:
                broken += not report(name, config["words"], config["bands"], compose)
            except UserError as error:
                if len(names) == 1:
                    raise
                refused.append(name)
                print(f"model={name} is not verified: {error}\n", flush=True)
    finally:
        torch.set_num_threads(threads)
    if len(names) > 1:
        seconds = time.monotonic() - began
        left = f", {len(refused)} not verified ({', '.join(refused)})" if refused else ""
        print(f"{len(names) - len(refused)} systems in {seconds:.0f} s: {broken} broken{left}")
    if len(refused) == len(names):
        raise UserError("these words fit no preset (model); choose one, with model=NAME")
    if broken:
        raise ChecksFailed


def presets() -> list[str]:
    """The names of all presets."""
    return list(paths.option_files("model"))


def of_experiment(words: list[str], compose: Compose) -> str | None:
    """The preset that the experiment of a command chooses; None where none does.

    Raises:
        UserError: for an experiment that there is not, or cannot be read.
    """
    if last_value(words, "experiment") in (None, "null"):
        return None
    model = compose("train", words).choices["model"]
    return model if any(map(model_of, experiments_in(words))) else None


def refuse_outside(words: list[str]) -> None:
    """Refuse words that change nothing of what is measured."""
    for word in words:
        key = key_of(word.lstrip("+~"))
        if key.partition(".")[0] in OUTSIDE:
            raise UserError(f"{key} changes nothing of what is verified ({key}); leave it out")


def report(name: str, words: list[str], bands: bool, compose: Compose) -> bool:
    """Print what is found of one system; returns whether all of it holds."""
    began = time.monotonic()
    composed = compose("train", [f"model={name}", *words])
    found = measured(Subject(tiny(composed.values)))
    print(f"model={' '.join([name, *words])}", flush=True)
    ours = system(composed)
    preset = system(compose("train", [f"model={name}"])) if words else ours
    changed = [f"departs: {line}" for line in departures(words, ours, preset)]
    start = first_steps(name, composed.values, changed) if bands else None
    rows = [row(each) for each in found] + ([start.row] if start and start.row else [])
    print(text_table(HEAD, rows))
    for line in [*changed, *(start.lines if start else ()), *of_preset(name, preset)]:
        print(line)
    holds = [*(each.holds for each in found), *([start.holds] if start and start.row else [])]
    seconds = time.monotonic() - began
    print(f"{sum(holds)} of {len(holds)} properties hold, {seconds:.0f} s\n", flush=True)
    return all(holds)


class Start(NamedTuple):
    """The first steps of a training, beside their band."""

    row: list[str] | None  # of the table; None where nothing was compared
    lines: list[str]  # what lies outside, or why nothing was compared
    holds: bool = True


def first_steps(name: str, values: dict[str, Any], changed: list[str]) -> Start:
    """Train the first steps of a preset, and look whether they lie within its band.

    Args:
        name: of the preset.
        values: its configuration as composed.
        changed: where the command departs from it; then there is nothing to compare with.
    """
    band = stored().get(name)
    if changed:
        return Start(None, ["band: not compared, since the command departs from the preset"])
    if band is None:
        return Start(None, ["band: none of this preset is stored"])
    outside = compared(tiny(values, band.steps), band)
    said = f"all {len(band.terms)} terms of the first {band.steps} steps lie where they lay"
    source = f"golden start, {len(SEEDS)} seeds"
    cells = [said, source, str(len(outside)), "0", "FAIL" if outside else "pass"]
    return Start(cells, [f"outside: {line}" for line in outside], not outside)


def row(finding: Finding) -> list[str]:
    """The cells of one property."""
    certificate = finding.certificate
    return [
        certificate.property + (f" ({finding.reason})" if finding.reason else ""),
        certificate.source,
        f"{finding.measured:.2g}",
        f"{certificate.bound:.2g}",
        "pass" if finding.holds else "FAIL",
    ]


def of_preset(name: str, preset: System) -> Iterator[str]:
    """A line for each departure of a preset from its paper, as its file says it."""
    file = paths.option_files("model")[name]
    if not says(file):  # a preset of the user
        yield f"departures: {file.name} does not say how it differs from its paper"
        return
    for each in read(file).rows:
        here = preset.value(each.subject) if each.ours is None else each.ours
        yield f"the preset departs: {each.subject} = {here}; paper: {each.paper}: {each.why}"


def system(composed: Any) -> System:
    """A composed training with its values."""
    choices = {group: str(name) for group, name in composed.choices.items() if name is not None}
    return System(resolved(OmegaConf.create(composed.values)), choices)
