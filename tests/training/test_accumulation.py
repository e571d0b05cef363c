"""scheme.accumulate: n batches to one update are the batch of n times the size, to the bit of the
arithmetic, and resume exactly.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor

from gentrain.adversarial import lipschitz
from gentrain.config import validate
from gentrain.config.build import build
from gentrain.training.adversarial import AdversarialModule
from gentrain.training.callbacks.checkpoint import Checkpoint
from gentrain.training.callbacks.rng import RNG
from gentrain.training.datamodule import DataModule
from tests.support.compose import composed
from tests.support.tensors import assert_equal
from tests.support.toy import Noise, trainer

SMALL = ("model.generator.width=8", "model.critic.width=8")
RATES = tuple(
    f"scheme.optimizers.{player}={{lr: 0.05, momentum: 0.0}}" for player in ("critic", "generator")
)
# nothing couples samples; plain descent, where Adam would make much of the last bit of a gradient
# near zero
FREE = (
    "model=dcgan",
    "network=mlp",
    "optimizer=sgd",
    "loss=wasserstein",
    "lipschitz=gp",
    "scheme.critic_steps=2",
    *RATES,
    *SMALL,
)


def made(*overrides: str) -> AdversarialModule:
    torch.manual_seed(0)
    checked = validate.check(composed(*overrides, "data.size=8"))
    return build(
        checked["scheme"] | {"log_every": 1}, "scheme", model=build(checked["model"], "model")
    )


def arranged(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise and points of the penalty from streams of their own: drawn by 16 or twice by 8, the
    same rows.
    """
    model.init_from_batch = lambda batch: None  # nothing of which would draw another number of rows
    z, eps = torch.Generator().manual_seed(1), torch.Generator().manual_seed(2)
    model.generator.noise = lambda n, device: (
        torch.rand(n, model.generator.latent, generator=z) * 2 - 1
    )

    def uniform_per_sample(x: Tensor) -> Tensor:
        return torch.rand(len(x), *[1] * (x.ndim - 1), generator=eps)

    monkeypatch.setattr(lipschitz, "uniform_per_sample", uniform_per_sample)


def fit(
    scheme: AdversarialModule, folder: Path, batch_size: int, steps: int, resume: Path | None = None
) -> L.Trainer:
    data = Noise(name="noise", shape=(1, 8, 8), classes=4, batch_size=batch_size)
    torch.manual_seed(3)
    made = trainer(folder, steps, [RNG(), Checkpoint(2)])
    made.fit(scheme, datamodule=DataModule(data), ckpt_path=resume)
    return made


@pytest.mark.parametrize("scaled", [False, True])
def test_two_batches_of_8_are_one_of_16(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scaled: bool
) -> None:
    if scaled:  # as 16-mixed has one
        scalers: dict[int, Any] = {}
        make = torch.amp.GradScaler
        monkeypatch.setattr(
            AdversarialModule,
            "scaler",
            property(lambda self: scalers.setdefault(id(self), make("cpu", init_scale=1024.0))),
        )
    runs = []
    for accumulate, batch_size in ((1, 16), (2, 8)):
        scheme = made(*FREE, f"scheme.accumulate={accumulate}")
        arranged(scheme.model, monkeypatch)
        fit(scheme, tmp_path / str(accumulate), batch_size, 3)
        runs.append(scheme)
    one, two = runs
    for (name, p), q in zip(one.model.named_parameters(), two.model.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-6, msg=name)
    assert (
        one.global_step == two.global_step == 3
        and one.clock.images == two.clock.images == 3 * 2 * 16
    )
    assert one.latest.keys() == two.latest.keys()
    for name in one.latest.keys() - {"images_per_second"}:
        assert one.latest[name] == pytest.approx(two.latest[name], rel=1e-3, abs=1e-4), name


def test_not_one_of_8(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison above can fail: without accumulation the updates are others."""
    runs = []
    for accumulate in (1, 2):
        scheme = made(*FREE, f"scheme.accumulate={accumulate}")
        arranged(scheme.model, monkeypatch)
        fit(scheme, tmp_path / str(accumulate), 8, 3)
        runs.append(torch.nn.utils.parameters_to_vector(scheme.model.critic.parameters()))
    assert (runs[0] - runs[1]).abs().max() > 1e-4


def test_resumed_exactly(tmp_path: Path) -> None:
    words = (
        "model=dcgan",
        "network=mlp",
        "tricks=[ema]",
        "scheme.accumulate=3",
        "scheme.critic_steps=2",
        *SMALL,
    )
    whole, first, second = made(*words), made(*words), made(*words)
    fit(whole, tmp_path / "whole", 8, 5)
    fit(first, tmp_path / "parts", 8, 2)
    saved = torch.load(tmp_path / "parts" / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["DataModule"]["position"] == 2 * 2 * 3
    fit(second, tmp_path / "parts", 8, 5, tmp_path / "parts" / "checkpoints" / "last.ckpt")
    assert_equal(whole.model.state_dict(), second.model.state_dict())


def test_one_norm_and_one_verdict_to_an_update(tmp_path: Path) -> None:
    """Of three batches one is not a number: the update is left out, once for each player."""
    scheme = made(
        *FREE, "scheme.accumulate=3", "scheme.critic_steps=1", "scheme.on_divergence=skip"
    )
    calls = []
    clean = scheme.objectives["critic"]

    def poisoned(batch: Any) -> Any:
        objective = clean(batch)
        calls.append(1)
        if len(calls) == 2:
            objective.losses["poison"] = scheme.model.critic.head.weight.sum() * float("nan")
        return objective

    scheme.objectives["critic"] = poisoned
    looked = []
    admits = scheme.guard.check_gradients
    scheme.guard.check_gradients = lambda *args: looked.append(args[2]) or admits(*args)
    fit(scheme, tmp_path, 8, 2)
    assert len(calls) == 6 and looked == ["critic", "generator"] * 2
    assert scheme.guard.used == 1
