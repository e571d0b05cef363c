"""Check a configuration against the constructors that it names."""

from __future__ import annotations

import difflib
import inspect
import logging
import sys
import types
import typing
from collections.abc import Iterable
from inspect import Parameter
from typing import Any

from gentrain.config import paths, plugins
from gentrain.errors import UserError

# What a configuration may construct. The module of the class itself is checked as well:
# gentrain.runs.directory.os.system begins with "gentrain.", and is os.system.
ALLOWED = ("gentrain.", "torch.optim.", "torch.nn.", "lightning.")

# Hydra's own keys beside a constructor's arguments
OF_NETWORKS = {"generator", "critic", "encoder", "decoder", "network"}  # keys of conf/network
RESERVED = {"_target_", "_partial_", "_convert_", "_recursive_", "_args_"}

# what the class of a key must inherit from
KINDS = {
    "data": "gentrain.data.base.Data",
    "model": "gentrain.models.base.GenerativeModel",
    "quality": "gentrain.quality.base.Metric",
}

# Keys whose classes are Lightning's, or inherit from its classes. Lightning takes longer to import
# than torch.
OF_LIGHTNING = {"scheme", "trainer", "callbacks", "samples", "checkpoint", "logger"}

PRECISIONS = ("auto", "32-true", "64-true", "bf16-mixed", "16-mixed")

# arguments that training.job passes, and that no configuration gives
PASSED_BY_JOB = {"scheme.model"}

# Checked before the rest, so that a mistake is reported under the name that was typed and not
# where the choice is used, such as model.loss.
CHOICES = ("loss", "lipschitz", "tricks", "likelihood", "content", "pixels")


# where a value of the data is missing that the model needs
REMEDIES = {"model.classes": "this model needs labels: give data.classes=N, or choose other data"}


def check(config: dict[str, Any]) -> dict[str, Any]:
    """Check a whole configuration.

    Args:
        config: plain containers, resolved.

    Returns:
        The same configuration, with every constructor argument converted to its annotated type.

    Raises:
        UserError: for an unknown key, a missing one, a wrong type, a value out of range, or a
            target that may not be constructed.
    """
    check_run(config)
    return check_nodes(config)


def check_before_lightning(config: dict[str, Any]) -> None:
    """Check what needs torch and not Lightning: data, model and scores; see `check`."""
    check_nodes({key: node for key, node in config.items() if key not in OF_LIGHTNING})


def check_nodes(config: dict[str, Any]) -> dict[str, Any]:
    """Check some keys of a configuration, or all, against what they name; see `check`."""
    refuse_nameless(config)
    for key, kind in KINDS.items():
        if key in config:
            refuse_other_kind(config[key], locate(kind, key), key)
    first = {key: checked(config[key], key) for key in CHOICES if key in config}
    return first | {key: checked(node, key) for key, node in config.items() if key not in first}


# what is built in every training
BUILT = ("data", "model", "scheme", "trainer", "logger", "quality", "samples", "checkpoint")


def refuse_nameless(config: dict[str, Any]) -> None:
    """Refuse a part of a training whose node names no class."""
    parts = {key: config[key] for key in BUILT if key in config}
    parts |= {f"callbacks.{key}": node for key, node in config.get("callbacks", {}).items()}
    for key, node in parts.items():
        named = isinstance(node, dict) and "_target_" in node
        if not named and not (node is None and key.startswith("callbacks.")):
            raise UserError(
                f"nothing says what is built here ({key}); add the line _target_: MODULE.CLASS "
                f"to the YAML of {key.partition('.')[0]}="
            )


def check_run(config: dict[str, Any]) -> None:
    """Check what needs no constructor, and so no import of torch.

    Raises:
        UserError: for a number out of range, or an unknown precision.
    """
    if config["steps"] < 1:
        raise UserError(f"a run of {config['steps']} steps (steps); give 1 or more")
    match config:
        case {"trainer": {"precision": precision}} if precision not in PRECISIONS:
            raise UserError(
                f"precision {precision} is not one of {', '.join(PRECISIONS)} (trainer.precision); "
                "in weights of 16 bits small updates are lost: use bf16-mixed"
            )
    check_seed(config["seed"], ", or null to draw one")


