"""The resampling filter of R3GAN against scipy's, and against sums by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.signal import upfirdn
from torch import Tensor

from gentrain.layers.resample import Downsample, Upsample

TAPS = np.array([1.0, 3.0, 3.0, 1.0]) / 8


def by_scipy(x: Tensor, up: int, down: int) -> np.ndarray:
    """Each side by itself: zeros after each value, filtered, every `down`-th value kept.

    The whole convolution is 3 values longer; it loses one in front when doubled, and 2 when halved
    (upsample2d and downsample2d of StyleGAN2).
    """
    values = x.double().numpy()
    for axis in (2, 3):
        whole = upfirdn(TAPS * up, values, up=up, axis=axis)
        rows = 3 - up + down * np.arange(values.shape[axis] * up // down)
        values = np.take(whole, rows, axis=axis)
    return values


@pytest.mark.parametrize("shape", [(2, 3, 4, 6), (1, 1, 7, 7), (3, 5, 14, 2)])
def test_resampling_is_that_of_scipy(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape)
    np.testing.assert_allclose(Upsample()(x), by_scipy(x, 2, 1), atol=1e-5)
    if shape[2] % 2 == 0:
        np.testing.assert_allclose(Downsample()(x), by_scipy(x, 1, 2), atol=1e-5)


def test_halving_by_hand() -> None:
    """y[i, j] = sum of w[a] w[b] x[2 i - 1 + a, 2 j - 1 + b], zero outside of the map."""
    x = torch.randn(1, 1, 4, 4)
    wanted = torch.zeros(1, 1, 2, 2)
    for i, j, a, b in np.ndindex(2, 2, 4, 4):
        row, column = 2 * i - 1 + a, 2 * j - 1 + b
        if 0 <= row < 4 and 0 <= column < 4:
            wanted[0, 0, i, j] += TAPS[a] * TAPS[b] * x[0, 0, row, column]
    torch.testing.assert_close(Downsample()(x), wanted)


def test_a_constant_stays_inside_and_fades_to_zero_outside() -> None:
    ones = torch.ones(1, 2, 8, 8)
    for made in (Upsample()(ones), Downsample()(ones)):
        torch.testing.assert_close(made[..., 1:-1, 1:-1], torch.ones_like(made[..., 1:-1, 1:-1]))
        assert (made[..., 0, :] < 0.9).all()
    assert not Upsample().state_dict() and not Downsample().state_dict()


def test_the_gradient_of_a_gradient() -> None:
    x = torch.randn(1, 2, 4, 4, dtype=torch.double, requires_grad=True)
    for layer in (Upsample().double(), Downsample().double()):
        assert torch.autograd.gradgradcheck(lambda v, f=layer: f(v).tanh(), (x,))
