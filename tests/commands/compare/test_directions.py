"""The directions that `compare` knows by name are those that the metrics declare."""

from __future__ import annotations

import pytest

from gentrain.commands.compare import directions
from gentrain.quality import Metric, higher_is_better

# a `*` in a declared name stands for any characters
LOGGED = [f"quality/{name.replace('*', '_classifier')}" for name in Metric.declared]


@pytest.mark.parametrize("name", LOGGED)
def test_a_declared_score(name: str) -> None:
    declared = higher_is_better(name)
    assert directions.is_score(name) == (declared is not None)
    if declared is not None:
        assert directions.higher_is_better(name) == declared


def test_all_metrics_are_looked_at() -> None:
    assert {"quality/fid_classifier", "quality/psnr_classifier", "quality/modes_found"} <= set(
        LOGGED
    )


def test_a_summary_knows_better(monkeypatch: pytest.MonkeyPatch) -> None:
    """The direction of a score of a new metric comes with the run."""
    monkeypatch.setattr(directions, "declared", {})
    assert not directions.higher_is_better("quality/spread")
    directions.declare({"directions": {"quality/spread": True}})
    assert directions.higher_is_better("quality/spread")
    directions.declare({})  # a run of version 0.1
    assert directions.higher_is_better("quality/spread")
