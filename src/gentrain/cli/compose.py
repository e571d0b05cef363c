"""The configuration of a command, composed once, and the run that it asks for."""

from __future__ import annotations

import logging
import os
import secrets
import shlex
import sys
from argparse import Namespace
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gentrain.cli.option_lists import refuse_hidden_options
from gentrain.config import plugins
from gentrain.config.experiments import refuse_other_model
from gentrain.config.overrides import key_of, last_value, quoted, without
from gentrain.config.paths import add_overlay, conf_dir, overlays
from gentrain.errors import AlreadyFinished, UserError
from gentrain.imports import import_wandb, wandb_is_wanted, without_collection
from gentrain.patience import announce_torch
from gentrain.runs.process import PARENT, Process

if TYPE_CHECKING:
    from hydra.types import HydraContext
    from omegaconf import DictConfig

    from gentrain.training.job import Job

log = logging.getLogger("gentrain")

VERSION_BASE = "1.3"  # of Hydra's behaviour
DEFAULT_QUALITY = "classifier"  # of conf/train.yaml, which needs labels


def register() -> None:
    """Make our schemas and resolvers known to Hydra."""
    from gentrain.config import schema
    from gentrain.runs import resolvers

    schema.register()
    resolvers.register()


# --- composing, and Hydra's job runner --------------------------------------------------------


@dataclass
class Command:
    """A composed command. `cfg` has Hydra's own node, `cfg.hydra`."""

    name: str  # "train", "sample", ...
    cfg: DictConfig
    context: HydraContext

    def plain(self) -> dict[str, Any]:
        """The resolved configuration without Hydra's node."""
        from omegaconf import OmegaConf

        from gentrain.config.schema import resolved

        keys = [str(key) for key in self.cfg if key != "hydra"]
        return resolved(OmegaConf.masked_copy(self.cfg, keys))

    def choices(self) -> dict[str, str]:
        """The options of the groups as they were typed: {"model": "wgan_gp", ...}."""
        return {
            str(group): str(option)
            for group, option in self.cfg.hydra.runtime.choices.items()
            if not group.startswith("hydra/") and option is not None
        }

    def run(self, task: Callable[[DictConfig], Any]) -> None:
        """Run a task as Hydra runs a job.

        It makes the output directory, keeps `.hydra/*.yaml` there and configures logging. Errors
        are kept from Hydra, which would print all overrides above our one line.

        Args:
            task: called with the configuration.
        """
        from hydra.core.utils import run_job

        from gentrain.files import report_disk_errors

        errors: list[Exception] = []

        def guarded(cfg: DictConfig) -> None:
            try:
                task(cfg)
            except Exception as error:
                errors.append(error)

        place = Path(str(self.cfg.hydra.run.dir))
        callbacks = self.context.callbacks
        callbacks.on_run_start(config=self.cfg, config_name=self.name)
        with report_disk_errors(place, "hydra.run.dir", "choose another directory"):
            done = run_job(guarded, self.cfg, "hydra.run.dir", None, self.context)
        callbacks.on_run_end(config=self.cfg, config_name=self.name, job_return=done)
        if errors:
            raise errors[0]


def compose_command(name: str, args: Namespace) -> Command:
    """Compose the configuration of a command.

    Args:
        name: "train", "sample", ...: the file in conf/.
        args: Hydra's arguments.

    Raises:
        UserError, HydraException: for a mistake in the overrides.
    """
    from hydra import version
    from hydra._internal.callbacks import Callbacks
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from hydra._internal.utils import create_config_search_path
    from hydra.core.config_search_path import SearchPathQuery
    from hydra.core.hydra_config import HydraConfig
    from hydra.core.utils import JobRuntime
    from hydra.types import HydraContext, RunMode
    from omegaconf import open_dict, read_write

    version.setbase(VERSION_BASE)
    JobRuntime.instance().set("name", "gentrain")
    places = create_config_search_path(str(conf_dir()))
    if args.config_dir:
        overlay = f"file://{Path(args.config_dir).absolute()}"
        places.prepend("command-line", overlay, anchor=SearchPathQuery(provider="schema"))
    if name == "train":
        refuse_other_model(args.overrides)
    loader = ConfigLoaderImpl(config_search_path=places)
    refuse_hidden_options(loader.repository, args.overrides)
    cfg = loader.load_configuration(name, args.overrides, RunMode.RUN, from_shell=False)
    with read_write(cfg.hydra), open_dict(cfg.hydra):
        cfg.hydra.mode = RunMode.RUN
    HydraConfig.instance().set_config(cfg)  # for ${hydra:...}
    return Command(name, cfg, HydraContext(config_loader=loader, callbacks=Callbacks(cfg)))


