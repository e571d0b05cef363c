"""Images that are no squares: every preset and every network of conf/ makes or reads them, or
refuses them in one line.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from gentrain.config import validate
from gentrain.config.build import build
from gentrain.errors import UserError
from gentrain.networks.dcgan import halvings
from tests.contracts.test_backbones import NETWORKS, VARIANTS, assert_trains, batch
from tests.support.compose import composed, options
from tests.support.presets import NAMES, PRESETS, first_of_each_class, small

SHAPE = (16, 24)
SHORT = {"steps": 3, "n_chains": 5, "buffer": 5, "hidden": 6, "k": 2}
# what refuses such images, and the words of the refusal
REFUSED = {"ali": r"28 or 32 px"}
OTHER_SIZE = ("maf", "iaf_distilled")  # a hidden unit for each value at least
OF_POINTS = ("iaf", "planar")
# a preset that takes a network, where it is not model=gan
TAKES = {
    "ali": "bigan", "sagan": "cgan", "biggan": "biggan", "progan": "progan",
    "context_encoder": "pix2pix", "resnet_translator": "pix2pix", "srgan": "pix2pix",
    "stargan": "pix2pix", "unet": "pix2pix", "srresnet": "srresnet", "unet_alone": "unet",
    "energy_conv": "ebm", "energy_conv_spectral": "ebm", "energy_mlp": "ebm",
    "vae_conv": "vae", "vae_mlp": "vae", "vae_mlp_300": "vae", "vae_mlp_500": "vae",
}  # fmt: skip
QUICK = ("dcgan", "realnvp", "pixelcnn", "vae", "ebm", "pixelrnn_diagonal", "maf")


def built(*words: str, size: tuple[int, int] = SHAPE) -> tuple[Any, dict[str, Any]]:
    config = small(composed(*words, f"data.size=[{size[0]},{size[1]}]"))
    config["model"] |= {key: SHORT[key] for key in SHORT.keys() & config["model"].keys()}
    checked = {key: validate.checked(config[key], key) for key in ("data", "model")}
    model, data = build(checked["model"], "model"), build(checked["data"], "data")
    model.check_data(data)
    return model, checked["data"]


def trains(preset: str, *words: str, size: tuple[int, int] = SHAPE) -> None:
    """A step, and samples of the shape of the data."""
    torch.manual_seed(0)
    model, data = built(f"model={preset}", *words, size=size)
    assert tuple(data["shape"][1:]) == size
    if preset in PRESETS:
        assert_trains(model, data)
        return
    given = batch(model, data)
    model.init_from_data(given)
    model.init_from_batch(given)
    loss = model.objective(given).loss
    assert torch.isfinite(loss)
    loss.backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
    assert model.sample((given[0], given[-1])).shape == given[0].shape


def members() -> list[Any]:
    one = first_of_each_class(NAMES, *QUICK)
    return [
        pytest.param(preset, marks=[] if preset in QUICK else pytest.mark.slow)
        for preset in one
        if preset not in OF_POINTS
    ]


@pytest.mark.parametrize("preset", members())
def test_presets(preset: str) -> None:
    if preset in REFUSED:
        with pytest.raises(UserError, match=REFUSED[preset]) as refusal:
            built(f"model={preset}")
        assert "\n" not in str(refusal.value)
        return
    trains(preset, size=(6, 8) if preset in OTHER_SIZE else SHAPE)


def of_networks() -> list[Any]:
    quick = {"dcgan", "mlp", "resnet", "vae_conv", "unet", "progan"}
    return [
        pytest.param(name, marks=[] if name in quick else pytest.mark.slow)
        for name in options("network")
    ]


@pytest.mark.parametrize("network", of_networks())
def test_networks(network: str) -> None:
    """A network that is not named here is tried in model=gan: a new one is found by itself."""
    preset = TAKES.get(network, "gan")
    if network in REFUSED:
        with pytest.raises(UserError, match=REFUSED[network]) as refusal:
            built(f"model={preset}", f"network={network}")
        assert "\n" not in str(refusal.value)
        return
    trains(preset, f"network={network}")


def test_what_takes_is_there() -> None:
    assert set(TAKES) <= set(options("network"))
    assert set(options("network")) >= NETWORKS | VARIANTS


@pytest.mark.parametrize(
    ("shape", "smallest", "count"),
    [
        ([3, 28, 28], (7, 7), 2),
        ([1, 32, 32], (4, 4), 3),
        ([3, 128, 128], (4, 4), 5),
        ([3, 32, 48], (4, 6), 3),
        ([3, 48, 32], (6, 4), 3),
        ([1, 16, 64], (1, 4), 4),
    ],
)
def test_halvings(shape: list[int], smallest: tuple[int, int], count: int) -> None:
    assert halvings(shape) == (smallest, count)


@pytest.mark.parametrize("shape", [[3, 30, 30], [3, 32, 36], [3, 8, 64], [3, 4, 4]])
def test_sizes_that_no_halvings_lead_to(shape: list[int]) -> None:
    with pytest.raises(UserError, match=r"2\^k \* \(4 to 7\).*data\.size=28") as refusal:
        halvings(shape)
    assert "\n" not in str(refusal.value)
