"""Build objects from checked configuration nodes."""

from __future__ import annotations

from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import OmegaConf

from gentrain.config.factory import factory, refuse_given
from gentrain.config.plugins import place_in
from gentrain.config.validate import dotted, has_target
from gentrain.errors import UserError


def with_factories(node: Any, path: str) -> Any:
    """The node, in which every `_partial_: true` below makes a `Factory` that knows its key."""
    match node:
        case list():
            return [with_factories(item, f"{path}.{i}") for i, item in enumerate(node)]
        case dict() if has_target(node):
            node = {key: with_factories(value, f"{path}.{key}") for key, value in node.items()}
            if node.pop("_partial_", False):
                place = f"{factory.__module__}.{factory.__name__}"
                node |= {"_target_": place, "_args_": [node["_target_"], path]}
    return node


def build(node: Any, path: str, kind: type = object, /, **extra: Any) -> Any:
    """Construct what a node names; the only place that calls Hydra's `instantiate`.

    Args:
        node: a configuration with a `_target_`, and its arguments.
        path: the key of the node, such as "model"; part of the message of an error.
        kind: the class that the object must be of.
        extra: arguments that the configuration cannot give, such as a built model.

    Raises:
        UserError: where the configuration gives one of `extra`, the constructor refuses its
            arguments, a class lacks a method, or the object is of another kind.
    """
    if extra:
        refuse_given(node, extra, path, node["_target_"])
    node = with_factories(node, path)
    try:
        built = instantiate(OmegaConf.create(node), _convert_="all", **extra)
    except InstantiationException as error:
        match error.__cause__ or error:
            case UserError() as refusal:
                raise refusal from None
            case (ValueError() | TypeError() | RuntimeError()) as cause:
                pass
            # Lightning's MisconfigurationException, without an import of Lightning
            case cause if "Misconfiguration" in type(cause).__name__:
                pass
            case cause if place_in(cause):
                pass
            case _:
                raise
        message = " ".join(str(cause).split())
        if (place := place_in(cause)) is not None:
            what = f"{type(cause).__name__}: {message}, in {place}"
            raise UserError(f"{what} ({path}); mend it there") from error
        remedy = "; define it" if "abstract" in message else ""
        raise UserError(f"{message} ({path}){remedy}") from error
    if not isinstance(built, kind):
        base = f"{kind.__module__}.{kind.__name__}"
        raise UserError(
            f"{dotted(type(built))} is no {kind.__name__} ({path}); inherit from {base}"
        )
    return built
