"""A run that is resumed with more steps, or another schedule, has the rate of the new schedule."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR

from gentrain.training.module import rate_at
from gentrain.training.schedules import constant_then_linear
from tests.support.shell import SMALL, assert_fine, gentrain

FORMULAS = {
    "linear": lambda t: 1 - t,
    "cosine": lambda t: (1 + math.cos(math.pi * t)) / 2,
    "constant_linear": lambda t: min(1.0, 2 - 2 * t),
}
MAKERS = {
    "linear": partial(LinearLR, start_factor=1.0, end_factor=0.0, total_iters=10),
    "cosine": partial(CosineAnnealingLR, T_max=10),
    "constant_linear": partial(constant_then_linear, steps=10),
}


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("step", [0, 3, 7, 10])
def test_the_rate_after_some_steps(name: str, step: int) -> None:
    rate, state = rate_at(MAKERS[name], 0.2, step)
    assert rate == pytest.approx(0.2 * FORMULAS[name](step / 10), abs=1e-9)
    assert state["last_epoch"] == step


@pytest.mark.parametrize(
    "name",
    ["linear", "cosine", "constant_linear"],
)
@pytest.mark.slow
def test_more_steps(name: str, tmp_path: Path, env: dict[str, str]) -> None:
    """A run of 4 steps, resumed with 8, goes on with the rates that a run of 8 steps has."""
    before = "linear" if name == "cosine" else name  # cosine: another schedule, too
    words = (
        "model=dcgan", "model.generator.width=4", "model.critic.width=4", *SMALL, "samples.n=4",
        "data.batch_size=8", f"hydra.run.dir={tmp_path / 'run'}",
    )  # fmt: skip
    assert_fine(gentrain(tmp_path, env, *words, "steps=4", f"schedule={before}"))
    more = ("steps=8", f"schedule={name}", "resume=auto", "force=true", "checkpoint.every=1")
    done = gentrain(tmp_path, env, *words, *more)
    assert done.returncode == 0, done.stderr
    assert "learning rate of the critic at step 4: 0 -> " in done.stderr
    for file, step in (("last.ckpt", 8), ("last-1.ckpt", 7)):
        saved = torch.load(tmp_path / "run" / "checkpoints" / file, weights_only=True)
        assert saved["global_step"] == step
        rates = [
            group["lr"] for each in saved["optimizer_states"] for group in each["param_groups"]
        ]
        expected = 2e-4 * FORMULAS[name](step / 8)
        assert rates == pytest.approx([expected, expected], abs=1e-9)
