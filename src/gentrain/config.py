"""The root of every run, and the check of a configuration against the constructors that it names."""

from __future__ import annotations

import difflib
import inspect
import math
import secrets
import typing
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from .errors import UserError

# what a configuration may construct: never a name that came from elsewhere (FACTS: Hydra's own list is no boundary)
ALLOWED = ("gentrain.", "torch.optim.", "torch.nn.", "lightning.")
RESERVED = {"_target_", "_partial_", "_convert_", "_recursive_", "_args_"}
HANDED_IN = {"scheme.model"}  # arguments that train.py gives, not the configuration


@dataclass
class Sweep:
    """A multirun lives in outputs/sweeps/<name>/."""

    name: str = "${now:%Y-%m-%d_%H-%M-%S}"
    cell: str | None = None  # of the run; the driver of the sweep gives it
    trials: int = 20  # of a study
    leave_one_out: bool = False  # of tricks=[...]
    rerun: list[str] = field(default_factory=lambda: ["failed"])  # what is tried again when the sweep is started again; also: diverged


@dataclass
class Cluster:
    """Where the cells of a multirun are trained, and with what."""

    jobs: int = 1  # cells at a time
    warm: bool = True  # cells are forked from a process that has imported torch once
    hours: float = 4.0  # of one cell, before it saves and queues again
    gpus: int | None = None  # of SLURM a node's, of Ray a cell's; of this machine, how many to share out, one a cell
    cpus: int = 1  # a process
    memory: int | None = None  # GB a node
    nodes: int = 1
    tasks: int = 1  # processes a node; with trainer=ddp, trainer.devices
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    setup: list[str] | None = None  # shell commands before the cell


@dataclass
class Run:
    """The keys allowed at the top of a configuration; anything else is a typo."""

    steps: int = MISSING  # generator updates (updates of the one player, where there is one)
    seed: int | None = 0  # null draws one and records it
    resume: str | None = None  # auto | a run directory | a checkpoint
    force: bool = False  # resume as something else: another loss, rate or seed
    compile: bool = False
    debug: bool = False  # tracebacks for mistakes too
    data: Any = MISSING
    model: Any = MISSING
    scheme: Any = MISSING
    trainer: Any = MISSING
    logger: Any = MISSING
    quality: Any = MISSING
    samples: Any = MISSING
    checkpoint: Any = MISSING
    callbacks: dict[str, Any] = field(default_factory=dict)
    loss: Any = None
    lipschitz: Any = None
    likelihood: Any = None
    content: Any = None
    pixels: Any = None
    tricks: dict[str, Any] = field(default_factory=dict)
    sweep: Sweep = field(default_factory=Sweep)
    cluster: Cluster = field(default_factory=Cluster)
    seeds: int | None = None  # a multirun of so many seeds, from `seed` on
    probe: bool = False  # measure what a sweep will cost before it starts


class Saved(Enum):
    """Which checkpoint of a finished run."""

    last = 1
    best = 2


class Keep(Enum):
    """How images are kept beside the pictures."""

    npz = 1
    folder = 2
    none = 3


class Device(Enum):
    auto = 1
    cpu = 2
    cuda = 3


@dataclass
class Finished:
    """The keys of a verb that looks at a finished run."""

    run: str = MISSING
    checkpoint: Saved = Saved.last
    averaged: bool = True
    out: str | None = None
    debug: bool = False


@dataclass
class Export(Finished):
    onnx: bool = True


class Order(Enum):
    auto = 1
    ascending = 2
    descending = 3


@dataclass
class Compare:
    """The keys of the verb that looks at many runs."""

    runs: Any = MISSING
    sort: str = "auto"
    order: Order = Order.auto
    across: list[str] = field(default_factory=list)
    out: str | None = None
    page: bool = True
    picture_pixels: int = 256
    picture_megabytes: float = 16
    debug: bool = False


class Split(Enum):
    test = 1
    train = 2


@dataclass
class Evaluate(Finished):
    images: int | None = None
    importance: int = 100
    batch_size: int | None = None
    split: Split = Split.test
    seed: int = 0
    device: Device = Device.auto


@dataclass
class Sample(Finished):
    seed: int = 0
    labels: list[int] | None = None
    domain: str | None = None
    source: str | None = None
    save: Keep = Keep.npz
    device: Device = Device.auto
    n: int | None = None  # the mode's own number, where it has one
    mode: Any = MISSING


def register() -> None:
    """Make the schema known to Hydra."""
    # Hydra copies its sources, this singleton with them, at each look into a group: half the time of --help
    ConfigStore.__deepcopy__ = lambda self, memo: self  # type: ignore[attr-defined]
    schemas = {"": Run, "sample_": Sample, "export_": Export, "eval_": Evaluate, "compare_": Compare}
    for verb, node in schemas.items():
        ConfigStore.instance().store(name=f"{verb}schema", node=node)
    # two runs that start in the same second get two directories
    OmegaConf.register_new_resolver("minutes", lambda hours: math.ceil(60 * hours), replace=True)
    OmegaConf.register_new_resolver("unique", lambda: secrets.token_hex(2), use_cache=True, replace=True)
    resolvers()


