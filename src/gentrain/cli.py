"""gentrain [train|eval|sample|export|compare|doctor] key=value ...   torch is imported only when a run is built: help is instant."""

from __future__ import annotations

import logging
import os
import re
import signal
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import Diverged, Stopped, UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from .train import Job

VERBS = ("train", "eval", "sample", "export", "compare", "doctor")


def main() -> None:
    """The console script. Ends the process with the contract's exit status."""
    sys.exit(run(sys.argv[1:]))


def run(argv: list[str]) -> int:
    verb, argv = (argv[0], argv[1:]) if argv and argv[0] in VERBS else (completed_verb(), argv)
    if os.environ.get("GENTRAIN_KEEPER"):
        from .sweeps.keeper import watch_keeper

        watch_keeper()
    sys.argv[1:] = argv = meant(verb, argv)
    debug = "debug=true" in argv
    os.environ["HYDRA_FULL_ERROR"] = "1"  # let errors come to us, instead of Hydra's own exit
    try:
        return hydra_app(verb, argv)
    except Stopped as error:
        return int(error.code or 1)
    except UserError as error:
        if debug:
            raise
        return complain(str(error), error.status)
    except Diverged as error:
        return complain(str(error), error.status)
    except Exception as error:
        if (status := interruption(error)) is not None:
            return status
        if debug or (line := explain(error, argv, verb)) is None:
            raise
        return complain(line, UserError.status)
    except KeyboardInterrupt:
        return 130


def meant(verb: str, argv: list[str]) -> list[str]:
    """What people write, in Hydra's words."""
    # `+experiment=x` is a habit from elsewhere; here experiment is listed, and so is overridden without the plus
    argv = [re.sub(r"^\+(?=experiment=)", "", word) for word in argv]
    if verb == "compare":
        return [one_list(word) for word in argv]
    given = {word.partition("=")[0] for word in argv}
    # a source to translate is what one mode is for; nobody should have to say so
    return [*argv, "mode=translate"] if verb == "sample" and "source" in given and "mode" not in given else argv


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

    from . import config

    python_3_14()
    config.register()
    args = get_args_parser().parse_args(argv)
    if verb == "train":
        from .sweeps.words import several_seeds

        argv = sys.argv[1:] = several_seeds(argv, args)
    asks = args.help or args.hydra_help or args.cfg or args.info or args.shell_completion
    if asks:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # gentrain --help | head
    refuse_other_config_path(args)
    warn_of_shadows(args)
    if verb in AFTERWARDS:
        under_hydra(verb, AFTERWARDS[verb])
    elif asks or args.multirun:
        from .sweeps.words import cell, deferred, of_a_sweep

        if not asks:
            sys.argv[1:] = with_words(deferred(verb, argv, args.overrides), of_a_sweep(args.overrides))
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

    hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=verb)(held if hold else task)()
    if failures:
        raise failures[0]


def train(job: Job) -> None:
    """Fit what was prepared; a run that never began leaves nothing."""
    from . import runs

    made = runs.missing(job.run_dir)
    try:
        under_hydra("train", lambda cfg: job.fit())
    except UserError:
        if not job.began:
            runs.discard(made)
        raise


def consult(cfg: DictConfig) -> None:
    """gentrain doctor run=PATH"""
    from .doctor import diagnose

    diagnose(Path(cfg.run), cfg.samples)


def draw(cfg: DictConfig) -> None:
    """gentrain sample run=PATH"""
    from hydra.core.hydra_config import HydraConfig

    from .config import resolved
    from .sampling import sample

    sample(resolved(cfg), HydraConfig.get().runtime.choices["mode"])


def score(cfg: DictConfig) -> None:
    """gentrain eval run=PATH"""
    from .config import resolved
    from .evaluate import evaluate

    evaluate(resolved(cfg))


def write(cfg: DictConfig) -> None:
    """gentrain export run=PATH"""
    from .config import resolved
    from .export import export

    export(resolved(cfg))


def contrast(cfg: DictConfig) -> None:
    """gentrain compare runs=PATH[,PATH...]"""
    from .compare import compare
    from .config import resolved

    compare(resolved(cfg))


# the verbs that look at runs
AFTERWARDS: dict[str, Callable[[DictConfig], Any]] = {
    "eval": score, "sample": draw, "export": write, "compare": contrast, "doctor": consult,
}  # fmt: skip


def with_words(argv: list[str], more: list[str]) -> list[str]:
    """More overrides behind the others: argparse takes no second group of them, after an option."""
    last = max((place for place, word in enumerate(argv) if "=" in word and not word.startswith("-")), default=len(argv) - 1)
    return [*argv[: last + 1], *more, *argv[last + 1 :]]


