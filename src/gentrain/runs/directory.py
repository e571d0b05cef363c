"""A run directory: who writes in it, what is in it, and which one to continue."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shlex
import shutil
from collections.abc import Collection
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TextIO

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from packaging.version import Version
from yaml import YAMLError

from gentrain.config.overrides import UNQUOTED, is_of_sweep, quoted, without
from gentrain.config.schema import SHARE
from gentrain.errors import Unavailable, UserError
from gentrain.files import Locked, acquire, report_disk_errors
from gentrain.runs import resolvers
from gentrain.version import __version__

# keys that do not change what a run computes: a run may be continued with others
OPERATIONAL = (
    "steps", "resume", "force", "debug", "trainer", "logger", "callbacks", "samples", "checkpoint",
    "quality", "compile", "sweep", "cluster", "seeds", "probe", "scheme.log_every",
    "scheme.compile", "data.root", "data.labels", "data.file", "data.a", "data.b",
    "data.on_bad", "data.workers", "data.resident", "data.cache", "data.mirrors",
    "data.verify", "plugins",
)  # fmt: skip

# keys that came later: their default, and what runs without them have computed
LATER = {"data.validation": (SHARE, 0.0)}

# options that came later, with the value that they had before: such a value is as good as no key
AS_BEFORE = {"model.generator.bounded": True}

CONFIG = Path(".hydra", "config.yaml")
LAST = Path("checkpoints", "last.ckpt")

# the score that says how good a run is: the first of these that it has
MONITOR = ("quality/fid", "quality/fid_classifier", "quality/fid_rotation", "quality/nats")

# findings of the doctor that mean: the samples are of few kinds
COLLAPSE = ("mode collapse", "mode dropping")

# configurations of older versions name classes that are no longer there
OLDEST = Version("0.2")

# a configuration, and the options of its groups as they were typed, {"model": "wgan_gp", ...}
Composed = tuple[dict[str, Any], dict[str, str]]


# --- making it, and owning it -----------------------------------------------------------------


def check_can_create(run_dir: Path) -> None:
    """Check whether a directory can be made, before anything is imported, and without making it.

    Raises:
        Unavailable: where it cannot.
    """
    place = run_dir.absolute()
    try:
        while not place.exists():
            place = place.parent
    except OSError as error:
        reason = str(error.strerror)  # the name is too long
    else:
        if not place.is_dir():
            reason = f"{place} is a file"
        elif not os.access(place, os.W_OK | os.X_OK):
            reason = f"{place} is not writable"
        else:
            return
    raise Unavailable(f"cannot make {run_dir}: {reason} (hydra.run.dir); choose another directory")


def create(run_dir: Path) -> None:
    """Make the directory and write in it, before anything is computed that could not be kept.

    Raises:
        Unavailable: where that fails.
    """
    with report_disk_errors(run_dir, "hydra.run.dir", "choose another directory"):
        run_dir.mkdir(parents=True, exist_ok=True)
        test = run_dir / ".probe"
        test.write_text("")
        test.unlink()


def missing_directories(run_dir: Path) -> list[Path]:
    """The run directory and its parents, as far as they do not exist yet; the deepest first."""
    return [path for path in (run_dir, *run_dir.parents) if not path.exists()]


def remove_directories(made: list[Path]) -> None:
    """Remove a run that never began, and those of its parents that nobody else has used since.

    Args:
        made: what `missing_directories` found before the run was made.
    """
    for path in made[:1]:
        shutil.rmtree(path, ignore_errors=True)
    for path in made[1:]:
        with suppress(OSError):
            path.rmdir()


_locks: dict[Path, TextIO] = {}  # locks live as long as this process


def lock(run_dir: Path) -> None:
    """Make this process the only one that writes in a run directory.

    Of a run of several processes, only the first one takes the lock.

    Raises:
        UserError: while another process writes there.
    """
    run_dir = run_dir.resolve()
    ranks = ("LOCAL_RANK", "NODE_RANK", "SLURM_PROCID")
    if run_dir in _locks or any(os.environ.get(rank, "0") != "0" for rank in ranks):
        return
    try:
        _locks[run_dir] = acquire(run_dir / ".lock", wait=False)
    except Locked as owner:
        raise UserError(
            f"{owner} is writing in {run_dir} (hydra.run.dir, resume); "
            "wait for it, or give another directory"
        ) from None


def unlock(run_dir: Path) -> None:
    """Give up the lock at the end of a run: a process may train several runs, one by one."""
    if (file := _locks.pop(run_dir.resolve(), None)) is not None:
        file.close()


# --- what is in it ----------------------------------------------------------------------------


def saved_config(run_dir: Path) -> dict[str, Any]:
    """The resolved configuration of a run, in today's terms.

    Raises:
        UserError: where the file is damaged, or is not a run's configuration.
    """
    path = run_dir / CONFIG
    resolvers.register()  # for a program that reads runs and has not composed a configuration
    try:
        found = OmegaConf.to_container(OmegaConf.load(path), resolve=True)
    except (YAMLError, OmegaConfBaseException, OSError, UnicodeError) as error:
        reason = " ".join(str(error).split())[:120]
        raise UserError(
            f"{path} cannot be read: {reason} (run, resume); give a run as it was made"
        ) from error
    match found:
        case {"model": _}:
            return in_todays_terms(found)  # type: ignore[arg-type]
        case _:
            raise UserError(
                f"{path} is no configuration of a run (run, resume); give a run as it was made"
            )


def in_todays_terms(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration of a run with the keys and the words that came later.

    Without a validation split, the held-out images of a metric are those of the test split.
    """
    match config:
        case {"data": dict() as data}:
            data.setdefault("validation", LATER["data.validation"][1])
    for node in (config.get("quality"), *(config.get("callbacks") or {}).values()):
        match node:
            case {"split": "test"}:
                node["split"] = "held_out"
            case {"reference": "test"}:
                node["reference"] = "held_out"
    return config


