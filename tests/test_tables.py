"""Tables on terminals of any width, in pipes, and in a locale of 128 characters."""

from __future__ import annotations

import io
import re

import pytest

from gentrain.tables import fitting, plain, ruled, text_table

HEAD = ["rank", "group", "final", "runs", "steps", "images/s"]
LONG = "scheme.optimizers.critic.lr=0.0003 data.batch_size=64 loss=[red]wasserstein[/red]"
ROWS = [
    ["1", LONG, "21.6 ± 0.92", "2 completed", "1000", "1,001"],
    ["2", "model=gan é", "100.9 ± 11", "2 completed, 1 diverged", "50", "-"],
]
OPTIONAL = ("steps", "images/s")


class Terminal(io.TextIOWrapper):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
def test_a_terminal_of_any_width_shows_every_character(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    text = text_table(HEAD, ROWS, OPTIONAL, Terminal(io.BytesIO(), "utf-8"))
    bare = re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert max(map(len, bare.splitlines())) <= width and bare != text
    if width >= 60:
        head = bare.splitlines()[0]
        at = head.index("group")
        cells = "".join(line[at : head.index("final") - 8] for line in bare.splitlines()[2:])
        # folded between words, or within one; a cell is no markup
        assert re.sub(r"\s", "", cells).startswith(re.sub(r"\s", "", LONG))
        assert "21.6 ± 0.92" in bare


def test_a_narrow_terminal_is_spared_the_last_of_what_is_optional() -> None:
    assert fitting(HEAD, ROWS, OPTIONAL, 200)[0] == HEAD
    assert fitting(HEAD, ROWS, OPTIONAL, 90)[0] == HEAD[:-1]
    head, rows = fitting(HEAD, ROWS, OPTIONAL, 40)
    assert head == HEAD[:-2] and rows == [row[:-2] for row in ROWS]


def test_a_pipe_has_a_line_for_each_row_however_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.setenv("FORCE_COLOR", "1")
    text = text_table(HEAD, ROWS, OPTIONAL, io.StringIO())
    assert text == plain(HEAD, ROWS) and len(text.splitlines()) == 3
    assert LONG in text and "\x1b" not in text
    assert [line.split()[0] for line in text.splitlines()] == ["rank", "1", "2"]


@pytest.mark.parametrize("kind", [Terminal, io.TextIOWrapper])
def test_a_locale_without_the_characters(
    kind: type[io.TextIOWrapper], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    text = text_table(HEAD, ROWS, OPTIONAL, kind(io.BytesIO(), "ascii"))
    assert text.isascii() and "21.6 +- 0.92" in text and "model=gan \\xe9" in text


def test_no_rows() -> None:
    assert plain(["a", "b"], []) == "a  b\n" and ruled(["a", "b"], [], 80).split()[0] == "a"
