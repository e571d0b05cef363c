"""A class with some of its options, still to be built: what `_partial_: true` makes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

from gentrain.config.validate import dotted, locate
from gentrain.errors import UserError

T = TypeVar("T")


class Factory(Generic[T]):
    """A class with options, as `functools.partial`; a call with the others builds it.

    A call never replaces an option of a configuration: both would be given, and one be lost.

    Args:
        func: the class, or a function that builds an object.
        keywords: its options.
    """

    def __init__(self, func: Callable[..., T], /, **keywords: Any) -> None:
        self.func, self.keywords = func, keywords
        self.path: str | None = None  # the key of its node in a configuration

    def __call__(self, /, *args: Any, **more: Any) -> T:
        """Build the object.

        Raises:
            UserError: for an option of the configuration that the caller gives as well.
        """
        if self.path is not None:
            passed = [*inspect.signature(self.func).parameters][: len(args)] if args else []
            refuse_given(self.keywords, [*passed, *more], self.path, dotted(self.func))
        return self.func(*args, **self.keywords | more)

    def replaced(self, **options: Any) -> Factory[T]:
        """The same class with more options, or others in place of these."""
        other = Factory(self.func, **self.keywords | options)
        other.path = self.path
        return other


def factory(name: str, path: str, /, **options: Any) -> Factory[Any]:
    """The factory of the class called `name`, from a node with the key `path`."""
    made = Factory(locate(name, path), **options)
    made.path = path
    return made


def refuse_given(options: Iterable[str], passed: Iterable[str], path: str, name: str) -> None:
    """Refuse options of a configuration that the program passes itself."""
    if both := sorted({*options} & {*passed}):
        key = both[0]
        raise UserError(f"{name} gets its {key} from the program ({path}.{key}); leave it out")
