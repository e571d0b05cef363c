"""Check a configuration against the constructors that it names."""

from __future__ import annotations

import difflib
import inspect
import typing
from typing import Any

from gentrain.errors import UserError

# what a configuration may construct: never a name that came from elsewhere (FACTS: Hydra's own list is no boundary)
ALLOWED = ("gentrain.", "torch.optim.", "torch.nn.", "lightning.")


RESERVED = {"_target_", "_partial_", "_convert_", "_recursive_", "_args_"}


HANDED_IN = {"scheme.model"}  # arguments that train.py gives, not the configuration


def check(config: dict[str, Any]) -> dict[str, Any]:
    """The same configuration with every constructor's arguments checked, and coerced to their annotated types.

    Raises UserError for an unknown key, a missing one, a wrong type, a value out of range, a target that is not allowed.
    """
    check_run(config)
    # the choices first, so that a mistake is reported under the name that was typed and not where it is used
    first = {
        key: checked(config[key], key)
        for key in ("loss", "lipschitz", "tricks", "likelihood", "content", "pixels")
        if key in config
    }
    return first | {key: checked(node, key) for key, node in config.items() if key not in first}


def check_run(config: dict[str, Any]) -> None:
    """The numbers at the top, which need no constructor and so no import of torch."""
    if config["steps"] < 1:
        raise UserError(f"a run of {config['steps']} steps (steps); give 1 or more")
    if not 0 <= config["seed"] < 2**32:
        raise UserError(
            f"seed {config['seed']} is out of range (seed); give 0 to 4294967295, or null to draw one"
        )


def checked(node: Any, path: str) -> Any:
    if isinstance(node, list):
        return [checked(item, f"{path}.{i}") for i, item in enumerate(node)]
    if not isinstance(node, dict):
        return node
    node = {key: checked(value, f"{path}.{key}") for key, value in node.items()}
    return arguments(node, path) if "_target_" in node else node


def arguments(node: dict[str, Any], path: str) -> dict[str, Any]:
    """Check one constructor's node against its signature."""
    target, partial = locate(node["_target_"], path), node.get("_partial_", False)
    given = {key: value for key, value in node.items() if key not in RESERVED}
    parameters = signature(target)
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        for key in given.keys() - parameters.keys():
            raise UserError(f"no option {key} ({path}.{key}){nearest(key, parameters)}")
    named = {
        name: p
        for name, p in parameters.items()
        if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)
    }
    required = {
        name
        for name, p in named.items()
        if p.default is p.empty and f"{path}.{name}" not in HANDED_IN
    }
    if not partial and (missing := sorted(required - given.keys())):
        raise UserError(
            f"no value for {missing[0]} ({path}.{missing[0]}); give it on the command line"
        )
    if node["_target_"].startswith("torch.optim.") and "lr" in given:
        check_optimizer(target, given, path)
    hints = annotated(target)
    return node | {
        key: coerced(value, hints[key], f"{path}.{key}")
        for key, value in given.items()
        if key in hints
    }


def check_optimizer(target: Any, given: dict[str, Any], path: str) -> None:
    """torch judges the numbers of an optimizer only when it has parameters: here, one that nobody trains."""
    import torch

    from gentrain.config.types import Positive

    coerced(given["lr"], Positive, f"{path}.lr")
    try:
        target([torch.nn.Parameter(torch.zeros(1))], **given)
    except (ValueError, TypeError) as error:
        raise UserError(f"{error} ({path}); mend the value") from error


def locate(name: str, path: str) -> Any:
    if not name.startswith(ALLOWED):
        raise UserError(
            f"{name} may not be constructed from a configuration ({path}._target_); only {', '.join(ALLOWED)}* may"
        )
    from hydra.utils import get_object

    try:
        found = get_object(name)
    except Exception as error:
        raise UserError(
            f"{name} does not exist ({path}._target_); {str(error).splitlines()[0]}"
        ) from error
    home = f"{getattr(found, '__module__', None)}."
    if not home.startswith(ALLOWED):  # gentrain.runs.directory.os.system is os.system
        raise UserError(
            f"{name} may not be constructed from a configuration ({path}._target_); it is no part of {', '.join(ALLOWED)}*"
        )
    return found


def signature(target: Any) -> dict[str, inspect.Parameter]:
    return {name: p for name, p in inspect.signature(target).parameters.items() if name != "self"}


def annotated(target: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(
            target.__init__ if inspect.isclass(target) else target, include_extras=True
        )
    except (
        NameError,
        TypeError,
        AttributeError,
    ):  # a library's forward references; its own checks must do
        return {}


def coerced(value: Any, hint: Any, path: str) -> Any:
    """A plain value as its annotated type; what will be an object is left to its own node."""
    if has_target(value):
        return value
    from pydantic import ConfigDict, PydanticSchemaGenerationError, TypeAdapter, ValidationError

    try:
        try:
            adapter: TypeAdapter[Any] = TypeAdapter(
                hint, config=ConfigDict(arbitrary_types_allowed=True)
            )
        except PydanticSchemaGenerationError:
            return value
        return adapter.validate_python(value)
    except ValidationError as error:
        raise UserError(
            f"{expectation(error.errors()[0]['msg'])}, not {value!r} ({path}); mend the value"
        ) from error


def expectation(message: str) -> str:
    """pydantic's 'Input should be a valid integer, unable to parse string as an integer' -> 'expected a valid integer'."""
    return message.split(", unable to parse")[0].replace("Input should be", "expected", 1)


def has_target(value: Any) -> bool:
    if isinstance(value, dict):
        return "_target_" in value or any(map(has_target, value.values()))
    return isinstance(value, list) and any(map(has_target, value))


def nearest(word: str, known: typing.Iterable[str]) -> str:
    """A hint, or nothing: '; did you mean x or y?'"""
    close = difflib.get_close_matches(word, list(known), n=3, cutoff=0.5)
    return (
        f"; did you mean {' or '.join(close)}?"
        if close
        else f"; there are {', '.join(sorted(known))}"
    )
