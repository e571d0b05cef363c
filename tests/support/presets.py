"""The presets of conf/model by their kind, as their files say it; smaller networks for them."""

from __future__ import annotations

from functools import cache
from typing import Any

import yaml

from tests.support.paths import CONF

# what a preset is built on tells its kind; the others are GANs
KINDS = {
    "_vae": "density",
    "_flow": "density",
    "_autoregressive": "density",
    "_energy": "energy",
}


@cache
def read(preset: str) -> dict[str, Any]:
    return yaml.safe_load((CONF / "model" / f"{preset}.yaml").read_text())


@cache
def lineage(preset: str) -> tuple[str, ...]:
    """A preset and those that it is built on, itself first."""
    bases = [base for base in read(preset).get("defaults", []) if isinstance(base, str)]
    names = [base.removeprefix("/model/") for base in bases if base != "_self_"]
    return (preset, *(each for name in reversed(names) for each in lineage(name)))


def kind(preset: str) -> str:
    # a class attribute will say it once all models have one base class
    if model_class(preset).endswith(".Regression"):
        return "regression"
    return next((KINDS[name] for name in lineage(preset) if name in KINDS), "gan")


def model_class(preset: str) -> str:
    """The dotted name of the class that a preset builds."""
    found = (read(name).get("model", {}).get("_target_") for name in lineage(preset))
    return next(name for name in found if name)


NAMES = sorted(f.stem for f in (CONF / "model").glob("*.yaml") if not f.stem.startswith("_"))
PRESETS = tuple(name for name in NAMES if kind(name) == "gan")
DENSITIES = tuple(name for name in NAMES if kind(name) == "density")
ENERGIES = tuple(name for name in NAMES if kind(name) == "energy")
REGRESSIONS = tuple(name for name in NAMES if kind(name) == "regression")


def first_of_each_class(presets: tuple[str, ...], *more: str) -> tuple[str, ...]:
    """One preset of each model class, and those that are named."""
    first: dict[str, str] = {}
    for preset in (*more, *presets):
        first.setdefault(model_class(preset), preset)
    return tuple(preset for preset in presets if preset in more or preset in first.values())


def small(node: Any) -> Any:
    """The same networks, a few channels wide: those of `gentrain verify`."""
    from gentrain.certificates import tiny

    return tiny.small(node)
