"""What a sweep will cost, said before anything is submitted."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from gentrain.runs.directory import LAST, summary
from gentrain.sweeps.cell_process import run
from gentrain.sweeps.ledger import Ledger

log = logging.getLogger("gentrain")
PROBE = 20  # steps
# a probe trains, and does nothing else; its first half warms up
BARE = (
    f"steps={PROBE}",
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
    """sweep first: 9 cells (2 done, 1 half done, 6 to train), 60,000 steps ... Of a study: the first of its trials stand for all."""
    half = [name for name in todo if (ledger.dir / name / LAST).exists()]
    more = trials / len(todo) if trials and todo else 1.0
    steps = sum(left(ledger, name, config) for name in todo) * more
    counts = (
        f"{len(asked) - len(todo)} done, {len(half)} half done, {len(todo) - len(half)} to train"
    )
    what = f"{len(asked)} cells ({counts})" if trials is None else f"{trials} trials"
    text = f"sweep {ledger.name}: {what}, {steps:,.0f} steps"
    if todo:
        text += (
            measured(ledger, todo, config, more)
            if config.probe
            else "; probe=true measures how long they take"
        )
    log.info("%s; in %s", text, ledger.dir)


def left(ledger: Ledger, name: str, config: DictConfig) -> int:
    """Steps that a cell still has to make, at most: a checkpoint is newer than the last row of its curves, or as old."""
    asked = ledger.cells[name]["words"].get("steps", config.steps)
    return max(0, int(asked) - int(summary(ledger.dir / name).get("steps", 0)))


def measured(ledger: Ledger, todo: list[str], config: DictConfig, more: float) -> str:
    """Seconds a step of each kind of cell (but for the seed), by a short run of one of them."""
    kinds: dict[str, list[str]] = {}
    for name in todo:
        kind = " ".join(
            f"{key}={value}" for key, value in ledger.cells[name]["words"].items() if key != "seed"
        )
        kinds.setdefault(kind, []).append(name)
    seconds, parts = 0.0, []
    for names in kinds.values():
        each = probe(ledger.cells[names[0]]["command"])
        label = (
            ", ".join(
                f"{k}={v}"
                for k, v in ledger.cells[names[0]].get("overrides", {}).items()
                if k != "seed"
            )
            or "a cell"
        )
        if each is None:
            parts.append(f"{label} could not be probed")
            continue
        seconds += more * each * sum(left(ledger, name, config) for name in names)
        parts.append(f"{label} {each:.3g}")
    at_once = max(1, min(int(config.cluster.jobs), round(more * len(todo))))
    return (
        f"; seconds a step, measured here over {PROBE} steps: {'; '.join(parts)}; {seconds / 3600:.2g} hours in all without scores, "
        f"{seconds / 3600 / at_once:.2g} with {at_once} at once"
    )


def probe(command: list[str]) -> float | None:
    """Seconds a step of a cell, by running a few steps of its command elsewhere; None where it cannot run."""
    with tempfile.TemporaryDirectory() as place:
        run_dir = Path(place) / "probe"
        run_dir.mkdir()
        ours = {bare.partition("=")[0] for bare in BARE}
        kept = [
            word for word in command if not {word.partition("=")[0], word.partition(".")[0]} & ours
        ]
        run([*kept, *BARE, f"hydra.run.dir={run_dir}"], run_dir, warm=False)
        end: dict[str, Any] = summary(run_dir)
        return end.get("seconds_per_step") if end.get("status") == "completed" else None
