"""Compose and check the configuration of a command."""

from __future__ import annotations

import logging
import os
import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gentrain.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from gentrain.training.job import Job
from gentrain.cli.overrides import append_overrides, quoted
from gentrain.config.paths import conf_dir


def prepare(verb: str, args: Namespace) -> Job:
    """Compose, check and build before Hydra opens a directory, so that a mistake leaves nothing behind.

    Fixes the run directory on the command line, where Hydra (and the other processes of a DDP run) will find it.
    """
    from hydra import compose, initialize_config_dir
    from omegaconf import open_dict

    from gentrain.config.schema import resolved
    from gentrain.config.validate import check_run
    from gentrain.runs import directory, files

    overlay = (
        [f"hydra.searchpath=[file://{Path(args.config_dir).absolute()}]"] if args.config_dir else []
    )
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = compose(verb, overrides=[*args.overrides, *overlay], return_hydra_config=True)
        names, given = (
            choices(cfg.hydra),
            any(word.startswith("hydra.run.dir=") for word in args.overrides),
        )
        run_dir = Path(run_directory(cfg))
        with open_dict(cfg):
            del cfg["hydra"]
        plain = resolved(with_seed(cfg))
    check_run(plain)
    files.check_place(run_dir)
    checkpoint = None
    if "LOCAL_RANK" not in os.environ or plain["resume"]:
        run_dir, checkpoint = to_continue(plain, names, run_dir, given)
        if checkpoint and directory.finished(run_dir, plain["steps"]):
            raise AlreadyFinished(run_dir)
    if (run_dir / ".hydra").is_dir():
        files.lock(run_dir)  # before Hydra writes over what is there
    if not given:
        sys.argv[1:] = append_overrides(sys.argv[1:], [f"hydra.run.dir={quoted(run_dir)}"])
    return build(plain, names, run_dir, checkpoint)


def run_directory(cfg: DictConfig) -> str:
    """Where Hydra will put the run; its own interpolations need its own singleton."""
    from hydra.core.hydra_config import HydraConfig

    HydraConfig.instance().set_config(cfg)
    return str(cfg.hydra.run.dir)


class AlreadyFinished(Exception):
    """Nothing is left to do; nothing is altered."""


def to_continue(
    plain: dict[str, Any], names: dict[str, str], run_dir: Path, given: bool
) -> tuple[Path, Path | None]:
    """(run directory, checkpoint to start from): what `resume` and `hydra.run.dir` ask for together."""
    from gentrain.runs import directory

    match plain["resume"]:
        case None if (run_dir / directory.LAST).exists():
            raise UserError(
                f"{run_dir} holds a run already (hydra.run.dir); add resume=auto to continue it, or give another directory"
            )
        case None:
            return run_dir, None
        case "auto" if given:
            if not (run_dir / directory.LAST).exists():
                return run_dir, None
            directory.refuse_other_config(run_dir, plain, names)
            return run_dir, run_dir / directory.LAST
        case "auto":
            found = directory.newest_unfinished(run_dir.parent, plain)
            return (found, found / directory.LAST) if found else (run_dir, None)
        case path:
            found, checkpoint = directory.resolve_resume(path, plain, names)
            return (run_dir if given else found), checkpoint


def build(
    cfg: DictConfig | dict[str, Any], names: dict[str, str], run_dir: Path, checkpoint: Path | None
) -> Job:
    from gentrain.config.schema import resolved

    plain = cfg if isinstance(cfg, dict) else resolved(with_seed(cfg))
    logging.getLogger("gentrain").setLevel(logging.INFO)
    try:
        from gentrain.training.job import Job
    except RuntimeError as error:
        if "torchvision::nms" in str(error):
            raise UserError(
                "torch and torchvision are of different builds (a CPU wheel of torch beside torchvision from the registry); "
                "install both together: make setup"
            ) from error
        raise
    return Job(plain, names, run_dir, checkpoint)


def with_seed(cfg: DictConfig) -> DictConfig:
    """`seed=null` draws one, and writes it on the command line, so that the record of the run has it."""
    if cfg.seed is None:
        from omegaconf import open_dict

        from gentrain.training.job import draw_seed

        with open_dict(cfg):
            cfg.seed = draw_seed()
        sys.argv[1:] = [word for word in sys.argv[1:] if not word.startswith("seed=")] + [
            f"seed={cfg.seed}"
        ]
    return cfg


def choices(hydra_cfg: Any) -> dict[str, str]:
    """The groups by the names typed: {'model': 'wgan_gp', 'data': 'mnist', 'loss': 'wasserstein', ...}"""
    found = dict(hydra_cfg.runtime.choices)
    return {
        group: str(name)
        for group, name in found.items()
        if not group.startswith("hydra/") and name is not None
    }


def refuse_other_config_path(args: Namespace) -> None:
    if args.config_path or args.config_name:
        raise UserError(
            "the configuration of gentrain is its own (--config-path, --config-name); add yours with --config-dir DIR"
        )


def warn_of_shadows(args: Namespace) -> None:
    """Hydra looks into gentrain's own configuration first: an option of the same name in --config-dir is never read."""
    if args.config_dir and not os.environ.get("GENTRAIN_KEEPER"):
        ours, theirs = conf_dir(), Path(args.config_dir)
        for name in sorted(str(file.relative_to(theirs)) for file in theirs.rglob("*.yaml")):
            if (ours / name).exists():
                print(
                    f"gentrain: warning: {name} of {theirs} is not used, gentrain has its own (--config-dir); rename it",
                    file=sys.stderr,
                )