def check_seed(seed: int, more: str = "") -> None:
    """Refuse a seed that torch or NumPy would not take.

    Args:
        seed: from 0 to 2**32 - 1.
        more: what else may be given; the end of the message.

    Raises:
        UserError: for any other number.
    """
    if not 0 <= seed < 2**32:
        raise UserError(f"seed {seed} is out of range (seed); give 0 to {2**32 - 1}{more}")


def checked(node: Any, path: str) -> Any:
    """Check one node and all below it; see `check`.

    Args:
        node: any value of a configuration.
        path: its dotted key; part of the message of an error.
    """
    match node:
        case list():
            return [checked(item, f"{path}.{i}") for i, item in enumerate(node)]
        case dict():
            refuse_other_kinds(node, path)
            node = {key: checked(value, f"{path}.{key}") for key, value in node.items()}
            return arguments(node, path) if "_target_" in node else node
    return node


def arguments(node: dict[str, Any], path: str) -> dict[str, Any]:
    """Check one constructor's arguments against its signature."""
    target, partial = locate(node["_target_"], path), node.get("_partial_", False)
    given = {key: value for key, value in node.items() if key not in RESERVED}
    parameters = signature(target)
    if not any(p.kind is Parameter.VAR_KEYWORD for p in parameters.values()):
        for key in sorted(given.keys() - parameters.keys()):
            if path == "model" and key in OF_NETWORKS:
                raise UserError(
                    f"this network has a part {key!r}, which this model does not take (network); "
                    "choose another network="
                )
            raise UserError(f"no option {key} ({path}.{key}){nearest(key, parameters)}")
    missing = sorted(required(parameters, path) - given.keys())
    if missing and not partial:
        refuse_missing(missing, node["_target_"], path)
    if plugins.provides(node["_target_"]):
        refuse_unfinished(target, path)
    if node["_target_"].startswith("torch.optim.") and "lr" in given:
        check_optimizer(target, given, path)
    hints = argument_types(target)
    return node | {
        key: coerced(value, hints[key], f"{path}.{key}")
        for key, value in given.items()
        if key in hints
    }


def refuse_missing(missing: list[str], target: str, path: str) -> None:
    """Refuse a constructor without the values that it needs; of a user's class with its YAML."""
    key, file = missing[0], paths.file_naming(target, missing[0])
    if file is None:
        raise UserError(f"no value for {key} ({path}.{key}); give it on the command line")
    raise UserError(
        f"{target} needs values for {', '.join(missing)} ({path}.{key}); add the line "
        f"{key}: ... to {file}"
    )


def refuse_unfinished(target: Any, path: str) -> None:
    """Refuse a user's module whose constructor does not call that of its base class.

    Its parameters could not be found, and what the base class sets would be missing.
    """
    from torch import nn

    if not (inspect.isclass(target) and issubclass(target, nn.Module)):
        return
    owner = next(each for each in target.__mro__ if "__init__" in vars(each))
    constructor = inspect.unwrap(vars(owner)["__init__"])
    if (
        plugins.provides(owner.__module__)
        and inspect.isfunction(constructor)
        and "__init__" not in constructor.__code__.co_names
    ):
        place = f"{constructor.__code__.co_filename}:{constructor.__code__.co_firstlineno}"
        raise UserError(
            f"the constructor of {dotted(target)} does not call super().__init__(...), in {place} "
            f"({path.removeprefix('model.criterion.')}); make that its first line"
        )


def refuse_other_kinds(node: dict[str, Any], path: str) -> None:
    """Refuse arguments of a constructor whose classes are none that it takes."""
    if "_target_" in node:
        hints = argument_types(locate(node["_target_"], path))
        for key in node.keys() & hints.keys():
            refuse_other_kind(node[key], hints[key], f"{path}.{key}")


