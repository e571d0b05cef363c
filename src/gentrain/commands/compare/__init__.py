"""gentrain compare runs=DIR[,DIR...]: runs side by side.

They become a table in the terminal, compare.csv, runs.csv and one HTML page. Runs that are still
going are shown as far as they are. torch is not imported.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from gentrain.commands.compare.find import find
from gentrain.commands.compare.groups import grouped
from gentrain.commands.compare.page import html_page
from gentrain.commands.compare.ranking import chosen, tables
from gentrain.commands.compare.reports import as_csv, group_rows, run_rows
from gentrain.commands.compare.terminal import report
from gentrain.config.types import Count, NonNegative
from gentrain.config.validate import coerced
from gentrain.errors import UserError
from gentrain.files import report_disk_errors, write_text
from gentrain.patience import say_if_slow

CHECKED = {"picture_pixels": Count, "picture_megabytes": NonNegative}


def compare(config: dict[str, Any]) -> Path:
    """Compare runs.

    Args:
        config: the keys of conf/compare.yaml.

    Returns:
        The directory of what was written.

    Raises:
        UserError: where there is no run.
    """
    config |= {key: coerced(config[key], hint, key) for key, hint in CHECKED.items()}
    places = [Path(place) for place in listed(config["runs"])]
    out = place_of_reports(config["out"], places)
    with say_if_slow(f"reading the runs below {', '.join(map(str, places))}"):
        groups = grouped(find(places), config["across"])
    descending = {"auto": None, "ascending": False, "descending": True}[config["order"].name]
    shown = tables(groups, chosen(config["sort"], groups), descending, config["across"])
    reports = {"compare.csv": as_csv(group_rows(shown)), "runs.csv": as_csv(run_rows(shown))}
    if config["page"]:
        with say_if_slow("making the page"):
            reports["compare.html"] = html_page(
                shown, places, config["picture_pixels"], config["picture_megabytes"]
            )
    with report_disk_errors(out, "out"):
        out.mkdir(parents=True, exist_ok=True)
        for name, text in reports.items():
            write_text(out / name, text)
    names = "compare.csv (a row a group), runs.csv (a row a run)"
    names += ", compare.html" if config["page"] else ""
    say([*report(shown), f"all of it in {out}: {names}"])
    return out


def place_of_reports(out: str | None, places: list[Path]) -> Path:
    """Where reports go: the directory that was asked for, or the only one that was given."""
    if out:
        return Path(out)
    return places[0] if len(places) == 1 else Path("outputs", "compare")


def listed(given: Any) -> list[str]:
    """The directories of `runs=a,b` or `runs=[a,b]`. Raises UserError without any."""
    match given:
        case list():
            places = [str(place) for place in given]
        case _:
            places = [str(given)]
    if not places or not all(places):
        raise UserError(
            "no directory is named (runs); give run directories, sweeps, or a directory above them"
        )
    return list(dict.fromkeys(places))


def say(lines: list[str]) -> None:
    """Print lines; characters that the terminal does not have are escaped."""
    encoding = sys.stdout.encoding or "utf-8"
    print("\n".join(lines).encode(encoding, "backslashreplace").decode(encoding))
