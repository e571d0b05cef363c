"""The VAE that completes images: its encoder sees nothing hidden, known pixels stay, and the hidden
ones follow from them.
"""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor

from gentrain.errors import UserError
from gentrain.models.vae import likelihoods
from gentrain.models.vae.inpainting import InpaintingVAE, rectangles
from gentrain.networks.vae import ConvDecoder, ConvEncoder, MLPDecoder, MLPEncoder
from gentrain.streams import image_streams

SHAPE = [1, 8, 8]


def model(conv: bool = False, shape: list[int] = SHAPE, latent: int = 3) -> InpaintingVAE:
    encoder = (
        partial(ConvEncoder, shape=shape, width=4, hidden=16)
        if conv
        else partial(MLPEncoder, shape=shape, width=32)
    )
    decoder = (
        partial(ConvDecoder, shape, latent, width=4, hidden=16)
        if conv
        else partial(MLPDecoder, shape, latent, width=32)
    )
    return InpaintingVAE(encoder, decoder, likelihoods.Gaussian(0.2), shape)


def test_masks_are_rectangles_or_all_but_one() -> None:
    known = rectangles(4000, 8, 6, torch.device("cpu"))
    assert known.shape == (4000, 1, 8, 6) and known.dtype == torch.bool
    for mask in known[:300, 0]:
        edges = [mask[0, 0], mask[0, -1], mask[-1, 0], mask[-1, -1]]
        part = mask if not any(edges) else ~mask  # the rectangle, where it touches no corner
        i, j = part.nonzero(as_tuple=True)
        if len(i) and (not any(edges) or all(edges)):
            assert part[i.min() : i.max() + 1, j.min() : j.max() + 1].all()
    share = known.float().mean((1, 2, 3))
    assert 0.45 < share.mean() < 0.55
    assert (share == 1).any() and (share == 0).any()
    # rows known from edge to edge, others hidden so: halves are seen in training
    upper = known[:, 0, 0].all(1) & ~known[:, 0, -1].any(1)
    assert upper.float().mean() > 0.02


@pytest.mark.parametrize("conv", [False, True])
def test_what_is_hidden_is_not_seen(conv: bool) -> None:
    vae, v, known = model(conv), torch.rand(4, *SHAPE) * 2 - 1, torch.rand(4, 1, 8, 8) < 0.5
    other = torch.where(known, v, torch.rand(4, *SHAPE))
    assert torch.equal(vae.encoder(v, None, known)[0], vae.encoder(other, None, known)[0])
    assert not torch.equal(vae.encoder(v, None, known)[0], vae.encoder(v)[0])
    dark = torch.zeros_like(v)  # a pixel that is 0 is not one that is hidden
    assert not torch.equal(vae.encoder(dark, None, known)[0], vae.encoder(dark)[0])
    torch.testing.assert_close(vae.encoder(v, None, torch.ones_like(known))[0], vae.encoder(v)[0])


def test_a_bound_with_a_masked_encoder_is_a_bound() -> None:
    """Whatever the encoder sees, E_q log p(x | z) - KL(q || p) is at most log p(x): here beside the
    bound of many samples.
    """
    vae, v = model(), torch.rand(3, *SHAPE) * 2 - 1
    known = torch.zeros(3, 1, 8, 8, dtype=torch.bool)
    with torch.no_grad():
        evidence = vae.importance_weighted(v, None, 5000)
        masked = torch.stack(
            [-sum(vae.bound(v, None, vae.posterior(v, None, known))) for _ in range(200)]
        ).mean(0)  # type: ignore[arg-type]
    assert (masked < evidence + 0.05).all()


def brightness(n: int) -> Tensor:
    """Images of one brightness each, which any part of them tells."""
    return (torch.rand(n, 1, 1, 1) * 1.6 - 0.8).expand(n, *SHAPE) + 0.05 * torch.randn(n, *SHAPE)


def test_the_hidden_half_follows_from_the_known_one() -> None:
    vae = model()
    optimizer = torch.optim.Adam(vae.parameters(), 5e-3)
    for _ in range(300):
        optimizer.zero_grad()
        vae.objective((brightness(64),)).loss.backward()
        optimizer.step()
    x, known = brightness(100), torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    known[..., :4, :] = True
    noise = torch.randn(100, 3)
    drawn = vae.complete((x,), known, noise)  # means, and noise of the learned deviation
    vae.mean = True
    done = vae.complete((x,), known, noise)
    off = (drawn - done)[..., 4:, :]
    assert off.std() == pytest.approx(float(vae.likelihood.log_sd.exp()), rel=0.2)
    assert torch.equal(done[..., :4, :], x[..., :4, :])
    error, chance = (
        (other[..., 4:, :] - x[..., 4:, :]).abs().mean() for other in (done, done.roll(1, 0))
    )
    assert error < 0.3 * chance

    def completed(z: Tensor) -> Tensor:
        with image_streams(0, range(100)):  # the dequantisation's noise
            return vae.complete((x,), known, z)

    assert torch.equal(completed(noise), completed(noise))
    assert not torch.equal(completed(noise), completed(-noise))


def test_points_are_refused() -> None:
    with pytest.raises(UserError, match="nothing to mask"):
        model(shape=[2])
