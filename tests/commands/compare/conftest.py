"""The verb in an empty directory. Nothing here needs torch."""

from __future__ import annotations

import pytest

from tests.support.program import Program


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """In place of the one for all tests, which imports torch."""


@pytest.fixture
def compare(gentrain: Program) -> Program:
    """`compare('runs=a,b')` in an empty directory."""
    return lambda *words: gentrain("compare", *words)
