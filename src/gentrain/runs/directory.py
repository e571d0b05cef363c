"""A run directory: where it is, what is in it, and which one to continue."""

from __future__ import annotations

import hashlib
import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hydra.core.utils import setup_globals
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from gentrain.config.schema import resolvers
from gentrain.errors import UserError

# keys that do not change what a run computes: a run may be continued with others
OPERATIONAL = (
    "steps", "resume", "force", "debug", "trainer", "logger", "callbacks", "samples", "checkpoint", "quality", "compile",
    "sweep", "cluster", "seeds", "probe",
    "scheme.log_every", "scheme.compile", "data.root", "data.workers", "data.resident", "data.cache", "data.mirrors", "data.verify",
)  # fmt: skip


LAST = Path("checkpoints", "last.ckpt")


MONITOR = (
    "quality/fid",
    "quality/fid_classifier",
    "quality/nats",
)  # what a run is best by, the first that it has


COLLAPSE = ("mode collapse", "mode dropping")  # verdicts of the doctor that say: fakes of few kinds


Made = tuple[dict[str, Any], dict[str, str]]  # a configuration, and the groups by the names typed


def flat(config: Any, prefix: str = "") -> dict[str, Any]:
    """{'a': {'b': 1}} -> {'a.b': 1}; lists are values."""
    if not isinstance(config, dict):
        return {prefix: config}
    return {
        k: v
        for key, node in config.items()
        for k, v in flat(node, f"{prefix}.{key}" if prefix else key).items()
    }


def identity_config(config: dict[str, Any]) -> dict[str, Any]:
    """What decides the numbers of a run, flat."""
    return {
        k: v
        for k, v in flat(config).items()
        if not any(k == o or k.startswith(o + ".") for o in OPERATIONAL)
    }


def fingerprint(config: dict[str, Any]) -> str:
    return hashlib.sha256(
        json.dumps(identity_config(config), sort_keys=True, default=str).encode()
    ).hexdigest()[:16]


def saved_config(run_dir: Path) -> dict[str, Any]:
    path = run_dir / ".hydra" / "config.yaml"
    setup_globals()  # `now` and its like, for a program that reads runs and starts none
    resolvers()
    try:
        found = OmegaConf.to_container(OmegaConf.load(path), resolve=True)
    except (YAMLError, OmegaConfBaseException, OSError, UnicodeError) as error:
        raise UserError(
            f"{path} cannot be read: {' '.join(str(error).split())[:120]} (run, resume); give a run as it was made"
        ) from error
    if not isinstance(found, dict) or "model" not in found:
        raise UserError(
            f"{path} is no configuration of a run (run, resume); give a run as it was made"
        )
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
    for checkpoint in sorted(
        parent.glob(f"*/{LAST}"), key=lambda p: p.stat().st_mtime, reverse=True
    ):
        run_dir = checkpoint.parents[1]
        if not finished(run_dir, config["steps"]) and fingerprint(saved_config(run_dir)) == wanted:
            return run_dir
    return None


def resolve_resume(
    resume: str, config: dict[str, Any], choices: dict[str, str]
) -> tuple[Path, Path]:
    """(run directory, checkpoint) of `resume=PATH`, refused where there is none or where it is of another configuration."""
    if "://" in resume:
        raise UserError(
            f"{resume} is a URL (resume); give the path of a run directory on this machine"
        )
    path = Path(resume)
    if not path.exists():
        raise UserError(
            f"{resume} does not exist (resume); give a run directory or a checkpoint in one"
        )
    checkpoint = path / LAST if path.is_dir() else path
    if not checkpoint.exists():
        raise UserError(
            f"no {LAST} in {resume} (resume); nothing was saved there yet, start without resume"
        )
    run_dir = path if path.is_dir() else checkpoint.parent.parent
    if not (run_dir / ".hydra" / "config.yaml").exists():
        raise UserError(
            f"{run_dir} is not a run directory, it has no .hydra/config.yaml (resume); give one that gentrain made"
        )
    refuse_other_config(run_dir, config, choices)
    return run_dir, checkpoint


def refuse_other_config(run_dir: Path, config: dict[str, Any], choices: dict[str, str]) -> None:
    """Refuse to continue a run as something else, unless that is forced."""
    refuse_changes(run_dir, (saved_config(run_dir), saved_choices(run_dir)), (config, choices))


def refuse_changes(path: Path, old: Made, new: Made) -> None:
    """Raises UserError where two configurations compute different numbers; `force` of the new one allows that."""
    changed = differences(identity_config(old[0]), identity_config(new[0]))
    if changed and not new[0]["force"]:
        groups = ("model", "data", "loss", "lipschitz")
        names = differences(
            *({group: choices.get(group) for group in groups} for _, choices in (old, new))
        )
        shown = ", ".join([*names, *changed[:3]])
        raise UserError(
            f"{path} is a run of another configuration: {shown} (resume); give the same options, start a new run, or add force=true"
        )


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """['model dcgan -> wgan_gp']"""
    return [
        f"{key} {old.get(key)} -> {new.get(key)}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    ]


def versions() -> dict[str, str]:
    packages = (
        "gentrain",
        "torch",
        "torchvision",
        "lightning",
        "hydra-core",
        "torchmetrics",
        "wandb",
    )
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}
