"""gentrain [train|eval|sample|export|compare|doctor] key=value ...   torch is imported only when a run is built: help is instant."""

from __future__ import annotations

import os
import signal
import sys
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gentrain.errors import Diverged, Stopped, UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from gentrain.training.job import Job
from gentrain.cli.compose import AlreadyFinished, prepare, refuse_other_config_path, warn_of_shadows
from gentrain.cli.overrides import append_overrides, normalize_overrides
from gentrain.config.paths import conf_dir

VERBS = ("train", "eval", "sample", "export", "compare", "doctor")


def main() -> None:
    """The console script. Ends the process with the contract's exit status."""
    sys.exit(run(sys.argv[1:]))


def run(argv: list[str]) -> int:
    verb, argv = (argv[0], argv[1:]) if argv and argv[0] in VERBS else (completed_verb(), argv)
    if os.environ.get("GENTRAIN_KEEPER"):
        from gentrain.sweeps.cell_process import watch_parent

        watch_parent()
    sys.argv[1:] = argv = normalize_overrides(verb, argv)
    debug = "debug=true" in argv
    os.environ["HYDRA_FULL_ERROR"] = "1"  # let errors come to us, instead of Hydra's own exit
    try:
        return hydra_app(verb, argv)
    except Stopped as error:
        return int(error.code or 1)
    except UserError as error:
        if debug:
            raise
        return print_error(str(error), error.status)
    except Diverged as error:
        return print_error(str(error), error.status)
    except Exception as error:
        if (status := interruption(error)) is not None:
            return status
        if debug or (line := explain(error, argv, verb)) is None:
            raise
        return print_error(line, UserError.status)
    except KeyboardInterrupt:
        return 130


def completed_verb() -> str:
    """The shell asks for completions of a whole line, which Hydra reads without its verb; train on any other occasion."""
    name, *words = os.environ.get("COMP_LINE", "").split(" ")
    if not words or words[0] not in VERBS or len(words) == 1:
        return "train"
    os.environ["COMP_LINE"] = line = " ".join([name, *words[1:]])
    os.environ["COMP_POINT"] = str(len(line))
    return words[0]


def hydra_app(verb: str, argv: list[str]) -> int:
    from hydra._internal.utils import get_args_parser

    from gentrain.config import schema

    python_3_14()
    schema.register()
    args = get_args_parser().parse_args(argv)
    if verb == "train":
        from gentrain.cli.overrides import several_seeds

        argv = sys.argv[1:] = several_seeds(argv, args)
    asks = args.help or args.hydra_help or args.cfg or args.info or args.shell_completion
    if asks:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # gentrain --help | head
    refuse_other_config_path(args)
    warn_of_shadows(args)
    if verb in RUN_COMMANDS:
        under_hydra(verb, RUN_COMMANDS[verb])
    elif asks or args.multirun:
        from gentrain.cli.overrides import deferred, of_a_sweep
        from gentrain.sweeps.cell_process import cell

        if not asks:
            sys.argv[1:] = append_overrides(
                deferred(verb, argv, args.overrides), of_a_sweep(args.overrides)
            )
        under_hydra(verb, cell, hold=False)
    else:
        train(prepare(verb, args))
    return 0


def under_hydra(verb: str, task: Callable[[DictConfig], Any], hold: bool = True) -> None:
    """Run a task as a Hydra app. `hold` keeps its error from Hydra, which would print the overrides over our one line."""
    import hydra

    failures: list[Exception] = []

    def held(cfg: DictConfig) -> Any:
        try:
            return task(cfg)
        except Exception as error:
            failures.append(error)
            return None

    hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=verb)(
        held if hold else task
    )()
    if failures:
        raise failures[0]


def train(job: Job) -> None:
    """Fit what was prepared; a run that never began leaves nothing."""
    from gentrain.runs import files

    made = files.missing(job.run_dir)
    try:
        under_hydra("train", lambda cfg: job.fit())
    except UserError:
        if not job.began:
            files.discard(made)
        raise


def doctor(cfg: DictConfig) -> None:
    """gentrain doctor run=PATH"""
    from gentrain.commands.doctor import diagnose

    diagnose(Path(cfg.run), cfg.samples)


def sample(cfg: DictConfig) -> None:
    """gentrain sample run=PATH"""
    from hydra.core.hydra_config import HydraConfig

    from gentrain.commands.sample import sample
    from gentrain.config.schema import resolved

    sample(resolved(cfg), HydraConfig.get().runtime.choices["mode"])


def evaluate(cfg: DictConfig) -> None:
    """gentrain eval run=PATH"""
    from gentrain.commands.evaluate import evaluate
    from gentrain.config.schema import resolved

    evaluate(resolved(cfg))


def export(cfg: DictConfig) -> None:
    """gentrain export run=PATH"""
    from gentrain.commands.export import export
    from gentrain.config.schema import resolved

    export(resolved(cfg))


def compare(cfg: DictConfig) -> None:
    """gentrain compare runs=PATH[,PATH...]"""
    from gentrain.commands.compare import compare
    from gentrain.config.schema import resolved

    compare(resolved(cfg))


# the verbs that look at runs
RUN_COMMANDS: dict[str, Callable[[DictConfig], Any]] = {
    "eval": evaluate, "sample": sample, "export": export, "compare": compare, "doctor": doctor,
}  # fmt: skip


def python_3_14() -> None:
    """hydra-core < 1.4 hands argparse a lazy help string, which Python 3.14 rejects before anything is parsed."""
    if sys.version_info >= (3, 14):
        ArgumentParser._check_help = lambda self, action: None  # type: ignore[attr-defined]


def print_error(line: str, status: int) -> int:
    print(f"gentrain: error: {' '.join(line.split())}", file=sys.stderr)
    return status


def interruption(error: Exception) -> int | None:
    """143 or 130 for a run that a signal stopped after saving, 0 for one that was at its end before."""
    if isinstance(error, AlreadyFinished):
        print(f"already finished: {error} (give more steps to go on)")
        return 0
    number = getattr(error, "signal", None)
    return 128 + number if type(error).__name__ == "Interrupted" and number else None


def explain(error: Exception, argv: list[str], verb: str = "train") -> str | None:
    """Hydra's complaint about a command line, as one line with the nearest names; None for anything else."""
    from hydra.errors import HydraException

    if not isinstance(error, HydraException) and not type(error).__module__.startswith("omegaconf"):
        return None
    from gentrain.cli.hydra_errors import one_line

    return one_line(error, argv, conf_dir(), verb)
