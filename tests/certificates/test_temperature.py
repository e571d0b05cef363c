"""Temperature and means against closed forms; what denoising does in one step."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gentrain.layers.masked import MADE
from gentrain.models.autoregressive.base import Autoregressive
from gentrain.models.autoregressive.networks import Causal, SamplingCache, UncachedSampling
from gentrain.models.energy.boltzmann import Boltzmann
from gentrain.models.energy.ebm import EBM
from gentrain.models.energy.hopfield import Hopfield
from gentrain.models.energy.rbm import RBM
from gentrain.models.energy.visible import BinaryUnits, GaussianUnits, Visible
from gentrain.models.flow.autoregressive import MaskedAutoregressive
from gentrain.models.flow.base import FlowDensity
from gentrain.models.pixels import Levels, Real
from gentrain.models.vae import likelihoods
from gentrain.samplers.langevin import Langevin
from gentrain.streams import image_streams

LOGITS = torch.tensor([0.3, -1.0, 1.2, 0.9])


class OnePixel(Causal):
    """The same logits for every pixel."""

    def __init__(self, shape: list[int], values: int, classes: int = 0) -> None:
        super().__init__(shape, values, classes)
        self.logits = nn.Parameter(LOGITS.clone())

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return self.logits.view(1, -1, 1, 1, 1).expand(len(x), -1, *x.shape[1:])

    def sampling_cache(self, n: int, y: Tensor | None = None) -> SamplingCache:
        return UncachedSampling(self, n, y)


def pixel() -> Autoregressive:
    return Autoregressive(OnePixel, Levels(4), [1, 1, 1])


def shares(model: Autoregressive, n: int = 40_000) -> Tensor:
    images = model.sample((torch.zeros(n, 1, 1, 1),))
    return torch.bincount(model.pixels(images)[0].long().flatten(), minlength=4) / n


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
def test_a_pixels_histogram_is_the_softmax_of_its_tempered_logits(temperature: float) -> None:
    torch.manual_seed(0)
    model = pixel()
    model.temperature = temperature
    p = (LOGITS / temperature).softmax(0)
    assert ((shares(model) - p).abs() <= 4.5 * (p * (1 - p) / 40_000).sqrt()).all()


def test_towards_0_a_pixel_is_its_mode_and_1_changes_no_bit() -> None:
    model, noise = pixel(), torch.rand(500, 1)
    blank = (torch.zeros(500, 1, 1, 1),)
    before = model.sample(blank, noise)
    mode = model.pixels.inverse(torch.full_like(before, 2.0))
    for cold in (0.0, 1e-30, 1e-3):
        model.temperature = cold
        assert torch.equal(model.sample(blank, noise), mode)
    model.temperature = 1.0
    assert torch.equal(model.sample(blank, noise), before)


def test_a_flows_temperature_scales_its_base() -> None:
    """An affine flow x = m + s u of independent values: N(m, (T s)^2), and m alone at 0."""
    torch.manual_seed(0)
    flow = FlowDensity(lambda shape: MaskedAutoregressive(shape, layers=1, width=2), Real(), [2])
    for weights in flow.parameters():
        nn.init.zeros_(weights)
    made: Any = next(m for m in flow.modules() if isinstance(m, MADE))
    shift, slope = torch.tensor([0.2, -0.1]), math.log(0.1)
    list(made.parameters())[-1].data.copy_(torch.cat([shift, torch.full((2,), slope)]))
    blank, noise = (torch.zeros(20_000, 2),), torch.randn(20_000, 2)
    before = flow.sample(blank, noise)
    means = before.mean(0)
    assert before.std(0).allclose(torch.full((2,), 0.1), rtol=0.02)
    flow.temperature = 0.4
    assert flow.sample(blank, noise).std(0).allclose(torch.full((2,), 0.04), rtol=0.02)
    flow.temperature = 0.0
    cold = flow.sample(blank, noise)
    assert cold.std(0).max() < 1e-6 and cold[0].allclose(means, atol=5e-3)
    flow.temperature = 1.0
    assert torch.equal(flow.sample(blank, noise), before)


@pytest.mark.parametrize(
    "likelihood",
    [likelihoods.Bernoulli(), likelihoods.Gaussian(0.2), likelihoods.DiscretisedLogistic()],
    ids=lambda each: type(each).__name__,
)
def test_the_mean_of_draws_is_the_mean(likelihood: likelihoods.Likelihood) -> None:
    """And draws of images have streams of their own."""
    torch.manual_seed(0)
    parameters = torch.randn(1, likelihood.parameters_per_value, 1, 4, 4) * 0.3
    parameters[:, 1:] -= 3  # a narrow logistic distribution, of which nothing is beyond 0 and 255
    with image_streams(0, range(4000)), torch.no_grad():
        many = likelihood.draw(parameters.expand(4000, -1, -1, -1, -1))
    off = (many.mean(0) - likelihood.mean(parameters)[0]).abs()
    assert (
        (off <= 4.5 * many.std(0) / math.sqrt(4000) + 0.5).all()
        if many.max() > 2
        else (off <= 4.5 * many.std(0) / math.sqrt(4000)).all()
    )
    with image_streams(0, range(17, 18)), torch.no_grad():
        assert torch.equal(likelihood.draw(parameters)[0], many[17])


# --- denoising ------------------------------------------------------------------------------------


def transitions(model: Any, monkeypatch: pytest.MonkeyPatch, steps: int) -> list[int]:
    """How many transitions each call of `run_chain` makes while an image is denoised."""
    made, run_chain = [], model.run_chain

    def counted(x: Tensor, steps: int, *rest: Any) -> Tensor:
        made.append(steps)
        return run_chain(x, steps, *rest)

    monkeypatch.setattr(model, "run_chain", counted)
    model.denoise(torch.rand(2, *model.shape) * 2 - 1, steps, draws=3)
    return made


@pytest.mark.parametrize("steps", [1, 3])
def test_denoising_makes_as_many_transitions_as_asked(
    steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of an RBM the last one gives means in place of draws."""
    bowl = nn.Sequential(nn.Flatten(), nn.Linear(4, 1), nn.Flatten(0))
    machines = (EBM(bowl, Langevin(0.1), [1, 2, 2], buffer=4), Hopfield([1, 2, 2]),
                Boltzmann([1, 2, 2], hidden=2))  # fmt: skip
    for model in machines:
        assert transitions(model, monkeypatch, steps) == [steps]
    assert transitions(RBM(BinaryUnits(), [1, 2, 2], 3), monkeypatch, steps) == [steps - 1]


