"""Every pair of tricks, typed in both orders, gives the same game or the same refusal."""

from __future__ import annotations

import itertools
from argparse import Namespace
from functools import cache, partial
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from gentrain.adversarial import tricks
from gentrain.adversarial.criterion import AdversarialCriterion
from gentrain.adversarial.lipschitz import GradientPenalty, SpectralNorm, Unconstrained
from gentrain.adversarial.losses import js
from gentrain.cli import compose
from gentrain.config.build import build
from gentrain.errors import UserError
from gentrain.models.gan.bigan import BiGAN
from gentrain.models.gan.cgan import ConditionalGAN
from gentrain.models.gan.gan import GAN
from gentrain.networks import dcgan, mlp
from tests.support.compose import options
from tests.support.paths import CONF

SHAPE = [1, 8, 8]
TRICKS = options("tricks")
# of which the one takes away what the other acts on
CLASHES = [{"feature_matching", "top_k"}, {"feature_matching", "unrolled"}]
PAIRS = list(itertools.combinations(TRICKS, 2))
Outcome = tuple[list[tuple[str, Tensor]], Tensor] | str


@cache
def node(trick: str) -> dict[str, Any]:
    """What a trick adds to `tricks`: its file."""
    text = (CONF / "tricks" / f"{trick}.yaml").read_text()
    return yaml.safe_load(text.replace("${steps}", "100"))


def made(kind: str, *typed: str) -> Any:
    """A tiny model with tricks in the order in which they were typed, as Hydra merges them."""
    torch.manual_seed(0)
    merged: dict[str, Any] = {}
    for trick in typed:
        merged |= node(trick)
    criterion = AdversarialCriterion(
        js(), Unconstrained(), {name: build(merged[name], name) for name in merged}
    )
    generator = partial(dcgan.Generator, shape=SHAPE, latent=6, width=2)
    if kind == "bigan":
        return BiGAN(generator, partial(mlp.Critic, shape=SHAPE, width=6), criterion)
    critic = partial(dcgan.Critic, shape=SHAPE, width=2, norm="none")
    if kind == "cgan":
        return ConditionalGAN(generator, critic, criterion, classes=3, embedding=2)
    return GAN(generator, critic, criterion)


def outcome(kind: str, *typed: str) -> Outcome:
    """The named terms of a step of both players, and samples after it; or the refusal."""
    try:
        model = made(kind, *typed)
    except UserError as refusal:
        assert "\n" not in str(refusal)
        return str(refusal)
    torch.manual_seed(1)
    batch = (torch.rand(4, *SHAPE) * 2 - 1, torch.arange(4) % 3)
    model.init_from_batch(batch)
    terms: list[tuple[str, Tensor]] = []
    for player in ("critic", "generator"):
        objective = getattr(model, f"{player}_loss")(batch)
        objective.loss.backward()
        with torch.no_grad():
            for p in model.player(player).parameters():
                if p.grad is not None:
                    p.sub_(0.1 * p.grad)
        model.zero_grad()
        terms += [(f"{player}/{k}", v.detach()) for k, v in objective.losses.items()]
        if player == "critic":
            model.after_critic_step(objective.losses)
        else:
            model.after_generator_step()
    return terms, model.sample(batch)


def assert_same(kind: str, one: str, other: str) -> Outcome:
    first, second = outcome(kind, one, other), outcome(kind, other, one)
    if isinstance(first, str) or isinstance(second, str):
        assert first == second, f"{one}, {other}"
        return first
    assert [name for name, _ in first[0]] == [name for name, _ in second[0]], f"{one}, {other}"
    for (name, a), (_, b) in zip(first[0], second[0], strict=True):
        assert torch.equal(a, b), f"{one}, {other}: {name} {a} {b}"
    assert torch.equal(first[1], second[1]), f"{one}, {other}: samples"
    return first


def keys(trick: str) -> set[str]:
    return set(node(trick))


def typed(*words: str) -> None:
    """Compose a command, as the command line does."""
    compose.register()
    compose.compose_command("train", Namespace(config_dir=None, overrides=list(words)))


