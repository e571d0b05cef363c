"""Arguments of the Python API: types and ranges as on the command line."""

from __future__ import annotations

from typing import Any


def given(value: Any, hint: Any, name: str) -> Any:
    """An argument, after a look at its type and its range.

    >>> from gentrain.config.types import Count
    >>> given(0, Count, "n")
    Traceback (most recent call last):
    gentrain.errors.UserError: expected greater than or equal to 1, not 0 (n); mend the value
    """
    from gentrain.config.validate import coerced

    return coerced(value, hint, name)