def test_one_step_of_a_hopfield_network_recalls() -> None:
    """Each unit once: a pattern with a wrong bit is its memory, and no longer the noisy image."""
    model = Hopfield([1, 1, 8], memories=1)
    pattern = torch.tensor([1.0, -1, 1, 1, -1, -1, 1, -1])
    with torch.no_grad():
        model.weight.copy_(torch.outer(pattern, pattern))
    noisy = pattern.clone()
    noisy[2] *= -1
    assert torch.equal(model.denoise(noisy.view(1, 1, 1, 8), 1, 1).flatten(), pattern)


@pytest.mark.parametrize("visible", [BinaryUnits(True), GaussianUnits(0.1)], ids=["binary", "grey"])
def test_one_step_of_an_rbm_is_the_mean_given_hidden_units(visible: Visible) -> None:
    """E[v | h] over h ~ p(h | v), by enumeration of the hidden units."""
    torch.manual_seed(0)
    model = RBM(visible, [1, 2, 2], 3)
    for weights in model.parameters():
        nn.init.normal_(weights, 0, 0.7)
    x = torch.tensor([1.0, -1, -1, 1]).view(1, 1, 2, 2)
    with torch.no_grad():
        v = model.values(x)
        p = torch.sigmoid(model.hidden_logits(v))[0]
        h = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 3)
        weights = (h * p + (1 - h) * (1 - p)).prod(1)
        means = model.images(visible.mean(model.b, h @ model.W.T))
        expected = (weights.view(-1, 1, 1, 1) * means).sum(0)
        found = model.denoise(x, 1, 4000)[0]
    torch.testing.assert_close(found, expected, atol=0.06, rtol=0)


def test_hidden_units_of_a_boltzmann_machine_come_from_the_image() -> None:
    """Strong weights tie h_0 to v_0, and v_1 to h_0: after one step the image says what v_1 is. As
    coins the hidden units would say so half of the time.
    """
    model = Boltzmann([1, 1, 2], threshold=True, hidden=1)
    with torch.no_grad():
        model.weight.zero_()
        model.weight[0, 2] = model.weight[1, 2] = 20.0  # v_0 - h, v_1 - h
        model.b.copy_(torch.tensor([0.0, -10.0, -10.0]))
    image = torch.tensor([1.0, -1.0]).view(1, 1, 1, 2)
    state = model.with_hidden(model.values(image.repeat(200, 1, 1, 1)))
    assert state[:, 2].mean() > 0.95
    assert model.denoise(image, 1, 200)[0, 0, 0, 1] > 0.9
