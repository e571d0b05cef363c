"""An Optuna study that is kept beside its sweep, and goes on: what was tried counts, what was half done is asked for again."""

from __future__ import annotations

import logging
from typing import Any

from gentrain.sweeps.launcher import SweepLauncher

log = logging.getLogger("gentrain")


def go_on(sweeper: Any, arguments: list[str], driver: SweepLauncher) -> None:
    """Run Hydra's Optuna sweeper for the trials that are still to be made."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    driver.dir.mkdir(parents=True, exist_ok=True)
    directions = sweeper._get_directions()
    study = optuna.create_study(
        study_name=sweeper.study_name,
        storage=sweeper.storage,
        directions=directions,
        load_if_exists=True,
    )
    trials = study.get_trials(deepcopy=False)
    for trial in trials:
        if (
            trial.state.name == "RUNNING"
        ):  # of a driver that is gone: its cell goes on, under a new trial
            study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
            study.enqueue_trial(trial.params)
    tried = sum(trial.state.name == "COMPLETE" for trial in trials)
    sweeper.n_trials = driver.trials = max(0, sweeper.n_trials - tried)
    if tried and hasattr(sweeper.sampler, "reseed_rng"):
        sweeper.sampler.reseed_rng()  # else it would draw the values of the first start once more
    log.info(
        "study %s: %d trials are done, %d to make", sweeper.study_name, tried, sweeper.n_trials
    )
    try:
        sweeper.sweep(arguments)
    except ValueError as error:
        if "No trials are completed" not in str(error):
            raise
        log.warning(
            "no trial has a score (quality, checkpoint.monitor): Optuna had nothing to learn from"
        )
