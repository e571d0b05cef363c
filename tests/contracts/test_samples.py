"""What every model of conf/model promises of its samples, by `gentrain sample`.

Image i of a seed is one image, however many are drawn and in batches of any size. Draws are the
default; means and a temperature are options of those models that have them.
"""

from __future__ import annotations

import logging
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gentrain.capability import supports
from gentrain.commands.sample.session import SampleSession, choose_draws
from gentrain.config import validate
from gentrain.config.build import build
from gentrain.errors import UserError
from gentrain.models.base import DrawsPixels, HasChains, HasTemperature, warn_of_few_chains
from gentrain.runs.reopen import OpenedRun
from gentrain.streams import bernoulli, image_streams, normal, uniform
from tests.support.compose import composed
from tests.support.presets import DENSITIES, ENERGIES, PRESETS, first_of_each_class, small

SHORT = {"steps": 3, "n_chains": 5, "buffer": 5, "hidden": 6}  # of energies
ALONE = ("planar", "iaf", "realnvp", "realnvp_points")  # no data.size, or sides that do not halve
# of the games, those whose images are more than a function of noise, and one that is
QUICK = ("dcgan", "pix2pix")
FEW, MANY = 2, 7


def members() -> list[Any]:
    games = first_of_each_class(PRESETS, *QUICK)
    others = first_of_each_class(DENSITIES + ENERGIES, "realnvp")
    return [
        pytest.param(preset, marks=[] if preset in (*QUICK, *others) else pytest.mark.slow)
        for preset in (*games, *others)
    ]


@cache
def configuration(preset: str) -> dict[str, Any]:
    size = ["data.size=8"] if preset in DENSITIES + ENERGIES and preset not in ALONE else []
    found = small(composed(f"model={preset}", *size))
    short = {key: SHORT[key] for key in SHORT.keys() & found["model"].keys()}
    return {"data": found["data"], "model": found["model"] | short}


@cache
def opened(preset: str) -> OpenedRun:
    """As `made`, once; sessions of samples freeze its weights."""
    return made(preset)


def made(preset: str) -> OpenedRun:
    """A model with random weights, and with chains that differ."""
    torch.manual_seed(0)
    found = {key: validate.checked(node, key) for key, node in configuration(preset).items()}
    model, data = build(found["model"], "model"), build(found["data"], "data")
    chains = dict(model.named_buffers()).get("chains")
    if chains is not None:
        chains.copy_(model.noise(len(chains), "cpu"))
    return OpenedRun(Path("run"), {}, {}, model, data, torch.device("cpu"), 1, "0", {}, {})


def streamed(session: SampleSession, n: int) -> Tensor:
    return torch.cat([images for images, _ in session.stream(n)])


@pytest.mark.parametrize("preset", members())
def test_image_i_of_a_seed_is_one_image(preset: str) -> None:
    """However many are drawn, in batches of any size, and whatever was drawn before."""
    session = SampleSession(opened(preset))
    many, few = streamed(session, MANY), streamed(session, FEW)
    torch.testing.assert_close(few, many[:FEW], atol=1e-5, rtol=1e-4)
    noise = session.noise(MANY) if session.prior else None
    parts = [
        session.generate(
            len(rows),
            None if noise is None else noise[rows],
            session.labels(len(rows), int(rows[0])),
            int(rows[0]),
        )
        for rows in torch.arange(MANY).split(3)
    ]
    torch.testing.assert_close(torch.cat(parts), many, atol=1e-5, rtol=1e-4)
    other = streamed(SampleSession(opened(preset), seed=1), MANY)
    assert not torch.equal(other, many)


@pytest.mark.parametrize("preset", first_of_each_class(ENERGIES))
def test_samples_have_starts_of_their_own(preset: str, caplog: pytest.LogCaptureFixture) -> None:
    """Image i starts from chain i, and one line says where there are fewer chains than images."""
    model: Any = opened(preset).model
    assert supports(model, HasChains)
    caplog.set_level(logging.WARNING, "gentrain")
    warn_of_few_chains(model, 5)
    assert not caplog.messages
    if model.starts is None:  # from noise of its own
        warn_of_few_chains(model, 10**6)
        assert not caplog.messages
        return
    assert model.starts == 5 and torch.equal(model.start(5, "cpu"), model.chains)
    with image_streams(0, range(3, 12)):
        assert torch.equal(model.start(9, "cpu"), model.chains[torch.arange(3, 12) % 5])
    warn_of_few_chains(model, 6)
    assert caplog.messages == [
        "6 samples start from 5 chains: those that share a start are not independent"
    ]


@pytest.mark.parametrize("preset", members())
def test_means_and_a_temperature_are_options_of_models_that_have_them(preset: str) -> None:
    session = SampleSession(opened(preset))
    model: Any = session.model
    before = streamed(session, FEW)
    for option, capability in (("mean", DrawsPixels), ("temperature", HasTemperature)):
        value = {option: True if option == "mean" else 0.3}
        if not supports(model, capability):
            with pytest.raises(UserError, match=rf"\({option}="):
                choose_draws(model, **({"mean": None, "temperature": None} | value))
            continue
        default, protocol = getattr(model, option), model.sample_protocol()
        choose_draws(model, **({"mean": None, "temperature": None} | value))
        assert not torch.equal(streamed(session, FEW), before)
        assert model.sample_protocol() != protocol
        setattr(model, option, default)
        assert torch.equal(streamed(session, FEW), before)
        assert model.sample_protocol() == protocol


def test_the_sequence_of_an_image_is_its_own() -> None:
    """Each image reads its stream from the beginning, in the order of its own draws alone."""

    def drawn(images: range) -> list[Tensor]:
        with image_streams(7, images):
            like = torch.empty(len(images), 3)
            several = uniform(torch.empty(2 * len(images), 3)).view(2, len(images), 3)
            return [uniform(like), normal(like), bernoulli(uniform(like)), *several]

    alone, together = drawn(range(4, 5)), drawn(range(10))
    for one, all_of_them in zip(alone, together, strict=True):
        assert torch.equal(one[0], all_of_them[4])
    with image_streams(7, range(100)):
        u, z = uniform(torch.empty(100, 1000)), normal(torch.empty(100, 1000))
    assert abs(u.mean() - 0.5) < 5e-3 and u.unique().numel() > 90_000
    assert abs(z.mean()) < 2e-2 and abs(z.var() - 1) < 3e-2
    correlation = torch.corrcoef(z) - torch.eye(100)
    assert correlation.abs().max() < 0.2
