"""Arguments of the Python API: each is converted to the type that the signature declares."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def checked(method: Callable[P, R]) -> Callable[P, R]:
    """A function that converts its arguments to their annotated types before it begins.

    The types are those of `gentrain.api.types`, which is imported with the first call: it needs
    torch. An argument without a type of that module is passed as it is.

    Raises:
        UserError: for an argument of another type, or out of range.
    """
    signature = inspect.signature(method)

    @functools.wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        bound = signature.bind(*args, **kwargs)
        hints = argument_types(method)
        for name in bound.arguments.keys() & hints.keys():
            if bound.arguments[name] is not signature.parameters[name].default:
                bound.arguments[name] = given(bound.arguments[name], hints[name], name)
        return method(*bound.args, **bound.kwargs)

    return call


@functools.cache
def argument_types(method: Callable[..., Any]) -> dict[str, Any]:
    """The types of a function's arguments, as far as `gentrain.api.types` has them."""
    from gentrain.api import types

    known = vars(types)
    words = {
        name: word
        for name, word in method.__annotations__.items()
        if name != "return" and word.split(" | ")[0] in known
    }
    holder = type("Arguments", (), {"__annotations__": words})
    return typing.get_type_hints(holder, globalns=known, include_extras=True)


def given(value: Any, hint: Any, name: str) -> Any:
    """An argument as a type says.

    >>> from gentrain.api.types import Count
    >>> given("3", Count, "n")
    Traceback (most recent call last):
    gentrain.errors.UserError: expected a valid integer, not '3' (n); give a whole number from 1 \
to 1,000,000,000
    """
    from gentrain.config.validate import coerced

    return coerced(value, hint, name, remedy=f"give {description(hint)}")


def description(hint: Any) -> str:
    """What a type of `gentrain.api.types` takes, in words; None is not named."""
    from pydantic.fields import FieldInfo

    for part in (hint, *typing.get_args(hint)):
        for field in typing.get_args(part):
            match field:
                case FieldInfo(description=str(words)):
                    return words
    return "another value"
