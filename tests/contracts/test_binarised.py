"""Static binarisation: the stored pixels of data that are black and white, and of no others."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from gentrain.errors import UserError
from gentrain.models.pixels import Binary
from tests.support.compose import build_model

GREY: Any = SimpleNamespace(name="mnist", black_and_white=False)
STORED: Any = SimpleNamespace(name="mnist_static", black_and_white=True)
# a model of each family, small
FAMILIES = {
    "gated_pixelcnn": ("pixels=binary_static", "model.network.width=4"),
    "vae": ("likelihood=bernoulli_static", "model.encoder.width=4", "model.decoder.width=4"),
    "rbm": ("visible=binary_static", "model.hidden=2"),
    "boltzmann": ("model.static=true", "model.hidden=2"),
}


@pytest.mark.parametrize("preset", FAMILIES)
def test_static_pixels_are_those_of_fixed_files(preset: str) -> None:
    choice, *small = FAMILIES[preset]
    static, drawn = (
        build_model(f"model={preset}", *words, "data.size=8") for words in ((choice, *small), small)
    )
    static.check_data(STORED)
    drawn.check_data(GREY)
    with pytest.raises(UserError, match=r"\(static\); choose data=mnist_static") as no:
        static.check_data(GREY)
    assert "larocheh/public/datasets" in str(no.value) and "\n" not in str(no.value)
    with pytest.raises(UserError, match=r"black and white already.*binary_static"):
        drawn.check_data(STORED)
    assert static.pixels.name == "statically binarised" != drawn.pixels.name


def test_static_pixels_are_as_they_are_stored() -> None:
    stored = torch.randint(2, (5, 1, 4, 4)).float()
    pixels, state = Binary(static=True), torch.get_rng_state()
    values, log_det = pixels(2 * stored - 1)
    assert torch.equal(values, stored) and not log_det.any()
    assert torch.equal(state, torch.get_rng_state())
    with pytest.raises(UserError, match="static"):
        Binary(threshold=True, static=True)
