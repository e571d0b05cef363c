"""Mistakes in the user's own YAML files, which `--config-dir` names, in one line each."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import yaml

from gentrain.config.overrides import key_of
from gentrain.config.paths import conf_dir, overlays, why_broken
from gentrain.config.validate import nearest
from gentrain.errors import UserError


def refuse_misplaced(overrides: Iterable[str]) -> None:
    """Refuse options of the user that lie in a wrong folder, or that lack their first line.

    Args:
        overrides: words of the command line. Only the options that they choose are looked at.

    Raises:
        UserError: naming the file and what to change.
    """
    for place in overlays:
        for word in overrides:
            group = key_of(word).lstrip("+").partition("@")[0]
            if "." in group or group.startswith(("-", "~")):
                continue
            for option in re.findall(r"[\w-]+", word.partition("=")[2]):
                refuse_folder(place, group, option)
                file = place / group / f"{option}.yaml"
                if file.exists():
                    refuse_broken(file, group)
                    refuse_header(file, group)


def refuse_folder(place: Path, group: str, option: str) -> None:
    """Refuse an option whose file is not GROUP/OPTION.yaml of a group of gentrain."""
    ours = [each.name for each in conf_dir().iterdir() if each.is_dir()]
    if group not in ours and (place / group / f"{option}.yaml").exists():
        raise UserError(
            f"{place / group} is no group of gentrain ({group}){nearest(group, ours)} "
            "Rename the folder"
        )
    known = [folder / group / f"{option}.yaml" for folder in (conf_dir(), place)]
    if group not in ours or any(file.exists() for file in known):
        return
    others = [place / f"{option}.yaml", place / group / f"{option}.yml"]
    others += [d / f"{option}.yaml" for d in place.iterdir() if d.is_dir() and d.name not in ours]
    for file in others:
        if file.exists():
            raise UserError(
                f"{group}={option} is looked for in {place / group}, and lies in {file} ({group}); "
                f"move it to {place / group / option}.yaml"
            )


def refuse_broken(file: Path, group: str) -> None:
    """Refuse a file that is no YAML, or no text."""
    try:
        yaml.safe_load(file.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        what, remedy = why_broken(error, file)
        raise UserError(f"{what} ({group}); {remedy}") from error


def refuse_header(file: Path, group: str) -> None:
    """Refuse an option without the first line that puts it where it belongs.

    Where it belongs is where gentrain's own options of the group are put.
    """
    wanted = packages(group)
    if len(wanted) != 1:
        return
    (package,) = wanted
    if package is not None and package_of(file) != package:
        raise UserError(
            f"{file} does not say what it is part of ({group}); add the line "
            f"'# @package {package}' as its first"
        )


@cache
def packages(group: str) -> frozenset[str | None]:
    """Where the options of one of gentrain's groups are put; None for under the group's name."""
    return frozenset(package_of(file) for file in (conf_dir() / group).glob("*.yaml"))


def package_of(file: Path) -> str | None:
    """What the line `# @package NAME` of a YAML file says; None without such a line."""
    for line in file.read_text(encoding="utf-8").splitlines():
        if line.strip() and not re.match(r"\s*#\s*@", line):
            break  # Hydra reads no further
        if found := re.match(r"\s*#\s*@package\s+(\S+)", line):
            return found[1]
    return None
