"""A run directory: where it is, what is in it, and which one to continue."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, TextIO

from hydra.core.utils import setup_globals
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from .config import resolvers
from .errors import UserError

# keys that do not change what a run computes: a run may be continued with others
OPERATIONAL = (
    "steps", "resume", "force", "debug", "trainer", "logger", "callbacks", "samples", "checkpoint", "quality", "compile",
    "sweep", "cluster", "seeds", "probe",
    "scheme.log_every", "scheme.compile", "data.root", "data.workers", "data.resident", "data.cache", "data.mirrors", "data.verify",
)  # fmt: skip
LAST = Path("checkpoints", "last.ckpt")
MONITOR = ("quality/fid", "quality/fid_classifier", "quality/nats")  # what a run is best by, the first that it has
COLLAPSE = ("mode collapse", "mode dropping")  # verdicts of the doctor that say: fakes of few kinds
Made = tuple[dict[str, Any], dict[str, str]]  # a configuration, and the groups by the names typed


def flat(config: Any, prefix: str = "") -> dict[str, Any]:
    """{'a': {'b': 1}} -> {'a.b': 1}; lists are values."""
    if not isinstance(config, dict):
        return {prefix: config}
    return {k: v for key, node in config.items() for k, v in flat(node, f"{prefix}.{key}" if prefix else key).items()}


def essence(config: dict[str, Any]) -> dict[str, Any]:
    """What decides the numbers of a run, flat."""
    return {k: v for k, v in flat(config).items() if not any(k == o or k.startswith(o + ".") for o in OPERATIONAL)}


def fingerprint(config: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(essence(config), sort_keys=True, default=str).encode()).hexdigest()[:16]


def saved_config(run_dir: Path) -> dict[str, Any]:
    path = run_dir / ".hydra" / "config.yaml"
    setup_globals()  # `now` and its like, for a program that reads runs and starts none
    resolvers()
    try:
        found = OmegaConf.to_container(OmegaConf.load(path), resolve=True)
    except (YAMLError, OmegaConfBaseException, OSError, UnicodeError) as error:
        raise UserError(f"{path} cannot be read: {' '.join(str(error).split())[:120]} (run, resume); give a run as it was made") from error
    if not isinstance(found, dict) or "model" not in found:
        raise UserError(f"{path} is no configuration of a run (run, resume); give a run as it was made")
    return found  # type: ignore[return-value]


def saved_choices(run_dir: Path) -> dict[str, str]:
    """The groups by the names typed."""
    return dict(OmegaConf.load(run_dir / ".hydra" / "hydra.yaml").hydra.runtime.choices)


def summary(run_dir: Path) -> dict[str, Any]:
    """The summary of a run; empty where it never came to an end."""
    try:
        return json.loads((run_dir / "summary.json").read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}


def finished(run_dir: Path, steps: int) -> bool:
    end = summary(run_dir)
    return end.get("status") == "completed" and end.get("steps", 0) >= steps


def newest_unfinished(parent: Path, config: dict[str, Any]) -> Path | None:
    """The newest run below `parent` of the same configuration that has a checkpoint and is not at its end."""
    wanted = fingerprint(config)
    for checkpoint in sorted(parent.glob(f"*/{LAST}"), key=lambda p: p.stat().st_mtime, reverse=True):
        run_dir = checkpoint.parents[1]
        if not finished(run_dir, config["steps"]) and fingerprint(saved_config(run_dir)) == wanted:
            return run_dir
    return None


def named(resume: str, config: dict[str, Any], choices: dict[str, str]) -> tuple[Path, Path]:
    """(run directory, checkpoint) of `resume=PATH`, refused where there is none or where it is of another configuration."""
    if "://" in resume:
        raise UserError(f"{resume} is a URL (resume); give the path of a run directory on this machine")
    path = Path(resume)
    if not path.exists():
        raise UserError(f"{resume} does not exist (resume); give a run directory or a checkpoint in one")
    checkpoint = path / LAST if path.is_dir() else path
    if not checkpoint.exists():
        raise UserError(f"no {LAST} in {resume} (resume); nothing was saved there yet, start without resume")
    run_dir = path if path.is_dir() else checkpoint.parent.parent
    if not (run_dir / ".hydra" / "config.yaml").exists():
        raise UserError(f"{run_dir} is not a run directory, it has no .hydra/config.yaml (resume); give one that gentrain made")
    same(run_dir, config, choices)
    return run_dir, checkpoint


def same(run_dir: Path, config: dict[str, Any], choices: dict[str, str]) -> None:
    """Refuse to continue a run as something else, unless that is forced."""
    refuse_changes(run_dir, (saved_config(run_dir), saved_choices(run_dir)), (config, choices))


def refuse_changes(path: Path, old: Made, new: Made) -> None:
    """Raises UserError where two configurations compute different numbers; `force` of the new one allows that."""
    changed = differences(essence(old[0]), essence(new[0]))
    if changed and not new[0]["force"]:
        groups = ("model", "data", "loss", "lipschitz")
        names = differences(*({group: choices.get(group) for group in groups} for _, choices in (old, new)))
        shown = ", ".join([*names, *changed[:3]])
        raise UserError(
            f"{path} is a run of another configuration: {shown} (resume); give the same options, start a new run, or add force=true"
        )


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """['model dcgan -> wgan_gp']"""
    return [f"{key} {old.get(key)} -> {new.get(key)}" for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)]


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Whole or not at all."""
    write_text(path, json.dumps(content, indent=2, default=str) + "\n")


