"""Every command in a header of conf/ composes, and its options are valid."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from gentrain.config import validate
from tests.support.compose import composed
from tests.support.paths import CONF

PLACEHOLDERS = {"model.start=RUN", "resume=auto"}


def commands(file: Path) -> list[list[str]]:
    """Lines of a header that begin with `gentrain`, with what continues them."""
    found: list[str] = []
    goes_on = False  # lines that continue a command follow it at once
    for line in file.read_text().splitlines():
        goes_on = goes_on and line.startswith("#     ")
        if line.startswith("#   gentrain "):
            found.append(line.removeprefix("#   gentrain "))
            goes_on = True
        elif goes_on:
            found[-1] += line.removeprefix("#    ")
    return [shlex.split(line) for line in found]


CASES = [
    pytest.param(words, id=f"{file.parent.name}/{file.stem}-{i}")
    for file in sorted(CONF.rglob("*.yaml"))
    for i, words in enumerate(commands(file))
    if words[0] not in ("sample", "eval", "export", "compare", "doctor", "-m")
]


def test_headers_have_commands() -> None:
    assert len(CASES) > 60


@pytest.mark.parametrize("words", CASES)
def test_a_documented_command_composes(words: list[str]) -> None:
    checked = composed(*(word for word in words if word not in PLACEHOLDERS))
    checked.pop("callbacks", None)
    validate.check(checked)
