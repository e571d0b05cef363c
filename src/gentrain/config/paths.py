"""Where the configuration lies: gentrain's own, and that of the user."""

from __future__ import annotations

import re
from pathlib import Path

overlays: list[Path] = []  # the directories of --config-dir


def conf_dir() -> Path:
    """The directory of gentrain's YAML files.

    In a wheel it is `conf/` inside the package; in an editable install it is `conf/` at the top of
    the repository.
    """
    package = Path(__file__).resolve().parents[1]
    inside = package / "conf"
    return inside if inside.is_dir() else package.parents[1] / "conf"


def add_overlay(place: Path) -> None:
    """Look for options also in a directory of the user."""
    overlays[:] = [place]


def groups() -> list[str]:
    """The names of all groups: the directories of YAML files."""
    places = [conf_dir(), *overlays]
    return sorted({each.name for place in places for each in place.iterdir() if each.is_dir()})


def option_files(group: str) -> dict[str, Path]:
    """The file of each option of a group; gentrain's own come first.

    Options that only others include, whose names begin with `_`, are left out.
    """
    found: dict[str, Path] = {}
    for place in (conf_dir(), *overlays):
        for file in sorted((place / group).glob("*.yaml")):
            if not file.stem.startswith("_"):
                found.setdefault(file.stem, file)
    return dict(sorted(found.items()))


def file_naming(target: str, lacking: str) -> Path | None:
    """The user's YAML file that names a class; None where there is none, or the class is ours.

    Args:
        target: the class.
        lacking: a key; of several files the first without it is taken.
    """
    named = re.compile(rf"""_target_: *['"]?{re.escape(target)}\b""")
    files = [file for place in overlays for file in sorted(place.glob("*/*.yaml"))]
    texts = {file: file.read_text("utf-8", "replace") for file in files}
    found = [file for file, text in texts.items() if named.search(text)]
    return min(found, key=lambda file: f"{lacking}:" in texts[file], default=None)


def why_broken(error: Exception, file: Path | str) -> tuple[str, str]:
    """What is wrong with a YAML file that cannot be read, and what to do.

    Args:
        error: of PyYAML, or of a text that is not in UTF-8.
        file: the YAML file.
    """
    import yaml

    match error:
        case yaml.MarkedYAMLError():
            mark = error.problem_mark or error.context_mark
            line = "" if mark is None else f":{mark.line + 1}"
            return f"{file}{line} is no YAML: {error.problem or error.context}", "mend it there"
        case UnicodeDecodeError():
            return f"{file} is no UTF-8 text", "save it as such"
    return f"{file} is no YAML: {' '.join(str(error).split())}", "mend it there"
