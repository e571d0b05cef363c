"""The presets of a family page: comment, formula, files, results and picture of each."""

from __future__ import annotations

import itertools
import re
from argparse import Namespace
from collections.abc import Iterator
from functools import cache
from typing import Any

import departures
from site_links import ROOT, Links
from site_options import head_text, link
from site_text import code_cell, doc_of, escaped, indented, module_doc, prose

from gentrain.cli.compose import Command, compose_command, register
from gentrain.commands.list import defaults_of, head, options
from gentrain.config.validate import locate
from gentrain.data.sounds import Sounds

RESULTS = ("docs/results/earlier.md", "docs/results/earlier_runs.md", "docs/results.md")
PICTURE = re.compile(r"\]\(\.\./(grids/[^)]+\.png)\)")


@cache
def composed(preset: str) -> Command:
    """The configuration of a preset."""
    register()
    return compose_command("train", Namespace(overrides=[f"model={preset}"], config_dir=None))


class Composed:
    """What `gentrain list` needs of a composed preset."""

    def __init__(self, preset: str) -> None:
        self.values = composed(preset).plain()
        self.choices: dict[str, str | None] = dict(composed(preset).choices())


@cache
def family(preset: str) -> str:
    """The page that a preset belongs to: by its data, by its capability, or by its package."""
    plain = composed(preset).plain()
    model = locate(plain["model"]["_target_"], "model")
    if issubclass(locate(plain["data"]["_target_"], "data"), Sounds):
        return "sound"
    if model.translates:
        return "translation"
    return str(model.__module__).split(".")[2]


def homes() -> dict[str, str]:
    """The page of each preset."""
    return {name: f"families/{family(name)}.md" for name in options("model")}


def sections(name: str, links: Links) -> str:
    """All presets of a family.

    Args:
        name: of the family.
        links: which rewrite those of the results.
    """
    page = f"families/{name}.md"
    found = [section(preset, page, links) for preset in options("model") if family(preset) == name]
    assert found, f"no preset belongs to {page}"
    return "\n\n".join(found)


def section(preset: str, page: str, links: Links) -> str:
    """One preset."""
    rows = results(preset)
    parts = [f"### {preset}", head_text(head("model", preset))]
    parts += [picture(preset, rows), formula(preset), choices(preset), differences(preset)]
    for source, title, lines in rows:
        text = "\n".join((title, *lines))
        parts.append(links.rewritten(text, source, page))
    command = Composed(preset)
    text = "\n".join(defaults_of(preset, lambda *_: command)).strip()
    parts.append(
        f'??? note "Choices and defaults"\n\n{indented(f"```text{chr(10)}{text}{chr(10)}```")}'
    )
    return "\n\n".join(filter(None, parts))


def formula(preset: str) -> str:
    """What the files of the model say, with their formulas."""
    found = [locate(target, "model") for target in targets(composed(preset).plain()["model"])]
    files = dict.fromkeys(module_file(each) for each in found)
    own = f"[conf/model/{preset}.yaml](../../conf/model/{preset}.yaml)"
    parts = [f"Files: {own}, {', '.join(networks(preset))}."]
    for file in files:
        if file.startswith("src/gentrain/models/"):
            text = prose(module_doc(ROOT / file))
            parts.append(f'??? abstract "Idea and formula: {file}"\n\n{indented(text)}')
    return "\n\n".join(parts)


def module_file(thing: Any) -> str:
    """The file of a class, from the top of the repository."""
    return f"src/{str(thing.__module__).replace('.', '/')}.py"


def networks(preset: str) -> list[str]:
    """Links to the classes of a preset: the model and its parts."""
    found = []
    for target in targets(composed(preset).plain()["model"]):
        if target.startswith("gentrain"):
            found += link(locate(target, "model"))
    return list(dict.fromkeys(found))


def targets(node: Any) -> Iterator[str]:
    """Every class that a configuration names, the outer ones first."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield node["_target_"]
        for value in node.values():
            yield from targets(value)


def choices(preset: str) -> str:
    """Loss, Lipschitz method and tricks, each with its first sentence."""
    command, lines = composed(preset), []
    plain = command.plain()
    for group in ("loss", "lipschitz", "likelihood", "pixels", "content"):
        node, chosen = plain.get(group), command.choices().get(group)
        if chosen and isinstance(node, dict) and "_target_" in node:
            doc = doc_of(locate(node["_target_"], group)).prose
            said = escaped(" ".join(doc.split("\n\n")[0].split()))
            lines.append(f"- [`{group}={chosen}`](../../conf/{group}): {said}")
    for name, node in plain["tricks"].items():
        doc = doc_of(locate(node["_target_"], "tricks")).prose
        said = escaped(" ".join(doc.split("\n\n")[0].split()))
        lines.append(f"- [`tricks=[{name}]`](../../conf/tricks): {said}")
    return "\n".join(lines)


def differences(preset: str) -> str:
    """A link to the departures of a preset."""
    rows = departures.read(ROOT / "conf" / "model" / f"{preset}.yaml").rows
    if not rows:
        return "Nothing departs from the paper."
    count = "One departure" if len(rows) == 1 else f"{len(rows)} departures"
    return f"{count} from the paper: [the list](../departures.md#{preset})."


Table = tuple[str, str, list[str]]  # its page, two lines of head, and rows


@cache
def tables() -> list[Table]:
    """The tables of measured rows, by page."""
    found: list[Table] = []
    for page in RESULTS:
        lines = (ROOT / page).read_text("utf-8").splitlines()
        for i, line in enumerate(lines):
            if re.match(r"\|[-| ]+\|$", line):
                rows = itertools.takewhile(lambda row: row.startswith("|"), lines[i + 1 :])
                found.append((page, f"{lines[i - 1]}\n{line}", list(rows)))
    return found


def results(preset: str) -> list[Table]:
    """The measured rows of a preset, with the page and the head of their tables."""
    named = re.compile(rf"\| *(`[^`]*\bmodel={preset}(?![\w])|{preset} \|)")
    found = ((page, title, list(filter(named.match, rows))) for page, title, rows in tables())
    return [each for each in found if each[2]]


def picture(preset: str, found_rows: list[Table]) -> str:
    """The newest picture of a preset in its results, with the command that made it."""
    shown = [(row, PICTURE.search(row)) for _, _, rows in found_rows for row in rows]
    found = [(row, match[1]) for row, match in shown if match]
    if not found:
        return ""
    row, file = found[-1]
    command = re.match(r"\| *`([^`]*)`", row)
    said = code_cell(command[1]) if command else f"`model={preset}`"
    return f"![Samples of model={preset}](../{file})\n\n*{said}*"
