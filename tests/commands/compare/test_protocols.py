"""Beside each score stands the protocol of its own metric, or why it is not known."""

from __future__ import annotations

import importlib
import json
import pkgutil
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from gentrain.commands.compare.find import find, read_run
from gentrain.commands.compare.groups import grouped
from gentrain.commands.compare.older import SCORES, measured_by
from gentrain.commands.compare.ranking import tables
from gentrain.protocols import lines, readable
from tests.support import made_runs as made
from tests.support.program import Program

PAIRED = {"images": 500, "data": "facades"}
QUALITY = "gentrain.quality.image_quality.ImageQuality"
OF_PAIRS = {"callbacks.paired._target_": "gentrain.quality.paired.PairedScores"}
L1 = {"quality/l1": [0.5, 0.4]}


def rewritten(place: Path, without: tuple[str, ...] = (), **news: Any) -> None:
    """Change the summary of a run that was made by hand."""
    file = place / "summary.json"
    end = json.loads(file.read_text("utf-8")) | news
    file.write_text(json.dumps({key: end[key] for key in end if key not in without}), "utf-8")


def of_two_metrics(place: Path, **options: Any) -> Path:
    """A run whose FID and whose l1 were measured by two metrics."""
    made.run(place, columns=L1, **options)
    rewritten(
        place,
        protocols={"quality": made.PROTOCOL, "paired": PAIRED},
        measured_by={"quality/fid_classifier": "quality", "quality/l1": "paired"},
    )
    return place


def test_each_score_has_the_protocol_of_its_metric(compare: Program, tmp_path: Path) -> None:
    of_two_metrics(tmp_path / "a")
    for sort, protocol in (("fid_classifier", made.PROTOCOL), ("l1", PAIRED)):
        done = compare(f"runs={tmp_path}", "page=false", f"sort={sort}")
        assert f"protocol: {readable(protocol)}\n" in done.stdout, done


def test_the_same_score_of_two_metrics_is_not_ranked_together(tmp_path: Path) -> None:
    of_two_metrics(tmp_path / "a", model="pix2pix")
    of_two_metrics(tmp_path / "b", model="unet")
    rewritten(tmp_path / "b", measured_by=dict.fromkeys(L1, "quality"))
    shown = tables(grouped(find([tmp_path])), "quality/l1")
    assert [table.protocol for table in shown] == [PAIRED, made.PROTOCOL]


# --- runs of before the summary said which metric a score is of -----------------------------------


@pytest.mark.parametrize(
    ("score", "protocols", "config", "key"),
    [
        ("quality/fid_classifier", ["quality", "paired"], {"quality._target_": QUALITY}, "quality"),
        ("test/fid_classifier", ["quality", "test/quality"], {"quality._target_": QUALITY},
         "test/quality"),
        ("quality/l1", ["quality", "paired"], {"quality._target_": QUALITY} | OF_PAIRS, "paired"),
        ("quality/error_rate", ["quality", "error_rate"], {}, "error_rate"),
        # the old rule gave the protocol of quality
        ("quality/l1", ["quality"], {"quality._target_": QUALITY}, None),
        ("test/fid_classifier", ["quality"], {"quality._target_": QUALITY}, None),
        ("quality/mine", ["quality"], {"quality._target_": "my_module.Mine"}, None),
        ("critic/adversarial", ["quality"], {"quality._target_": QUALITY}, None),
        # two metrics of the run compute such a score
        ("quality/class_kept", ["quality", "there_and_back"], {
            "quality._target_": QUALITY,
            "callbacks.there_and_back._target_": "gentrain.quality.translation.RoundTrip",
        }, None),
    ],
)  # fmt: skip
def test_an_older_run(
    score: str, protocols: list[str], config: dict[str, str], key: str | None
) -> None:
    found = measured_by(dict.fromkeys(protocols, PAIRED), {"metrics": {score: 1.0}}, config)
    assert found.get(score) == key


