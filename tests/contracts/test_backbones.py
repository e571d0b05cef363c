"""Every adversarial model with every network: it is built and computes both losses, or it is
refused in one line. Which networks fit is written here a second time.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
import torch

from gentrain.commands.check.training import gradients, processes, shapes
from gentrain.config import validate
from gentrain.errors import UserError
from tests.support.compose import composed, options
from tests.support.labels import toy_labels
from tests.support.presets import small

VARIANTS = {"mlp_1024", "mlp_dropout", "mlp_dropout_512", "resnet_wgan_gp"}  # other options alone
PLAIN = {"dcgan", "maxout", "mlp", "resnet", "sngan"}
FROM_NOISE = PLAIN | {"mlp_noisy", "normfree", "progan"}
FROM_IMAGES = {"resnet_translator", "unet", "stargan", "srgan", "context_encoder"}
BATCH_NORM_CRITICS = {"srgan", "context_encoder"}  # no gradient penalty
ENERGIES = {"autoencoder_mlp", "autoencoder_dcgan"}
WITH_LABELS = {"sagan", "biggan"}
WITH_ENCODER = {"ali"}
OF_SOUNDS = {"wavegan"}
NETWORKS = FROM_NOISE | FROM_IMAGES | ENERGIES | WITH_LABELS | WITH_ENCODER | OF_SOUNDS
FITTING_SOUNDS = {"autoencoder_mlp", "maxout", "mlp", "mlp_noisy", "wavegan"}
FITTING = {
    "gan": FROM_NOISE | ENERGIES,
    "cgan": FROM_NOISE | ENERGIES | {"sagan"},
    "acgan": FROM_NOISE | {"sagan"},
    "infogan": FROM_NOISE,
    "gan_cls": FROM_NOISE,
    "bigan": PLAIN - {"maxout"} | WITH_ENCODER,
    "bigbigan": PLAIN - {"maxout"} | WITH_ENCODER | WITH_LABELS,
    "semi_supervised_gan": FROM_NOISE,
    "ebgan": ENERGIES,
    "progan": {"progan"},
    "stargan": FROM_IMAGES - BATCH_NORM_CRITICS,
    "cyclegan": FROM_IMAGES,
    "pix2pix": FROM_IMAGES,
    "inpainting": FROM_IMAGES,
}


def built(*overrides: str) -> tuple[Any, dict[str, Any]]:
    from gentrain.config.build import build

    checked = validate.check(small(composed(*overrides)))
    return build(checked["model"], "model"), checked["data"]


def batch(model: Any, data: dict[str, Any], n: int = 8) -> tuple[torch.Tensor, ...]:
    from gentrain.config.build import build

    kind = build(data["label_kind"], "data.label_kind")
    y = toy_labels(kind, n, data["classes"] or 1)[torch.randperm(n)]
    x = torch.rand(n, *data["shape"]) * 2 - 1
    if model.semi_supervised:
        return x, x, y
    return (x, torch.rand(n, *data["source_shape"]) * 2 - 1) if model.translates else (x, y)


def assert_trains(model: Any, data: dict[str, Any]) -> None:
    """Samples, scores and finite losses of the right shapes; gradients reach every parameter, and
    do so in every process: the checks of `gentrain check`.
    """
    real = batch(model, data)
    model.init_from_batch(real)
    shapes(model, real)
    gradients(model, real)
    processes(model, real)


def test_every_network_is_here() -> None:
    of_other_models = ("vae", "energy", "srresnet", "unet_alone")
    found = {n for n in options("network") if not n.startswith(of_other_models)}
    assert found == NETWORKS | VARIANTS


QUICK = ("mlp", "dcgan", "resnet", "unet", "sagan")  # tried in the test command; slow tests try all


def test_some_networks_fit_a_gan_or_are_refused() -> None:
    assert_fit_or_refused("gan", QUICK)


@pytest.mark.slow
@pytest.mark.parametrize("preset", FITTING)
def test_networks_fit_or_are_refused(preset: str) -> None:
    assert_fit_or_refused(preset, sorted(NETWORKS))


def assert_fit_or_refused(preset: str, networks: Iterable[str]) -> None:
    for network in networks:
        words = (f"model={preset}", f"network={network}")
        if network in FITTING[preset]:
            assert_trains(*built(*words))
            continue
        with pytest.raises(UserError) as refused:
            built(*words)
        assert "\n" not in str(refused.value), words


@pytest.mark.slow
def test_networks_fit_sounds_or_are_refused() -> None:
    short = ("data=tones", "data.length=256", "data.notes=[76,80]", "data.classes=8")
    for network in sorted(FITTING["gan"] | OF_SOUNDS):
        words = ("model=gan", f"network={network}", *short)
        if network in FITTING_SOUNDS:
            assert_trains(*built(*words))
            continue
        with pytest.raises(UserError) as refused:
            built(*words)
        assert "\n" not in str(refused.value), words


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("model=gan", "network=unet"),
            "networks.unet.Translator as the generator translates images, "
            r"and this model starts from noise \(model.generator, network\); choose network=dcgan",
        ),
        (
            ("model=cyclegan", "network=dcgan"),
            "networks.dcgan.Generator as the generator starts from noise, "
            "and this model translates images .*; choose network=resnet_translator",
        ),
        (("model=ebgan", "network=dcgan"), "networks.dcgan.Critic as the critic is no energy"),
        (("model=stargan", "network=mlp"), "networks.mlp.Generator as the generator starts from"),
        (
            ("model=gan", "network=sagan"),
            "networks.conditional_resnet.Generator as the generator takes labels, "
            "and this model has none",
        ),
        (
            ("model=acgan", "network=biggan"),
            "networks.biggan.Critic as the critic takes labels, and this model's critic sees none",
        ),
        (("model=pix2pix", "network=dcgan"), "networks.dcgan.Generator as the generator starts"),
        (
            ("model=bigan", "network=normfree"),
            r"networks.normfree.Critic as the encoder has no batch norm .*model.encoder_norm=null",
        ),
        (("model=cgan", "network=biggan"), "model.conditioning=projection"),
        (
            ("model=cgan", "network=autoencoder_mlp", "model.conditioning=projection"),
            "model.conditioning=concat",
        ),
        (
            ("model=acgan", "network=autoencoder_mlp"),
            "networks.autoencoder.MLP as the critic gives the error of a reconstruction",
        ),
        (("model=progan", "network=dcgan"), "does not grow, .*; choose network=progan"),
        (("model=gan", "network=ali"), "a part 'encoder', which this model does not take"),
        (("model=bigan", "model.joint_width=64"), "write model.joint_width=null"),
        (("model=bigan", "model.stochastic=true"), "write model.generator.prior=normal"),
        (("model=bigan", "network=ali", "data=celeba"), "data.size=28|32"),
    ],
)
def test_a_refusal_names_the_network_and_a_remedy(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        built(*words)


@pytest.mark.parametrize("network", ["normfree", "progan", "mlp_noisy", "maxout"])
def test_an_encoder_without_norm(network: str) -> None:
    assert_trains(*built("model=bigan", f"network={network}", "model.encoder_norm=null"))


@pytest.mark.parametrize("network", ["mlp", "dcgan", "normfree", "sagan", "biggan"])
def test_projection_of_labels(network: str) -> None:
    # of the hinge loss, whose gradient does not vanish for scores as large as these may be
    words = ("model=cgan", f"network={network}", "loss=hinge", "model.conditioning=projection")
    assert_trains(*built(*words))


@pytest.mark.parametrize("network", ["mlp", "dcgan", "resnet", "ali"])
def test_a_stochastic_encoder(network: str) -> None:
    words = (f"network={network}", "model.stochastic=true", "model.generator.prior=normal")
    assert_trains(*built("model=bigan", *words))
