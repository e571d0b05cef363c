"""When metrics are computed, that only rank zero works, and that the training does not notice."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch

from gentrain.errors import Diverged, UserError
from gentrain.protocols import by_score, readable
from gentrain.quality.base import Metric, Score, split_of
from gentrain.training.callbacks.checkpoint import Checkpoint
from gentrain.training.callbacks.evaluation import Evaluation
from tests.support.tensors import assert_equal
from tests.support.toy import train

WHILE_TRAINING = {"data": "noise", "split": "validation"}  # the protocol of `Count`


class Count(Metric):
    """Counts how often it was computed; it draws samples, and random numbers."""

    scores: ClassVar = {"count": Score("computations")}

    def __init__(self, every: int = 3, at_start: bool = True, value: float = 1.0) -> None:
        super().__init__(every, 1, seed=0, at_start=at_start)
        self.computed, self.prepared, self.value = 0, 0, value

    def prepare(self, data: Any, model: Any, device: torch.device) -> None:
        self.prepared += 1
        torch.rand(7)

    def protocol(self, data: Any, model: Any) -> dict[str, Any]:
        return {"data": data.name, "split": self.split}

    def compute(self, data: Any, model: Any, device: torch.device) -> dict[str, float]:
        self.computed += 1
        model.sample((data.load("train").images[:2].float(),))
        return {"count": self.computed * self.value}


class Fails(Count):
    def compute(self, data: Any, model: Any, device: torch.device) -> dict[str, float]:
        raise Diverged("samples have values that are not finite numbers")


class Module:
    """A training module that only counts steps."""

    device, scored_at = torch.device("cpu"), None
    latest: ClassVar[dict[str, float]] = {}

    def __init__(self, step: int = 0) -> None:
        self.model = SimpleNamespace(sample=lambda batch: batch[0])
        self.global_step, self.protocols, self.records = step, {}, []
        self.measured_by: dict[str, str] = {}

    def due(self, every: int) -> bool:
        return bool(every) and self.global_step % every == 0

    def record(self, scores: dict[str, float]) -> None:
        self.records.append((self.global_step, scores))


class Noise:
    name, held_out_split = "noise", "validation"

    def load(self, split: str) -> Any:
        return SimpleNamespace(images=torch.zeros(4, 2))


def trainer(step: int, is_global_zero: bool = True) -> Any:
    return SimpleNamespace(
        datamodule=SimpleNamespace(data=Noise()),
        global_step=step,
        is_global_zero=is_global_zero,
        loggers=[],
        strategy=SimpleNamespace(barrier=lambda name=None: None, broadcast=lambda value: value),
    )


def run(evaluation: Evaluation, module: Module, last: int, is_global_zero: bool = True) -> None:
    first = trainer(0, is_global_zero)
    evaluation.setup(first, module, "fit")
    evaluation.on_fit_start(first, module)
    evaluation.on_train_start(first, module)
    for step in range(1, last + 1):
        module.global_step = step
        evaluation.on_train_batch_end(trainer(step, is_global_zero), module, None, None, step)
    evaluation.on_train_end(trainer(last, is_global_zero), module)


def test_when_it_scores() -> None:
    """At 0, at each multiple and at the end, each metric at its own steps; then the test split."""
    module, often, seldom = Module(), Count(every=3), Count(every=0, at_start=False)
    run(Evaluation({"quality": often, "seldom": seldom}), module, last=7)
    assert [step for step, _ in module.records] == [0, 3, 6, 7, 7, 7]
    assert often.computed == 5 and seldom.computed == 2 and often.prepared == seldom.prepared == 2
    assert module.records[1] == (3, {"quality/count": 2.0})
    assert module.records[-1] == (7, {"test/count": 2.0})  # the second metric of that name
    at_the_end = {"data": "noise", "split": "test"}
    assert module.protocols == {
        "quality": WHILE_TRAINING,
        "seldom": WHILE_TRAINING,
        "test/quality": at_the_end,
        "test/seldom": at_the_end,
    }
    assert module.scored_at == 7


def test_the_end_is_not_scored_twice() -> None:
    module, metric = Module(), Count(every=3)
    evaluation = Evaluation({"quality": metric})
    run(evaluation, module, last=6)
    assert [step for step, _ in module.records] == [0, 3, 6, 6]
    resumed, module = Evaluation({"quality": metric}), Module(6)
    resumed.load_state_dict(evaluation.state_dict())
    resumed.on_train_start(trainer(6), module)
    resumed.on_train_end(trainer(6), module)
    assert [list(scores) for _, scores in module.records] == [["test/count"]]


@pytest.mark.parametrize(
    ("resumed", "advice"),
    [
        (False, "; give a share of the training split, such as 0.1"),
        (True, "; a run keeps its split: leave it, or train a new run with data.validation=0.1"),
    ],
)
def test_scores_of_the_test_split_are_told(
    resumed: bool, advice: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Noise, "held_out_split", "test")
    with caplog.at_level("WARNING", "gentrain"):
        Evaluation({"quality": Count()}, resumed).setup(trainer(0), Module(), "fit")
    assert [line.endswith(advice) for line in caplog.messages] == [True]


def test_only_rank_zero_works_and_all_know_the_step() -> None:
    module, metric = Module(), Count()
    run(Evaluation({"quality": metric}), module, last=3, is_global_zero=False)
    assert metric.computed == metric.prepared == 0 and module.records == []
    assert module.scored_at == 3


def test_a_divergence_names_the_step() -> None:
    with pytest.raises(Diverged, match="not finite numbers, at step 3"):
        run(Evaluation({"quality": Fails(at_start=False)}), Module(), last=3)


class Sometimes(Count):
    """A score that is not a number at every second look."""

    key = "quality=sometimes"

    def compute(self, data: Any, model: Any, device: torch.device) -> dict[str, float]:
        self.computed += 1
        return {"count": float("nan") if self.computed % 2 == 0 else 1.0}


def test_an_earlier_value_does_not_stand_for_a_score_that_is_not_defined() -> None:
    """Nor is it written as a number that JSON has no form for."""
    module = Module()
    module.latest = {"quality/count": 1.0, "model/loss": 2.0}
    evaluation = Evaluation({"quality": Sometimes(every=3)})
    run(evaluation, module, last=3)
    assert module.records == [(0, {"quality/count": 1.0}), (3, {"test/count": 1.0})]
    assert module.latest == {"model/loss": 2.0}


def test_a_metric_that_does_not_fit_is_refused_before_the_start(tmp_path: Path) -> None:
    class Refuses(Count):
        def check(self, data: Any, model: Any) -> None:
            raise UserError("no (quality); choose another")

    with pytest.raises(UserError, match="choose another"):
        train(tmp_path, 1, [Evaluation({"quality": Refuses()})])


def test_a_run_with_scores_equals_a_run_without(tmp_path: Path) -> None:
    plain = train(tmp_path / "plain", 5, [])
    scored = train(tmp_path / "scored", 5, [Evaluation({"quality": Count(every=2)})])
    assert_equal(plain.state_dict(), scored.state_dict())
    assert scored.latest["quality/count"] == 4 and "quality/count" not in plain.latest
    assert scored.latest["test/count"] == 5


def test_the_checkpoint_takes_the_best_score(tmp_path: Path) -> None:
    """After the callback that scores, in the list; the count falls with a negative value."""
    checkpoint = Checkpoint(monitor=["quality/count"])
    train(tmp_path, 5, [Evaluation({"quality": Count(every=2, value=-1.0)}), checkpoint])
    assert checkpoint.summary() == {
        "best": {
            "metric": "quality/count",
            "value": -4.0,
            "protocol": readable({"data": "noise", "split": "validation"}),
            "step": 5,
            "path": "checkpoints/best.ckpt",
        }
    }


class Rows(Metric):
    """How many rows the split has that it scores; it notes which splits it saw."""

    scores: ClassVar = {"rows": Score("rows")}

    def __init__(self) -> None:
        super().__init__(2, 1, seed=0, at_start=True)
        self.seen: list[str] = []

    def protocol(self, data: Any, model: Any) -> dict[str, Any]:
        return {"split": split_of(data, self.split)}

    def compute(self, data: Any, model: Any, device: torch.device) -> dict[str, float]:
        self.seen.append(self.split)
        # less and less of the validation split, and even less of the test split
        return {"rows": len(data.load(self.split).images) - len(self.seen)}


def test_best_is_chosen_on_validation_and_the_test_split_is_scored_once(tmp_path: Path) -> None:
    """96 rows: 10 of them for validation, and as many for test as the toy has, 96."""
    metric, checkpoint = Rows(), Checkpoint(monitor=["quality/rows"])
    module = train(tmp_path, 5, [Evaluation({"quality": metric}), checkpoint])
    assert metric.seen == ["validation"] * 4 + ["test"]
    assert checkpoint.best["value"] == 10 - 4 and checkpoint.best["step"] == 5
    assert module.latest["quality/rows"] == 6 and module.latest["test/rows"] == 96 - 5
    assert module.protocols == {
        "quality": {"split": "validation of 10"},
        "test/quality": {"split": "test of 96"},
    }


def test_without_a_validation_split_the_test_split_chooses_and_that_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    metric = Rows()
    module = train(tmp_path, 2, [Evaluation({"quality": metric})], validation=0)
    assert module.protocols["quality"] == {"split": "test of 96"}
    assert "data.validation=0" in caplog.text and "of the test split" in caplog.text


def test_test_scores_of_a_run_that_goes_on_are_forgotten() -> None:
    module = Module(6)
    module.latest = {"test/count": 1.0, "quality/count": 2.0}
    module.protocols = {"test/quality": {}}
    module.measured_by = {"test/count": "test/quality", "quality/count": "quality"}
    Evaluation({}).on_fit_start(trainer(6), module)
    assert module.latest == {"quality/count": 2.0} and module.protocols == {}
    assert module.measured_by == {"quality/count": "quality"}


def test_a_resume_without_a_metric_forgets_its_scores() -> None:
    """They would stand in the last line and in the summary as if they were of the last step."""
    module: Any = Module(step=9)
    module.latest = {"quality/count": 1.0, "quality/kept": 2.0, "critic/adversarial": 3.0}
    module.protocols = {"quality": {}, "callbacks.other": WHILE_TRAINING}
    evaluation = Evaluation({"callbacks.other": Count()})
    evaluation.load_state_dict(
        {
            "last": {"quality": 6, "callbacks.other": 6},
            "scored": {"quality": ["quality/count"], "callbacks.other": ["quality/kept"]},
        }
    )
    evaluation.on_fit_start(trainer(9), module)
    assert module.latest == {"quality/kept": 2.0, "critic/adversarial": 3.0}
    assert module.protocols == {"callbacks.other": WHILE_TRAINING}
    assert module.measured_by == {"quality/kept": "callbacks.other"}
    assert evaluation.last == {"callbacks.other": 6}


class Ones(Count):
    """Another metric, with a score of its own and one that `Count` has, too."""

    scores: ClassVar = {"ones": Score("ones")}

    def protocol(self, data: Any, model: Any) -> dict[str, Any]:
        return super().protocol(data, model) | {"method": "ones"}

    def compute(self, data: Any, model: Any, device: torch.device) -> dict[str, float]:
        return {"ones": 1.0, "n": 1.0}


def test_each_score_says_which_metric_measured_it() -> None:
    module = Module()
    run(Evaluation({"quality": Count(), "ones": Ones()}), module, last=3)
    assert module.measured_by == {
        "quality/count": "quality",
        "quality/ones": "ones",
        "quality/n": "ones",
        "test/count": "test/quality",
        "test/ones": "test/ones",
        "test/n": "test/ones",
    }
    found = by_score(module.protocols, module.measured_by)
    assert found["quality/ones"] == WHILE_TRAINING | {"method": "ones"}
    assert found["test/count"] == {"data": "noise", "split": "test"}


@pytest.mark.parametrize(("seed", "kept"), [(0, True), (1, False)])
def test_a_resume_that_measures_in_another_way_forgets_the_old_values(
    seed: int, kept: bool
) -> None:
    """They would be shown beside the hash of the new protocol."""
    module: Any = Module(step=9)
    module.latest = {"quality/count": 1.0, "critic/adversarial": 3.0}
    module.protocols = {"quality": WHILE_TRAINING | {"method": "ones"}}
    metric, evaluation = Count() if seed else Ones(), Evaluation({})
    evaluation.metrics = {"quality": metric}
    evaluation.load_state_dict({"last": {"quality": 9}, "scored": {"quality": ["quality/count"]}})
    evaluation.on_fit_start(trainer(9), module)
    assert ("quality/count" in module.latest) is kept
    assert module.measured_by == ({"quality/count": "quality"} if kept else {})
    assert evaluation.last == ({"quality": 9} if kept else {})  # so that it is scored at the end


def test_the_best_of_one_protocol_is_not_the_best_of_another() -> None:
    checkpoint, latest = Checkpoint(monitor=["quality/count"]), {"quality/count": 3.0}
    old, new = {"quality/count": {"images": 5}}, {"quality/count": {"images": 50}}
    found = checkpoint.improvement(latest, old)
    assert found == {"metric": "quality/count", "value": 3.0, "protocol": readable({"images": 5})}
    checkpoint.best = found
    worse = {"quality/count": 4.0}
    assert checkpoint.improvement(worse, old) is None
    assert checkpoint.improvement(worse, new) == {
        "metric": "quality/count",
        "value": 4.0,
        "protocol": readable({"images": 50}),
    }
    del checkpoint.best["protocol"]  # as a checkpoint of an older version has it
    assert checkpoint.improvement(worse, new) is None