def prepare(verb: str, args: Namespace) -> Job:
    """Compose, check and build before Hydra opens a directory, so that a mistake leaves nothing behind.

    Fixes the run directory on the command line, where Hydra (and the other processes of a DDP run) will find it.
    """
    from hydra import compose, initialize_config_dir
    from omegaconf import open_dict

    from . import runs
    from .config import check_run, resolved

    overlay = [f"hydra.searchpath=[file://{Path(args.config_dir).absolute()}]"] if args.config_dir else []
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = compose(verb, overrides=[*args.overrides, *overlay], return_hydra_config=True)
        names, given = choices(cfg.hydra), any(word.startswith("hydra.run.dir=") for word in args.overrides)
        run_dir = Path(run_directory(cfg))
        with open_dict(cfg):
            del cfg["hydra"]
        plain = resolved(with_seed(cfg))
    check_run(plain)
    runs.check_place(run_dir)
    checkpoint = None
    if "LOCAL_RANK" not in os.environ or plain["resume"]:
        run_dir, checkpoint = to_continue(plain, names, run_dir, given)
        if checkpoint and runs.finished(run_dir, plain["steps"]):
            raise AlreadyFinished(run_dir)
    if (run_dir / ".hydra").is_dir():
        runs.own(run_dir)  # before Hydra writes over what is there
    if not given:
        sys.argv[1:] = with_words(sys.argv[1:], [f"hydra.run.dir={quoted(run_dir)}"])
    return build(plain, names, run_dir, checkpoint)


def run_directory(cfg: DictConfig) -> str:
    """Where Hydra will put the run; its own interpolations need its own singleton."""
    from hydra.core.hydra_config import HydraConfig

    HydraConfig.instance().set_config(cfg)
    return str(cfg.hydra.run.dir)


class AlreadyFinished(Exception):
    """Nothing is left to do; nothing is altered."""


def to_continue(plain: dict[str, Any], names: dict[str, str], run_dir: Path, given: bool) -> tuple[Path, Path | None]:
    """(run directory, checkpoint to start from): what `resume` and `hydra.run.dir` ask for together."""
    from . import runs

    match plain["resume"]:
        case None if (run_dir / runs.LAST).exists():
            raise UserError(f"{run_dir} holds a run already (hydra.run.dir); add resume=auto to continue it, or give another directory")
        case None:
            return run_dir, None
        case "auto" if given:
            if not (run_dir / runs.LAST).exists():
                return run_dir, None
            runs.same(run_dir, plain, names)
            return run_dir, run_dir / runs.LAST
        case "auto":
            found = runs.newest_unfinished(run_dir.parent, plain)
            return (found, found / runs.LAST) if found else (run_dir, None)
        case path:
            found, checkpoint = runs.named(path, plain, names)
            return (run_dir if given else found), checkpoint


def build(cfg: DictConfig | dict[str, Any], names: dict[str, str], run_dir: Path, checkpoint: Path | None) -> Job:
    from .config import resolved

    plain = cfg if isinstance(cfg, dict) else resolved(with_seed(cfg))
    logging.getLogger("gentrain").setLevel(logging.INFO)
    try:
        from .train import Job
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

        from .train import draw_seed

        with open_dict(cfg):
            cfg.seed = draw_seed()
        sys.argv[1:] = [word for word in sys.argv[1:] if not word.startswith("seed=")] + [f"seed={cfg.seed}"]
    return cfg


def choices(hydra_cfg: Any) -> dict[str, str]:
    """The groups by the names typed: {'model': 'wgan_gp', 'data': 'mnist', 'loss': 'wasserstein', ...}"""
    found = dict(hydra_cfg.runtime.choices)
    return {group: str(name) for group, name in found.items() if not group.startswith("hydra/") and name is not None}


def conf_dir() -> Path:
    """conf/ beside the package in a wheel, at the top of the repository in an editable install."""
    here = Path(__file__).resolve().parent
    inside = here / "conf"
    return inside if inside.is_dir() else here.parents[1] / "conf"


def refuse_other_config_path(args: Namespace) -> None:
    if args.config_path or args.config_name:
        raise UserError("the configuration of gentrain is its own (--config-path, --config-name); add yours with --config-dir DIR")


def warn_of_shadows(args: Namespace) -> None:
    """Hydra looks into gentrain's own configuration first: an option of the same name in --config-dir is never read."""
    if args.config_dir and not os.environ.get("GENTRAIN_KEEPER"):
        ours, theirs = conf_dir(), Path(args.config_dir)
        for name in sorted(str(file.relative_to(theirs)) for file in theirs.rglob("*.yaml")):
            if (ours / name).exists():
                print(f"gentrain: warning: {name} of {theirs} is not used, gentrain has its own (--config-dir); rename it", file=sys.stderr)


def quoted(path: Path) -> str:
    """A path as a value of Hydra's grammar."""
    text = str(path).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{text}'"


def one_list(word: str) -> str:
    """runs=a,b, which Hydra takes for a sweep, as a list of paths."""
    key, equals, value = word.partition("=")
    if key != "runs" or not value or value.startswith(("[", "'", '"')):
        return word
    return f"{key}{equals}[{','.join(quoted(Path(place)) for place in value.split(',') if place)}]"


def python_3_14() -> None:
    """hydra-core < 1.4 hands argparse a lazy help string, which Python 3.14 rejects before anything is parsed."""
    if sys.version_info >= (3, 14):
        ArgumentParser._check_help = lambda self, action: None  # type: ignore[attr-defined]


def complain(line: str, status: int) -> int:
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
    from .complaints import one_line

    return one_line(error, argv, conf_dir(), verb)
