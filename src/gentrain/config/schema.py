"""The root of every run, and the check of a configuration against the constructors that it names."""

from __future__ import annotations

import math
import secrets
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from gentrain.errors import UserError


@dataclass
class Sweep:
    """A multirun lives in outputs/sweeps/<name>/."""

    name: str = "${now:%Y-%m-%d_%H-%M-%S}"
    cell: str | None = None  # of the run; the driver of the sweep gives it
    trials: int = 20  # of a study
    leave_one_out: bool = False  # of tricks=[...]
    rerun: list[str] = field(
        default_factory=lambda: ["failed"]
    )  # what is tried again when the sweep is started again; also: diverged


@dataclass
class Cluster:
    """Where the cells of a multirun are trained, and with what."""

    jobs: int = 1  # cells at a time
    warm: bool = True  # cells are forked from a process that has imported torch once
    hours: float = 4.0  # of one cell, before it saves and queues again
    gpus: int | None = (
        None  # of SLURM a node's, of Ray a cell's; of this machine, how many to share out, one a cell
    )
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
    schemas = {
        "": Run,
        "sample_": Sample,
        "export_": Export,
        "eval_": Evaluate,
        "compare_": Compare,
    }
    for verb, node in schemas.items():
        ConfigStore.instance().store(name=f"{verb}schema", node=node)
    # two runs that start in the same second get two directories
    OmegaConf.register_new_resolver("minutes", lambda hours: math.ceil(60 * hours), replace=True)
    OmegaConf.register_new_resolver(
        "unique", lambda: secrets.token_hex(2), use_cache=True, replace=True
    )
    resolvers()


def resolvers() -> None:
    """What our configurations compute, those of finished runs included."""
    OmegaConf.register_new_resolver("degraded", degraded, replace=True)


def degraded(shape: list[int], degrade: str | None) -> list[int] | None:
    """The shape of what `data.degrade` leaves of an image; the import of torch is for those who ask."""
    if degrade is None:
        return None
    from gentrain.data.degrade import source_shape

    return source_shape(tuple(shape), degrade)


def resolved(cfg: DictConfig) -> dict[str, Any]:
    """Plain containers, every interpolation replaced by its value."""
    try:
        return OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)  # type: ignore[return-value]
    except MissingMandatoryValue as error:
        key = error.full_key
        raise UserError(f"no value for {key} ({key}); give it a value, {key}=...") from error
    except OmegaConfBaseException as error:
        raise UserError(
            f"{str(error).splitlines()[0]} ({error.full_key}); give it a value on the command line"
        ) from error