class Composed(NamedTuple):
    """A composed configuration, not resolved, and the options of its groups."""

    values: dict[str, Any]
    choices: dict[str, str | None]


def composed(name: str, overrides: list[str]) -> Composed:
    """Compose a configuration without running anything; of a sweep, that of its first cell.

    Args:
        name: "train", "sample", ...: the file in conf/.
        overrides: words of the command line; options such as -m are left out.

    Raises:
        HydraException: for a mistake in the overrides.
    """
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from omegaconf import OmegaConf

    register()
    if name == "train":
        refuse_other_model(overrides)
    given = [word for word in overrides if "=" in word and not word.startswith("-")]
    words = []
    for word, each in zip(given, OverridesParser.create().parse_overrides(given), strict=True):
        swept = each.is_sweep_override()
        first = next(each.sweep_string_iterator()) if swept else None
        words.append(f"{each.key_or_group}={first}" if swept else word)
    if overlays:
        words.append(
            f"hydra.searchpath=[{','.join(quoted(f'file://{each}') for each in overlays)}]"
        )
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(conf_dir()), version_base=VERSION_BASE):
        cfg = compose(name, overrides=words, return_hydra_config=True)
    values = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(values, dict)
    choices = dict(cfg.hydra.runtime.choices)
    return Composed({str(key): each for key, each in values.items() if key != "hydra"}, choices)


def run_hydra_app(name: str, args: Namespace, task: Callable[[DictConfig], Any]) -> None:
    """Let Hydra answer a question (--help, --cfg, completion ...), or make a multirun.

    Args:
        name: "train", "sample", ...: the file in conf/.
        args: Hydra's arguments.
        task: a job of a multirun; a function that can be pickled by its name.
    """
    from hydra import version
    from hydra._internal.utils import _run_hydra, get_args_parser

    if name == "train" and args.cfg and not args.multirun:  # and not while a line is completed
        refuse_other_model(args.overrides)
    version.setbase(VERSION_BASE)
    os.environ["HYDRA_FULL_ERROR"] = "1"  # raise errors here, instead of leaving the program
    _run_hydra(args, get_args_parser(), task, str(conf_dir()), name)


# --- a training -------------------------------------------------------------------------------


def prepare(args: Namespace) -> tuple[Command, Job]:
    """Compose, check and build a training before anything is written.

    A mistake therefore leaves nothing behind. The run directory and the seed are fixed here, also
    for the processes that Lightning starts with the same command line for DDP.

    Raises:
        UserError: for a mistake in the configuration.
        AlreadyFinished: where `resume` finds a run that is at its end.
    """
    from gentrain.config.validate import check_run
    from gentrain.runs import directory

    logging.getLogger("gentrain").setLevel(logging.INFO)
    if logging.lastResort:  # until Hydra makes handlers
        logging.lastResort.setLevel(logging.INFO)
    command = compose_for_data(args)
    draw_seed(command.cfg)
    activate_plugins(command.cfg)
    config, choices = command.plain(), command.choices()
    run_dir, checkpoint = Path(str(command.cfg.hydra.run.dir)), None
    check_run(config)
    directory.check_can_create(run_dir)
    if "LOCAL_RANK" not in os.environ or config["resume"]:
        given = last_value(args.overrides, "hydra.run.dir") is not None
        typed = {key_of(word) for word in args.overrides}
        run_dir, checkpoint = find_run(config, choices, run_dir, given, typed)
        if checkpoint and directory.finished(run_dir, config["steps"]):
            raise AlreadyFinished(run_dir, directory.summary(run_dir)["steps"])
        if checkpoint:
            keep_settings(
                command.cfg, directory.settings_kept(checkpoint.parents[1], config, typed)
            )
    choose_precision(command.cfg)
    config = command.plain()
    if (run_dir / directory.CONFIG.parent).is_dir():
        directory.lock(run_dir)  # before Hydra overwrites what is there
    fix_run_directory(command.cfg, run_dir)
    fix_command_line(args, command.cfg)
    return command, build_job(config, choices, run_dir, checkpoint)