def refuse_other_kind(value: Any, hint: Any, path: str) -> None:
    """Refuse a `_target_` whose class is none that the argument takes.

    Only classes are compared: a function is left to its caller. With `_partial_`, the class is
    compared with what the argument makes: X of `partial[X]` or of `Callable[..., X]`.
    """
    if not isinstance(value, dict):
        return
    path = path.removeprefix("model.criterion.")  # of loss, lipschitz and tricks
    named = next(
        (
            typing.get_args(each)[1]
            for each in alternatives_of(hint)
            if typing.get_origin(each) is dict
        ),
        None,
    )
    if "_target_" not in value:
        for name, each in value.items() if named else ():
            refuse_other_kind(each, named, f"{path}.{name}")
        return
    if named:
        raise UserError(
            f"{value['_target_']} stands where names are expected ({path}); put it one level "
            f"deeper, below its name: {path.rpartition('.')[2]}: {{my_name: {{_target_: ...}}}}"
        )
    target, partial = locate(value["_target_"], path), value.get("_partial_", False)
    if not partial and inspect.isclass(target) and issubclass(target, kinds_of(hint, True)):
        raise UserError(
            f"{dotted(target)} is built later, by what takes it ({path}); "
            "write _partial_: true below its _target_"
        )
    kinds = kinds_of(hint, partial)
    if inspect.isclass(target) and kinds and not issubclass(target, kinds):
        words = " or ".join(kind.__name__ for kind in kinds)
        bases = " or ".join(f"{kind.__module__}.{kind.__name__}" for kind in kinds)
        raise UserError(f"{dotted(target)} is no {words} ({path}); inherit from {bases}")


def kinds_of(hint: Any, partial: bool) -> tuple[type, ...]:
    """The classes of which an argument of some type takes objects; none where any will do.

    Args:
        hint: the annotated type.
        partial: the argument gets a factory, and the classes are those of what it makes.
    """
    alternatives = alternatives_of(hint)
    if partial:
        made = [typing.get_args(each)[-1] for each in alternatives if typing.get_args(each)]
        alternatives = [kind for each in made for kind in alternatives_of(each)]
    elif any("Callable" in str(each) for each in alternatives):
        return ()
    kinds = [kind for kind in alternatives if inspect.isclass(kind) and kind is not type(None)]
    return tuple(kind for kind in kinds if kind.__module__ != "typing")


def alternatives_of(hint: Any) -> list[Any]:
    """The parts of a union; any other type is its only part."""
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return list(typing.get_args(hint)) if union else [hint]


def dotted(target: Any) -> str:
    """The name of a class or a function, with its module."""
    return f"{target.__module__}.{target.__qualname__}"


