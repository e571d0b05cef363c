"""Every model trains in float64 and waits for its device only where it must.

Weights of 16 bits are refused in one line.
"""

from __future__ import annotations

from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor

from gentrain.config import validate
from gentrain.config.build import build
from gentrain.config.validate import PRECISIONS, check_run
from gentrain.errors import UserError
from gentrain.layers.precision import default_dtype
from gentrain.training.datamodule import DataModule
from gentrain.training.devices import check_precision, working_dtype
from tests.contracts.test_matrix import Toy
from tests.support.compose import composed
from tests.support.presets import NAMES, first_of_each_class, small
from tests.support.syncs import Syncs

ONE_OF_EACH = first_of_each_class(NAMES, "wgan_gp", "ebm", "maf")
QUICK = ("wgan_gp", "progan", "cyclegan", "vae", "maf", "ebm")  # by default; the others are slow

# where else a step waits
EXCEPTIONS = {
    "progan": {"progan.stage", "progan.after_generator_step"},  # Python decides which layers run
    # on a CPU alone, torch's one_hot looks for the largest label
    "semi_supervised_vae": {"vae.concat_label"},
    "stargan": {"labels.vectors"},
}

# a small MADE has as many hidden units as 8 x 8 images have values
SIZES = {"maf": ("data.size=8",), "iaf_distilled": ("data.size=8",)}


def trained(preset: str, precision: str, *more: str) -> tuple[Any, Syncs]:
    """A small model after two steps, as a job trains it, and what these steps waited for."""
    checked = validate.check(small(composed(f"model={preset}", *SIZES.get(preset, ()), *more)))
    dtype = working_dtype(precision)
    torch.manual_seed(0)
    model: Any = build(checked["model"], "model")
    module: Any = build(checked["scheme"] | {"log_every": 1}, "scheme", model=model)
    shapes = {key: checked["data"][key] for key in ("shape", "source_shape")}
    labelled = 20 if model.semi_supervised else None
    classes = checked["data"]["classes"] or 10
    kind = build(checked["data"]["label_kind"], "data.label_kind")
    data = Toy(
        name="toy", classes=classes, labelled=labelled, batch_size=8, label_kind=kind, **shapes
    )
    syncs, trainer = (
        Syncs(),
        L.Trainer(
            accelerator="cpu",
            precision=precision,  # type: ignore[arg-type]
            max_steps=2,
            max_epochs=-1,
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=False,
            use_distributed_sampler=False,
        ),
    )
    module.to(dtype)
    with default_dtype(dtype):
        with syncs:
            trainer.fit(module, datamodule=DataModule(data))
        batch = next(iter(data.batches()))
        drawn = (batch[0], batch[2]) if model.semi_supervised else batch
        if not model.sequential:
            assert model.sample(drawn).dtype == dtype
    return model, syncs


@pytest.mark.parametrize(
    "preset",
    [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in ONE_OF_EACH],
)
def test_every_model_trains_in_float64(preset: str) -> None:
    """On a GPU a step waits for the gradient's norm before each update, and for nothing else."""
    model, syncs = trained(preset, "64-true")
    assert syncs.found["divergence.check_gradients"] == syncs.updates > 0
    assert syncs.found.keys() - {"divergence.check_gradients"} <= EXCEPTIONS.get(preset, set())
    tensors = [*model.parameters(), *model.buffers()]
    assert {t.dtype for t in tensors if t.is_floating_point()} == {torch.float64}
    assert all(p.isfinite().all() for p in model.parameters())
    assert torch.get_default_dtype() == torch.float32
    # torch's fused Adam reads both in the order of their memory, and checks nothing
    assert all(strides(p.grad) == strides(p) for p in model.parameters() if p.grad is not None)


def strides(x: Tensor) -> list[int]:
    """Those of the sides that have any."""
    return [stride for stride, side in zip(x.stride(), x.shape, strict=True) if side > 1]


@pytest.mark.parametrize(
    ("preset", "players"), [("wgan_gp", ("critic", "generator")), ("maf", ("model",))]
)
def test_adam_in_one_pass_makes_the_same_updates(preset: str, players: tuple[str, ...]) -> None:
    words = [f"scheme.optimizers.{player}.fused" for player in players]
    assert all(
        node["fused"] for node in composed(f"model={preset}")["scheme"]["optimizers"].values()
    )
    ours, theirs = (
        dict(
            trained(preset, "64-true", *(f"{word}={fused}" for word in words))[0].named_parameters()
        )
        for fused in ("true", "false")
    )
    for name, value in ours.items():
        if name != "critic.head.bias":  # its gradient is zero up to rounding
            assert torch.allclose(value, theirs[name], rtol=1e-9, atol=1e-12), name


@pytest.mark.slow
@pytest.mark.parametrize("preset", ONE_OF_EACH)
def test_every_model_trains_in_mixed_precision(preset: str) -> None:
    model, _ = trained(preset, "bf16-mixed")
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_float64_is_not_float32() -> None:
    """The penalty of WGAN-GP agrees with float64 to more digits than float32 has."""
    from gentrain.adversarial.lipschitz import GradientPenalty

    penalty = GradientPenalty()
    critic: Any = torch.nn.Sequential(torch.nn.Linear(4, 1)).double()
    x = torch.randn(6, 4, dtype=torch.float64)
    wanted = 10 * (critic[0].weight.square().sum().add(1e-12).sqrt() - 1) ** 2
    found = penalty.critic_term(critic, x, x)
    assert found is not None and found.dtype == torch.float64
    assert abs(float(found - wanted)) < 1e-12


@pytest.mark.parametrize("precision", [*PRECISIONS, "bf16-true", "16-true", "8"])
def test_which_precisions_there_are(precision: str) -> None:
    node = {"precision": precision, "accelerator": "cpu"}
    config = {"steps": 1, "seed": 0, "trainer": node}
    if precision in ("auto", "32-true", "64-true", "bf16-mixed"):
        check_run(config)
        check_precision(node)
        return
    with pytest.raises(UserError, match=r"trainer\.precision\); .*bf16-mixed") as refused:
        check_run(config)
        check_precision(node)
    assert "\n" not in str(refused.value)
