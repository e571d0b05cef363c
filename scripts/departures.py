"""Write docs/departures.md: where each preset differs from its paper, and why.

    python scripts/departures.py            # write it
    python scripts/departures.py --check    # exit status 1 where it is not up to date
    python scripts/departures.py maf ebm    # only print what it says of these presets

`gentrain.certificates.departures` says how the rows are written.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from argparse import Namespace
from functools import cache
from pathlib import Path

from gentrain.certificates.departures import SOURCE, Preset, System, read
from gentrain.cli.compose import compose_command, register
from gentrain.errors import UserError
from gentrain.tables import markdown_row

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "departures.md"
INTRODUCTION = """# Departures from the papers

Each preset trains a model as its paper describes it, as far as that is known and practical. This
page lists what differs, and why. A value of a paper is followed by its source: *read* means that
the text or the authors' code was read for this, *remembered* that it was not, so look there before
you rely on it. The column "here" is looked up in the preset itself where "what" is a key, which
can be given on the command line (`gentrain model=maf model.flow.depth=1`).

`make docs` writes this page from the first lines of `conf/model/*.yaml`; please edit those.
"""


def presets() -> list[Path]:
    """The files of the presets, without those that they share."""
    files = (ROOT / "conf" / "model").glob("*.yaml")
    return sorted(file for file in files if not file.name.startswith("_"))


# --- our values -------------------------------------------------------------------------------


@cache
def composed(preset: str) -> System:
    """A preset as its training is composed."""
    register()
    command = compose_command("train", Namespace(overrides=[f"model={preset}"], config_dir=None))
    return System(command.plain(), command.choices())


def our_value(preset: str, key: str) -> str:
    """The value of a key of a composed preset.

    Raises:
        UserError: when there is no such key.
    """
    if (value := composed(preset).value(key)) is None:
        raise UserError(
            f"{preset}.yaml: no key {key} in the composed configuration (Departures); "
            "mend the key, or give our value in a field of its own"
        )
    return value


# --- writing ----------------------------------------------------------------------------------


def page(found: list[Preset]) -> str:
    """The whole text of docs/departures.md."""
    sections = [section(preset) for preset in found if preset.rows]
    none = [f"- `{preset.name}`: {preset.title}" for preset in found if not preset.rows]
    if none:
        sections.append("\n".join(("## Without departures", "", *none, "")))
    return "\n".join((INTRODUCTION, *sections))


def section(preset: Preset) -> str:
    lines = [f"## {preset.name}", "", textwrap.fill(preset.title, 100), ""]
    lines += ["| what | paper | here | why |", "|---|---|---|---|"]
    for row in preset.rows:
        subject, ours = row.subject, row.ours
        if ours is None:
            ours, subject = our_value(preset.name, subject), f"`{subject}`"
        if same(row.paper, ours):
            raise UserError(
                f"{preset.name}.yaml: {row.subject} is {ours}, as in the paper (Departures); "
                "remove the row"
            )
        cells = (subject, row.paper, ours, row.why)
        lines.append(markdown_row(cells))
    return "\n".join((*lines, ""))


def same(paper: str, ours: str) -> bool:
    """Whether a paper's value, without its source, is ours."""
    value = SOURCE.sub("", paper).strip()
    try:
        return float(value) == float(ours)
    except ValueError:
        return value == ours


def read_all(files: list[Path]) -> tuple[list[Preset], list[str]]:
    """The presets whose comments are well formed, and one line for each of the others."""
    found, wrong = [], []
    for file in files:
        try:
            found.append(read(file))
        except UserError as error:
            wrong.append(str(error))
    return found, wrong


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing, compare")
    parser.add_argument("names", nargs="*", help="print what the page says of these presets")
    args = parser.parse_args(words)
    files = [file for file in presets() if not args.names or file.stem in args.names]
    found, wrong = read_all(files)
    try:
        text = page(found)
    except UserError as error:
        wrong.append(str(error))
    if wrong:
        print("\n".join(wrong), file=sys.stderr)
        return 2
    if args.names:
        print("\n".join(map(section, found)))
    elif not args.check:
        PAGE.write_text(text, encoding="utf-8")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != text:
        print("docs/departures.md is not up to date; run make docs", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
