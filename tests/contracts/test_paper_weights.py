"""The weights of a paper's adversarial losses hold whatever loss= is chosen.

Papers write least squares with or without 1/2. `loss=ls` has the 1/2, and models of papers that do
not write it undo it. The formulas are written here a second time, without any 1/2.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.contracts.test_backbones import batch, built

Formula = Callable[[Tensor, Tensor], Tensor]
# (critic's, generator's), of scores of real and fake images
LOSSES: dict[str, tuple[Formula, Formula]] = {
    "js": (
        lambda r, f: F.softplus(-r).mean() + F.softplus(f).mean(),
        lambda r, f: F.softplus(-f).mean(),
    ),
    "hinge": (lambda r, f: F.relu(1 - r).mean() + F.relu(1 + f).mean(), lambda r, f: -f.mean()),
    "ls": (
        lambda r, f: (r - 1).square().mean() + f.square().mean(),
        lambda r, f: (f - 1).square().mean(),
    ),
    "ls_pearson": (
        lambda r, f: (r - 1).square().mean() + (f + 1).square().mean(),
        lambda r, f: f.square().mean(),
    ),
}
WEIGHTS = {"cyclegan": (0.5, 1.0), "pix2pix": (0.5, 1.0), "srgan": (1.0, 1e-3)}


@pytest.mark.parametrize("preset", WEIGHTS)
@pytest.mark.parametrize("loss", LOSSES)
def test_weights_do_not_depend_on_the_loss(preset: str, loss: str) -> None:
    model, data = built(f"model={preset}", f"loss={loss}", "model.critic.norm=none")
    real = batch(model, data, 2)
    for player, weight, formula in zip(
        ("critic", "generator"), WEIGHTS[preset], LOSSES[loss], strict=True
    ):
        seen = record(model.loss, player)
        found = getattr(model, f"{player}_loss")(real).losses
        terms = [term for name, term in found.items() if name.endswith("adversarial")]
        assert len(terms) == len(seen) > 0
        for term, scores in zip(terms, seen, strict=True):
            torch.testing.assert_close(term, weight * formula(*scores))


def record(loss: Any, player: str) -> list[tuple[Tensor, Tensor]]:
    """The scores with which a player's loss is called from now on."""
    seen: list[tuple[Tensor, Tensor]] = []
    original = getattr(loss, player)

    def recorded(on_real: Tensor, on_fake: Tensor) -> Tensor:
        seen.append((on_real, on_fake))
        return original(on_real, on_fake)

    setattr(loss, player, recorded)
    return seen
