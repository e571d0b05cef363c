"""An Optuna study that is kept beside its sweep, and continued.

Trials that were made count. Values of a trial that was half done are asked for again.
"""

from __future__ import annotations

import logging
from typing import Any

from gentrain.sweeps.launcher import SweepLauncher

log = logging.getLogger("gentrain")


def continue_study(sweeper: Any, arguments: list[str], launcher: SweepLauncher) -> None:
    """Run Hydra's Optuna sweeper for the trials that are still to be made.

    Args:
        sweeper: Hydra's Optuna sweeper.
        arguments: the overrides of the command.
        launcher: where its trials become cells.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    launcher.dir.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        study_name=sweeper.study_name,
        storage=sweeper.storage,
        directions=sweeper._get_directions(),
        load_if_exists=True,
    )
    made = 0
    for trial in study.get_trials(deepcopy=False):
        match trial.state:
            case optuna.trial.TrialState.COMPLETE:
                made += 1
            case optuna.trial.TrialState.RUNNING:
                # its sweep is gone; the cell goes on in a new trial
                study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
                study.enqueue_trial(trial.params)
    sweeper.n_trials = launcher.trials = max(0, sweeper.n_trials - made)
    if made:
        sweeper.sampler.reseed_rng()  # else it would draw the values of the first start again
    log.info("study %s: %d trials are done, %d to make", sweeper.study_name, made, sweeper.n_trials)
    try:
        sweeper.sweep(arguments)
    except ValueError:  # Optuna asks for the best of no trials
        if any(trial.state.name == "COMPLETE" for trial in study.get_trials(deepcopy=False)):
            raise
        launcher.without_scores = True
