"""Nats of images, and of the values that are modelled: which of them, and in which unit."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from gentrain.data.arrays import ArrayDataset, to_float
from gentrain.data.base import Data
from gentrain.models.density import DensityModel
from gentrain.models.flow.autoregressive import MaskedAutoregressive
from gentrain.models.flow.base import FlowDensity
from gentrain.models.pixels import Binary, Dequantised, Levels, Logit, Pixels, Real
from gentrain.protocols import comparable
from gentrain.quality.likelihood import LogLikelihood
from tests.support.compose import build_model

CPU = torch.device("cpu")


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


def scored(density: Any, data: Data | None = None, **options: Any) -> dict[str, float]:
    metric = LogLikelihood(**({"images": None, "batch_size": 500} | options))
    return metric.compute(data or Noise(), density, CPU)


class Known(DensityModel):
    """A likelihood that is given; it keeps the values that it was asked for."""

    takes = ("binary", "levels", "density")

    def __init__(
        self,
        pixels: Pixels,
        log_p: Callable[[Tensor, Tensor | None], Tensor],
        labelled: bool,
        shape: tuple[int, ...],
    ) -> None:
        super().__init__(pixels, shape)
        self.log_p, self.labelled, self.seen = log_p, labelled, []

    def log_likelihood_of_values(self, v: Tensor, y: Tensor | None, samples: int) -> Tensor:
        self.seen.append(v)
        torch.rand(samples)  # what a bound draws
        return self.log_p(v, y)

    def protocol(self, samples: int) -> dict[str, Any]:
        return {"likelihood": "known", "pixels": self.pixels.name}

    def sample(self, batch: Any, noise: Tensor | None = None) -> Tensor:
        raise NotImplementedError

    objective = sample  # type: ignore[assignment]


def known(
    pixels: Pixels,
    log_p: Callable[[Tensor, Tensor | None], Tensor],
    labelled: bool = False,
    shape: tuple[int, ...] = (1, 4, 4),
) -> Known:
    return Known(pixels, log_p, labelled, shape)


def test_of_images_and_of_values_in_logit_space() -> None:
    torch.manual_seed(0)
    density = FlowDensity(
        lambda shape: MaskedAutoregressive(shape, layers=1, width=16), Logit(1e-6), [1, 4, 4]
    )
    found = scored(density)
    with torch.no_grad():
        v, _ = density.pixels(Noise().load("test").images.float() / 127.5 - 1)
        assert found["nats_of_values"] == pytest.approx(
            -density.log_prob(v).mean().item(), rel=0.02
        )
    assert abs(found["nats"] - found["nats_of_values"]) > 10


def test_where_values_are_the_pixels_there_is_one_number() -> None:
    coins = known(Binary(), lambda v, y: torch.full((len(v),), -16 * math.log(2)))
    found = scored(coins)
    assert found["bits_per_dim"] == pytest.approx(1) and "nats_of_values" not in found


class Square(Data):
    """Points in a square."""

    def __init__(self) -> None:
        super().__init__(name="square", shape=(2,))

    def read(self, split: str) -> ArrayDataset:
        return ArrayDataset(torch.rand(9, 2) * 2 - 1, None)


# --- bits per dimension ---------------------------------------------------------------------------


def uniform_in_logit_space(v: Tensor, y: Tensor | None, alpha: float = 0.05) -> Tensor:
    """The density of v when k + u is uniform in [0, 256): 1/256 dt/dv for each pixel."""
    s = torch.sigmoid(v.double())
    slope = 256 / (1 - 2 * alpha) * s * (1 - s)
    return (slope.log() - math.log(256)).flatten(1).sum(1)


@pytest.mark.parametrize(
    ("pixels", "log_p"),
    [
        (Levels(), lambda v, y: torch.full((len(v),), -16 * math.log(256)).double()),
        (Logit(0.05), uniform_in_logit_space),
        (Dequantised(), lambda v, y: torch.full((len(v),), -16 * math.log(2)).double()),
    ],
    ids=["levels", "logit", "dequantised"],
)
def test_a_uniform_density_of_8_bit_pixels_takes_8_bits(pixels: Pixels, log_p: Any) -> None:
    found = scored(known(pixels, log_p))
    assert found["bits_per_dim"] == pytest.approx(8, abs=1e-5)
    assert found["nats"] == pytest.approx(16 * math.log(256), abs=1e-3)


def test_a_density_of_real_numbers_has_no_bits() -> None:
    """Uniform in [-1, 1]^2: 2 log 2 nats, which would read as 1 bit."""
    square = known(Real(), lambda v, y: torch.full((len(v),), -2 * math.log(2)), shape=(2,))
    found, unit = scored(square, Square()), LogLikelihood().protocol(Square(), square)["unit"]
    assert found["nats"] == pytest.approx(2 * math.log(2)) and "bits_per_dim" not in found
    assert "of a density" in unit and "bits_per_dim" not in unit


# --- labels ---------------------------------------------------------------------------------------


class Skewed(Data):
    """Labels 0 to 3; three quarters of the training images have label 1, and none label 3."""

    def __init__(self) -> None:
        super().__init__(name="skewed", shape=(1, 4, 4), classes=4)

    def read(self, split: str) -> ArrayDataset:
        draw = torch.Generator().manual_seed(len(split))
        images = torch.randint(0, 256, (40, 1, 4, 4), dtype=torch.uint8, generator=draw)
        shares = torch.tensor([0, 1, 1, 1, 1, 1, 1, 2] * 5)
        return ArrayDataset(images, shares if split == "train" else torch.arange(40) % 4)


def test_a_conditional_likelihood_is_summed_over_labels() -> None:
    """A small conditional PixelCNN against a sum over y; both numbers have their own names."""
    torch.manual_seed(0)
    model = build_model(
        "model=gated_pixelcnn", "model.conditional=true", "data.size=8",
        "model.network.width=4", "model.network.depth=1",
    )  # fmt: skip
    for weights in model.parameters():
        torch.nn.init.normal_(weights, 0, 0.4)
    model.pixels = Binary(threshold=True)
    data = Skewed()
    found = scored(model, data, batch_size=7)
    x, labels, _ = data.load("test")
    v = (to_float(x) > 0).float()
    with torch.no_grad():
        p = [model.log_prob(v, torch.full((40,), y)).double().exp() for y in range(4)]
    of_x = (p[0] + 6 * p[1] + p[2]) / 8
    given = torch.stack(p)[labels, torch.arange(40)]
    assert found["nats"] == pytest.approx(-of_x.log().mean().item(), rel=1e-5)
    assert found["nats_given_label"] == pytest.approx(-given.log().mean().item(), rel=1e-5)
    error = -given.log()
    assert found["nats_given_label_error"] == pytest.approx(
        (error.std() / math.sqrt(40)).item(), rel=1e-4
    )
    assert found["bits_per_dim"] == pytest.approx(found["nats"] / 16 / math.log(2))
    assert abs(found["nats"] - found["nats_given_label"]) > 0.01


def test_compare_does_not_rank_a_conditional_model_with_others() -> None:
    def protocol(labelled: bool) -> Any:
        model = known(Binary(), lambda v, y: v.flatten(1).sum(1), labelled)
        return LogLikelihood().protocol(Skewed(), model)

    assert comparable(protocol(True), ()) != comparable(protocol(False), ())
    assert "sum_y" in protocol(True)["labels"]


# --- random streams -------------------------------------------------------------------------------


def test_importance_samples_leave_the_binarised_pixels_alone() -> None:
    """Nor do labels; and every label of an image is given the same pixels."""

    def values(importance: int, labelled: bool = False) -> list[Tensor]:
        model = known(Binary(), lambda v, y: v.flatten(1).sum(1), labelled)
        scored(model, Skewed(), importance=importance, batch_size=8)
        return model.seen

    few, many, each = values(1), values(7), values(1, labelled=True)
    assert all(torch.equal(a, b) for a, b in zip(few, many, strict=True))
    assert not torch.equal(few[0], few[1])
    assert all(torch.equal(each[4 * i + y], few[i]) for i in range(5) for y in range(4))