def test_the_scores_of_older_runs_are_those_that_the_metrics_declare() -> None:
    from gentrain import quality
    from gentrain.quality.base import Metric

    for module in pkgutil.iter_modules(quality.__path__):
        importlib.import_module(f"{quality.__name__}.{module.name}")
    declared = {kind.__name__: kind.scores for kind in Metric.kinds if kind.scores}
    ours = {name for name in declared if name in SCORES}
    assert ours | {"inception_quality"} == SCORES.keys()
    for kind in ours:
        for name in declared[kind]:
            typical = name.replace("*", "classifier")
            assert any(fnmatchcase(typical, known) for known in SCORES[kind]), (kind, name)


def test_an_older_run_is_read(compare: Program, tmp_path: Path) -> None:
    run = made.run(tmp_path / "a", columns=L1, more={"quality._target_": QUALITY} | OF_PAIRS)
    metrics = {"quality/fid_classifier": 50.0, "quality/l1": 0.4}
    protocols = {"quality": made.PROTOCOL, "paired": PAIRED}
    rewritten(run, ("measured_by",), metrics=metrics, protocols=protocols)
    assert read_run(run, "a").protocol_of_score == {
        "quality/fid_classifier": made.PROTOCOL,
        "quality/l1": PAIRED,
    }


# --- why it is not known --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kept", "reason"),
    [
        (None, (), "not known before a run ends"),
        ("completed", (), "not known, since no run had this score at its end"),
        ("completed", ("measured_by",), "not known, since an older gentrain did not record it"),
    ],
)
def test_why_a_protocol_is_not_known(
    compare: Program, tmp_path: Path, status: str | None, kept: tuple[str, ...], reason: str
) -> None:
    run = made.run(tmp_path / "a", status=status, protocol=None)
    if status:
        rewritten(run, kept, best={})
    done = compare(f"runs={tmp_path}", "page=false")
    head, _, row, *_ = done.stdout.splitlines()
    assert head == f"quality/fid_classifier (less is better); protocol: {reason}"
    assert row.split()[0] == "-", "scores are ranked that nobody knows the protocol of"


def test_a_run_that_failed_without_a_summary_has_ended(compare: Program, tmp_path: Path) -> None:
    run = made.run(tmp_path / "a", status=None)
    (run / "status.json").write_text(json.dumps({"status": "failed"}))
    assert "since no run has left a summary.json" in compare(f"runs={run}", "page=false").stdout


# --- runs that have not ended ---------------------------------------------------------------------


@pytest.mark.parametrize("same", [True, False])
def test_a_run_takes_the_protocol_of_another_only_if_its_own_line_says_so(
    tmp_path: Path, same: bool
) -> None:
    made.run(tmp_path / "a", seed=0)
    going = made.run(tmp_path / "b", seed=1, status=None)
    told = made.PROTOCOL if same else made.PROTOCOL | {"ema": True}
    (going / "protocols.json").write_text(json.dumps(lines({"quality": told})))
    assert [len(group.runs) for group in grouped(find([tmp_path]))] == ([2] if same else [1, 1])


def test_other_options_of_a_callback_are_another_protocol(tmp_path: Path) -> None:
    """What a run will be scored by is told by its configuration: also by that of its callbacks."""
    few = OF_PAIRS | {"callbacks.paired.images": 50}
    of_two_metrics(tmp_path / "a", more=OF_PAIRS | {"callbacks.paired.images": 500})
    made.run(tmp_path / "b", more=few | {"callbacks.paired.every": 5}, status=None, columns=L1)
    made.run(tmp_path / "c", more=OF_PAIRS | {
        "callbacks.paired.images": 500, "callbacks.paired.every": 5,
        "callbacks.doctor._target_": "gentrain.training.callbacks.diagnostics.Doctor",
    }, status=None, model="wgan", columns=L1)  # fmt: skip
    found = {run.name: group for group in grouped(find([tmp_path])) for run in group.runs}
    assert found["b"].protocol is None
    assert found["c"].protocol == found["a"].protocol is not None
