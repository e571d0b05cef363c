"""Nats of images, and of the values that are modelled."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from gentrain.data.arrays import ArrayDataset
from gentrain.data.base import Data
from gentrain.models.flow.autoregressive import MaskedAutoregressive
from gentrain.models.flow.base import FlowDensity
from gentrain.models.pixels import Binary, Logit
from gentrain.quality.likelihood import LogLikelihood


class Noise(Data):
    """Grey levels at random."""

    def __init__(self) -> None:
        super().__init__(name="noise", shape=(1, 4, 4))

    def read(self, split: str) -> ArrayDataset:
        return ArrayDataset(
            torch.randint(
                0,
                256,
                (3000, 1, 4, 4),
                dtype=torch.uint8,
                generator=torch.Generator().manual_seed(0),
            ),
            None,
        )


def scored(density: Any) -> dict[str, float]:
    metric = LogLikelihood(images=None, batch_size=500)
    return metric.compute(Noise(), density, torch.device("cpu"))


def test_of_images_and_of_values_in_logit_space() -> None:
    torch.manual_seed(0)
    density = FlowDensity(
        lambda shape: MaskedAutoregressive(shape, layers=1, width=8), Logit(1e-6), [1, 4, 4]
    )
    found = scored(density)
    with torch.no_grad():
        v, _ = density.pixels(Noise().load("test").images.float() / 127.5 - 1)
        assert found["nats_of_values"] == pytest.approx(
            -density.log_prob(v).mean().item(), rel=0.02
        )
    assert abs(found["nats"] - found["nats_of_values"]) > 10


def test_where_values_are_the_pixels_there_is_one_number() -> None:
    coins: Any = SimpleNamespace(
        pixels=Binary(),
        log_likelihood=lambda batch, samples: torch.full((len(batch[0]),), -16 * math.log(2)),
    )
    found = scored(coins)
    assert found["bits_per_dim"] == pytest.approx(1) and "nats_of_values" not in found
