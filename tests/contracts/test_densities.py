"""What every density of conf/model promises, small, on random images: all presets of
tests/support/presets.py are in it, and those of their choices that take another way through the
code.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from gentrain.capability import require, supports
from gentrain.config import validate
from gentrain.errors import UserError
from gentrain.models.base import Completes, Encodes, Reconstructs
from gentrain.models.density import DensityModel
from gentrain.streams import image_streams
from tests.support.compose import composed
from tests.support.presets import DENSITIES, small

B = 6
OF_POINTS = ("planar", "iaf", "realnvp_points")
CHOICES = {
    "vae, convolutional and logistic": ("vae", "network=vae_conv", "likelihood=logistic"),
    "vae, gaussian": ("vae", "likelihood=gaussian"),
    "gated_pixelcnn of 256 levels, given the label": (
        "gated_pixelcnn",
        "pixels=levels",
        "model.conditional=true",
    ),
    "pixelrnn_diagonal of 256 levels": ("pixelrnn_diagonal", "pixels=levels"),
}
MEMBERS = {preset: (preset,) for preset in DENSITIES} | CHOICES


@cache
def node(member: str) -> dict[str, Any]:
    preset, *words = MEMBERS[member]
    words += [] if preset in OF_POINTS else ["data.size=8"]
    return validate.check(small(composed(f"model={preset}", *words)))["model"]


def built(member: str) -> DensityModel:
    from gentrain.config.build import build

    torch.manual_seed(0)
    model = build(node(member), "model")
    if member == "iaf_distilled":
        model.set_step(model.teacher_steps)  # which are done
    with torch.no_grad():  # what starts at zero lets no gradient through to what is before it
        for weights in model.parameters():
            if not weights.any():
                weights.normal_(0, 0.1)
    return model


def batch(model: Any, training: bool = False) -> tuple[Tensor, ...]:
    """As training, or as an evaluation sees it."""
    draw, of_points = torch.Generator().manual_seed(1), getattr(model, "shape", None) == [2]
    x, y = (
        torch.rand(B, *((2,) if of_points else (1, 8, 8)), generator=draw) * 2 - 1,
        torch.arange(B) % 10,
    )
    if training and model.semi_supervised:
        return x, x.flip(0)[:4], y.flip(0)[:4]
    return x, y


def drawn(model: DensityModel, noise: Tensor, y: Tensor | None = None) -> Tensor:
    """Samples of given noise, with the same random numbers of pixels each time."""
    x, labels = batch(model)
    with image_streams(0, range(B)):
        return model.sample((x, labels if y is None else y), noise)


def nats(model: DensityModel, samples: int) -> Tensor:
    torch.manual_seed(2)
    return model.log_likelihood(batch(model), samples)


@pytest.mark.parametrize("member", MEMBERS)
def test_its_terms_reach_every_weight_and_descend(member: str) -> None:
    model = built(member)
    seen = batch(model, training=True)
    model.init_from_batch(seen)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    losses = []
    for step in range(10):
        torch.manual_seed(0)
        objective = model.objective(seen)
        assert all(
            value.ndim == 0 and value.isfinite()
            for value in (objective.losses | objective.metrics).values()
        )
        optimizer.zero_grad()
        objective.loss.backward()
        if step == 0:
            assert [
                n
                for n, p in model.named_parameters()
                if p.requires_grad and (p.grad is None or not p.grad.any())
            ] == []
        optimizer.step()
        losses.append(objective.loss.item())
        # the warm-up is over: one objective
        model.steps.fill_(10**6) if hasattr(model, "steps") else None
    assert min(losses[-3:]) < losses[1]


@pytest.mark.parametrize("member", MEMBERS)
def test_its_likelihood(member: str) -> None:
    model = built(member)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = nats(model, 3)
    assert found.shape == (B,) and found.isfinite().all() and not found.requires_grad
    assert model.training and all(
        torch.equal(value, before[name]) for name, value in model.state_dict().items()
    )
    assert torch.equal(nats(model.eval(), 3), found) and not model.training
    about = model.protocol(3)
    assert set(about) >= {"likelihood", "pixels"}
    if "exact" in about["likelihood"]:
        assert torch.equal(nats(model, 1), found)
    else:
        assert about != model.protocol(4) and not torch.equal(nats(model, 1), found)
    twin = built(member)
    with torch.no_grad():
        for weights in twin.parameters():
            weights.normal_(0, 0.1)
    assert not torch.equal(nats(twin, 3), found)
    twin.load_state_dict(model.state_dict())
    assert torch.equal(nats(twin, 3), found)


@pytest.mark.parametrize("member", MEMBERS)
def test_its_samples_are_a_function_of_noise(member: str) -> None:
    model = built(member)
    noise, seen = model.noise(B, "cpu"), batch(model)
    assert len(noise) == B
    images = drawn(model, noise)
    assert (
        images.shape == seen[0].shape
        # points have no range, as pixels have
        and (images.dim() == 2 or images.abs().max() <= 1)
        and not images.requires_grad
        and model.training
    )
    assert torch.equal(drawn(model, noise), images)
    assert not torch.equal(drawn(model, model.noise(B, "cpu")), images)
    if model.labelled:
        assert not torch.equal(drawn(model, noise, (seen[1] + 1) % 10), images)
    assert model.sample(seen).shape == seen[0].shape


@pytest.mark.parametrize("member", sorted(set(MEMBERS) - set(OF_POINTS)))
def test_it_completes_images_or_says_that_it_does_not(member: str) -> None:
    model: Any = built(member)
    seen, known = batch(model), torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    known[..., :3, :] = True
    if not supports(model, Completes):
        with pytest.raises(UserError, match=r"completes images.*\(mode=complete\)"):
            require(model, Completes, "mode=complete")
        return
    images = model.complete(seen, known)
    kept = known.expand_as(images)
    assert (
        images.shape == seen[0].shape
        and torch.equal(images[kept], seen[0][kept])
        and model.training
    )
    assert images.abs().max() <= 1 and not torch.equal(images, seen[0])
    one = known.expand(B, 1, 8, 8).clone()
    one[0] = True  # all of the first
    assert torch.equal(model.complete(seen, one)[0], seen[0][0])


@pytest.mark.parametrize("member", MEMBERS)
def test_an_encoder_has_a_way_back(member: str) -> None:
    model: Any = built(member)
    if not supports(model, Encodes):
        assert not supports(model, Reconstructs)
        return
    seen = batch(model) if model.labelled else batch(model)[:1]
    torch.manual_seed(0)
    codes = model.encode(*seen)
    torch.manual_seed(0)
    if not supports(model, Reconstructs):  # a flow, whose codes keep all but the levels' noise
        assert (model.sample(batch(model), codes) - seen[0]).abs().max() < 0.02
        return
    again = model.reconstruct(*seen)
    assert (
        codes.shape == model.noise(B, "cpu").shape
        and again.shape == seen[0].shape
        and model.training
    )
    model.mean = True
    torch.testing.assert_close(model.sample(batch(model), codes), again)
