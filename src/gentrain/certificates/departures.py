"""Where a system differs from its paper: the first comment of a preset, and words of a command.

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

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gentrain.config.overrides import key_of
from gentrain.errors import UserError

SOURCE = re.compile(r"\([^()]*\b(?:read|remembered)\b[^()]*\)")


@dataclass
class Row:
    """One departure; `ours` is None where it is looked up in the composed preset."""

    subject: str
    paper: str
    ours: str | None
    why: str


@dataclass
class Preset:
    """What the first comment of a preset says."""

    name: str
    title: str
    rows: list[Row] = field(default_factory=list)


# --- reading ----------------------------------------------------------------------------------


def says(file: Path) -> bool:
    """Whether a preset says where it differs from its paper."""
    return any(line.startswith(" Departures:") for line in head(file))


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
    """A row of text, as its fields."""
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


@dataclass
class System:
    """A composed training.

    Args:
        config: resolved.
        choices: the options of its groups.
    """

    config: dict[str, Any]
    choices: dict[str, str]

    def value(self, key: str) -> str | None:
        """The value of a dotted key, as text; None where there is no such key."""
        value: Any = self.config
        for part in key.split("."):
            match value:
                case Mapping() if part in value:
                    value = value[part]
                case _:
                    return self.choices.get(key)
        match value:
            case Mapping() if key in self.choices:
                return self.choices[key]
        return shown(value)


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


# --- words of a command -----------------------------------------------------------------------


def departures(words: Iterable[str], ours: System, preset: System) -> Iterator[str]:
    """A line for each word that changes what a preset says.

    Args:
        words: of the command, such as "lipschitz=none".
        ours: the system that they make.
        preset: the system without them.
    """
    for key in dict.fromkeys(key_of(word.lstrip("+~")) for word in words):
        now, before = ours.value(key), preset.value(key)
        if now != before:
            yield f"{key} = {now or 'none'} (preset: {before or 'none'})"
