"""From docstrings and comments of YAML files to Markdown."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SECTION = re.compile(r"^(Args|Attributes|Raises|Returns|Yields):$", re.MULTILINE)
# what Markdown and HTML would take for their own, outside of code
SPECIAL = re.compile(r"(`[^`]*`)|([<*_|\[\]])")


@dataclass(frozen=True)
class Doc:
    """A docstring: its prose, and what it says of each argument."""

    prose: str = ""
    args: dict[str, str] = field(default_factory=dict)


def doc_of(thing: Any) -> Doc:
    """The docstring of a class or of a function; arguments also of the classes it inherits from."""
    kinds = thing.__mro__ if inspect.isclass(thing) else (thing,)
    args: dict[str, str] = {}
    for kind in reversed(kinds):
        for each in (kind, vars(kind).get("__init__") if inspect.isclass(kind) else None):
            if each is not None and kind.__module__.partition(".")[0] == "gentrain":
                args |= parsed(each.__doc__ or "").args
    return Doc(parsed(vars(thing).get("__doc__") or thing.__doc__ or "").prose, args)


def parsed(docstring: str) -> Doc:
    """The parts of a docstring."""
    text = inspect.cleandoc(docstring)
    prose, *rest = SECTION.split(text)
    sections = dict(zip(rest[::2], rest[1::2], strict=True))
    args: dict[str, str] = {}
    for section in ("Args", "Attributes"):
        name = ""
        for line in sections.get(section, "").splitlines():
            found = re.match(r"    (\w[\w, ]*): (.*)", line)
            if found and not line.startswith("     "):
                name = found[1]
                args |= {each.strip(): found[2] for each in name.split(",")}
            elif line.startswith("     ") and name:
                for each in name.split(","):
                    args[each.strip()] += f" {line.strip()}"
            elif line.strip():
                break
    return Doc(prose.split(">>>")[0].strip(), args)


def module_doc(file: Path) -> str:
    """The docstring of a module, without importing it."""
    return ast.get_docstring(ast.parse(file.read_text("utf-8"))) or ""


def escaped(text: str) -> str:
    """Prose in which nothing but code in backticks is mark-up.

    >>> escaped("E[x] <= `a|b`")
    'E&#91;x&#93; &lt;= `a|b`'
    """
    marks = {"<": "&lt;", "*": "&#42;", "_": "&#95;", "|": "&#124;", "[": "&#91;", "]": "&#93;"}
    return SPECIAL.sub(lambda match: match[1] or marks[match[2]], text)


def cell(text: str) -> str:
    """Prose in a cell of a table."""
    return escaped(" ".join(text.split())).replace("|", "&#124;")


def code_cell(text: Any) -> str:
    """Code in a cell of a table."""
    plain = " ".join(str(text).split())
    return f"`{plain}`" if plain else ""


def prose(text: str) -> str:
    """Paragraphs of a docstring; what is indented, or a table, becomes code."""
    blocks = []
    for block in re.split(r"\n\s*\n", text.strip("\n")):
        lines = block.splitlines()
        if all(re.match(r" {2,}|[^|]*\||.*\S {3,}\S", line) for line in lines):
            margin = min(len(line) - len(line.lstrip()) for line in lines)
            blocks.append("\n".join(f"    {line[margin:]}" for line in lines))
        else:
            blocks.append(mixed(lines))
    return "\n\n".join(blocks)


def mixed(lines: list[str]) -> str:
    """A paragraph in which indented lines are code, if they do not continue an item of a list."""
    if any(re.match(r"- |\d+\. ", line) for line in lines):
        return "\n".join(map(escaped, lines))
    parts: list[str] = []
    code = False
    for line in lines:
        indented = line.startswith("  ")
        if parts and indented != code:
            parts.append("")
        code = indented
        parts.append(f"    {line.removeprefix('  ')}" if indented else escaped(line))
    return "\n".join(parts)


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A table whose first column is not broken, without the columns that are empty."""
    kept = [i for i in range(len(head)) if any(row[i] for row in rows)]
    lines = [[head[i] for i in kept], ["---"] * len(kept)]
    lines += [[row[i] for i in kept] for row in rows]
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f'<div class="keys" markdown="1">\n\n{text}\n\n</div>'


def indented(text: str) -> str:
    """Text as the content of a block."""
    return "\n".join(f"    {line}" if line else "" for line in text.splitlines())


def comments(file: Path) -> dict[str, str]:
    """What the comments of a YAML file say of its keys, by dotted names.

    A comment stands behind a key, or on the lines above it, below the head of the file.
    """
    found: dict[str, str] = {}
    path: list[tuple[int, str]] = []
    above: list[str] = []
    lines = file.read_text("utf-8").splitlines()
    body = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
    for line in lines[body:]:
        if note := re.match(r"\s*# ?(.*)", line):
            above.append(note[1])
        elif key := re.match(r"( *)([\w/ ]+):( .*)?$", line):
            margin = len(key[1])
            path = [each for each in path if each[0] < margin]
            path.append((margin, key[2].strip()))
            behind = re.search(r"\s#\s*(.*)", key[3] or "")
            said = " ".join([*above, *([behind[1]] if behind else [])])
            if said:
                found[".".join(name for _, name in path)] = said
            above = []
        else:
            above = []
    return found
