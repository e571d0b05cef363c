"""gentrain doctor run=PATH: diagnose a finished run."""

from __future__ import annotations

from pathlib import Path

from gentrain.errors import UserError
from gentrain.models.density import DensityModel
from gentrain.quality.diagnostics import (
    Finding,
    examine,
    measure,
)


def diagnose(run_dir: Path, samples: int) -> list[Finding]:
    """Say what ails a run. Raises UserError where there is no run, Unavailable where no checkpoint of it is whole."""
    from gentrain.runs.reopen import reopen

    job, saved = reopen(run_dir)
    if not isinstance(job.scheme.model, DensityModel) and not hasattr(job.scheme.model, "critic_scores"):
        raise UserError(
            "this model has neither a critic nor a likelihood to examine (run); see its scores, with gentrain eval"
        )
    verdicts = examine(measure(job.scheme, job.data, samples))
    print(
        f"{run_dir} at step {saved['global_step']}: {'nothing found' if not verdicts else f'{len(verdicts)} found'}"
    )
    for verdict in verdicts:
        print(f"  {verdict}")
    return verdicts
