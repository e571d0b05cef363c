"""Golden starts: the first steps of a training, beside where they lay when they were stored.

`bands.json` has, for each preset at the small size, the mean and the standard deviation over five
seeds of every named term, averaged over some windows of steps. A sixth seed lies inside where it is
within `FACTOR` deviations of the mean. A term that does not is looked at once more, with a seventh
seed: a fault shows in both, and chance hardly ever.

`scripts/bands.py` writes the file.
"""

from __future__ import annotations

import json
import logging
import statistics
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import lightning as L
import torch

from gentrain.config.build import build
from gentrain.config.validate import check
from gentrain.data.base import Data
from gentrain.errors import Diverged
from gentrain.models.base import GenerativeModel
from gentrain.training.datamodule import DataModule
from gentrain.training.devices import quiet
from gentrain.training.module import TrainingModule

FILE = Path(__file__).with_name("bands.json")
SEEDS = (0, 1, 2, 3, 4)  # whose means and deviations are stored
NEW = (5, 6)  # that are compared with them
STEPS = 300
WINDOW = 10  # steps that are averaged
FACTOR = 6.0  # standard deviations on either side of the mean
FLOOR = 0.05  # the least deviation, as a share of the largest mean of a term

Curve = list[dict[str, float]]  # the terms of each step
Windows = list[tuple[int, int]]  # first and last step, counted from 1


@dataclass(frozen=True)
class Band:
    """Where the terms of a preset lie.

    Args:
        steps: of the training.
        windows: of steps.
        terms: mean and standard deviation of each term in each window; None where it has none.
    """

    steps: int
    windows: Windows
    terms: dict[str, list[tuple[float, float] | None]]

    def outside(self, curve: Curve) -> dict[tuple[str, int], str]:
        """The terms and windows in which a curve is outside, and how far.

        A term that is new or missing is outside, too.
        """
        found: dict[tuple[str, int], str] = {}
        now = means(curve, self.windows)
        for name in sorted(now.keys() | self.terms.keys()):
            stored = self.terms.get(name, [None] * len(self.windows))
            values = now.get(name, [None] * len(self.windows))
            scale = max((abs(each[0]) for each in stored if each), default=0.0)
            for i, (value, each) in enumerate(zip(values, stored, strict=True)):
                if not within(value, each, scale):
                    first, last = self.windows[i]
                    lies = "nowhere" if value is None else f"{value:.4g}"
                    lay = "nowhere" if each is None else f"{each[0]:.4g} +- {each[1]:.2g}"
                    found[name, i] = f"{name}, steps {first}-{last}: {lies}, stored {lay}"
        return found


def within(value: float | None, stored: tuple[float, float] | None, scale: float) -> bool:
    """Whether a mean lies where it lay."""
    if value is None or stored is None:
        return value is None and stored is None
    mean, sd = stored
    return abs(value - mean) <= FACTOR * max(sd, FLOOR * scale / FACTOR, 1e-6)


@cache
def stored() -> dict[str, Band]:
    """The bands of all presets that have one."""
    found = json.loads(FILE.read_text("utf-8"))["presets"] if FILE.exists() else {}
    return {
        name: Band(
            each["steps"],
            [(first, last) for first, last in each["windows"]],
            {n: [tuple(v) if v else None for v in vs] for n, vs in each["terms"].items()},
        )
        for name, each in found.items()
    }


def windows(steps: int) -> Windows:
    """The first, some middle and the last steps of a training.

    >>> windows(300), windows(12)
    ([(1, 10), (51, 60), (291, 300)], [(1, 12)])
    """
    if steps < 3 * WINDOW:
        return [(1, steps)]
    middle = min(50, steps // 2 - WINDOW // 2)
    return [(1, WINDOW), (middle + 1, middle + WINDOW), (steps - WINDOW + 1, steps)]


def means(curve: Curve, of: Windows) -> dict[str, list[float | None]]:
    """The mean of each term in each window; None where it has no value."""
    names = dict.fromkeys(name for row in curve for name in row)
    found: dict[str, list[float | None]] = {name: [] for name in names}
    for first, last in of:
        for name, values in found.items():
            there = [row[name] for row in curve[first - 1 : last] if name in row]
            values.append(statistics.fmean(there) if there else None)
    return found


def band(curves: list[Curve]) -> Band:
    """The band of some curves, a seed each."""
    steps = len(curves[0])
    of = windows(steps)
    each = [means(curve, of) for curve in curves]
    terms = {
        name: [spread([one[name][i] for one in each if name in one]) for i in range(len(of))]
        for name in dict.fromkeys(name for one in each for name in one)
    }
    return Band(steps, of, terms)


def spread(values: list[float | None]) -> tuple[float, float] | None:
    """Mean and standard deviation in five digits; None where no seed has a value."""
    there = [value for value in values if value is not None]
    if not there:
        return None
    sd = statistics.stdev(there) if len(there) > 1 else 0.0
    return float(f"{statistics.fmean(there):.5g}"), float(f"{sd:.3g}")


def as_json(bands: dict[str, Band]) -> str:
    """The file's text: a line for each term."""
    head = {"seeds": SEEDS, "window": WINDOW, "factor": FACTOR, "floor": FLOOR}
    presets = []
    for name, each in sorted(bands.items()):
        terms = ",\n".join(f"    {json.dumps(n)}: {json.dumps(v)}" for n, v in each.terms.items())
        body = f'"steps": {each.steps}, "windows": {json.dumps(each.windows)}, "terms": {{\n{terms}'
        presets.append(f"  {json.dumps(name)}: {{{body}\n  }}}}")
    inside = ",\n".join(presets)
    return f'{json.dumps(head)[:-1]}, "presets": {{\n{inside}\n}}}}\n'


# --- training -------------------------------------------------------------------------------------


class Recorder(L.Callback):
    """Keeps the terms of every step."""

    def __init__(self) -> None:
        self.curve: Curve = []

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, *_: Any) -> None:
        if pl_module.stepped:
            latest = pl_module.latest.items()
            self.curve.append({name: v for name, v in latest if name != "images_per_second"})
            pl_module.latest.clear()


def trained(config: dict[str, Any], seed: int, steps: int) -> Curve:
    """The terms of the first steps of a training; fewer where it diverges.

    Args:
        config: resolved, at the size that is to be trained.
        seed: of the training.
        steps: its length.
    """
    checked, recorder = check(config), Recorder()
    checked["data"]["seed"] = seed
    L.seed_everything(seed, verbose=False)
    data: Data = build(checked["data"] | {"workers": 0}, "data", Data)
    model: GenerativeModel = build(checked["model"], "model", GenerativeModel)
    scheme: TrainingModule = build(checked["scheme"] | {"log_every": 1}, "scheme", model=model)
    with silent():
        trainer = L.Trainer(
            accelerator="cpu",
            max_steps=steps,
            max_epochs=-1,
            logger=False,
            callbacks=[recorder],
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
        try:
            trainer.fit(scheme, datamodule=DataModule(data))
        except Diverged:
            return recorder.curve
    return recorder.curve


@contextmanager
def silent() -> Iterator[None]:
    """Leave out what a training says of itself, and restore the random numbers of torch."""
    quiet()
    logger = logging.getLogger("gentrain")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


def compared(config: dict[str, Any], of: Band) -> list[str]:
    """Where the first steps of a training lie outside of a band, for both of the new seeds."""
    first = of.outside(trained(config, NEW[0], of.steps))
    if not first:
        return []
    again = of.outside(trained(config, NEW[1], of.steps))
    return [told for place, told in first.items() if place in again]
