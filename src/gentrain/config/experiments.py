"""Which models an experiment is for, read from the defaults lists of the YAML files.

An experiment chooses its model there, `override /model: ebm`. If it also sets keys of the model, or
groups that not every model has, it is for presets of that model's class alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from gentrain.config.overrides import last_value
from gentrain.config.paths import conf_dir, option_files, overlays
from gentrain.errors import UserError

# groups and keys that mean the same for every model
OF_ANY_MODEL = {
    "defaults", "model", "data", "quality", "callbacks", "logger", "trainer", "cluster", "sweep",
    "steps", "seed", "samples", "checkpoint", "compile",
}  # fmt: skip
SHOWN = 3  # models in a message


def refuse_other_model(overrides: Iterable[str]) -> None:
    """Refuse an experiment with a model that it is not for, before anything is composed.

    Args:
        overrides: the words of a training.

    Raises:
        UserError: naming the models that it is for.
    """
    words = [word.lstrip("+") for word in overrides]
    model = last_value(words, "model")
    for name in experiments_in(words) if model in option_files("model") else ():
        fitting = models_for(name)
        if fitting and model not in fitting:
            raise UserError(
                f"experiment={name} is for {in_words(fitting)}, not for model={model} "
                f"(experiment, model); leave model={model} out, or choose another experiment"
            )


def in_words(models: list[str]) -> str:
    """The presets that an experiment is for.

    >>> in_words(["ebm"]), in_words(["bigan", "ali"])
    ('model=ebm', 'model=bigan or ali')
    >>> in_words(["sngan", "gan", "lsgan", "wgan"])
    'model=sngan and presets of its class'
    """
    if len(models) > SHOWN:
        return f"model={models[0]} and presets of its class"
    return f"model={' or '.join(models)}"


def experiments_in(words: Iterable[str]) -> list[str]:
    """The experiments that a command chooses.

    >>> experiments_in(["experiment=quick", "steps=1"]), experiments_in(["experiment=null"])
    (['quick'], [])
    """
    names = re.findall(r"[^\[\],'\" ]+", last_value(words, "experiment") or "")
    return [name for name in names if name in option_files("experiment")]


def model_of(experiment: str) -> str | None:
    """The model that an experiment chooses; None where it leaves that open."""
    return dict(choices_of(experiment)).get("model")


def choices_of(experiment: str) -> list[tuple[str, str]]:
    """The group and option of all that an experiment chooses, with those that it includes."""
    pairs: list[tuple[str, str]] = []
    for group, name in chosen(content(option_files("experiment")[experiment]), "experiment"):
        included = group == "experiment" and name in option_files("experiment")
        pairs += choices_of(name) if included else [(group, name)]
    return pairs


def models_for(experiment: str) -> list[str]:
    """The presets that an experiment is for, that which it chooses first; empty for any preset."""
    model, found = model_of(experiment), content(option_files("experiment")[experiment])
    groups = (group for group, _ in choices_of(experiment))
    sets = {*(key for key in found if key != "model"), *groups}
    if model is None or ("model" not in found and sets <= OF_ANY_MODEL):
        return []
    kind = classes_of(model)
    others = [name for name in option_files("model") if name != model and classes_of(name) == kind]
    return [model, *others]


def classes_of(model: str) -> dict[str, str]:
    """The classes of a preset and of its parts, from its file and from those that it includes.

    Returns:
        By dotted keys: {"_target_": "...FlowDensity", "flow._target_": "...RealNVP"}.
    """
    places = (place / "model" / f"{model}.yaml" for place in (conf_dir(), *overlays))
    file = next((place for place in places if place.is_file()), None)
    found = content(file) if file else {}
    classes: dict[str, str] = {}
    for group, name in chosen(found, "model"):
        classes |= classes_of(name) if group == "model" else {}
    return classes | targets(found.get("model"))


def targets(node: Any, prefix: str = "") -> dict[str, str]:
    """The `_target_` of a node and of those below it, by their dotted keys."""
    found: dict[str, str] = {}
    match node:
        case dict():
            for key, value in node.items():
                below = {f"{prefix}{key}": value} if key == "_target_" else {}
                found |= below or targets(value, f"{prefix}{key}.")
    return found


def content(file: Path) -> dict[str, Any]:
    """The keys of a YAML file as they are written; its references stay."""
    import yaml  # completion does without

    match yaml.safe_load(file.read_text(encoding="utf-8")):
        case dict() as found:
            return found
        case _:
            return {}


def chosen(found: dict[str, Any], folder: str) -> list[tuple[str, str]]:
    """The group and the option of each entry of a file's defaults list.

    An entry without a group is another file of the same folder.

    >>> file = {"defaults": ["_gan", {"override /loss": "hinge"}, {"/tricks": []}, "_self_"]}
    >>> chosen(file, "model")
    [('model', '_gan'), ('loss', 'hinge')]
    """
    pairs: list[tuple[str, str]] = []
    for entry in found.get("defaults") or []:
        match entry:
            case "_self_":
                continue
            case str(path):
                group, _, name = path.rpartition("/")
                pairs.append((group.lstrip("/") or folder, name))
            case dict():
                pairs += [
                    (re.sub(r"^(override|optional)\s+", "", key).lstrip("/"), value)
                    for key, value in entry.items()
                    if type(value) is str
                ]
    return pairs