def settings_kept(
    run_dir: Path, config: dict[str, Any], typed: Collection[str] = ()
) -> dict[str, Any]:
    """What a run that is resumed keeps: keys that came later, where the command has the default.

    The default of `data.validation` depends on `quality`, which a resume may change. The rows that
    are held out stay those of the run. So does the precision, of which "auto" leaves the choice.

    Args:
        run_dir: the run.
        config: the configuration of the command.
        typed: the keys of its overrides. What the user typed is never replaced, but for "auto".

    Returns:
        The values of the run, by dotted keys.
    """
    saved, asked = flat(saved_config(run_dir)), flat(config)
    kept = {
        key: before
        for key, (default, before) in LATER.items()
        if saved.get(key) == before and asked.get(key) == default
    }
    held_out = saved.get("data.validation")
    if (
        held_out
        and not asked.get("data.validation")
        and asked.get("quality._target_") == resolvers.NO_SCORES
    ):
        kept["data.validation"] = held_out
    precision, wanted = saved.get("trainer.precision"), asked.get("trainer.precision")
    if precision and precision != wanted:
        kept["trainer.precision"] = precision
    chosen = set(typed) - ({"trainer.precision"} if wanted == "auto" else set())
    return {key: value for key, value in kept.items() if key not in chosen}


def saved_choices(run_dir: Path) -> dict[str, str]:
    """The options of a run's groups as they were typed."""
    return dict(OmegaConf.load(run_dir / ".hydra" / "hydra.yaml").hydra.runtime.choices)


