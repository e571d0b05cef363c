"""gentrain doctor run=PATH: diagnose a finished run."""

from __future__ import annotations

from pathlib import Path

from gentrain.capability import supports
from gentrain.errors import UserError
from gentrain.models.base import HasLikelihood
from gentrain.patience import say_if_slow
from gentrain.quality.diagnostics import (
    DensityMeasurements,
    Finding,
    Measurements,
    can_be_examined,
    examine,
    measure,
)
from gentrain.runs.reopen import OpenedRun, reopen
from gentrain.tables import quantity


def diagnose(run_dir: Path, samples: int) -> list[Finding]:
    """Look for the usual failures in a finished run, and print what is found.

    Args:
        run_dir: the run.
        samples: how many samples and images to look at.

    Raises:
        UserError: where there is no run, or a model that cannot be examined.
        Unavailable: where no checkpoint of it is whole.
    """
    with say_if_slow(f"opening {run_dir}"):
        run = reopen(run_dir)
    if not can_be_examined(run.model):
        raise UserError(
            "this model has neither a critic nor a likelihood to examine (run); "
            "see its scores, with gentrain eval"
        )
    with say_if_slow(f"examining {quantity(samples, 'sample')}"):
        findings = examine(measure_run(run, samples))
    count = f"{len(findings)} found" if findings else "nothing found"
    print(f"{run_dir} at step {run.step}: {count}")
    for finding in findings:
        print(f"  {finding}")
    return findings


def measure_run(run: OpenedRun, samples: int = 256) -> Measurements | DensityMeasurements:
    """Measure a finished run: its model as it is, and a density as it was before the training."""
    untrained = run.untrained() if supports(run.model, HasLikelihood) else None
    return measure(
        run.model, run.data, run.device, run.latest, samples, "test", run.step, untrained
    )
