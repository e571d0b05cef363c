"""Critic updates beside the usual k to one: warm-up and pre-training; a larger batch of the
generator. Counts against the rule of the authors' code, and resumes in the middle of a round.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor

from gentrain.adversarial import losses
from gentrain.config import validate
from gentrain.config.build import build
from gentrain.errors import UserError
from gentrain.models.gan.gan import GAN
from gentrain.networks import autoencoder, mlp
from gentrain.training.adversarial import AdversarialModule, CriticWarmup
from gentrain.training.callbacks.rng import RNG
from gentrain.training.datamodule import DataModule
from tests.support.backbones import criterion
from tests.support.compose import composed
from tests.support.tensors import assert_equal
from tests.support.toy import Noise, trainer

SHAPE = [1, 8, 8]
WARMUP = CriticWarmup(steps=5, first=2, every=3)


class Recorder(L.Callback):
    """Saves the run after one batch; counts batches."""

    def __init__(self, at: int | None = None, path: Path | None = None) -> None:
        self.at, self.path, self.batches = at, path, 0

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        self.batches += 1
        if self.batches == self.at and self.path is not None:
            trainer.save_checkpoint(self.path)


def made(energy: bool = False, **options: Any) -> AdversarialModule:
    torch.manual_seed(0)
    critic = (
        partial(autoencoder.MLP, shape=SHAPE, width=16, code=4)
        if energy
        else partial(mlp.Critic, shape=SHAPE, width=16, dropout=0.1)
    )
    generator = partial(mlp.Generator, shape=SHAPE, latent=4, width=16, norm="batch")
    model = GAN(generator, critic, criterion(loss=losses.margin(5.0) if energy else losses.js()))
    adam = partial(torch.optim.Adam, lr=1e-3)
    return AdversarialModule(
        model, {"critic": adam, "generator": adam}, **{"log_every": 1} | options
    )


def fit(
    scheme: AdversarialModule,
    folder: Path,
    steps: int,
    callbacks: list[L.Callback] | None = None,
    resume: Path | None = None,
) -> list[str]:
    """Train, and return the updates of both players in their order."""
    updates: list[str] = []
    update = scheme.update

    def noted(player: str, *arguments: Any) -> Any:
        updates.append(player[0])
        return update(player, *arguments)

    scheme.update = noted  # type: ignore[method-assign]
    data = Noise(name="noise", shape=(1, 8, 8), classes=4, batch_size=8)
    torch.manual_seed(3)
    trainer(folder, steps, [RNG(), *(callbacks or [])]).fit(
        scheme, datamodule=DataModule(data), ckpt_path=resume
    )
    return updates


def test_the_preset_warms_up_as_the_authors_do() -> None:
    """100 critic updates before generator iterations 0 to 24 and every 500th, else 5."""
    checked = validate.check(composed("model=wgan"))["scheme"]
    warmup, k = build(checked["critic_warmup"], "warmup"), checked["critic_steps"]
    for gen_iterations in range(1600):
        wanted = 100 if gen_iterations < 25 or gen_iterations % 500 == 0 else 5
        assert warmup(gen_iterations, k) == wanted
    assert CriticWarmup(7, first=0, every=0)(0, 2) == 2


def test_rounds_of_a_warm_up(tmp_path: Path) -> None:
    """Of two critic updates each, the last made whole: 6 where 5 are asked for."""
    scheme, seen = made(critic_steps=2, critic_warmup=WARMUP), Recorder()
    updates = "".join(fit(scheme, tmp_path, 5, [seen]))
    long, short = "c" * 6 + "g", "c" * 2 + "g"
    assert updates == long * 2 + short + long + short  # steps 0, 1 and 3
    assert scheme.global_step == 5 and seen.batches == 3 * 3 + 2
    assert scheme.clock.images == updates.count("c") * 8  # every real image, once
    assert scheme.trainer.datamodule.position == updates.count("c")


@pytest.mark.parametrize("at", [1, 2, 4, 7])
def test_a_warm_up_resumes_exactly(tmp_path: Path, at: int) -> None:
    options = {"critic_steps": 2, "critic_warmup": WARMUP}
    whole, again, saved = made(**options), made(**options), tmp_path / "mid.ckpt"
    fit(whole, tmp_path / "a", 4, [Recorder(at, saved)])
    fit(again, tmp_path / "b", 4, resume=saved)
    assert again.global_step == 4
    assert_equal(whole.model.state_dict(), again.model.state_dict())


def test_the_generator_sees_two_batches_as_one(tmp_path: Path) -> None:
    scheme = made(critic_steps=3, generator_batch=2)
    seen: dict[str, list[Tensor]] = {"critic": [], "generator": []}
    for player, objective in list(scheme.objectives.items()):

        def noted(batch: Any, player: str = player, objective: Any = objective) -> Any:
            seen[player].append(batch[0])
            return objective(batch)

        scheme.objectives[player] = noted
    fit(scheme, tmp_path, 2)
    assert [len(x) for x in seen["generator"]] == [16, 16]
    for step, both in enumerate(seen["generator"]):
        torch.testing.assert_close(both, torch.cat(seen["critic"][3 * step + 1 : 3 * step + 3]))
    assert scheme.clock.images == 2 * 3 * 8


def test_a_larger_batch_with_accumulation(tmp_path: Path) -> None:
    scheme = made(critic_steps=2, generator_batch=2, accumulate=2)
    sizes: list[int] = []
    objective = scheme.objectives["generator"]
    scheme.objectives["generator"] = lambda b: sizes.append(len(b[0])) or objective(b)
    fit(scheme, tmp_path, 1)
    assert sizes == [16, 16]


def test_pre_training_is_a_plain_autoencoder(tmp_path: Path) -> None:
    """The generator rests, its updates are not counted, and the energy of data falls by the same
    numbers as in a loop of our own.
    """
    scheme, recorded = made(energy=True, pretraining=4), []
    scheme.record = lambda scalars: recorded.append((scheme.global_step, scalars))  # type: ignore
    reference = made(energy=True).model.critic
    before = [p.clone() for p in scheme.model.generator.parameters()]
    states: list[list[Tensor]] = []

    class Look(L.Callback):
        def on_train_batch_end(self, *_: Any) -> None:
            states.append([p.detach().clone() for p in scheme.model.generator.parameters()])

    updates = "".join(fit(scheme, tmp_path, 2, [Look()]))
    assert updates == "cccc" + "cg" * 2 and scheme.global_step == 2
    for state in states[:4]:
        assert_equal(state, before)
    rows = [scalars for step, scalars in recorded if "pretraining/energy" in scalars]
    assert [row["pretraining/updates"] for row in rows] == [1, 2, 3, 4]
    adam = torch.optim.Adam(reference.parameters(), 1e-3)
    data = Noise(name="noise", shape=(1, 8, 8), classes=4, batch_size=8)
    for row, batch in zip(rows, iter(data.batches()), strict=False):
        x = batch[0]
        energy = (reference.head(reference.body(x)) - x).flatten(1).norm(dim=1).mean()
        assert row["pretraining/energy"] == pytest.approx(float(energy.detach()), rel=1e-4)
        adam.zero_grad()
        energy.backward()
        adam.step()
    assert not any("pretraining/energy" in scalars for step, scalars in recorded if step)


def test_pre_training_resumes_exactly(tmp_path: Path) -> None:
    options = {"energy": True, "pretraining": 5}
    whole, again, saved = made(**options), made(**options), tmp_path / "mid.ckpt"
    fit(whole, tmp_path / "a", 2, [Recorder(3, saved)])
    assert "".join(fit(again, tmp_path / "b", 2, resume=saved)) == "cc" + "cg" * 2
    assert_equal(whole.model.state_dict(), again.model.state_dict())


@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        ({"critic_steps": 1, "generator_batch": 2}, "scheme.generator_batch=1"),
        ({"critic_steps": 5, "critic_warmup": CriticWarmup(5)}, "scheme.critic_warmup=null"),
        ({"pretraining": 3}, "model=ebgan"),
    ],
)
def test_options_without_effect_are_refused(options: dict[str, Any], remedy: str) -> None:
    with pytest.raises(UserError, match=remedy) as refused:
        made(**options)
    assert "\n" not in str(refused.value)