def compose_for_data(args: Namespace) -> Command:
    """Compose a training, with scores that need no labels where the data have none.

    So it is unless the user or a preset chose the scores. Points without labels get none. Scores of
    images that nobody chose are left out, with a warning, where they do not fit.
    """
    command = compose_command("train", args)
    data, chosen = command.plain()["data"], last_value(args.overrides, "quality")
    by_default = chosen is None and command.choices().get("quality") == DEFAULT_QUALITY
    if not by_default:
        return command
    of_images = len(data["shape"]) == 3
    if data["classes"] is not None:
        if of_images and last_value(args.overrides, "quality.optional") is None:
            command.cfg.quality.optional = True
        return command
    quality = ["quality=rotation", "quality.optional=true"] if of_images else ["quality=none"]
    given = [last_value(args.overrides, word.partition("=")[0]) for word in quality]
    args.overrides = [
        *(word for word, own in zip(quality, given, strict=True) if own is None),
        *args.overrides,
    ]
    return compose_command("train", args)


def find_run(
    config: dict[str, Any],
    choices: dict[str, str],
    run_dir: Path,
    given: bool,
    typed: Collection[str],
) -> tuple[Path, Path | None]:
    """The run directory, and the checkpoint to start from, if any.

    Args:
        config: the resolved configuration; `resume` says what is asked for.
        choices: the options of its groups as they were typed.
        run_dir: hydra.run.dir.
        given: whether the user chose it.
        typed: the keys of the user's overrides.

    Raises:
        UserError: where `resume` and `hydra.run.dir` do not fit what is there.
    """
    from gentrain.runs import directory

    last = run_dir / directory.LAST
    match config["resume"]:
        case None if last.exists():
            raise UserError(
                f"{run_dir} holds a run already (hydra.run.dir); "
                "add resume=auto to continue it, or give another directory"
            )
        case None:
            return run_dir, None
        case "auto" if given:
            if not last.exists():
                say_new_run(run_dir)
                return run_dir, None
            directory.refuse_other_config(run_dir, config, choices, typed)
            return run_dir, last
        case "auto":
            found = directory.newest_unfinished(run_dir.parent, config, typed)
            if found is None:
                say_new_run(run_dir.parent)
            return (found, found / directory.LAST) if found else (run_dir, None)
        case path:
            found, checkpoint = directory.resolve_resume(path, config, choices, typed)
            return (run_dir if given else found), checkpoint


def say_new_run(place: Path) -> None:
    """Say that `resume=auto` has found nothing to continue."""
    if "LOCAL_RANK" not in os.environ:
        print(
            f"gentrain: no unfinished run of these options in {place} (resume=auto): a new one "
            "begins",
            file=sys.stderr,
        )


def keep_settings(cfg: DictConfig, kept: dict[str, Any]) -> None:
    """Give a command the settings that the run keeps which it resumes; the log says which."""
    for key, value in kept.items():
        log.warning("the run was made with %s=%s, and goes on with it", key, value)
        record(cfg, key, value)


def record(cfg: DictConfig, key: str, value: Any) -> None:
    """Put a value into a command and into the record of the run, as if it had been typed."""
    from omegaconf import OmegaConf, open_dict, read_write

    OmegaConf.update(cfg, key, value)
    with read_write(cfg.hydra), open_dict(cfg.hydra):
        task = cfg.hydra.overrides.task
        cfg.hydra.overrides.task = [*without(task, key), f"{key}={value}"]


def activate_plugins(cfg: DictConfig) -> None:
    """Import the plugins that a command names, and record those of the environment as well."""
    from omegaconf import read_write

    with read_write(cfg):
        cfg.plugins = plugins.requested(cfg.plugins)
    plugins.activate(cfg.plugins)


def draw_seed(cfg: DictConfig) -> None:
    """Draw a seed for `seed=null`, and put it into the record of the run."""
    if cfg.seed is None:
        record(cfg, "seed", secrets.randbelow(2**32))


