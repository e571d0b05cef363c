"""Runs made sick on purpose are told from healthy ones, by the callback and by the verb."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch

from gentrain.config import validate
from gentrain.quality.diagnostics import (
    DensityMeasurements,
    Finding,
    Measurements,
    auc,
    copies,
    examine,
    measure,
)
from gentrain.training.callbacks.diagnostics import Doctor
from gentrain.training.datamodule import DataModule
from gentrain.training.loggers import Dashboard
from tests.support.compose import composed
from tests.support.shell import gentrain
from tests.support.zoo import Zoo


def trained(
    *overrides: str, steps: int = 150, labels: int | None = None, images: int | None = None
) -> tuple[Any, Any]:
    """(scheme, data) after some steps on the embedded digits, with small networks."""
    from gentrain.config.build import build

    plain = composed("data=mnist_5k", *overrides)
    checked = validate.check(plain)
    L.seed_everything(0, verbose=False)
    data = build(checked["data"], "data")
    samples = data.load("train")
    if labels is not None:
        samples.labels.fill_(labels)
    if images is not None:
        data._samples["train"] = type(samples)(samples.images[:images], samples.labels[:images])
    scheme = build(checked["scheme"], "scheme", model=build(checked["model"], "model"))
    trainer = L.Trainer(
        accelerator="cpu",
        max_steps=steps,
        max_epochs=-1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(scheme, datamodule=DataModule(data))
    return scheme, data


def examined(scheme: Any, data: Any) -> list[Finding]:
    return examine(measure(scheme.model, data, scheme.device, scheme.latest))


def names(scheme: Any, data: Any) -> set[str]:
    return {finding.name for finding in examined(scheme, data)}


def test_the_share_of_pairs_in_which_the_first_is_larger() -> None:
    # with ties
    high, low = torch.randn(40).round(decimals=1), torch.randn(30).round(decimals=1) - 0.3
    assert auc(high, low) == pytest.approx((high[:, None] > low[None]).double().mean().item())
    assert auc(torch.rand(10**6) + 1, torch.rand(10**6)) == 1  # whose pairs no machine could hold


SMALL = ("model.generator.width=16", "model.critic.width=16")


@pytest.mark.slow
@pytest.mark.parametrize(
    "model",
    ["dcgan", *(pytest.param(other, marks=pytest.mark.slow) for other in ("lsgan", "hinge_gan"))],
)
def test_silent_on_healthy_runs(model: str) -> None:
    assert names(*trained(f"model={model}", *SMALL)) == set()


@pytest.mark.slow
def test_silent_on_a_healthy_wasserstein_run() -> None:
    assert names(*trained("model=wgan_gp", *SMALL, "scheme.critic_steps=2", steps=100)) == set()


@pytest.mark.slow
def test_a_critic_fifty_times_too_strong() -> None:
    rates = ("scheme.optimizers.critic.lr=1e-2", "scheme.optimizers.generator.lr=2e-6")
    found = examined(*trained("model=dcgan", *SMALL, *rates))
    assert "critic saturated" in {verdict.name for verdict in found}
    told = next(str(verdict) for verdict in found if verdict.name == "critic saturated")
    assert "of pairs right" in told
    assert "scheme.optimizers.critic.lr=" in told


def test_a_collapsed_generator() -> None:
    scheme, data = trained("model=dcgan", *SMALL, steps=20)
    with torch.no_grad():
        scheme.model.generator.body[1].weight.zero_()  # whatever the noise, the same image
    for bounded, trick in ((True, "minibatch_discrimination"), (False, "packing")):
        scheme.model.loss.bounded = bounded  # a Wasserstein loss refuses minibatch discrimination
        (told,) = (str(v) for v in examined(scheme, data) if v.name == "mode collapse")
        assert trick in told


@pytest.mark.slow
def test_one_label() -> None:
    scheme, data = trained(
        "model=cgan",
        "model.generator.width=32",
        "model.critic.width=32",
        steps=20,
        labels=3,
    )
    verdicts = examined(scheme, data)
    assert any(v.name == "one label" and "label 3" in v.evidence for v in verdicts)


@pytest.mark.slow
def test_a_critic_that_knows_its_images_by_heart() -> None:
    overrides = (
        "model=sngan",
        "lipschitz=none",
        *SMALL,
        "data.batch_size=32",
        "scheme.critic_steps=5",
    )
    assert "critic overfitting" in names(*trained(*overrides, steps=400, images=64))


def signs(**changed: Any) -> Measurements:
    draw = torch.Generator().manual_seed(0)
    healthy = {
        "fakes": torch.rand(64, 1, 8, 8, generator=draw),
        "reals": torch.rand(64, 1, 8, 8, generator=draw),
        "on_train": torch.randn(64, generator=draw) + 1,
        "on_test": torch.randn(64, generator=draw) + 1,
        "on_fake": torch.randn(64, generator=draw),
        "labels": None,
        "scalars": {"generator/gradient_norm": 0.3},
        "bounded": True,
    }
    return Measurements(**(healthy | changed))


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({}, None),
        ({"scalars": {"critic/adversarial": 3e7}}, "near infinity"),
        ({"scalars": {"critic/adversarial": float("nan")}}, "near infinity"),
        (
            {"scalars": {"generator/gradient_norm": 1e-9}, "on_train": torch.randn(64) + 30},
            "generator gradient vanished",
        ),
        (
            {
                "scalars": {
                    "quality/classes_covered": 2,
                    "quality/class_entropy": 0.2,
                    "quality/confident": 0.9,
                }
            },
            "mode dropping",
        ),
        (
            {"on_train": torch.randn(64) + 50, "on_test": torch.randn(64) + 50, "bounded": False},
            None,
        ),
        # by heart: held-out images a little below the training's, and fakes far below both
        ({"on_train": torch.rand(64) + 60, "on_test": torch.rand(64) + 55}, "critic overfitting"),
        ({"on_train": torch.rand(64) + 60, "on_test": torch.rand(64) + 60}, "critic saturated"),
        # most of the way, but chance might rank as many right
        ({"on_train": torch.randn(64) + 1, "on_test": torch.randn(64) + 0.2}, None),
    ],
)
def test_verdicts_by_their_signs(changed: dict[str, Any], name: str | None) -> None:
    found = {verdict.name for verdict in examine(signs(**changed))}
    assert (name in found) if name else not found


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({}, None),
        ({"on_test": None}, None),
        ({"on_test": torch.linspace(125, 145, 64)}, "overfitting"),
        # one image alone makes the mean, and its error, large
        (
            {"on_test": torch.cat([torch.linspace(125, 145, 63), torch.tensor([4e7])])},
            "overfitting",
        ),
        ({"on_test": torch.cat([torch.linspace(96, 116, 63), torch.tensor([4e7])])}, None),
        ({"on_test": torch.linspace(0, 250, 64)}, None),  # a difference that chance explains
        ({"fakes": torch.full((16, 1, 8, 8), 0.3)}, "mode collapse"),
        ({"scalars": {"model/kl_nats": 0.01}}, "posterior collapse"),
        ({"scalars": {"model/reconstruction": 3e8}}, "near infinity"),
        ({"untrained": torch.linspace(60, 80, 64)}, "exploded loss"),
        (
            {"untrained": torch.linspace(60, 80, 64), "scalars": {"model/elbo": 3e8}},
            "near infinity",
        ),
        ({"untrained": torch.linspace(500, 550, 64)}, None),
        ({"untrained": torch.linspace(95, 115, 64)}, None),  # nothing was learned, or too briefly
    ],
)
def test_verdicts_on_a_density(changed: dict[str, Any], name: str | None) -> None:
    draw = torch.Generator().manual_seed(0)
    healthy = {
        "fakes": torch.rand(16, 1, 8, 8, generator=draw),
        "reals": torch.rand(16, 1, 8, 8, generator=draw),
        "on_train": torch.linspace(95, 115, 64),
        "on_test": torch.linspace(96, 116, 64),
        "scalars": {"model/kl_nats": 20.0},
    }
    found = {verdict.name for verdict in examine(DensityMeasurements(**(healthy | changed)))}
    assert found == ({name} if name else set())


def test_one_option_gets_one_advice() -> None:
    """A loss near infinity explains scores that are far apart, and asks for the least rate."""
    apart = {"on_train": torch.rand(64) + 60, "on_test": torch.rand(64) + 60}
    found = examine(signs(scalars={"critic/adversarial": 3e7}, **apart))
    assert [finding.name for finding in found] == ["near infinity"]


def test_noisy_copies_have_contrast_and_the_noise_of_a_young_generator_has_none() -> None:
    torch.manual_seed(0)
    waves = torch.nn.functional.interpolate(torch.randn(12, 1, 4, 4), 16, mode="bilinear")
    reals = torch.tanh(torch.einsum("nk,kchw->nchw", torch.randn(128, 12), waves))
    for kinds, deviation in ((1, 0.1), (1, 0.5), (3, 0.1), (3, 0.5)):
        chosen = reals[torch.randint(kinds, (128,))]
        found = copies(chosen + deviation * torch.randn_like(chosen), reals, "a remedy")
        assert found is not None and found.name == "noisy copies", (kinds, deviation)
    for deviation in (0.05, 0.3):  # around grey, and around the mean of the data
        noise = deviation * torch.randn_like(reals)
        assert copies(noise, reals, "a remedy") is None
        assert copies(reals.mean(0) + noise, reals, "a remedy") is None
    assert copies(reals, reals, "a remedy") is None


def test_copies_of_a_young_generator_are_like_a_real_image() -> None:
    """A young generator's fakes may be one shape with some noise: later that is a collapse."""
    torch.manual_seed(0)
    waves = torch.nn.functional.interpolate(torch.randn(12, 1, 4, 4), 16, mode="bilinear")
    reals = torch.tanh(torch.einsum("nk,kchw->nchw", torch.randn(128, 12), waves))
    board = 0.6 * (-1) ** torch.arange(256).view(1, 1, 16, 16)
    shape = reals.mean(0) + board + 0.2 * torch.randn_like(reals)
    real = reals[:1] + 0.2 * torch.randn_like(reals)
    found = {
        (name, step): {f.name for f in examine(signs(fakes=fakes, reals=reals, step=step))}
        for name, fakes in (("shape", shape), ("real", real))
        for step in (100, 10000)
    }
    assert found[("shape", 100)] == set()
    assert all("noisy copies" in found[key] for key in found if key != ("shape", 100))


