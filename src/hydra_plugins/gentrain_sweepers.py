"""Hydra's sweepers with gentrain's ledger between them and the launcher. Hydra takes plugins from this package alone.

It reads this file at every start, for its help too: whatever is heavy is imported where it is used.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser


def swept(arguments: list[str]) -> list[str]:
    """The keys of a command that have several values."""
    parsed = OverridesParser.create().parse_overrides(arguments)
    return [
        each.key_or_group
        for each in parsed
        if each.is_sweep_override() and not (each.is_discrete_sweep() and len(list(each.sweep_string_iterator())) < 2)
    ]


class Grid(BasicSweeper):
    """Every combination of the values, each a cell of the ledger."""

    def sweep(self, arguments: list[str]) -> Any:
        from gentrain.sweeps.ablation import leave_one_out
        from gentrain.sweeps.driver import Driver

        arguments = leave_one_out(arguments, self.config)
        loader = self.hydra_context.config_loader
        self.launcher = driver = Driver(self.launcher, self.config, loader, swept(arguments))
        with driver.driving():
            super().sweep(arguments)
        driver.conclude()

    def validate_batch_is_legal(self, batch: Any) -> None:
        """The driver composes every cell, to know it again."""


with suppress(ImportError):
    from hydra_plugins.hydra_optuna_sweeper.optuna_sweeper import OptunaSweeper

    class Trials(OptunaSweeper):
        """Optuna's study, which goes on where it was; each trial is a cell of the ledger."""

        def sweep(self, arguments: list[str]) -> None:
            from gentrain.sweeps.driver import Driver
            from gentrain.sweeps.study import go_on

            study = self.sweeper
            loader = study.hydra_context.config_loader
            study.launcher = driver = Driver(study.launcher, study.config, loader, swept(arguments))
            with driver.driving():
                go_on(study, arguments, driver)
            driver.conclude()
