"""gentrain [train|eval|sample|explore|export|compare|doctor|check|verify|demo|list] key=value ...

torch is imported only when a run is built or opened, so help and refusals come at once.
"""

from __future__ import annotations

import errno
import os
import select
import shlex
import signal
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gentrain import cores
from gentrain.cli import completion, compose, help, overlay, terminal
from gentrain.cli.multirun import defer_job_keys, expand_seeds, sweep_overrides
from gentrain.cli.overrides import normalize_overrides
from gentrain.cli.refusals import refuse_keys_of_sweeps, refuse_option, refuse_typed
from gentrain.commands.list import PLURALS
from gentrain.config import plugins
from gentrain.config.overrides import key_of
from gentrain.config.paths import conf_dir, why_broken
from gentrain.errors import (
    AlreadyFinished,
    ChecksFailed,
    Diverged,
    Interrupted,
    Stopped,
    Unavailable,
    UserError,
)
from gentrain.runs.process import CHECK, PARENT, Process
from gentrain.version import __version__

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from gentrain.training.job import Job

VERBS = (
    "train", "eval", "sample", "explore", "export", "compare", "doctor", "check", "verify", "demo",
    "list",
)  # fmt: skip

# what a disk that is full, read-only or gone answers; any other OSError is a fault of ours
OF_THE_DISK = {
    errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE,
    errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG,
}  # fmt: skip

WELCOME = """\
gentrain trains, compares and samples the classic deep generative models.

  gentrain model=wgan_gp data=mnist_5k steps=1000       train a model
  gentrain sample run=outputs/wgan_gp-mnist_5k/...      draw images from a finished run
  gentrain compare runs=outputs                         put runs side by side

gentrain list shows the models, losses, tricks and data sets; gentrain help shows the options.
"""


def main() -> None:
    """The console script: ends the process with the exit status of the command."""
    terminal.prepare()
    try:
        status = flushed(run(sys.argv[1:]))
    except BrokenPipeError:
        if not reader_is_gone():
            raise
        status = 128 + signal.SIGPIPE
    sys.exit(status)


def reader_is_gone() -> bool:
    """Whether nobody reads standard output any more, as in `gentrain list | head`.

    What is left to print is then thrown away.
    """
    poll = select.poll()
    poll.register(sys.stdout, select.POLLOUT)
    gone = any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
    if gone:
        throw_output_away()
    return gone


def flushed(status: int) -> int:
    """The exit status after what was printed has been written; not 0 where it cannot be."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError:  # `run` has said so, and Python would say it again
        throw_output_away()
        return status or Unavailable.status
    return status


def throw_output_away() -> None:
    """Keep what is left to print from the end of the process, which would fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def run(argv: list[str]) -> int:
    """Run a command.

    Args:
        argv: the words after `gentrain`.

    Returns:
        The exit status: 0 done, 1 failed or diverged, 2 the user's mistake, 4 something outside
        is missing, 128 + N stopped by signal N after saving.
    """
    typed = argv
    verb, argv = split_verb(argv)
    if os.environ.get(PARENT):
        from gentrain.sweeps.cell_process import watch_parent

        watch_parent()
    debug = "debug=true" in argv
    cores.wait_politely()
    try:
        if not typed or "--version" in typed:
            print(f"gentrain {__version__}" if typed else WELCOME)
        else:
            argv = normalize_overrides(verb, argv)
            execute(verb, argv)
        sys.stdout.flush()
    except Stopped as error:
        return int(error.code or 1)
    except Interrupted as error:
        return error.status
    except AlreadyFinished as error:
        print(f"already finished: {error} (at step {error.step}; give more steps to go on)")
        return error.status
    except Diverged as error:
        return print_error(str(error), error.status)
    except ChecksFailed as error:
        return error.status
    except UserError as error:
        if debug:
            raise
        return print_error(str(error), error.status)
    except Exception as error:
        if debug or (explained := explain(error, argv, verb)) is None:
            raise
        return print_error(*explained)
    except KeyboardInterrupt:
        if not os.environ.get(PARENT):
            say(f"stopped before the end; begin again with: {shlex.join(['gentrain', *typed])}")
        return 128 + signal.SIGINT
    return 0


def split_verb(argv: list[str]) -> tuple[str, list[str]]:
    """The verb of a command, and the words after it.

    >>> split_verb(["sample", "run=x"]), split_verb(["model=gan"])
    (('sample', ['run=x']), ('train', ['model=gan']))
    >>> split_verb(["help", "sample"]), split_verb(["models"])
    (('sample', ['--help']), ('list', ['models']))
    >>> split_verb(["demo"]), split_verb(["demo", "saturation"])
    (('list', ['demo']), ('demo', ['saturation']))
    """
    match argv:
        case ["help", word, *rest] if word in VERBS:
            return word, [*rest, "--help"]
        case ["help", *rest]:
            verb, rest = split_verb(rest or ["train"])
            return verb, [*rest, "--help"]
        case ["demo"] | ["demo", "list"]:
            return "list", ["demo"]
        case [word, *rest] if word in VERBS:
            return word, rest
        case [word, *rest] if word in PLURALS:
            return "list", argv
    return verb_to_complete(), argv


