"""What a sweep will cost, printed before anything is launched."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

from omegaconf import DictConfig

from gentrain.config.overrides import key_of
from gentrain.runs.directory import LAST, summary
from gentrain.sweeps.cell_process import run_command
from gentrain.sweeps.ledger import Ledger
from gentrain.tables import quantity

log = logging.getLogger("gentrain")

PROBE_STEPS = 20

# a probe does nothing but train; the first half of its steps warms up
PROBE_OVERRIDES = (
    f"steps={PROBE_STEPS}",
    "quality=none",
    "samples.every=0",
    "checkpoint.every=0",
    "logger=csv",
    "resume=null",
    "scheme.log_every=10",
)


def announce(
    ledger: Ledger, asked: list[str], todo: list[str], config: DictConfig, trials: int | None = None
) -> None:
    """Print the size of a sweep, and with `probe=true` how long it will take.

    sweep first: 9 cells (2 done, 1 half done, 6 to train), 60,000 steps; in outputs/sweeps/first

    Args:
        ledger: the cells.
        asked: the cells that the command names.
        todo: those that are not done.
        config: the configuration of the command.
        trials: how many cells a study will have; the first ones stand for all.
    """
    half = [name for name in todo if (ledger.dir / name / LAST).exists()]
    factor = trials / len(todo) if trials and todo else 1.0
    steps = sum(steps_left(ledger, name, config) for name in todo) * factor
    counts = (
        f"{len(asked) - len(todo)} done, {len(half)} half done, {len(todo) - len(half)} to train"
    )
    what = f"{quantity(len(asked), 'cell')} ({counts})"
    if trials is not None:
        what = quantity(trials, "trial")
    text = f"sweep {ledger.name}: {what}, {quantity(steps, 'step')}"
    if todo and config.probe:
        text += measure(ledger, todo, config, factor)
    elif todo:
        text += "; probe=true measures how long they take"
    log.info("%s; in %s", text, ledger.dir)


def steps_left(ledger: Ledger, name: str, config: DictConfig) -> int:
    """How many steps a cell still has to make."""
    asked = ledger.cells[name]["words"].get("steps", config.steps)
    return max(0, int(asked) - int(summary(ledger.dir / name).get("steps", 0)))


def measure(ledger: Ledger, todo: list[str], config: DictConfig, factor: float) -> str:
    """Measure the seconds a step of each kind of cell, by a short run of one of them.

    Cells that differ only in the seed are of one kind.

    Args:
        ledger: the cells.
        todo: those that are not done.
        config: the configuration of the command.
        factor: how many cells each of `todo` stands for.
    """
    kinds: dict[str, list[str]] = {}
    for name in todo:
        values = ledger.cells[name]["words"]
        kind = " ".join(f"{key}={value}" for key, value in values.items() if key != "seed")
        kinds.setdefault(kind, []).append(name)
    seconds, parts = 0.0, []
    for names in kinds.values():
        cell = ledger.cells[names[0]]
        shown = {key: value for key, value in cell.get("overrides", {}).items() if key != "seed"}
        label = ", ".join(f"{key}={value}" for key, value in shown.items()) or "a cell"
        each = probe(cell["command"])
        if each is None:
            parts.append(f"{label} could not be probed")
            continue
        seconds += factor * each * sum(steps_left(ledger, name, config) for name in names)
        parts.append(f"{label} {each:.3g}")
    at_once = max(1, min(int(config.cluster.jobs), round(factor * len(todo))))
    hours = seconds / 3600
    return (
        f"; seconds a step, measured here over {PROBE_STEPS} steps: {'; '.join(parts)}; "
        f"{hours:.2g} hours in all without scores, {hours / at_once:.2g} with {at_once} at once"
    )


def probe(command: list[str]) -> float | None:
    """Seconds a step of a cell, by running a few steps of its command in another directory.

    None where the command fails.
    """
    replaced = {key_of(word) for word in PROBE_OVERRIDES}
    # an option of a group that is replaced would be unknown: quality.images of quality=none
    kept = [word for word in command if not {key_of(word), word.partition(".")[0]} & replaced]
    with tempfile.TemporaryDirectory() as place:
        run_dir = Path(place) / "probe"
        run_dir.mkdir()
        run_command([*kept, *PROBE_OVERRIDES, f"hydra.run.dir={run_dir}"], run_dir, main=None)
        end = summary(run_dir)
    return end.get("seconds_per_step") if end.get("status") == "completed" else None
