"""Write docs/departures.md: where each preset differs from its paper, and why.

    python scripts/departures.py            # write it
    python scripts/departures.py --check    # exit status 1 where it is not up to date
    python scripts/departures.py maf ebm    # only print what it says of these presets

The rows stand at the end of the first comment of each conf/model/*.yaml:

    # Departures:
    #   scheme.optimizers.critic.lr | 2e-3 (authors' code, read) | short runs diverge at it
    #   latent codes | 128, normal (paper, section 4, read) | 64 | smaller images

A row of three fields is `key of the configuration | paper's value | why`: our value is looked up
in the composed preset. A row of four is `subject | paper's value | ours | why`. The paper's value
has its source in parentheses, with the word `read` or `remembered`. A row goes on in lines that
start with five spaces. A preset without departures says `# Departures: none`.
"""

from __future__ import annotations

import argparse
import re
import sys
import textwrap
from argparse import Namespace
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from gentrain.cli.compose import compose_command, register
from gentrain.errors import UserError

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "departures.md"
SOURCE = re.compile(r"\([^()]*\b(?:read|remembered)\b[^()]*\)")
INTRODUCTION = """# Departures from the papers

Each preset trains a model as its paper describes it, as far as that is known and practical. This
page lists what differs, and why. A value of a paper is followed by its source: *read* means that
the text or the authors' code was read for this, *remembered* that it was not, so look there before
you rely on it. The column "here" is looked up in the preset itself where "what" is a key, which
can be given on the command line (`gentrain model=maf model.flow.depth=1`).

`make docs` writes this page from the first lines of `conf/model/*.yaml`; please edit those.
"""


@dataclass
class Row:
    """One departure; `ours` is None where it is looked up in the composed preset."""

    subject: str
    paper: str
    ours: str | None
    why: str


@dataclass
class Preset:
    name: str
    title: str
    rows: list[Row] = field(default_factory=list)


def presets() -> list[Path]:
    """The files of the presets, without those that they share."""
    files = (ROOT / "conf" / "model").glob("*.yaml")
    return sorted(file for file in files if not file.name.startswith("_"))


# --- reading ----------------------------------------------------------------------------------


def read(file: Path) -> Preset:
    """Read the first comment of a preset.

    Raises:
        UserError: when it has no block of departures, or a row is not well formed.
    """
    lines = list(head(file))
    starts = [at for at, line in enumerate(lines) if line.startswith(" Departures:")]
    if len(starts) != 1:
        raise UserError(f"{len(starts)} blocks `# Departures:` in the head of {file.name}; give 1")
    text = " ".join(" ".join(lines[: starts[0]]).split())
    title = re.split(r"\s*gentrain (?:-m )?model=", text)[0]
    preset = Preset(file.stem, title)
    given = lines[starts[0]].removeprefix(" Departures:").strip()
    joined = list(join(lines[starts[0] + 1 :], file))
    if given not in ("", "none") or bool(given) == bool(joined):
        raise UserError(f"neither rows nor `none` after `# Departures:` in {file.name}; give one")
    preset.rows = [parse(row, file) for row in joined]
    return preset


def head(file: Path) -> Iterator[str]:
    """The lines of a preset's first comment without `#`."""
    for line in file.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            return
        if not line.startswith("# @package"):
            yield line.removeprefix("#")


def join(lines: list[str], file: Path) -> Iterator[str]:
    """Whole rows, of lines some of which continue the line before."""
    row = ""
    for line in lines:
        indent = len(line) - len(line.lstrip())
        if indent not in (3, 5) or (indent == 5 and not row):
            raise UserError(
                f"{file.name}: `#{line}` has {indent} spaces after `#`; a row has 3, and the "
                "lines that continue it 5"
            )
        if indent == 3 and row:
            yield row
        row = line.strip() if indent == 3 else f"{row} {line.strip()}"
    if row:
        yield row


def parse(row: str, file: Path) -> Row:
    fields = [each.strip() for each in row.split(" | ")]
    if len(fields) not in (3, 4) or not all(fields):
        raise UserError(f"{file.name}: `{row}` has {len(fields)} fields; give 3 or 4, none empty")
    subject, paper, *ours, why = fields
    if not SOURCE.search(paper):
        raise UserError(
            f"{file.name}: the paper's value `{paper}` has no source; add "
            "(..., read) or (..., remembered)"
        )
    return Row(subject, paper, ours[0] if ours else None, why)


# --- our values -------------------------------------------------------------------------------


@cache
def composed(preset: str) -> tuple[dict[str, Any], dict[str, str]]:
    """The resolved configuration of a preset, and the options of its groups."""
    register()
    command = compose_command("train", Namespace(overrides=[f"model={preset}"], config_dir=None))
    return command.plain(), command.choices()


def our_value(preset: str, key: str) -> str:
    """The value of a key of a composed preset.

    Raises:
        UserError: when there is no such key.
    """
    node, choices = composed(preset)
    value: Any = node
    for part in key.split("."):
        if not isinstance(value, Mapping) or part not in value:
            raise UserError(
                f"{preset}.yaml: no key {key} in the composed configuration (Departures); "
                "mend the key, or give our value in a field of its own"
            )
        value = value[part]
    return shown(choices[key] if key in choices and isinstance(value, Mapping) else value)


def shown(value: Any) -> str:
    """A value as YAML writes it; a class by its name, with its arguments."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case float():
            return f"{value:g}"
        case Mapping():
            name = str(value.get("_target_", "")).rpartition(".")[2]
            named = (f"{k}={shown(v)}" for k, v in value.items() if k[0] != "_")
            return f"{name}({', '.join(named)})"
        case list():
            return f"[{', '.join(map(shown, value))}]"
        case _:
            return str(value)


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
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
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