def resolvers() -> None:
    """What our configurations compute, those of finished runs included."""
    OmegaConf.register_new_resolver("degraded", degraded, replace=True)


def degraded(shape: list[int], degrade: str | None) -> list[int] | None:
    """The shape of what `data.degrade` leaves of an image; the import of torch is for those who ask."""
    if degrade is None:
        return None
    from .data.degrade import source_shape

    return source_shape(tuple(shape), degrade)


def resolved(cfg: DictConfig) -> dict[str, Any]:
    """Plain containers, every interpolation replaced by its value."""
    try:
        return OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)  # type: ignore[return-value]
    except MissingMandatoryValue as error:
        key = error.full_key
        raise UserError(f"no value for {key} ({key}); give it a value, {key}=...") from error
    except OmegaConfBaseException as error:
        raise UserError(f"{str(error).splitlines()[0]} ({error.full_key}); give it a value on the command line") from error


def check(config: dict[str, Any]) -> dict[str, Any]:
    """The same configuration with every constructor's arguments checked, and coerced to their annotated types.

    Raises UserError for an unknown key, a missing one, a wrong type, a value out of range, a target that is not allowed.
    """
    check_run(config)
    # the choices first, so that a mistake is reported under the name that was typed and not where it is used
    first = {key: checked(config[key], key) for key in ("loss", "lipschitz", "tricks", "likelihood", "content", "pixels") if key in config}
    return first | {key: checked(node, key) for key, node in config.items() if key not in first}


def check_run(config: dict[str, Any]) -> None:
    """The numbers at the top, which need no constructor and so no import of torch."""
    if config["steps"] < 1:
        raise UserError(f"a run of {config['steps']} steps (steps); give 1 or more")
    if not 0 <= config["seed"] < 2**32:
        raise UserError(f"seed {config['seed']} is out of range (seed); give 0 to 4294967295, or null to draw one")


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
    named = {name: p for name, p in parameters.items() if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)}
    required = {name for name, p in named.items() if p.default is p.empty and f"{path}.{name}" not in HANDED_IN}
    if not partial and (missing := sorted(required - given.keys())):
        raise UserError(f"no value for {missing[0]} ({path}.{missing[0]}); give it on the command line")
    if node["_target_"].startswith("torch.optim.") and "lr" in given:
        check_optimizer(target, given, path)
    hints = annotated(target)
    return node | {key: coerced(value, hints[key], f"{path}.{key}") for key, value in given.items() if key in hints}


def check_optimizer(target: Any, given: dict[str, Any], path: str) -> None:
    """torch judges the numbers of an optimizer only when it has parameters: here, one that nobody trains."""
    import torch

    from .schema import Positive

    coerced(given["lr"], Positive, f"{path}.lr")
    try:
        target([torch.nn.Parameter(torch.zeros(1))], **given)
    except (ValueError, TypeError) as error:
        raise UserError(f"{error} ({path}); mend the value") from error


def locate(name: str, path: str) -> Any:
    if not name.startswith(ALLOWED):
        raise UserError(f"{name} may not be constructed from a configuration ({path}._target_); only {', '.join(ALLOWED)}* may")
    from hydra.utils import get_object

    try:
        found = get_object(name)
    except Exception as error:
        raise UserError(f"{name} does not exist ({path}._target_); {str(error).splitlines()[0]}") from error
    home = f"{getattr(found, '__module__', None)}."
    if not home.startswith(ALLOWED):  # gentrain.runs.os.system is os.system
        raise UserError(f"{name} may not be constructed from a configuration ({path}._target_); it is no part of {', '.join(ALLOWED)}*")
    return found


def signature(target: Any) -> dict[str, inspect.Parameter]:
    return {name: p for name, p in inspect.signature(target).parameters.items() if name != "self"}


def annotated(target: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(target.__init__ if inspect.isclass(target) else target, include_extras=True)
    except (NameError, TypeError, AttributeError):  # a library's forward references; its own checks must do
        return {}


def coerced(value: Any, hint: Any, path: str) -> Any:
    """A plain value as its annotated type; what will be an object is left to its own node."""
    if has_target(value):
        return value
    from pydantic import ConfigDict, PydanticSchemaGenerationError, TypeAdapter, ValidationError

    try:
        try:
            adapter: TypeAdapter[Any] = TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True))
        except PydanticSchemaGenerationError:
            return value
        return adapter.validate_python(value)
    except ValidationError as error:
        raise UserError(f"{expectation(error.errors()[0]['msg'])}, not {value!r} ({path}); mend the value") from error


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
    return f"; did you mean {' or '.join(close)}?" if close else f"; there are {', '.join(sorted(known))}"