def required(parameters: dict[str, Parameter], path: str) -> set[str]:
    """The arguments without a default that the configuration has to give."""
    named = (Parameter.KEYWORD_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    return {
        name
        for name, p in parameters.items()
        if p.kind in named and p.default is p.empty and f"{path}.{name}" not in PASSED_BY_JOB
    }


def check_optimizer(target: Any, given: dict[str, Any], path: str) -> None:
    """Check an optimizer's numbers by making one for a parameter that is not trained.

    torch checks them only in the constructor, which needs parameters.
    """
    import torch

    from gentrain.config.types import Positive

    coerced(given["lr"], Positive, f"{path}.lr")
    if "params" in given:
        name = dotted(target)
        raise UserError(f"{name} gets its params from the program ({path}.params); leave it out")
    try:
        target([torch.nn.Parameter(torch.zeros(1))], **given)
    except (ValueError, TypeError) as error:
        raise UserError(f"{error} ({path}); mend the value") from error


def locate(name: str, path: str) -> Any:
    """The class or function of a `_target_`.

    Raises:
        UserError: where it does not exist, or may not be constructed.
    """
    refusal = f"{name} may not be constructed from a configuration ({path}._target_)"
    if not (name.startswith(ALLOWED) or plugins.provides(name)):
        raise UserError(
            f"{refusal}; only {', '.join(ALLOWED)}* may, and classes of yours with "
            f"plugins=[{name.rpartition('.')[0] or 'MODULE'}]"
        )
    from hydra.utils import get_object

    logging.getLogger("hydra.utils").disabled = True  # the error is said in one line, below
    try:
        found = get_object(name)
    except Exception as error:
        module, _, wanted = name.rpartition(".")
        there = vars(sys.modules[module]) if module in sys.modules else {}
        classes = [each for each, value in there.items() if inspect.isclass(value)]
        reason = nearest(wanted, classes) if classes else f"; {str(error).splitlines()[-1]}"
        raise UserError(f"{name} does not exist ({path}._target_){reason}") from error
    if inspect.ismodule(found):
        raise UserError(
            f"{name} is a module ({path}._target_); name a class of it, such as {name}.MyClass"
        )
    home = str(getattr(found, "__module__", None))
    if not (f"{home}.".startswith(ALLOWED) or plugins.provides(home)):
        raise UserError(f"{refusal}; it is no part of {', '.join(ALLOWED)}*")
    return found


def signature(target: Any) -> dict[str, Parameter]:
    """The parameters of a constructor or a function, by name."""
    return {name: p for name, p in inspect.signature(target).parameters.items() if name != "self"}


def argument_types(target: Any) -> dict[str, Any]:
    """The annotated types of a constructor's or a function's arguments.

    Empty where they cannot be evaluated: a library's forward references, say. The library's own
    checks have to do there.
    """
    function = target.__init__ if inspect.isclass(target) else target
    try:
        return typing.get_type_hints(function, include_extras=True)
    except (NameError, TypeError, AttributeError):
        return {}


def coerced(value: Any, hint: Any, path: str, remedy: str = "mend the value") -> Any:
    """A plain value as its annotated type; a node with a `_target_` is left as it is.

    Args:
        value: what was given.
        hint: the type.
        path: the dotted key or the argument, for the message.
        remedy: what to do; the end of the message.

    Raises:
        UserError: for a value of another type, or out of range.
    """
    if has_target(value):
        return value
    from pydantic import ConfigDict, PydanticSchemaGenerationError, TypeAdapter, ValidationError

    try:
        config = ConfigDict(arbitrary_types_allowed=True)
        adapter: TypeAdapter[Any] = TypeAdapter(hint, config=config)
    except PydanticSchemaGenerationError:
        return value
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "is_instance_of" and isinstance(value, dict):
            where = ".".join([path.removeprefix("model.criterion."), *map(str, first["loc"])])
            raise UserError(
                f"nothing says what is built here ({where}); add the line _target_: MODULE.CLASS "
                f"of {first['ctx']['class']} to its YAML"
            ) from error
        expected = expectation(first["msg"])
        remedy = REMEDIES.get(path, remedy) if value is None else of_type(hint) or remedy
        path = path.removeprefix("model.criterion.")  # of loss, lipschitz and tricks
        raise UserError(f"{expected}, not {shown(value)} ({path}); {remedy}") from error


def of_type(hint: Any) -> str:
    """What a type asks for by its description; empty where it has none.

    >>> from gentrain.config.types import Count, Size
    >>> of_type(Size | None), of_type(Count)
    ('give a side, or [HEIGHT,WIDTH]', '')
    """
    from pydantic.fields import FieldInfo

    for part in [one for each in alternatives_of(hint) for one in typing.get_args(each)]:
        match part:
            case FieldInfo(description=str(words)):
                return f"give {words}"
    return ""


def expectation(message: str) -> str:
    """pydantic's message, shorter.

    >>> expectation("Input should be a valid integer, unable to parse string as an integer")
    'expected a valid integer'
    """
    message = message.removeprefix("Value error, ").split(", unable to parse")[0]
    return message.replace("Input should be", "expected", 1)


LONGEST = 60  # characters of a value in a message


def shown(value: Any) -> str:
    """A value in one line.

    >>> shown("3"), len(shown(list(range(1000))))
    ("'3'", 60)
    """
    text = " ".join(repr(value).split())
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 4]} ..."


def has_target(value: Any) -> bool:
    """Whether an object is to be constructed anywhere in a value."""
    match value:
        case dict():
            return "_target_" in value or any(map(has_target, value.values()))
        case list():
            return any(map(has_target, value))
    return False


SHOWN = 40  # words of a list in a message


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint for a word that is not known: the words that look like it, or all of them.

    >>> nearest("modle", ["model", "data"])
    '; did you mean model?'
    """
    known = list(dict.fromkeys(known))
    if close := difflib.get_close_matches(word, known, n=3, cutoff=0.5):
        return f"; did you mean {' or '.join(close)}?"
    more = f" and {len(known) - SHOWN} more" if len(known) > SHOWN else ""
    return f"; there are {', '.join(sorted(known)[:SHOWN])}{more}" if known else "; it takes none"
