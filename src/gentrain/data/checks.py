"""Checks of a data set's arguments, each of which refuses a bad value in one line."""

import os
from collections.abc import Sequence
from dataclasses import fields
from types import GenericAlias
from typing import TYPE_CHECKING, Any, get_args, get_origin, get_type_hints

from gentrain.errors import UserError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def ensure(condition: bool, message: str) -> None:
    """Raise `UserError(message)` unless the condition holds."""
    if not condition:
        raise UserError(message)


def check_drawn_split(test: float, draw_seed: int) -> None:
    """Check how a test split is drawn from data that come without one."""
    ensure(
        0 < test < 1,
        f"test is a share above 0 and below 1, not {test!r} (data.test); e.g. 0.1",
    )
    ensure(
        is_count(draw_seed, 0),
        f"draw_seed must be a whole number >= 0, not {draw_seed!r} (data.draw_seed); e.g. 0",
    )


def is_count(value: object, least: int = 1) -> bool:
    """Whether a value is a whole number of at least `least`; True and False are not numbers.

    >>> is_count(3), is_count(0), is_count(True), is_count(2.0)
    (True, False, False, False)
    """
    match value:
        case bool():
            return False
        case int():
            return value >= least
        case _:
            return False


def check_types(data: "DataclassInstance") -> None:
    """Refuse a field whose value has another type than its annotation.

    Fields of lists, tuples and dicts are checked where they are used.

    Raises:
        UserError: naming the field, its type and the value.
    """
    kinds = get_type_hints(type(data))  # also where annotations are kept as strings
    for field in fields(data):
        kind = kinds[field.name]
        if is_container(kind):
            continue
        value = data.__dict__[field.name]
        name = kind.__name__ if type(kind) is type else str(kind)
        ensure(
            has_type(value, kind),
            f"{field.name} must be of type {name}, not {value!r} (data.{field.name}); "
            "fix the value",
        )


def is_container(kind: Any) -> bool:
    """Whether a type is that of a sequence or another generic one."""
    parts = (kind, *get_args(kind))
    return get_origin(kind) is Sequence or any(isinstance(part, GenericAlias) for part in parts)


def has_type(value: object, kind: Any) -> bool:
    """Whether a value has a type; an int is a float too, and a bool is no int."""
    if value is True or value is False:
        return kind not in (int, float, int | None) and isinstance(value, kind)
    return isinstance(value, kind | int if kind is float else kind)


def cores() -> int:
    """The number of CPU cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        return os.cpu_count() or 1
