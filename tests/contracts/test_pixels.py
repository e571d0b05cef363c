"""Which pixels each density takes of which data: every preset x every choice of conf/pixels x
{images, points} trains a step with one unit, or is refused in one line with a remedy that works.
"""

from __future__ import annotations

import re
from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml

from gentrain.capability import supports
from gentrain.config import validate
from gentrain.config.build import build
from gentrain.errors import UserError
from gentrain.models.base import HasLikelihood, HasLogPartition
from gentrain.models.pixels import CHOICES, Pixels, shown
from tests.support.compose import composed, options
from tests.support.paths import CONF
from tests.support.presets import DENSITIES, ENERGIES, first_of_each_class, lineage, small

SHAPES: dict[str, list[int]] = {"images": [1, 8, 8], "points": [2]}
SHORT = {"steps": 2, "n_chains": 5, "buffer": 5, "hidden": 6, "teacher_steps": 1}
OF_FAMILY = {
    "vae": [f"likelihood={name}" for name in options("likelihood")],
    "rbm": [f"visible={name}" for name in options("visible")],
}
EXPECTED = {  # by hand: what a density of (family, data) takes
    ("flow", "images"): {"logit", "logit_wide"},
    ("flow", "points"): {"real"},
    ("autoregressive", "images"): {"binary", "binary_static", "levels"},
    ("autoregressive", "points"): set(),
    ("vae", "images"): {
        "likelihood=bernoulli",
        "likelihood=bernoulli_static",
        "likelihood=gaussian",
        "likelihood=logistic",
    },
    ("realnvp", "points"): set(),
    ("realnvp_points", "images"): set(),
    ("vae", "points"): {"likelihood=gaussian"},
    ("rbm", "images"): {"visible=binary", "visible=binary_static", "visible=gaussian"},
    ("rbm", "points"): {"visible=gaussian"},
    ("boltzmann", "images"): {""},
    ("boltzmann", "points"): set(),
    ("hopfield", "images"): {""},
    ("hopfield", "points"): set(),
    ("ebm", "images"): {""},
    ("ebm", "points"): {""},
}


def cases() -> list[Any]:
    found = []
    for preset in (*DENSITIES, *first_of_each_class(ENERGIES)):
        words = [f"pixels={name}" for name in options("pixels")]
        if family_of(preset) not in ("flow", "autoregressive"):
            words = OF_FAMILY.get(family_of(preset), [""])
        quick = preset in first_of_each_class(DENSITIES + ENERGIES, "realnvp", "planar")
        marks = [] if quick else [pytest.mark.slow]
        found += [
            pytest.param(preset, word, data, marks=marks) for word in words for data in SHAPES
        ]
    return found


@cache
def composition(preset: str) -> dict[str, Any]:
    return composed(f"model={preset}", *(["network=energy_mlp"] if preset == "ebm" else []))


def family_of(preset: str) -> str:
    """What a preset is built on, without its underscore; of the energies, the preset itself."""
    base = next(name for name in lineage(preset) if name.startswith("_"))
    return preset if base == "_energy" else base.removeprefix("_")


def reshaped(node: Any, shape: list[int]) -> Any:
    """A configuration with data of another shape."""
    if not isinstance(node, dict):
        return node
    return {key: shape if key == "shape" else reshaped(value, shape) for key, value in node.items()}


def configuration(preset: str, word: str, data: str) -> dict[str, Any]:
    found = dict(small(composition(preset))["model"])
    group, _, name = word.partition("=")
    if group:
        found[group] = chosen(group, name)
    found |= {key: SHORT[key] for key in SHORT.keys() & found.keys()}
    return reshaped(found, SHAPES[data])


@cache
def chosen(group: str, name: str) -> dict[str, Any]:
    """What a choice of conf/GROUP puts into the model."""
    found = yaml.safe_load((CONF / group / f"{name}.yaml").read_text())
    return found.get(group, found)


def batch(model: Any, shape: list[int]) -> tuple[torch.Tensor, ...]:
    x, y = torch.randint(256, (12, *shape)) / 127.5 - 1, torch.arange(12) % 10
    return (x, x, y) if model.semi_supervised else (x, y)


@pytest.mark.parametrize(("preset", "word", "data"), cases())
def test_it_trains_with_one_unit_or_is_refused(preset: str, word: str, data: str) -> None:
    of_family = EXPECTED[family_of(preset), data]
    expected = word.removeprefix("pixels=") in EXPECTED.get((preset, data), of_family)
    if preset == "vae_inpainting" and data == "points":
        expected = False  # nothing can be masked
    node = configuration(preset, word, data)
    try:
        model = build(validate.checked(node, "model"), "model")
    except UserError as error:
        assert not expected, error
        assert re.fullmatch(r"[^\n]*\((pixels|model|data\.size)\); [^\n]+", str(error)), error
        assert re.search(r"add (pixels|likelihood|visible)=|choose ", str(error)), error
        return
    assert expected
    assert_stored_images_are_known(model, static=word.endswith("_static"))
    seen = batch(model, SHAPES[data])
    model.init_from_batch(seen), model.init_from_data(seen)
    objective = model.objective(seen)
    objective.loss.backward()
    assert objective.loss.isfinite()
    if supports(model, HasLikelihood) or supports(model, HasLogPartition):
        # of points a density of real numbers, and of images a log-probability of discrete pixels
        assert model.pixels.discrete == (data == "images")
        assert ("bits_per_dim" in model.pixels.unit) == (data == "images")


def assert_stored_images_are_known(model: Any, static: bool) -> None:
    """Black and white values are drawn of grey images, and taken of black and white ones."""
    for black_and_white in (True, False):
        points = SimpleNamespace(images=torch.zeros(4, 2))  # inside of any box of a sampler
        data: Any = SimpleNamespace(
            name="these", black_and_white=black_and_white, load=lambda split, points=points: points
        )
        if model.pixels.gives != "binary" or black_and_white == static:
            model.check_data(data)
        else:
            with pytest.raises(UserError, match=r"^[^\n]*\(static\); choose [^\n]+$"):
                model.check_data(data)


@pytest.mark.parametrize("name", options("pixels"))
def test_a_choice_is_what_the_refusals_call_it(name: str) -> None:
    """So that a remedy that is named can be typed, and fits."""
    pixels: Pixels = build(validate.checked(chosen("pixels", name), "pixels"), "pixels")
    kind = CHOICES[name.removesuffix("_wide").removesuffix("_static")]
    assert type(pixels) is kind and pixels.gives and pixels.of <= {shown([1, 8, 8]), shown([2])}


def test_dequantised_values_are_a_density_whose_bits_are_those_of_pixels() -> None:
    """For p(v) uniform in [-1, 1] every 8-bit image has 8 bits a pixel; and back to the pixels."""
    pixels = build({"_target_": "gentrain.models.pixels.Dequantised"}, "pixels")
    x = torch.arange(256).view(1, 1, 16, 16) / 127.5 - 1
    v, log_det = pixels(x)
    assert v.min() >= -1 and v.max() < 1 and torch.allclose(pixels.inverse(v), x)
    bits = -(256 * torch.log(torch.tensor(0.5)) + log_det) / 256 / torch.log(torch.tensor(2.0))
    assert bits.item() == pytest.approx(8)
