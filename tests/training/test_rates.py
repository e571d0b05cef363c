"""Parts of the generator's player that learn at a rate of their own."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch.optim.lr_scheduler import LambdaLR

from gentrain.errors import UserError
from gentrain.models.gan.bigan import BiGAN
from gentrain.models.gan.gan import GAN
from gentrain.networks import mlp
from gentrain.networks.base import Backbone
from gentrain.training.adversarial import AdversarialModule, refuse_other_groups
from gentrain.training.module import apply_hyperparameters
from tests.support.backbones import criterion

SHAPE = [1, 4, 4]


def made(kind: Any = BiGAN, rate: float = 0.1, **options: Any) -> AdversarialModule:
    torch.manual_seed(0)
    generator = Backbone(mlp.Generator, shape=SHAPE, latent=3, width=8)
    model = kind(generator, Backbone(mlp.Critic, shape=SHAPE, width=8), criterion())
    sgd = partial(torch.optim.SGD, lr=rate)
    return AdversarialModule(model, {"critic": sgd, "generator": sgd}, **options)


def players(scheme: AdversarialModule) -> dict[str, Any]:
    return {"critic": scheme.model.critic, "generator": scheme.model.generator}


def moved(scheme: AdversarialModule) -> dict[str, torch.Tensor]:
    """By how much one update moves each weight of the generator's player."""
    optimizer = scheme.make_optimizers(players(scheme))["generator"]
    generator = scheme.model.generator
    before = {name: p.detach().clone() for name, p in generator.named_parameters()}
    torch.manual_seed(1)
    scheme.model.generator_loss((torch.rand(6, *SHAPE) * 2 - 1,)).loss.backward()
    optimizer.step()
    return {name: p.detach() - before[name] for name, p in generator.named_parameters()}


def test_a_part_moves_by_its_factor_and_the_rest_as_before() -> None:
    plain, fast = moved(made()), moved(made(rates={"encoder": 10.0}))
    assert plain.keys() == fast.keys()
    for name, step in plain.items():
        factor = 10 if name.startswith("encoder.") else 1
        assert torch.allclose(fast[name], factor * step, rtol=1e-3, atol=1e-7), name
    assert any(step.abs().max() > 1e-6 for name, step in plain.items() if "encoder" in name)


def test_every_weight_is_in_one_group() -> None:
    scheme = made(rates={"encoder": 10.0})
    for player, optimizer in scheme.make_optimizers(players(scheme)).items():
        held = [p for group in optimizer.param_groups for p in group["params"]]
        assert len(held) == len({*held}) == len([*players(scheme)[player].parameters()])
        factors = [1.0, 10.0] if player == "generator" else [1.0]
        assert [group["lr"] for group in optimizer.param_groups] == pytest.approx(
            [0.1 * factor for factor in factors]
        )


def test_a_forced_resume_keeps_the_factors() -> None:
    """A checkpoint's rates give way to the configured ones, also under a schedule."""
    scheme = made(rates={"encoder": 4.0})
    optimizer = scheme.make_optimizers(players(scheme))["generator"]
    factors = scheme.rate_factors("generator")
    schedule = LambdaLR(optimizer, lambda step: 1 / (1 + step))
    apply_hyperparameters(optimizer, [schedule], {"lr": 0.1}, factors)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.1, 0.4])
    optimizer.step()
    schedule.step()
    apply_hyperparameters(optimizer, [schedule], {"lr": 0.3}, factors)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.15, 0.6])
    schedule.step()
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.1, 0.4])


def test_a_resume_with_another_schedule_keeps_the_factors() -> None:
    scheme = made(rates={"encoder": 4.0}, schedule=partial(LambdaLR, lr_lambda=lambda s: 0.5**s))
    optimizer = scheme.make_optimizers(players(scheme))["generator"]
    schedule = LambdaLR(optimizer, lambda step: 1.0)
    schedule.last_epoch = 2
    scheme.follow_schedule("generator", optimizer, schedule)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.025, 0.1])
    assert schedule.base_lrs == pytest.approx([0.1, 0.4])


def test_a_part_that_there_is_not_is_refused() -> None:
    with pytest.raises(UserError, match=r"no part text .*\(scheme.rates.text\); .* encoder"):
        made(rates={"text": 2.0})
    with pytest.raises(UserError, match=r"\(scheme.rates.encoder\); leave the rates out"):
        made(GAN, rates={"encoder": 2.0})


def test_a_checkpoint_of_other_parts_is_refused() -> None:
    scheme = made(rates={"encoder": 4.0})
    states = [o.state_dict() for o in scheme.make_optimizers(players(scheme)).values()]
    refuse_other_groups({"optimizer_states": states}, 2)
    with pytest.raises(UserError, match=r"1 parts .* of 0 \(scheme.rates\)"):
        refuse_other_groups({"optimizer_states": states}, 1)
