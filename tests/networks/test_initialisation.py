"""Norms and embeddings start as the papers' official code has them."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from gentrain.layers.normalization import norm1d, norm2d
from tests.contracts.test_backbones import batch, built


@pytest.mark.parametrize("network", ["mlp", "dcgan", "sagan"])
def test_the_projection_starts_as_in_the_authors_code(network: str) -> None:
    """Glorot's uniform weights: <h, V y> has the sd |h| sqrt(2 / (K + F)), and no more."""
    words = ("model=cgan", f"network={network}", "model.conditioning=projection")
    torch.manual_seed(0)
    model, data = built(*words)
    x, y = batch(model, data, 256)
    V, (K, F) = model.critic.embed.weight, model.critic.embed.weight.shape
    V = V * model.critic.critic.summed  # features that are sums have weights as much smaller
    assert V.abs().max() <= math.sqrt(6 / (K + F))
    assert V.std().item() == pytest.approx(math.sqrt(2 / (K + F)), rel=0.2)
    with torch.no_grad():
        h = model.critic.features(x, y)
        scores = (h * model.critic.embed(y)).sum(1)
    assert scores.std() < 2 * h.norm(dim=1).mean() * math.sqrt(2 / (K + F))


@pytest.mark.parametrize(
    "words",
    [
        ("model=cgan", "network=mlp", "model.conditioning=projection"),
        ("model=cgan", "network=sagan", "model.conditioning=projection", "lipschitz=spectral_norm"),
        # sums over pixels without spectral norm, which sets their scale
        ("model=cgan", "network=sagan", "model.conditioning=projection"),
        ("model=cgan", "network=resnet"),
        ("model=gan", "network=resnet"),
        ("model=acgan", "network=resnet"),
        ("model=biggan", "lipschitz=none"),
        ("model=sagan",),
        ("model=acgan",),
    ],
)
def test_scores_start_of_the_order_of_one(words: tuple[str, ...]) -> None:
    torch.manual_seed(0)
    model, data = built(*words)
    scores = model.critic_scores(batch(model, data, 256))
    assert scores.std() < 5 and scores.mean().abs() < 5


def test_biggan_s_embeddings_start_orthogonal() -> None:
    model, _ = built("model=biggan", "lipschitz=none")
    critic = model.critic.embed.weight * model.critic.summed
    for embed in (critic, model.generator.embed.weight):
        few = embed if len(embed) <= embed.shape[1] else embed.T
        torch.testing.assert_close(few @ few.T, torch.eye(len(few)), atol=1e-5, rtol=0)


@pytest.mark.parametrize("preset", ["cyclegan", "pix2pix", "colorization", "unet"])
def test_translations_have_instance_norm_without_gains(preset: str) -> None:
    model, _ = built(f"model={preset}")
    norms = [m for m in model.modules() if isinstance(m, nn.InstanceNorm2d)]
    assert norms and not any(list(norm.parameters()) for norm in norms)


def test_stargan_s_instance_norm_has_gains() -> None:
    model, _ = built("model=stargan")
    norms = [m for m in model.generator.modules() if isinstance(m, nn.InstanceNorm2d)]
    assert norms and all(norm.affine for norm in norms)


def test_plain_instance_norm_is_the_loop() -> None:
    x, norm = 3 + 2 * torch.randn(2, 3, 5, 5), norm2d("instance_plain", 3)
    wanted = torch.empty_like(x)
    for b in range(2):
        for c in range(3):
            one = x[b, c]
            wanted[b, c] = (one - one.mean()) / (one.var(unbiased=False) + 1e-5).sqrt()
    torch.testing.assert_close(norm(x), wanted)
    torch.testing.assert_close(norm.eval()(x), wanted)
    v = torch.randn(4, 6)
    shifted = v - v.mean(1, keepdim=True)
    sd = (shifted.square().mean(1, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(norm1d("instance_plain", 6)(v), shifted / sd)
