"""Where the configuration lies: gentrain's own, and that of the user."""

from __future__ import annotations

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