def summary(run_dir: Path) -> dict[str, Any]:
    """The summary of a run; empty for one that has not come to an end."""
    try:
        return json.loads((run_dir / "summary.json").read_text("utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return {}


def typed_words(run_dir: Path) -> list[str]:
    """The words of a run's command, as text, since one may hold an interpolation.

    Empty where nothing has recorded them.
    """
    file = run_dir / ".hydra" / "overrides.yaml"
    return [str(word) for word in yaml.safe_load(file.read_text("utf-8"))] if file.exists() else []


def finished(run_dir: Path, steps: int) -> bool:
    """Whether a run has completed at least so many steps."""
    end = summary(run_dir)
    return end.get("status") == "completed" and end.get("steps", 0) >= steps


def versions() -> dict[str, str | None]:
    """The versions of Python, gentrain and the libraries that decide a run's numbers.

    None stands for a library that is not installed, as W&B for a run with another logger.
    """
    packages = ("torch", "torchvision", "lightning", "hydra-core", "torchmetrics", "wandb")
    found = {name: installed_version(name) for name in packages}
    return {"python": platform.python_version(), "gentrain": __version__, **found}


def checkpoint_file(run_dir: Path, checkpoint: str, key: str = "run") -> Path:
    """The path of a checkpoint.

    Args:
        run_dir: a run directory.
        checkpoint: "last" or "best".
        key: what names the directory, for messages.

    Raises:
        UserError: where there is none.
    """
    if not (run_dir / CONFIG).exists():
        raise UserError(
            f"no run in {run_dir} ({key}); give a run directory, such as outputs/dcgan-mnist/..."
        )
    file = run_dir / "checkpoints" / f"{checkpoint}.ckpt"
    if not file.exists():
        remedy = (
            "train on, or give another run"
            if checkpoint == "last"
            else "it has no scores yet; give checkpoint=last"
        )
        raise UserError(
            f"no {file.relative_to(run_dir)} in {run_dir} ({key}, checkpoint); {remedy}"
        )
    return file


def installed_version(package: str) -> str | None:
    """The version of an installed package, or None."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


# --- runs of older versions -------------------------------------------------------------------


def saved_version(run_dir: Path) -> str:
    """The version of gentrain that made a run."""
    match summary(run_dir):
        case {"versions": {"gentrain": str(found)}}:
            return found
    # a killed run has no summary; every configuration of version 0.1 names gentrain.callbacks
    match saved_config(run_dir):
        case {"checkpoint": {"_target_": str(target)}} if target.startswith("gentrain.callbacks."):
            return "0.1.0"
    return __version__


def refuse_old_version(place: Path, made_by: str, key: str) -> None:
    """Refuse a run or a checkpoint whose classes are no longer there.

    Args:
        place: the run directory or the checkpoint.
        made_by: the version of gentrain that wrote it.
        key: the key that named it, such as "resume".

    Raises:
        UserError: for a version before 0.2.
    """
    if Version(made_by) < OLDEST:
        raise UserError(
            f"{place} was made by gentrain {made_by}, and this is {__version__} ({key}); "
            f"use gentrain {made_by} for it, or train it again"
        )


# --- which one to continue --------------------------------------------------------------------


def newest_unfinished(
    parent: Path, config: dict[str, Any], typed: Collection[str] = ()
) -> Path | None:
    """The newest run below `parent` of the same configuration that can be continued."""
    found = parent.glob(f"*/{LAST}")
    for checkpoint in sorted(found, key=lambda path: path.stat().st_mtime, reverse=True):
        run_dir = checkpoint.parents[1]
        if finished(run_dir, config["steps"]):
            continue
        if identity_config(saved_config(run_dir)) == continued(run_dir, config, typed):
            return run_dir
    return None


def resolve_resume(
    resume: str, config: dict[str, Any], choices: dict[str, str], typed: Collection[str] = ()
) -> tuple[Path, Path]:
    """The run directory and the checkpoint that `resume=PATH` names.

    Args:
        resume: a run directory, or a checkpoint in one.
        config: the configuration of this command.
        choices: the options of its groups as they were typed.
        typed: the keys of its overrides.

    Raises:
        UserError: where there is none, or where it is of another configuration or version.
    """
    path = Path(resume)
    checkpoint = path / LAST if path.is_dir() else path
    run_dir = path if path.is_dir() else checkpoint.parent.parent
    if "://" in resume:
        problem, remedy = "is a URL", "give the path of a run directory on this machine"
    elif not path.exists():
        problem, remedy = "does not exist", "give a run directory or a checkpoint in one"
    elif not checkpoint.exists():
        problem, remedy = f"has no {LAST}", "nothing was saved there yet, start without resume"
    elif not (run_dir / CONFIG).exists():
        problem, remedy = f"is not in a run directory, with {CONFIG}", "give one of gentrain's"
    else:
        refuse_other_config(run_dir, config, choices, typed)
        return run_dir, checkpoint
    raise UserError(f"{resume} {problem} (resume); {remedy}")


def refuse_other_config(
    run_dir: Path,
    config: dict[str, Any],
    choices: dict[str, str],
    typed: Collection[str] = (),
) -> None:
    """Refuse to continue a run as something else, unless that is forced.

    Raises:
        UserError: for another configuration without `force`, or a run of an older version.
    """
    refuse_old_version(run_dir, saved_version(run_dir), "resume")
    kept = continued(run_dir, config, typed) | {"force": config["force"]}
    refuse_changes(run_dir, (saved_config(run_dir), saved_choices(run_dir)), (kept, choices))


def refuse_changes(path: Path, old: Composed, new: Composed) -> None:
    """Refuse a configuration that computes other numbers than the one before.

    Raises:
        UserError: with the first keys that differ; not where the new one has `force`.
    """
    changed = differences(identity_config(old[0]), identity_config(new[0]))
    if changed and not new[0]["force"]:
        groups = ("model", "data", "loss", "lipschitz")
        before, after = ({group: made[1].get(group) for group in groups} for made in (old, new))
        shown = ", ".join([*differences(before, after), *changed[:3]])
        raise UserError(
            f"{path} is a run of another configuration: {shown} (resume); "
            f"start a new run, add force=true, or give the same options{command_of(path)}"
        )


def command_of(path: Path) -> str:
    """The command that goes on with a run, after a colon; empty where nothing has recorded it.

    Args:
        path: the run directory, or a checkpoint in it.
    """
    run_dir = path if path.is_dir() else path.parent.parent
    hydra = run_dir / CONFIG.parent
    try:
        typed: Any = OmegaConf.to_container(OmegaConf.load(hydra / "overrides.yaml"))
        runtime = OmegaConf.load(hydra / "hydra.yaml").hydra.runtime
    except (YAMLError, OmegaConfBaseException, OSError, UnicodeError):
        return ""
    sources = runtime.get("config_sources") or []
    overlays = [each.path for each in sources if each.provider == "command-line"]
    words = [
        *(f"--config-dir={place}" for place in overlays),
        *(word for word in without(map(str, typed), "resume") if not is_of_sweep(word)),
        resuming(path),
    ]
    return f": {shlex.join(['gentrain', *words])}"


def resuming(path: Path) -> str:
    """The word that continues a run, with quotes where Hydra needs them.

    >>> resuming(Path("outputs/gan")), resuming(Path("a, b"))
    ('resume=outputs/gan', "resume='a, b'")
    """
    return f"resume={path}" if UNQUOTED.fullmatch(str(path)) else f"resume={quoted(path)}"


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """The keys whose values differ.

    >>> differences({"model": "dcgan", "steps": 3}, {"model": "wgan_gp", "steps": 3})
    ['model dcgan -> wgan_gp']
    """
    return [
        f"{key} {old.get(key)} -> {new.get(key)}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    ]


def flat(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested configuration with dotted keys; lists are values.

    >>> flat({"a": {"b": 1}, "c": [2]})
    {'a.b': 1, 'c': [2]}
    """
    found: dict[str, Any] = {}
    for key, value in config.items():
        match value:
            case dict():
                found |= flat(value, f"{prefix}{key}.")
            case _:
                found[f"{prefix}{key}"] = value
    return found


def is_operational(key: str) -> bool:
    """Whether a dotted key changes nothing of what a run computes."""
    return any(key == name or key.startswith(name + ".") for name in OPERATIONAL)


def identity_config(config: dict[str, Any]) -> dict[str, Any]:
    """The part of a configuration that decides the numbers of a run, with dotted keys."""
    return {
        key: value
        for key, value in flat(config).items()
        if not is_operational(key) and not (key in AS_BEFORE and value == AS_BEFORE[key])
    }


def continued(run_dir: Path, config: dict[str, Any], typed: Collection[str] = ()) -> dict[str, Any]:
    """`identity_config` of a command that goes on with a run, with the settings that it keeps."""
    return identity_config(flat(config) | settings_kept(run_dir, config, typed))


def fingerprint(config: dict[str, Any]) -> str:
    """16 hexadecimal digits that are equal for configurations that compute the same."""
    text = json.dumps(identity_config(config), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
