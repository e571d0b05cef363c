"""The keys at the top of each command's configuration; any other key is a typo."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, cast

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from gentrain.config import paths
from gentrain.errors import UserError

SHARE = 0.1  # of a training split that is held out for the scores that choose


@dataclass
class Sweep:
    """What a multirun trains; it lives in outputs/sweeps/<name>/."""

    name: str = "${now:%Y-%m-%d_%H-%M-%S}"
    # the name of this run's cell; set by the sweep, never by hand
    cell: str | None = None
    # how many trials Optuna makes
    trials: int = 20
    # leave out one of tricks=[...] after another
    leave_one_out: bool = False
    # how cells ended that are trained again when the sweep is started again: failed, diverged
    rerun: list[str] = field(default_factory=lambda: ["failed"])


@dataclass
class Cluster:
    """Where the cells of a multirun are trained, and with what."""

    jobs: int = 1  # cells at a time
    warm: bool = True  # fork cells from a process that has imported torch once
    hours: float = 4.0  # after which a SLURM job saves and queues again
    # of a node (SLURM) or of a cell (Ray); on this machine, how many are shared out, one a cell
    gpus: int | None = None
    cpus: int = 1  # of a process
    memory: int | None = None  # GB of a node
    nodes: int = 1
    tasks: int = 1  # processes on a node; with trainer=ddp as many as trainer.devices
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    setup: list[str] | None = None  # shell commands that run before the cell


@dataclass
class Run:
    """`gentrain model=NAME ...`: trains a model."""

    steps: int = MISSING  # updates of the generator, or of the model where there is no critic
    seed: int | None = 0  # null draws one and records it
    resume: str | None = None  # auto | a run directory | a checkpoint
    force: bool = False  # resume with another loss, learning rate or seed
    compile: Any = False  # true | false | auto
    debug: bool = False  # show tracebacks for mistakes too
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
    plugins: list[str] = field(default_factory=list)  # modules of your own code
    seeds: int | None = None  # train so many seeds, from `seed` on, as a multirun
    probe: bool = False  # measure how long a sweep will take before it starts


class Saved(Enum):
    """Which checkpoint of a run is used."""

    last = 1
    best = 2


class Keep(Enum):
    """How images are saved beside the pictures."""

    npz = 1
    folder = 2
    none = 3


class Device(Enum):
    """Where a finished run is used."""

    auto = 1
    cpu = 2
    cuda = 3


@dataclass
class Finished:
    """The keys that the commands for a finished run share."""

    run: str = MISSING
    checkpoint: Saved = Saved.last
    averaged: bool | None = None  # null: where the run keeps an average of its weights
    out: str | None = None
    plugins: list[str] = field(default_factory=list)
    debug: bool = False


@dataclass
class Export(Finished):
    """`gentrain export run=DIR`: writes the generator for other programs."""

    onnx: bool = True


@dataclass
class Doctor:
    """`gentrain doctor run=DIR`: looks for the usual failures."""

    run: str = MISSING
    samples: int = 256
    plugins: list[str] = field(default_factory=list)
    debug: bool = False


@dataclass
class Explore:
    """`gentrain explore run=DIR`: a page with sliders over what a run can draw."""

    run: str = MISSING
    checkpoint: Saved = Saved.last
    averaged: bool | None = None  # null: where the run keeps an average of its weights
    port: int | None = None  # null: the first that is free
    browser: bool = True
    device: Device = Device.auto
    plugins: list[str] = field(default_factory=list)
    debug: bool = False


class Compiler(Enum):
    """How far compiled objectives are checked."""

    inductor = 1
    graph = 2
    none = 3


@dataclass
class Check:
    """`gentrain check plugin=MODULE`: whether code of the user keeps the contract of its kind."""

    plugin: str = MISSING
    compile: Compiler = Compiler.inductor
    debug: bool = False


@dataclass
class Verify:
    """`gentrain verify model=NAME`: what a preset promises, measured here."""

    preset: str | None = None
    bands: bool = True
    words: list[str] = field(default_factory=list)
    plugins: list[str] = field(default_factory=list)
    debug: bool = False


@dataclass
class Demonstrate:
    """`gentrain demo NAME`: a claim of the field's lectures, as an experiment."""

    demo: Any = MISSING
    seed: int | None = None  # null: 0
    out: str = MISSING
    plugins: list[str] = field(default_factory=list)
    debug: bool = False


