"""Checks of a data set's arguments, each of which refuses a bad value in one line."""

import os
from collections.abc import Sequence
from dataclasses import Field, fields
from types import GenericAlias
from typing import TYPE_CHECKING, Any, get_args, get_origin

from gentrain.errors import UserError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def ensure(condition: bool, message: str) -> None:
    """Raise `UserError(message)` unless the condition holds."""
    if not condition:
        raise UserError(message)


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
    for field in fields(data):
        if is_container(field):
            continue
        value = data.__dict__[field.name]
        name = field.type.__name__ if type(field.type) is type else str(field.type)
        ensure(
            has_type(value, field.type),
            f"{field.name} must be of type {name}, not {value!r} (data.{field.name}); "
            "fix the value",
        )


def is_container(field: "Field[Any]") -> bool:
    """Whether a field holds a sequence or another generic type."""
    kinds = (field.type, *get_args(field.type))
    return get_origin(field.type) is Sequence or any(
        isinstance(kind, GenericAlias) for kind in kinds
    )


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
