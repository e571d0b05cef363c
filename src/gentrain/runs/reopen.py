"""Open a finished run with the weights of a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gentrain.errors import UserError
from gentrain.runs import directory
from gentrain.runs.checkpoints import (
    fill,
    load,
    newest_valid,
    refuse_version,
)
from gentrain.training.job import Job


def reopen(
    run_dir: Path, checkpoint: str = "last", device: str = "cpu"
) -> tuple[Job, dict[str, Any]]:
    """A run built as it was, with the weights of its checkpoint `last` or `best`, and what that checkpoint holds; nothing is altered.

    Raises UserError where there is no run or no such checkpoint, Unavailable where none is whole.
    """
    file = run_dir / "checkpoints" / f"{checkpoint}.ckpt"
    if not (run_dir / ".hydra" / "config.yaml").exists():
        raise UserError(
            f"no run in {run_dir} (run); give a run directory, such as outputs/dcgan-mnist/..."
        )
    if not file.exists():
        remedy = (
            "train on, or give another run"
            if checkpoint == "last"
            else "it has no scores yet; give checkpoint=last"
        )
        raise UserError(f"no {file.relative_to(run_dir)} in {run_dir} (run, checkpoint); {remedy}")
    saved = load(
        newest_valid(file, "(run, checkpoint); no whole checkpoint is left there, give another run")
    )
    refuse_version(file, saved, "run")
    on_cpu = {
        "_target_": "lightning.Trainer",
        "accelerator": "cpu",
        "devices": 1,
        "precision": "32-true",
    }
    job = Job(directory.saved_config(run_dir) | {"trainer": on_cpu}, {}, run_dir)
    fill(
        job.scheme,
        saved,
        f"{file} is not of the model in {run_dir}",
        "(run); give a run as it was trained",
    )
    job.scheme.latest = saved["latest"]
    job.scheme.to(device)
    return job, saved