class Order(Enum):
    """How runs are sorted; auto: the best first."""

    auto = 1
    ascending = 2
    descending = 3


@dataclass
class Compare:
    """`gentrain compare runs=DIR,...`: puts many runs side by side."""

    runs: Any = MISSING
    sort: str = "auto"
    order: Order = Order.auto
    across: list[str] = field(default_factory=list)
    out: str | None = None
    page: bool = True
    picture_pixels: int = 320
    picture_megabytes: float = 16
    debug: bool = False


class Split(Enum):
    """Which images are scored."""

    test = 1
    validation = 2
    train = 3


@dataclass
class Evaluate(Finished):
    """`gentrain eval run=DIR` or `images=DIR`: scores a run, or images without one."""

    run: str | None = None  # type: ignore[assignment]
    images: str | None = None
    against: str | None = None
    quality: Any = None  # a metric of conf/quality; null: those of the run
    n: int | None = None
    ais: bool = False
    importance: int | None = None
    batch_size: int | None = None
    split: Split | None = None
    seed: int | None = None
    mean: bool | None = None
    temperature: float | None = None
    device: Device = Device.auto


@dataclass
class Sample(Finished):
    """`gentrain sample run=DIR`: draws from a run."""

    # null: the mode's own; an option that the mode does not read is refused
    seed: int | None = None
    labels: list[str] | None = None  # names or numbers
    domain: str | None = None
    text: Any = None  # a caption, or a list of them
    mean: bool | None = None
    temperature: float | None = None
    source: str | None = None
    save: Keep | None = None
    device: Device = Device.auto
    n: int | None = None  # the mode's own number, where it has one
    mode: Any = MISSING


SCHEMAS = {
    "schema": Run,
    "sample_schema": Sample,
    "export_schema": Export,
    "eval_schema": Evaluate,
    "compare_schema": Compare,
    "doctor_schema": Doctor,
    "explore_schema": Explore,
    "check_schema": Check,
    "verify_schema": Verify,
    "demo_schema": Demonstrate,
}


def register() -> None:
    """Make the schemas known to Hydra."""
    # Hydra copies its sources each time it looks into a group, and this singleton with them:
    # half the time of --help
    ConfigStore.__deepcopy__ = lambda self, memo: self  # type: ignore[attr-defined]
    for name, node in SCHEMAS.items():
        ConfigStore.instance().store(name=name, node=node)


def resolved(cfg: DictConfig) -> dict[str, Any]:
    """A configuration as plain containers, every interpolation replaced by its value.

    Raises:
        UserError: where a value is missing or cannot be computed.
    """
    try:
        found = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        key = error.full_key
        if key == "scheme":
            raise UserError(
                "this model says not how it is trained (scheme); add - /scheme: adversarial, "
                "likelihood or energy to the defaults of its YAML"
            ) from error
        raise UserError(f"no value for {key} ({key}); give it a value, {key}=...") from error
    except OmegaConfBaseException as error:
        refuse_with_own_words(error)
        refuse_missing_source(cfg, error)
        problem = str(error).splitlines()[0]
        raise UserError(
            f"{problem} ({error.full_key}); give it a value on the command line"
        ) from error
    return cast(dict[str, Any], found)


def refuse_missing_source(cfg: DictConfig, error: OmegaConfBaseException) -> None:
    """Refuse an option of the user whose YAML lacks a key from which others take their value."""
    found = re.match(r"Interpolation key '(\w+)\.([\w.]+)' not found", str(error))
    node: Any = OmegaConf.select(cfg, found[1]) if found else None
    if found is None or not OmegaConf.is_dict(node):
        return
    group, key = found.groups()
    file = paths.file_naming(str(node.get("_target_", "")), key)
    where = f"to {file}" if file else f"to the YAML of {group}="
    raise UserError(
        f"{error.full_key} takes its value from {group}.{key}, which is not there ({group}.{key}); "
        f"add the line {key}: ... {where}"
    ) from error


def refuse_with_own_words(error: BaseException | None) -> None:
    """Raise the UserError of a resolver, which says what to do, out of OmegaConf's errors."""
    while error is not None:
        match error:
            case UserError():
                raise error
        error = error.__cause__ or error.__context__