def verb_to_complete() -> str:
    """The verb of the line that a shell wants to complete; "train" on any other occasion.

    Hydra completes a line without a verb, so the verb is taken out of COMP_LINE.
    """
    name, *words = os.environ.get("COMP_LINE", "").split(" ")
    if not words or words[0] not in VERBS or len(words) == 1:
        return "train"
    os.environ["COMP_LINE"] = line = " ".join([name, *words[1:]])
    os.environ["COMP_POINT"] = str(len(line))
    return words[0]


def execute(verb: str, argv: list[str]) -> None:
    """Do what a verb and its words ask for."""
    if set(argv) in help.FLAGS and (page := help.page(verb)) is not None:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # gentrain --help | head
        print(page)
        return
    if (shell := completion.question(argv)) is not None:
        offered, more = completion.answers(verb, VERBS)
        if offered:
            print("\n".join(offered) if shell == "fish" else " ".join(offered))
        if not more:
            return
    from hydra._internal.utils import get_args_parser

    accept_lazy_help()
    # intermixed: options may stand among overrides, as in model=gan -m seed=0,1
    parser = get_args_parser()
    parser.error = refuse_option  # type: ignore[method-assign]
    args = parser.parse_intermixed_args(argv)
    if verb == "train":
        expand_seeds(args)
    compose.refuse_other_config(args)
    if verb == "list":
        show_list(args.overrides)
        return
    refuse_typed(verb, args.overrides)
    compose.warn_of_shadowed_files(args)
    overlay.refuse_misplaced(args.overrides)
    compose.register()
    if args.help and not any(word.startswith("hydra") for word in args.overrides):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        print(help.page_with_configuration(verb, args))
    elif args.help or args.hydra_help or args.cfg or args.info or args.shell_completion:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # gentrain --help | head
        compose.run_hydra_app(verb, args, TASKS[verb])
    elif args.multirun:
        if verb == "train":
            deferred = defer_job_keys(verb, args.overrides)
            args.overrides = [*deferred, *sweep_overrides(args.overrides)]
        Process.main = run
        compose.run_hydra_app(verb, args, TASKS[verb])
    elif verb == "train":
        if not os.environ.get(PARENT):
            refuse_keys_of_sweeps(args.overrides)
        train(args)
    else:
        compose.compose_command(verb, args).run(TASKS[verb])


# --- the verbs --------------------------------------------------------------------------------


def train(args: Namespace) -> Path:
    """gentrain key=value ...; a run that never began leaves nothing behind.

    Returns:
        The run directory.
    """
    from gentrain.runs import directory

    command, job = compose.prepare(args)
    if os.environ.get(CHECK):
        job.check_data()
        return job.run_dir
    made = directory.missing_directories(job.run_dir)
    try:
        command.run(lambda cfg: job.fit())
    except UserError:
        if not job.began:
            directory.remove_directories(made)
        raise
    except Interrupted:
        if (job.run_dir / directory.LAST).exists() and not os.environ.get(PARENT):
            say(f"go on with: {compose.command_to_resume(args, command.cfg, job.run_dir)}")
        raise
    except Exception as error:
        if (mistake := of_plugin(error, job)) is None:
            raise
        raise mistake from error
    return job.run_dir


def of_plugin(error: Exception, job: Job) -> UserError | None:
    """The mistake of the user's own code that ended a training, if it was one."""
    if not plugins.active:
        return None
    from gentrain.commands.check.blame import blamed

    return blamed(error, job)


def train_cell(cfg: DictConfig) -> float | None:
    """gentrain -m key=value,value ...: one job of a sweep, wherever the launcher runs it."""
    from gentrain.sweeps.cell_process import run_cell

    return run_cell(cfg, run)


def show_list(words: list[str]) -> None:
    """gentrain list [GROUP | GROUP=OPTION]"""
    from gentrain.commands.list import listed, overview

    if len(words) > 1:
        raise UserError(f"gentrain list shows one thing, not {len(words)} ({words[1]}); give one")
    print("\n".join(listed(words[0], compose.composed) if words else overview()))


def prepare_to_open(cfg: DictConfig, checkpoint: str) -> None:
    """Refuse a run that is not there, before the import of torch, and import its plugins.

    Raises:
        UserError: where there is no run, or no such checkpoint.
    """
    from gentrain.runs import directory

    directory.checkpoint_file(Path(cfg.run), checkpoint)
    compose.activate_plugins(cfg)
    compose.load_torch()


def doctor(cfg: DictConfig) -> None:
    """gentrain doctor run=PATH"""
    prepare_to_open(cfg, "last")
    from gentrain.commands.doctor import diagnose

    diagnose(Path(cfg.run), cfg.samples)


def sample(cfg: DictConfig) -> None:
    """gentrain sample run=PATH"""
    from hydra.core.hydra_config import HydraConfig

    prepare_to_open(cfg, cfg.checkpoint.name)
    from gentrain.commands.sample import sample
    from gentrain.config.schema import resolved

    sample(resolved(cfg), HydraConfig.get().runtime.choices["mode"])


