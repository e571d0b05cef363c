"""Capabilities: what only some models, or only some data sets, can do.

A `Capability` is a small abstract class. A model or a data set that has it inherits from it, and
whatever needs it names it. `supports` is the one place that asks, and `require` the one place that
refuses.
"""

from __future__ import annotations

from abc import ABC
from typing import Any, ClassVar

from gentrain.errors import UserError


class Capability(ABC):
    """Something that only some models or data sets can do.

    A subclass says in `what` what such an object does ("gives a likelihood"), and in `examples`
    which choices do it ("model=vae or maf"). Both are parts of the message of `require`.
    """

    what: ClassVar[str]
    examples: ClassVar[str]


def supports(thing: object, *capabilities: type[Any]) -> bool:
    """Whether a model or a data set has all of some capabilities."""
    return all(isinstance(thing, capability) for capability in capabilities)


def require(thing: object, capability: type[Capability], key: str) -> None:
    """Refuse a model that lacks a capability.

    Args:
        thing: the model.
        capability: what it must inherit from.
        key: what asks for it, as the user typed it, such as "mode=cycle".

    Raises:
        UserError: naming the key, what is missing and the choices that have it.
    """
    if not supports(thing, capability):
        raise UserError(
            f"{key} needs a model that {capability.what}, and {type(thing).__name__} is not one "
            f"({key}); choose {capability.examples}"
        )
