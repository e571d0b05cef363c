"""gentrain list [GROUP | GROUP=OPTION]: what there is to choose from."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from gentrain.config import paths
from gentrain.config.experiments import model_of
from gentrain.config.validate import nearest
from gentrain.errors import UserError

# groups of conf/, and what they are called in the plural
PLURALS = {
    "models": "model",
    "datasets": "data",
    "losses": "loss",
    "lipschitz_methods": "lipschitz",
    "tricks": "tricks",
    "networks": "network",
    "likelihoods": "likelihood",
    "samplers": "sampler",
    "metrics": "quality",
    "scores": "quality",
    "optimizers": "optimizer",
    "schedules": "schedule",
    "loggers": "logger",
    "trainers": "trainer",
    "clusters": "cluster",
    "sweeps": "sweep",
    "modes": "mode",
    "experiments": "experiment",
    "demos": "demo",
}
# groups that are parts of others or of Hydra, and are not chosen by users
INNER = {"hydra", "callbacks", "scheme", "visible"}


class Composed(Protocol):
    """A composed configuration, and the options of its groups."""

    @property
    def values(self) -> dict[str, Any]: ...
    @property
    def choices(self) -> dict[str, str | None]: ...


def overview() -> list[str]:
    """A line for each group: its name, how many options it has, and how one is chosen."""
    lines = ["What there is to choose from. gentrain list GROUP shows the options of a group.", ""]
    for group in groups():
        names = options(group)
        few = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
        lines.append(f"  {group:<12}{len(names):>3}  {few}")
    return [
        *lines,
        "",
        "gentrain list model=wgan_gp shows the paper, the choices and the defaults.",
    ]


def listed(word: str, compose: Callable[[str, list[str]], Composed]) -> list[str]:
    """The options of a group, or all about one option.

    Args:
        word: "model", "models" or "model=wgan_gp".
        compose: gives the configuration of a command.

    Raises:
        UserError: for a group or an option that does not exist.
    """
    name, equals, option = word.partition("=")
    group = PLURALS.get(name, name)
    if group not in groups():
        raise UserError(f"nothing to list of {name!r} (list){nearest(name, groups())}")
    if equals and option not in options(group):
        raise UserError(f"no option {option} ({group}){nearest(option, options(group))}")
    if not equals:
        width = max(map(len, options(group))) + 2
        return [
            f"  {each:<{width}}{title(group, each)}{of_model(group, each)}"
            for each in options(group)
        ]
    about = head(group, option)
    return [*about, *(defaults_of(option, compose) if group == "model" else values(group, option))]


def groups() -> list[str]:
    """The groups of conf/ that users choose from, the model first."""
    found = (each for each in paths.groups() if each not in INNER)
    return sorted(found, key=lambda name: name != "model")


def options(group: str) -> list[str]:
    """The options of a group, without those that only others include."""
    return list(paths.option_files(group))


def head(group: str, option: str) -> list[str]:
    """The lines of the comment at the top of an option's file."""
    lines: list[str] = []
    for line in file_of(group, option).read_text("utf-8").splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith("# @package"):
            lines.append(line.removeprefix("#").removeprefix(" "))
    return lines or [""]


def title(group: str, option: str) -> str:
    """The first line of that comment, without the command beside it."""
    return re.split(r"\s{2,}", head(group, option)[0])[0]


def of_model(group: str, option: str) -> str:
    """The model that an experiment chooses, in brackets; empty for any other option."""
    model = model_of(option) if group == "experiment" else None
    return f" (model={model})" if model else ""


def values(group: str, option: str) -> list[str]:
    """The keys of an option's own file, as they stand there."""
    text = file_of(group, option).read_text("utf-8")
    body = [line for line in text.splitlines() if not line.startswith("#") and line.strip()]
    return ["", *(f"  {line}" for line in body if not re.match(r"_\w+_:", line))]


def file_of(group: str, option: str) -> Path:
    """The file of an option."""
    return paths.option_files(group)[option]


def defaults_of(model: str, compose: Callable[[str, list[str]], Composed]) -> list[str]:
    """The groups that a model leaves open with what it chooses, and its numbers."""
    found = compose("train", [f"model={model}"])
    lines = ["", "Choices:"]
    for group in groups():
        chosen = found.choices.get(group)
        if group == "model" or group not in found.choices:
            continue
        others = [name for name in options(group) if name != chosen]
        few = ", ".join(others[:8]) + (", ..." if len(others) > 8 else "")
        lines.append(f"  {group}={chosen}".ljust(30) + (f"or {few}" if few else ""))
    tricks = ",".join(found.values["tricks"])
    lines.append(f"  tricks=[{tricks}]".ljust(30) + "any of gentrain list tricks")
    lines += ["", "Defaults:", f"  steps={found.values['steps']}"]
    for key in ("model", "scheme"):
        lines += [f"  {name}={value}" for name, value in flat(found.values[key], f"{key}.")]
    batch = found.values["data"]["batch_size"]
    return [*lines, f"  data.batch_size={batch}"]


def flat(node: dict[str, Any], prefix: str) -> list[tuple[str, Any]]:
    """The dotted keys of a node with plain values; interpolations and targets are left out."""
    found: list[tuple[str, Any]] = []
    for name, value in node.items():
        if isinstance(value, dict):
            found += flat(value, f"{prefix}{name}.")
        elif not str(name).startswith("_") and "${" not in str(value):
            found.append((f"{prefix}{name}", value))
    return found
