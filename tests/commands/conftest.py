"""The program called as the console script calls it, in this process and in a new directory."""

from __future__ import annotations

import pytest

from tests.support.program import Program


@pytest.fixture
def gentrain(program: Program) -> Program:
    return program
