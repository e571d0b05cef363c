"""Packing (PacGAN) with every backbone and every model: it trains, or it is refused in one line."""

from __future__ import annotations

import pytest
import torch

from gentrain.errors import UserError
from tests.contracts.test_backbones import FITTING, FROM_NOISE, batch, built

ALL = ("gan", "bigan", "cyclegan", "pix2pix")  # of other models one network each
PACKED = {  # networks with which a model's critic can score a pack
    "gan": FROM_NOISE,
    "progan": {"progan"},
    "bigan": {"maxout", "mlp"},  # which take the whole pair; pairs of other networks are refused
    "cyclegan": FITTING["cyclegan"],
    "pix2pix": {"context_encoder", "srgan", "stargan"},  # whose critics see no source
    "inpainting": {"context_encoder"},
}
MORE = [
    ("model=srgan",),
    ("model=gan", "network=mlp_noisy", "model.critic.weight_norm=true"),
    ("model=gan", "network=resnet", "lipschitz=spectral_norm", "tricks.packing.m=4"),
    ("model=gan", "network=resnet", "model.critic.attention=14"),
    ("model=gan", "network=resnet", "data=coloured_digits"),
    ("model=gan", "network=dcgan", "data=coloured_digits"),
    ("model=gan", "network=mlp", "data=two_moons"),
    ("model=gan", "network=resnet", "tricks=[packing,minibatch_discrimination]"),
    ("model=gan", "network=progan", "tricks=[packing,minibatch_discrimination]"),
    ("model=gan", "network=dcgan", "tricks=[packing,feature_matching_added,instance_noise,replay]"),
    ("model=wgan_gp", "network=resnet"),
]


# a plain one, one with two critics and one of pairs; the others are slow
QUICK = ("gan", "cyclegan", "inpainting")


@pytest.mark.parametrize(
    "preset",
    [each if each in QUICK else pytest.param(each, marks=pytest.mark.slow) for each in FITTING],
)
def test_packing_works_with_every_network_or_is_refused(preset: str) -> None:
    for network in sorted(FITTING[preset])[: None if preset in ALL else 1]:
        words = (f"model={preset}", f"network={network}", "tricks=[packing]")
        if network in PACKED.get(preset, set()):
            assert_trains_packed(words)
            continue
        with pytest.raises(UserError, match=r"tricks=\[packing\]") as refused:
            built(*words)
        assert "\n" not in str(refused.value), words


def assert_trains_packed(words: tuple[str, ...]) -> None:
    model, data = built(*words)
    real = batch(model, data)
    model.init_from_batch(real)
    for loss in (model.critic_loss, model.generator_loss):
        total = loss(real).loss
        assert torch.isfinite(total)
    packs = len(real[0]) // model.regularizers["packing"].m
    assert model.critic_scores(real).shape == (packs,)


@pytest.mark.slow
@pytest.mark.parametrize("words", MORE)
def test_packing_with_other_choices(words: tuple[str, ...]) -> None:
    if "tricks=" not in " ".join(words):
        words = (*words[:2], "tricks=[packing]", *words[2:])
    assert_trains_packed(words)


@pytest.mark.parametrize("network", sorted(FROM_NOISE))
def test_a_pack_s_score_depends_on_each_sample(network: str) -> None:
    model, data = built("model=gan", f"network={network}", "tricks=[packing]", "tricks.packing.m=3")
    critic = model.critic.eval()
    x = torch.randn(9, *data["shape"], requires_grad=True)
    score = critic(model.regularizers["packing"].pack(x))
    assert score.shape == (3,)
    score[0].backward()
    slopes = x.grad.flatten(1).abs().sum(1)
    assert (slopes[:3] > 0).all()


def test_weight_norm_and_the_equalised_rate_stay() -> None:
    model, _ = built(
        "model=gan", "network=mlp_noisy", "tricks=[packing]", "model.critic.weight_norm=true"
    )
    for layer in model.critic.body:
        assert not isinstance(layer, torch.nn.Linear) or hasattr(layer, "parametrizations")
    model, _ = built("model=gan", "network=progan", "tricks=[packing,minibatch_discrimination]")
    plain = [
        name
        for name, layer in model.critic.named_modules()
        if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear)
        and not hasattr(layer, "parametrizations")
    ]
    assert plain == ["head.0.T"]  # the trick's own matrix
