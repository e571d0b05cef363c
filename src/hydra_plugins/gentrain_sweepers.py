"""Hydra's sweepers, with gentrain's ledger between them and the launcher.

Hydra takes plugins from this package alone, and reads this file at every start, also for its help:
imports that take time are inside the functions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override


def swept_keys(arguments: list[str]) -> list[str]:
    """The keys of a command that have several values."""

    def is_swept(each: Override) -> bool:
        if not each.is_discrete_sweep():
            return each.is_sweep_override()
        return len(list(each.sweep_string_iterator())) > 1

    parsed = OverridesParser.create().parse_overrides(arguments)
    return [each.key_or_group for each in parsed if is_swept(each)]


def with_defaults(arguments: list[str], params: Mapping[str, Any]) -> list[str]:
    """The overrides of a command, after the parameters of its sweep that are not typed."""
    parsed = OverridesParser.create().parse_overrides(arguments)
    typed = {each.key_or_group for each in parsed}
    return [*(f"{key}={value}" for key, value in params.items() if key not in typed), *arguments]


def run_sweep(sweeper: Any, arguments: list[str], sweep: Callable[[Any], Any]) -> None:
    """Sweep with our launcher in the place of Hydra's, and report how the cells ended.

    Args:
        sweeper: Hydra's sweeper, set up.
        arguments: the overrides of the command.
        sweep: makes the sweep; called with our launcher.
    """
    from gentrain.files import report_disk_errors
    from gentrain.runs.directory import missing_directories, remove_directories
    from gentrain.sweeps.launcher import DeferredConfigLoader, SweepLauncher

    launcher, context = sweeper.launcher, sweeper.hydra_context
    launcher.hydra_context = replace(context, config_loader=DeferredConfigLoader())
    swept = swept_keys(arguments)
    sweeper.launcher = ours = SweepLauncher(launcher, sweeper.config, context.config_loader, swept)
    made = missing_directories(ours.dir)
    with report_disk_errors(ours.dir, "sweep.name", "give another hydra.sweep.dir=DIR"):
        try:
            with ours.exclusive_driver():
                sweep(ours)
        except BaseException:  # Ctrl-C as well
            if not (ours.dir / "sweep.json").exists():  # refused before there were any cells
                remove_directories(made)
            raise
        ours.conclude()


class Grid(BasicSweeper):
    """Every combination of the values, each a cell of the ledger.

    `hydra.sweeper.params` of a sweep's YAML has values by key; a key that is typed has those typed.
    """

    def sweep(self, arguments: list[str]) -> Any:
        from gentrain.sweeps.ablation import leave_one_out

        arguments = leave_one_out(with_defaults(arguments, self.params or {}), self.config)
        self.params = {}  # Hydra would add them once more
        run_sweep(self, arguments, lambda launcher: super(Grid, self).sweep(arguments))

    def validate_batch_is_legal(self, batch: Any) -> None:
        """Nothing: our launcher composes every job."""


with suppress(ImportError):
    from hydra_plugins.hydra_optuna_sweeper.optuna_sweeper import OptunaSweeper

    class Trials(OptunaSweeper):
        """Optuna's study, continued; each trial is a cell of the ledger."""

        def sweep(self, arguments: list[str]) -> None:
            from gentrain.sweeps.study import continue_study

            run_sweep(
                self.sweeper,
                arguments,
                lambda launcher: continue_study(self.sweeper, arguments, launcher),
            )