def test_a_model_before_its_training_is_that_of_its_seed(zoo: Zoo) -> None:
    from gentrain.runs.reopen import reopen

    run = reopen(zoo("vae"))
    state = torch.get_rng_state()
    one, two = run.untrained().state_dict(), run.untrained().state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert any(not torch.equal(one[name], run.model.state_dict()[name]) for name in one)


def test_silent_on_a_young_vae() -> None:
    scheme, data = trained(
        "model=vae", "model.encoder.width=64", "model.decoder.width=64", steps=60
    )
    state = torch.get_rng_state()
    assert names(scheme, data) == set()
    assert torch.equal(torch.get_rng_state(), state) and scheme.model.training


def test_measuring_touches_neither_weights_nor_random_numbers() -> None:
    scheme, data = trained("model=dcgan", *SMALL, "tricks=[ema]", steps=3)
    before, state = (
        {k: v.clone() for k, v in scheme.state_dict().items() if torch.is_tensor(v)},
        torch.get_rng_state(),
    )
    measure(scheme.model, data, scheme.device, scheme.latest)
    assert all(
        torch.equal(v, before[k]) for k, v in scheme.state_dict().items() if torch.is_tensor(v)
    )
    assert torch.equal(torch.get_rng_state(), state)
    assert scheme.model.critic.training


