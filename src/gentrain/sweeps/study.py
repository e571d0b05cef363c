"""An Optuna study that is kept beside its sweep, and goes on: what was tried counts, what was half done is asked for again."""

from __future__ import annotations

import logging
from typing import Any

from ..errors import UserError
from .driver import Driver

log = logging.getLogger("gentrain")


def go_on(sweeper: Any, arguments: list[str], driver: Driver) -> None:
    """Run Hydra's Optuna sweeper for the trials that are still to be made."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    driver.dir.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(study_name=sweeper.study_name, storage=sweeper.storage, directions=sweeper._get_directions(), load_if_exists=True)
    states = optuna.trial.TrialState
    for trial in study.get_trials(deepcopy=False):
        if trial.state == states.RUNNING:  # of a driver that is gone: its cell goes on, under a new trial
            study.enqueue_trial(trial.params)
            study._storage.set_trial_state_values(trial._trial_id, state=states.FAIL) if hasattr(
                study._storage, "set_trial_state_values"
            ) else study._storage.set_trial_state(trial._trial_id, states.FAIL)
    tried = [trial for trial in study.get_trials(deepcopy=False) if trial.state == states.COMPLETE]
    sweeper.n_trials = max(0, sweeper.n_trials - len(tried))
    if tried and hasattr(sweeper.sampler, "reseed_rng"):
        sweeper.sampler.reseed_rng()  # else it would draw the values of the first start once more
    try:
        sweeper.sweep(arguments)
    except ValueError as error:
        if "No trials are completed" not in str(error):
            raise
        log.warning("no trial has a score (quality, checkpoint.monitor): Optuna had nothing to learn from")
