"""gentrain check plugin=MODULE: whether code of the user keeps the contract of its kind.

- `options`: what a plugin brings, and with which model each of it is tried
- `outcome`: a check passes, fails or is skipped, and is one line
- `training`: what is trained: it is built, shapes, gradients, checkpoint, compile, processes
- `datasets`, `metrics`, `modes`: the contracts of the other kinds
- `documentation`: whether the options are explained

The tests of gentrain's own models and data sets call the same functions.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gentrain.errors import ChecksFailed

if TYPE_CHECKING:
    from gentrain.commands.check.options import Compose


def check(config: dict[str, Any], compose: Compose) -> None:
    """Check each option that a plugin brings; a line for each check goes to stdout.

    Args:
        config: the keys of conf/check.yaml.
        compose: gives the configuration of a command.

    Raises:
        UserError: where no YAML file names a class of the plugin.
        ChecksFailed: where a check has failed.
    """
    from gentrain.commands.check.options import broken_files, options_of, unnamed_classes
    from gentrain.commands.check.outcome import Report, quiet

    report = Report()
    for file, reason in broken_files():
        report.heading(f"{file.parent.name}={file.stem}", str(file))
        report.failed("yaml", reason)
    for option in options_of(config["plugin"], bool(report.failures)):
        report.heading(option.words[-1], ", ".join(option.targets))
        with tempfile.TemporaryDirectory(prefix="gentrain-check-") as place, quiet():
            checks_of(option.group)(option, report, compose, Path(place), config["compile"].name)
    for name in unnamed_classes(config["plugin"]):
        report.skipped(name, "no YAML file names it")
    print(report.conclusion())
    if report.failures:
        raise ChecksFailed


def checks_of(group: str) -> Callable[..., None]:
    """What checks the options of a group."""
    from gentrain.commands.check.datasets import check_data
    from gentrain.commands.check.metrics import check_metric
    from gentrain.commands.check.modes import check_mode
    from gentrain.commands.check.training import check_training

    others = {"data": check_data, "quality": check_metric, "mode": check_mode}
    return others.get(group, check_training)
