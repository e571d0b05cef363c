"""Tables of text: with rules and folded cells on a terminal, plain lines where output is piped."""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import TextIO

EMPTY = ("", "-")
NARROW = 24  # of a column that folds, before optional columns are left out
AROUND = 3  # columns of space that a cell takes beside its text


def quantity(n: float, thing: str) -> str:
    """A number of things, the word in the singular for one of them.

    >>> quantity(1, "step"), quantity(1200, "cell")
    ('1 step', '1,200 cells')
    """
    return f"{n:,.0f} {thing}{'' if n == 1 else 's'}"


def markdown_row(cells: Iterable[str]) -> str:
    """A row of a table in Markdown.

    >>> print(markdown_row(["a", "b|c"]))
    | a | b\\|c |
    """
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def markdown_table(head: Sequence[str], rows: Iterable[Iterable[str]]) -> str:
    """A table in Markdown."""
    return "\n".join(map(markdown_row, (head, ["---"] * len(head), *rows)))


def text_table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    optional: Sequence[str] = (),
    stream: TextIO | None = None,
) -> str:
    """A table for a stream: as wide as the terminal, or plain.

    Args:
        head: the names of the columns.
        rows: the cells.
        optional: columns that a terminal leaves out, from the last on, where it is too narrow.
        stream: where it will be printed; None for standard output.
    """
    stream = stream or sys.stdout
    rows = [[printable(cell, stream) for cell in row] for row in rows]
    if stream.isatty():
        width = shutil.get_terminal_size().columns
        return ruled(*fitting(head, rows, optional, width), width, stream)
    return plain(head, rows)


def printable(text: str, stream: TextIO) -> str:
    """A text in the characters of a stream; others are escaped.

    >>> printable("1 ± 2 é", io.TextIOWrapper(io.BytesIO(), "ascii"))
    '1 +- 2 \\\\xe9'
    """
    encoding = stream.encoding or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = text.replace("±", "+-").encode(encoding, "backslashreplace").decode(encoding)
    return text


def is_number(text: str) -> bool:
    """Whether a cell is a number, a mean with its spread, or nothing.

    >>> is_number("12.3 ± 0.42"), is_number("1,001"), is_number("-"), is_number("2.0 min")
    (True, True, True, False)
    """
    first = text.replace(" +- ", " ± ").split(" ± ")[0]
    try:
        float(first.replace(",", "")) if text not in EMPTY else 0.0
    except ValueError:
        return False
    return True


def numeric(rows: Sequence[Sequence[str]], column: int) -> bool:
    """Whether all cells of a column are numbers."""
    return all(is_number(row[column]) for row in rows)


def plain(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """One line a row, with columns as wide as they must be, and numbers to the right.

    >>> print(plain(["cell", "best"], [["000", "9"], ["001", "12.5"]]), end="")
    cell  best
     000     9
     001  12.5
    """
    lines = [list(head), *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    right = [numeric(rows, i) for i in range(len(head))]
    return "".join(
        "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(line, widths, right, strict=True)
        ).rstrip()
        + "\n"
        for line in lines
    )


def fitting(
    head: Sequence[str], rows: Sequence[Sequence[str]], optional: Sequence[str], width: int
) -> tuple[list[str], list[list[str]]]:
    """The columns that fit in a width: without optional ones, the last first, until they do."""
    needed = {}
    for i, name in enumerate(head):
        widest = max(len(line[i]) for line in [head, *rows])
        folds = not numeric(rows, i)
        needed[name] = (min(widest, max(NARROW, len(name))) if folds else widest) + AROUND
    for name in reversed(optional):
        if sum(needed.values()) + 1 > width:
            needed.pop(name, None)
    kept = [i for i, name in enumerate(head) if name in needed]
    return [head[i] for i in kept], [[row[i] for i in kept] for row in rows]


def ruled(
    head: Sequence[str], rows: Sequence[Sequence[str]], width: int, stream: TextIO | None = None
) -> str:
    """A table with a rule below its head, in at most `width` columns; long texts are folded.

    Args:
        head: the names of the columns.
        rows: the cells.
        width: of the terminal.
        stream: the terminal, which may have colours; None for text alone.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(file=stream or io.StringIO(), width=width)
    made = Table(box=box.SIMPLE_HEAD)
    for i, name in enumerate(head):
        fixed = numeric(rows, i)
        made.add_column(
            Text(name), justify="right" if fixed else "left", no_wrap=fixed, overflow="fold"
        )
    for row in rows:
        made.add_row(*map(Text, row))  # as Text: no cell is markup
    with console.capture() as captured:
        console.print(made)
    lines = captured.get().splitlines()
    return "".join(line.rstrip() + "\n" for line in lines if line.strip())
