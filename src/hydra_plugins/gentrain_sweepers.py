"""Hydra's sweepers with gentrain's ledger between them and the launcher. Hydra takes plugins from this package alone.

It reads this file at every start, for its help too: whatever is heavy is imported where it is used.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser


def swept(arguments: list[str]) -> list[str]:
    """The keys of a command that have several values."""
    parsed = OverridesParser.create().parse_overrides(arguments)
    return [
        each.key_or_group
        for each in parsed
        if each.is_sweep_override()
        and not (each.is_discrete_sweep() and len(list(each.sweep_string_iterator())) < 2)
    ]


def driven(sweeper: Any, arguments: list[str], go: Callable[[Any], Any]) -> None:
    """Put the ledger's driver in the launcher's place, sweep, and tell how it ended."""
    from gentrain.sweeps.launcher import SweepLauncher, Uncomposed

    launcher, context = sweeper.launcher, sweeper.hydra_context
    launcher.hydra_context = replace(context, config_loader=Uncomposed())
    sweeper.launcher = driver = SweepLauncher(
        launcher, sweeper.config, context.config_loader, swept(arguments)
    )
    with driver.driving():
        go(driver)
    driver.conclude()


class Grid(BasicSweeper):
    """Every combination of the values, each a cell of the ledger."""

    def sweep(self, arguments: list[str]) -> Any:
        from gentrain.sweeps.ablation import leave_one_out

        arguments = leave_one_out(arguments, self.config)
        driven(self, arguments, lambda driver: super(Grid, self).sweep(arguments))

    def validate_batch_is_legal(self, batch: Any) -> None:
        """The driver composes every cell, to know it again."""


with suppress(ImportError):
    from hydra_plugins.hydra_optuna_sweeper.optuna_sweeper import OptunaSweeper

    class Trials(OptunaSweeper):
        """Optuna's study, which goes on where it was; each trial is a cell of the ledger."""

        def sweep(self, arguments: list[str]) -> None:
            from gentrain.sweeps.study import go_on

            driven(self.sweeper, arguments, lambda driver: go_on(self.sweeper, arguments, driver))