def test_every_pair_is_the_same_game_in_both_orders() -> None:
    assert len(PAIRS) >= 91
    alone = {trick for trick in TRICKS if isinstance(outcome("gan", trick), str)}
    assert not alone & {"feature_matching", "label_smoothing", "ema"}
    for one, other in PAIRS:
        if not keys(one) & keys(other):
            refused = isinstance(assert_same("gan", one, other), str)
            expected = bool(alone & {one, other}) or {one, other} in CLASHES
            assert refused == expected, f"{one}, {other}"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["cgan", "bigan"])
def test_every_pair_in_both_orders_of_other_models(kind: str) -> None:
    for one, other in PAIRS:
        if not keys(one) & keys(other):
            assert_same(kind, one, other)


@pytest.mark.parametrize("kind", ["cgan", "bigan"])
def test_no_trick_bypasses_a_models_refusal(kind: str) -> None:
    """What a model refuses alone, it refuses beside every other trick, in both orders."""
    refused = {trick for trick in TRICKS if isinstance(outcome(kind, trick), str)}
    known = {"cgan": {"packing", "replay"}, "bigan": {"diff_augment", "feature_matching"}}
    assert refused >= known[kind]
    for one in refused:
        for other in TRICKS:
            if keys(one) != keys(other):
                with pytest.raises(UserError):
                    made(kind, one, other)
                with pytest.raises(UserError):
                    made(kind, other, one)


def test_two_of_one_kind_are_refused_in_both_orders() -> None:
    variants = [(a, b) for a, b in PAIRS if keys(a) & keys(b)]
    assert ("ema", "ema_slow") in variants
    assert ("feature_matching", "feature_matching_added") in variants
    for one, other in [*variants, *((trick, trick) for trick in TRICKS)]:
        lines = []
        for both in (f"{one},{other}", f"{other},{one}"):
            with pytest.raises(UserError, match=rf"tricks=\[{one},{other}\]") as refusal:
                typed("model=dcgan", f"tricks=[{both}]")
            lines.append(str(refusal.value))
        assert lines[0] == lines[1] and "\n" not in lines[0]
    typed("model=dcgan", "tricks=[ema,replay]")


@pytest.mark.parametrize(
    "word",
    [
        "loss=[js,hinge]", "lipschitz=[gp,clip]", "quality=[classifier,modes]", "model=[gan,cgan]",
        "logger=[csv,wandb]", "data=[mnist,two_moons]", "experiment=[quick,codes]",
        "+experiment=[quick,plane]", "network=[mlp,dcgan]", "callbacks=[default,default]",
    ],
)  # fmt: skip
def test_a_list_of_alternatives_is_refused(word: str) -> None:
    """The last one typed would win in silence."""
    group, _, values = word.lstrip("+").partition("=")
    one, other = sorted(values.strip("[]").split(","))
    said = rf"{group}=\[{one},{other}\].*choose one|{group} takes one choice \({group}\); write"
    with pytest.raises(UserError, match=said):
        typed(word)


def test_two_of_one_slot_are_refused_whatever_their_names() -> None:
    """As a plugin's YAML may name them: `tricks: {fast: {_target_: ...EMA}}`."""
    twice: list[dict[str, Any]] = [
        {"a": tricks.EMA(0.9), "b": tricks.EMA(0.99)},
        {"a": tricks.FeatureMatching(), "b": tricks.FeatureMatching(adversarial=True)},
        {"a": tricks.Packing(2), "b": tricks.Packing(3)},
        {"a": GradientPenalty()},  # a second Lipschitz method, as a trick
    ]
    for chosen in twice:
        with pytest.raises(UserError, match="of which a model has one"):
            AdversarialCriterion(js(), SpectralNorm(), chosen)
    AdversarialCriterion(js(), SpectralNorm(), {"a": tricks.EMA(), "b": tricks.Packing()})


def test_a_trick_may_not_take_the_name_of_another_regularizer() -> None:
    with pytest.raises(UserError, match="name of the Lipschitz method"):
        AdversarialCriterion(js(), Unconstrained(), {"unconstrained": tricks.EMA()})
    with pytest.raises(UserError, match="has a trick growth itself"):
        AdversarialCriterion(js(), Unconstrained(), {"growth": tricks.EMA()}).with_tricks(
            growth=tricks.Replay()
        )