@contextmanager
def told(out: Path) -> Iterator[None]:
    """A disk that is full, or that may not be written, in one line."""
    from .errors import Unavailable

    try:
        yield
    except OSError as error:
        raise Unavailable(f"cannot write in {out}: {error.strerror or error} (out); make room, or give another out=DIR") from error


def write_text(path: Path, content: str) -> None:
    """Whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(content, encoding="utf-8", errors="backslashreplace")
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def versions() -> dict[str, str]:
    packages = ("gentrain", "torch", "torchvision", "lightning", "hydra-core", "torchmetrics", "wandb")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}


def check_place(run_dir: Path) -> None:
    """Can the directory be made? Asked before anything is imported, read or computed, and answered without making it."""
    from .errors import Unavailable

    place = run_dir.absolute()
    try:
        while not place.exists():
            place = place.parent
    except OSError as error:  # a name too long
        raise Unavailable(f"cannot make {run_dir}: {error.strerror} (hydra.run.dir); choose another directory") from error
    if not place.is_dir():
        raise Unavailable(f"cannot make {run_dir}: {place} is a file (hydra.run.dir); choose another directory")
    if not os.access(place, os.W_OK | os.X_OK):
        raise Unavailable(f"cannot make {run_dir}: {place} is not writable (hydra.run.dir); choose another directory")


def missing(run_dir: Path) -> list[Path]:
    """The run directory and those above it that do not exist yet, the deepest first."""
    return [path for path in (run_dir, *run_dir.parents) if not path.exists()]


def discard(made: list[Path]) -> None:
    """Remove what a run that never began has made: its directory, and those above it where nobody else has put anything."""
    for path in made[:1]:
        shutil.rmtree(path, ignore_errors=True)
    for path in made[1:]:
        with suppress(OSError):
            path.rmdir()


_owned: dict[Path, TextIO] = {}  # locks live as long as this process


def own(run_dir: Path) -> None:
    """Make this process the one that writes in a run directory. Raises UserError while another does.

    The kernel gives up the lock of a process that dies, however it dies, so a lock is never stale.
    """
    run_dir = run_dir.resolve()
    if run_dir in _owned or any(os.environ.get(rank, "0") != "0" for rank in ("LOCAL_RANK", "NODE_RANK", "SLURM_PROCID")):
        return
    file = open(run_dir / ".lock", "a+")  # noqa: SIM115 (held until the end)
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # flock's would live on in a data worker that outlives its killed run
    except OSError:
        file.seek(0)
        owner = file.read().strip() or "another process"
        file.close()
        raise UserError(f"{owner} is writing in {run_dir} (hydra.run.dir, resume); wait for it, or give another directory") from None
    file.truncate(0)
    file.write(f"process {os.getpid()} on {platform.node()}")
    file.flush()
    _owned[run_dir] = file


def release(run_dir: Path) -> None:
    """The run is over; a multirun goes on."""
    if (file := _owned.pop(run_dir.resolve(), None)) is not None:
        file.close()


def probe(run_dir: Path) -> None:
    """Make the directory and write to it, before anything is computed that could not be kept."""
    from .errors import Unavailable

    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        test = run_dir / ".probe"
        test.write_text("")
        test.unlink()
    except OSError as error:
        raise Unavailable(f"cannot write to {run_dir}: {error.strerror} (hydra.run.dir); choose another directory") from error