def test_the_callback_tells_once(caplog: pytest.LogCaptureFixture) -> None:
    scheme, data = trained("model=dcgan", *SMALL, steps=4)
    with torch.no_grad():
        scheme.model.generator.body[1].weight.zero_()

    alerts: list[tuple[str, str]] = []

    class Log(Dashboard):
        def __init__(self) -> None: ...

        def alert(self, title: str, text: str) -> None:
            alerts.append((title, text))

        def show(self, *_: Any) -> None: ...

        def close(self, *_: Any) -> None: ...

    class Trainer:
        is_global_zero, datamodule, loggers, global_step = True, DataModule(data), [Log()], 4

    doctor = Doctor(every=2)
    with caplog.at_level(logging.WARNING, "gentrain"):
        for _ in range(2):
            doctor.on_train_batch_end(Trainer(), scheme, None, None, 0)  # type: ignore[arg-type]
    told = [record.getMessage() for record in caplog.records if "doctor" in record.getMessage()]
    assert len(told) == 1
    assert "mode collapse" in told[0]
    assert len(alerts) == 1
    assert scheme.latest["doctor/collapsed"] == 1.0 and scheme.latest["doctor/verdicts"] >= 1


def test_the_verb(zoo: Zoo, env: dict[str, str], tmp_path: Path) -> None:
    from gentrain.cli import main

    done = gentrain(tmp_path, env, "doctor", f"run={zoo('noise')}")
    assert done.returncode == 0, done.stderr
    assert "at step 2" in done.stdout
    assert list(tmp_path.iterdir()) == []
    assert "doctor" in main.VERBS


def test_one_held_out_image_has_no_finding_of_its_own() -> None:
    """A single image has no distance to another, and no standard error."""
    one = torch.zeros(1, 1, 4, 4)
    measured = DensityMeasurements(one, one, torch.ones(1), torch.full((1,), 9.0), {})
    assert examine(measured) == []
