"""The page and the notebook of a demonstration, made from its class and from what it showed."""

from __future__ import annotations

import inspect
import json
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gentrain.commands.demo.base import columns_of
from gentrain.tables import markdown_table

if TYPE_CHECKING:
    from gentrain.commands.demo.base import Demo, Shown

PACKAGE = Path(__file__).parents[2]
SOURCE = "../../src/gentrain"  # from docs/demos


def markdown(name: str, demo: Demo, shown: Shown, picture: str) -> str:
    """The page: claim, formula, code, command, figure, table, findings, exercise.

    Args:
        name: after "gentrain demo".
        demo: the demonstration.
        shown: what it gave.
        picture: the file of the figure, as the page links to it.
    """
    head, cells = columns_of(shown.rows)
    parts = [
        f"# {demo.title}",
        filled(f"**The claim.** {demo.claim}"),
        f"$$\n{filled(demo.formula)}\n$$",
        filled(sources(demo)),
        f"    gentrain demo {name}",
        f"![{demo.title}]({picture})",
        *([filled(demo.notes)] if demo.notes else []),
        markdown_table(head, cells),
        "\n".join(filled(f"- {finding}", "  ") for finding in shown.findings),
        "**Code.** The experiment and what it uses:\n\n"
        + "\n".join(f"- {link(each)}" for each in (type(demo), *demo.code)),
        filled(f"**Exercise.** {demo.exercise}"),
    ]
    return "\n\n".join(parts) + "\n"


def filled(text: str, indent: str = "") -> str:
    """A paragraph in lines of at most 100 columns."""
    return textwrap.fill(
        text, 100, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def sources(demo: Demo) -> str:
    """The papers."""
    return f"From: {'; '.join(demo.papers)}."


def link(thing: Any) -> str:
    """The name of a function or a class of this project, with a link to its file."""
    file = Path(inspect.getsourcefile(inspect.unwrap(thing)) or "").resolve().relative_to(PACKAGE)
    return f"[`{thing.__qualname__}`]({SOURCE}/{file.as_posix()})"


def notebook(name: str, demo: Demo) -> str:
    """The same as a notebook, whose cells make the experiment."""
    head = "\n\n".join(
        [f"# {demo.title}", demo.claim, f"$$\n{demo.formula}\n$$", sources(demo), demo.notes]
    )
    cells = [
        cell("markdown", head.strip()),
        cell("code", f'import gentrain\n\nshown = gentrain.demo("{name}")\nshown.figure'),
        cell("code", "print(shown)"),
        cell("markdown", f"## Exercise\n\n{demo.exercise}"),
    ]
    return json.dumps(
        {
            "cells": cells,
            "metadata": {"language_info": {"name": "python"}},
            "nbformat": 4,
            "nbformat_minor": 4,
        },
        indent=1,
        ensure_ascii=False,
    )


def cell(kind: str, text: str) -> dict[str, Any]:
    """A cell of a notebook."""
    lines = text.splitlines(keepends=True)
    code: dict[str, Any] = {"execution_count": None, "outputs": []} if kind == "code" else {}
    return {"cell_type": kind, "metadata": {}, "source": lines, **code}
