"""F9: nothing that is not finite reaches the weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch

from gentrain.errors import Diverged
from gentrain.models.objective import Objective
from gentrain.training.adversarial import AdversarialModule
from gentrain.training.callbacks.checkpoint import Checkpoint
from gentrain.training.callbacks.rng import RNG
from gentrain.training.datamodule import DataModule
from gentrain.training.divergence import DivergenceGuard, OnDivergence
from tests.support.toy import Noise, scheme, trainer


class Poison(L.Callback):
    """Makes a player's objective NaN (or its gradient alone infinite) in the steps after those
    given, and keeps the weights before it.
    """

    def __init__(self, player: str, steps: set[int], gradient_only: bool = False) -> None:
        self.player, self.steps, self.gradient_only = player, steps, gradient_only
        self.before: dict[int, dict[str, torch.Tensor]] = {}

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        clean = pl_module.objectives[self.player]

        def poisoned(batch: Any) -> Objective:
            objective = clean(batch)
            step = pl_module.global_step
            if step in self.steps:
                self.steps.discard(step)
                network = getattr(pl_module.model, self.player)
                self.before[step] = {k: v.clone() for k, v in network.state_dict().items()}
                weight = next(network.parameters())
                # 0 * sqrt(0) is 0, and its derivative is not a number
                bad = (
                    (weight[0, 0] * 0).sqrt() * 0
                    if self.gradient_only
                    else weight.sum() * float("nan")
                )
                objective.losses["poison"] = bad
            return objective

        pl_module.objectives[self.player] = poisoned


def run(
    folder: Path, poison: Poison, on_divergence: OnDivergence, budget: int = 3, steps: int = 8
) -> AdversarialModule:
    L.seed_everything(0, verbose=False)
    model = scheme()
    model.guard = DivergenceGuard(on_divergence, budget)
    data = Noise(name="noise", shape=(1, 8, 8), classes=4, batch_size=8)
    made = trainer(folder, steps, [RNG(), Checkpoint(every=2), poison])
    try:
        made.fit(model, datamodule=DataModule(data))
    finally:
        assert all(torch.isfinite(p).all() for p in model.parameters())
    return model


@pytest.mark.parametrize("player", ["critic", "generator"])
@pytest.mark.parametrize("gradient_only", [False, True])
def test_stop_names_the_step_and_the_tensor(
    tmp_path: Path, player: str, gradient_only: bool
) -> None:
    poison = Poison(player, {5}, gradient_only)
    with pytest.raises(Diverged) as stopped:
        run(tmp_path, poison, "stop")
    text = str(stopped.value)
    assert "step 5" in text
    assert player in text
    assert ("the gradient of" if gradient_only else f"{player}/poison") in text
    # the last finite one, kept
    saved = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["global_step"] == 4
    assert all(torch.isfinite(v).all() for v in saved["state_dict"].values() if torch.is_tensor(v))


@pytest.mark.parametrize("player", ["critic", "generator"])
def test_skip_leaves_the_update_out_and_goes_on(
    tmp_path: Path, player: str, caplog: pytest.LogCaptureFixture
) -> None:
    poison = Poison(player, {3, 5})
    with caplog.at_level("WARNING", "gentrain"):
        model = run(tmp_path, poison, "skip")
    assert model.global_step == 8
    assert model.guard.used == 2
    assert "skip (1 of 3)" in caplog.text
    assert "skip (2 of 3)" in caplog.text


def test_rollback_takes_the_last_checkpoint(tmp_path: Path) -> None:
    class Seen(L.Callback):
        after: dict[str, torch.Tensor] | None = None

        def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, *_: object) -> None:
            if not pl_module.stepped and Seen.after is None:
                Seen.after = {
                    k: v.clone() for k, v in pl_module.model.generator.state_dict().items()
                }

    L.seed_everything(0, verbose=False)
    model = scheme()
    model.guard = DivergenceGuard("rollback", 3)
    data = Noise(name="noise", shape=(1, 8, 8), classes=4, batch_size=8)
    poison = Poison("generator", {5})
    # up to the poison
    trainer(tmp_path, 5, [RNG(), Checkpoint(every=2), poison]).fit(
        model, datamodule=DataModule(data)
    )
    saved = torch.load(tmp_path / "checkpoints" / "last-1.ckpt", weights_only=True)
    assert saved["global_step"] == 4
    L.seed_everything(0, verbose=False)
    model = scheme()
    model.guard = DivergenceGuard("rollback", 3)
    trainer(
        tmp_path / "again", 8, [RNG(), Checkpoint(every=2), Poison("generator", {5}), Seen()]
    ).fit(
        model, datamodule=DataModule(Noise(name="noise", shape=(1, 8, 8), classes=4, batch_size=8))
    )
    assert model.global_step == 8
    assert model.guard.used == 1
    assert Seen.after is not None
    for name, value in Seen.after.items():
        assert torch.equal(value, saved["state_dict"][f"model.generator.{name}"]), name


def test_rollback_without_a_checkpoint_stops(tmp_path: Path) -> None:
    with pytest.raises(Diverged, match="no checkpoint to roll back to"):
        run(tmp_path, Poison("critic", {0}), "rollback")


def test_the_budget_ends(tmp_path: Path) -> None:
    with pytest.raises(Diverged, match="divergence_budget"):
        run(tmp_path, Poison("critic", {1, 2, 3, 4, 5}), "skip", budget=3)