def choose_precision(cfg: DictConfig) -> None:
    """Choose for `trainer.precision=auto` of a new run, and put it into the record of the run."""
    if cfg.trainer.get("precision") != "auto":
        return
    announce_torch()
    from gentrain.layers.precision import fast_precision

    chosen = fast_precision(cfg.trainer.accelerator)
    log.info("trainer.precision=auto: %s, by the device", chosen)
    record(cfg, "trainer.precision", chosen)


def fix_run_directory(cfg: DictConfig, run_dir: Path) -> None:
    """Put the run directory, whose name has a time and random digits, into Hydra's own node."""
    from omegaconf import open_dict, read_write

    with read_write(cfg.hydra), open_dict(cfg.hydra):
        cfg.hydra.run.dir = str(run_dir)
        others = without(cfg.hydra.overrides.hydra, "hydra.run.dir")
        cfg.hydra.overrides.hydra = [*others, f"hydra.run.dir={quoted(run_dir)}"]


def fix_command_line(args: Namespace, cfg: DictConfig) -> None:
    """Rewrite `sys.argv`, with which Lightning starts the other processes of a DDP run.

    Options come first: Lightning appends overrides, and argparse takes only one group of them.
    """
    options = [f"--config-dir={args.config_dir}"] if args.config_dir else []
    sys.argv[1:] = [
        *options,
        *without(cfg.hydra.overrides.task),
        *without(cfg.hydra.overrides.hydra),
    ]


def command_to_resume(args: Namespace, cfg: DictConfig, run_dir: Path) -> str:
    """The command that goes on with a run, to be copied into a shell.

    Args:
        args: Hydra's arguments.
        cfg: the configuration of the run, with Hydra's own node.
        run_dir: where it lies.
    """
    options = [f"--config-dir={args.config_dir}"] if args.config_dir else []
    words = [
        *without(cfg.hydra.overrides.task, "resume"),
        *without(cfg.hydra.overrides.hydra, "hydra.run.dir", "hydra.mode"),
    ]
    return shlex.join(["gentrain", *options, *words, f"resume={run_dir}"])


def load_torch() -> None:
    """Import torch; a line says so."""
    announce_torch()
    with without_collection(keep=Process.own and "torch" not in sys.modules):
        import torch  # noqa: F401


def build_job(
    config: dict[str, Any], choices: dict[str, str], run_dir: Path, checkpoint: Path | None
) -> Job:
    """Build a training; the import of torch happens here."""
    from gentrain.config.validate import check_before_lightning

    announce_torch()
    try:
        anew = "lightning" not in sys.modules
        with without_collection(keep=Process.own and anew):
            check_before_lightning(config)
            if anew and wandb_is_wanted(config["logger"]):
                with suppress(Exception):  # the logger says why it cannot be imported
                    import_wandb()
            from gentrain.training.job import Job
    except RuntimeError as error:
        if "torchvision::nms" in str(error):
            raise UserError(
                "torch and torchvision are of different builds (a CPU wheel of torch beside "
                "torchvision from the registry); install both together: make setup"
            ) from error
        raise
    return Job(config, choices, run_dir, checkpoint)


# --- other configuration files ----------------------------------------------------------------


def refuse_other_config(args: Namespace) -> None:
    """Refuse options that would replace gentrain's own configuration.

    Raises:
        UserError: for such an option, or an overlay that does not exist.
    """
    if args.config_path or args.config_name or args.experimental_rerun:
        raise UserError(
            "the configuration of gentrain is its own (--config-path, --config-name, "
            "--experimental-rerun); add yours with --config-dir DIR"
        )
    if args.config_dir and not Path(args.config_dir).is_dir():
        raise UserError(
            f"no such directory {args.config_dir} (--config-dir); give one with YAML files"
        )
    if args.config_dir:
        add_overlay(Path(args.config_dir).absolute())


def warn_of_shadowed_files(args: Namespace) -> None:
    """Warn of files in --config-dir that are never read.

    Hydra looks into gentrain's own configuration first, and finds an option of the same name.
    """
    if not args.config_dir or os.environ.get(PARENT):
        return
    ours, theirs = conf_dir(), Path(args.config_dir)
    for name in sorted(str(file.relative_to(theirs)) for file in theirs.rglob("*.yaml")):
        if (ours / name).exists():
            print(
                f"gentrain: warning: {name} of {theirs} is not used, gentrain has its own "
                "(--config-dir); rename it",
                file=sys.stderr,
            )