def explore(cfg: DictConfig) -> None:
    """gentrain explore run=PATH"""
    from gentrain.commands.explore import explore, refuse_missing_streamlit
    from gentrain.config.schema import resolved

    refuse_missing_streamlit()
    prepare_to_open(cfg, cfg.checkpoint.name)
    explore(resolved(cfg))


def evaluate(cfg: DictConfig) -> None:
    """gentrain eval run=PATH, or images=PATH against=PATH"""
    from hydra.core.hydra_config import HydraConfig

    from gentrain.commands.eval_request import check_request
    from gentrain.config.schema import resolved

    config = resolved(cfg)
    check_request(config, map(key_of, HydraConfig.get().overrides.task))
    if config["images"] is None:
        prepare_to_open(cfg, cfg.checkpoint.name)
        from gentrain.commands.evaluate import evaluate

        evaluate(config)
    else:
        compose.activate_plugins(cfg)
        compose.load_torch()
        from gentrain.commands.evaluate_images import evaluate_images

        evaluate_images(config, compose.composed)


def export(cfg: DictConfig) -> None:
    """gentrain export run=PATH"""
    prepare_to_open(cfg, cfg.checkpoint.name)
    from gentrain.commands.export import export
    from gentrain.config.schema import resolved

    export(resolved(cfg))


def compare(cfg: DictConfig) -> None:
    """gentrain compare runs=PATH[,PATH...]"""
    from gentrain.commands.compare import compare
    from gentrain.config.schema import resolved

    compare(resolved(cfg))


def check(cfg: DictConfig) -> None:
    """gentrain check plugin=MODULE"""
    from gentrain.commands.check import check
    from gentrain.config.schema import resolved

    config = resolved(cfg)
    plugins.activate(plugins.requested([config["plugin"]]))

    def composed(name: str, words: list[str]) -> compose.Composed:
        overlay.refuse_misplaced(words)
        return compose.composed(name, words)

    check(config, composed)


def verify(cfg: DictConfig) -> None:
    """gentrain verify model=NAME"""
    compose.activate_plugins(cfg)
    compose.announce_torch()
    from hydra.errors import HydraException

    from gentrain.cli.hydra_errors import one_line
    from gentrain.commands.verify import verify
    from gentrain.config.schema import resolved

    def composed(name: str, words: list[str]) -> compose.Composed:
        try:
            return compose.composed(name, words)
        except HydraException as error:  # of the words of a training
            raise UserError(one_line(error, words, conf_dir(), name)) from error

    verify(resolved(cfg), composed)


def demo(cfg: DictConfig) -> None:
    """gentrain demo NAME"""
    from hydra.core.hydra_config import HydraConfig

    compose.activate_plugins(cfg)
    compose.announce_torch()
    from gentrain.commands.demo import demonstrate
    from gentrain.config.schema import resolved

    demonstrate(resolved(cfg), HydraConfig.get().runtime.choices["demo"])


# what Hydra runs for each verb: of a training, the jobs of a multirun
TASKS: dict[str, Callable[[DictConfig], Any]] = {
    "train": train_cell,
    "eval": evaluate,
    "sample": sample,
    "explore": explore,
    "export": export,
    "compare": compare,
    "doctor": doctor,
    "check": check,
    "verify": verify,
    "demo": demo,
}


# --- words on stderr ---------------------------------------------------------------------------


def say(line: str) -> None:
    """Print a line on stderr, of a run of several processes only once."""
    if os.environ.get("LOCAL_RANK", "0") == "0":
        print(f"gentrain: {line}", file=sys.stderr)


def print_error(line: str, status: int) -> int:
    """Print an error as one line; returns its exit status."""
    print(f"gentrain: error: {' '.join(line.split())}", file=sys.stderr)
    return status


def explain(error: Exception, argv: list[str], verb: str = "train") -> tuple[str, int] | None:
    """An error of Hydra, of a disk, or of the user's own code, as one line with its exit status.

    None for any other error, which is a fault of ours.
    """
    import yaml
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    match error:
        case HydraException() | OmegaConfBaseException():
            from gentrain.cli.hydra_errors import one_line

            return one_line(error, argv, conf_dir(), verb), UserError.status
        case yaml.MarkedYAMLError(problem_mark=mark) if mark is not None:
            what, remedy = why_broken(error, mark.name)
            return f"{what} (--config-dir); {remedy}", UserError.status
        case OSError(errno=number) if number in OF_THE_DISK:
            place = error.filename or "the disk or the working directory"
            reason = f"{place}: {error.strerror} (file system)"
            return f"{reason}; make room, or use another directory", Unavailable.status
    if verb != "train" and (place := plugins.place_in(error)) is not None:
        text = f"{type(error).__name__}: {error}, in {place} (plugins)"
        return f"{text}; mend it there (debug=true shows the traceback)", UserError.status
    return None


def accept_lazy_help() -> None:
    """Let Hydra's argument parser work under Python 3.14.

    hydra-core before 1.4 hands argparse a lazy help string, which Python 3.14 refuses.
    """
    if sys.version_info >= (3, 14):
        ArgumentParser._check_help = lambda self, action: None  # type: ignore[attr-defined]
