"""Where the configuration of gentrain lies."""

from __future__ import annotations

from pathlib import Path


def conf_dir() -> Path:
    """The directory of gentrain's YAML files.

    In a wheel it is `conf/` inside the package; in an editable install it is `conf/` at the top of
    the repository.
    """
    package = Path(__file__).resolve().parents[1]
    inside = package / "conf"
    return inside if inside.is_dir() else package.parents[1] / "conf"
