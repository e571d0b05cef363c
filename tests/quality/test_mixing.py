"""Scores through layers that mix the samples of a batch are those of batches as in training."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from gentrain.adversarial import tricks
from gentrain.data.arrays import ArrayDataset, to_float
from gentrain.data.base import Data
from gentrain.errors import UserError
from gentrain.layers.coupling import CouplesSamples, batch_coupled_layers
from gentrain.models.gan.semi_supervised import SemiSupervisedGAN
from gentrain.networks import mlp
from gentrain.quality import diagnostics
from gentrain.quality.test_error import TestError
from tests.support.backbones import criterion

CPU, K, SHAPE = torch.device("cpu"), 3, [1, 8, 8]


class Sorted(Data):
    """Noise, sorted by class, as folders are."""

    def read(self, split: str) -> ArrayDataset:
        draw = torch.Generator().manual_seed(len(split))
        images = torch.randint(256, (90, *SHAPE), generator=draw, dtype=torch.uint8)
        images[:30] //= 3
        return ArrayDataset(images, torch.arange(90) // 30)


def sorted_data(batch_size: int = 20) -> Sorted:
    return Sorted(
        name="sorted",
        shape=(1, 8, 8),
        classes=K,
        batch_size=batch_size,
        labelled=15,
        validation=0,
    )


def mixing(*chosen: Any) -> SemiSupervisedGAN:
    torch.manual_seed(0)
    model = SemiSupervisedGAN(
        partial(mlp.Generator, shape=SHAPE, latent=8, width=16),
        partial(mlp.Critic, shape=SHAPE, width=16),
        criterion(*chosen),
        classes=K,
    )
    for name, weights in model.critic.named_parameters():
        if "head" in name:
            nn.init.normal_(weights, 0, 2.0)
    model.averaged_critic.load_state_dict(model.critic.state_dict())  # which names the classes
    return model


def discriminating() -> SemiSupervisedGAN:
    return mixing(tricks.MinibatchDiscrimination())


def error(model: Any, data: Data, **options: Any) -> float:
    metric = TestError(**options)
    metric.check(data, model)
    return metric.compute(data, model, CPU)["error_rate"]


def test_the_error_is_that_of_shuffled_batches_of_the_training() -> None:
    """Against a loop of its own; the last batch is filled up from the first."""
    model, data = discriminating(), sorted_data()
    images, labels, _ = data.load("test")
    order = torch.randperm(90, generator=torch.Generator().manual_seed(0)).tolist()
    wrong = 0
    model.eval()
    for start in range(0, 90, 20):
        rows = (order + order)[start : start + 20]
        logits = model.classify(to_float(images[rows]))
        for row, found in zip(rows, logits.argmax(1).tolist(), strict=True):
            wrong += start + rows.index(row) < 90 and found != int(labels[row])
    model.train()
    assert error(model, data) == pytest.approx(wrong / 90) and model.training
    about = TestError().protocol(data, model)
    assert (about["batch_size"], about["order"], about["seed"]) == (20, "random", 0)
    # in the order of the files, or in other batches, it is another number
    others = {error(model, sorted_data(size)) for size in (5, 45)}
    assert others != {error(model, data)}


def test_another_batch_size_is_refused_where_it_is_another_score() -> None:
    model, data = discriminating(), sorted_data()
    for refused, key in (
        (lambda: error(model, data, batch_size=500), "callbacks.error_rate.batch_size"),
        (lambda: error(model, sorted_data(91)), "data.batch_size=90 or less"),
    ):
        with pytest.raises(UserError, match=key) as problem:
            refused()
        assert "\n" not in str(problem.value)
    assert error(model, data, batch_size=20) == error(model, data)
    assert TestError().options_for(model) == {"split": "split", "seed": "seed"}


def test_elsewhere_the_batch_size_changes_nothing() -> None:
    model, data = mixing(), sorted_data()
    assert len({error(model, data, batch_size=size) for size in (7, 20, 500, None)}) == 1
    assert "batch_size" not in TestError().protocol(data, model)
    assert TestError().options_for(model) == {"split": "split", "batch_size": "batch_size"}


class MinusMean(CouplesSamples):
    """x - mean of the batch."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x - x.mean(0)


@pytest.mark.parametrize(
    ("layer", "mixes"),
    [
        (MinusMean(), True),
        (nn.BatchNorm1d(4, track_running_stats=False), True),
        (nn.BatchNorm1d(4), False),
        (nn.LayerNorm(4), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_layers_that_mix_in_eval_mode_are_named(layer: nn.Module, mixes: bool) -> None:
    """By brute force: does a row depend on the others?"""
    layer.eval()
    x = torch.randn(6, 4)
    alone = layer(x[:3])
    assert bool(batch_coupled_layers(layer, training=False)) == mixes
    assert torch.allclose(layer(x)[:3], alone) != mixes


def test_the_doctor_scores_in_batches_of_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 256 images 240, and of 90 80, in batches of 20; other critics see all at once."""
    seen: list[int] = []
    model, data = discriminating(), sorted_data()

    def scores(batch: Any, fake: bool = False) -> torch.Tensor:
        seen.append(len(batch[0]))
        return torch.zeros(len(batch[0]))

    monkeypatch.setattr(model, "critic_scores", scores)
    measured: Any = diagnostics.measure(model, data, CPU, {}, n=256)
    assert set(seen) == {20} and len(measured.on_train) == len(measured.on_fake) == 80
    seen.clear()
    monkeypatch.setattr(other := mixing(), "critic_scores", scores)
    measured = diagnostics.measure(other, data, CPU, {}, n=256)
    assert set(seen) == {90} and len(measured.on_test) == 90
