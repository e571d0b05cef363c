"""Differentiable augmentation: each change in place, within its range, and the warp against
scipy's.
"""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import affine_transform

from gentrain.adversarial.augment import (
    AUGMENTATIONS,
    affine,
    augmented,
    color,
    cutout,
    translation,
    warp,
)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_a_gradient_passes_through_each(name: str) -> None:
    x = torch.rand(64, 3, 16, 16, requires_grad=True)
    changed = augmented(x, [name])  # type: ignore[list-item]
    assert changed.shape == x.shape and not torch.equal(changed, x)
    (changed**2).sum().backward()
    assert x.grad is not None and x.grad.isfinite().all() and x.grad.any()


def test_translation() -> None:
    ramp = torch.arange(16.0).expand(8, 1, 16, 16) + 1
    # a shift by s: every column that came from inside holds its number
    for row in translation(ramp)[:, 0, 8]:
        inside = row[row > 0]
        assert torch.equal(inside.diff(), torch.ones(len(inside) - 1))
        assert len(inside) >= 14


def test_cutout() -> None:
    holes = cutout(torch.ones(500, 1, 16, 16)) == 0
    assert holes.flatten(1).sum(1).float().max() <= 81
    assert holes.any(0).all()


def test_color() -> None:
    plain = torch.full((3, 1, 4, 4), 0.3)
    shifted = color(plain)
    assert torch.allclose(shifted, shifted[:, :, :1, :1].expand_as(shifted))
    assert (shifted - plain).abs().max() <= 0.5


@pytest.mark.parametrize("sides", [(12, 12), (9, 15)])
def test_the_warp_is_scipys(sides: tuple[int, int]) -> None:
    """Bilinear, in pixels from the centre, whatever the sides; scipy counts rows first, and from a
    corner.
    """
    x, matrix = torch.rand(3, 2, *sides), torch.eye(2) + 0.3 * torch.randn(3, 2, 2)
    offset = 2 * torch.randn(3, 2)
    found = warp(x, matrix, offset)
    centre = (np.array(sides) - 1) / 2
    for image, m, t, ours in zip(
        x, matrix.flip(1, 2).double().numpy(), offset.flip(1).double().numpy(), found, strict=True
    ):
        for channel, one in zip(image.numpy(), ours, strict=True):
            theirs = affine_transform(channel, m, centre - m @ centre + t, order=1, mode="nearest")
            torch.testing.assert_close(one, torch.from_numpy(theirs), atol=1e-5, rtol=1e-5)


def test_affine_maps_turn_scale_slant_and_shift_within_their_ranges() -> None:
    """Read off the columns' and rows' numbers, which a bilinear warp keeps exact inside."""
    side = 33
    line = torch.arange(side) - (side - 1) / 2
    ramps = torch.stack([line.expand(side, side), line[:, None].expand(side, side)]).expand(
        400, 2, side, side
    )
    seen = affine(ramps)
    middle = side // 2
    offset = seen[:, :, middle, middle]
    matrix = torch.stack(
        [seen[:, :, middle, middle + 1] - offset, seen[:, :, middle + 1, middle] - offset], 2
    )
    assert 0.9 < offset.abs().max() / (0.075 * side) <= 1 + 1e-4
    # s: the first column of R(a) [[1, k], [0, 1]] is a unit vector
    length = matrix[:, :, 0].norm(dim=1)
    torch.testing.assert_close(torch.linalg.det(matrix), length**2, atol=1e-4, rtol=1e-4)
    assert 0.95 < length.log().abs().max() / 0.2 <= 1 + 1e-3
    angle = torch.atan2(matrix[:, 1, 0], matrix[:, 0, 0])
    assert 0.95 < angle.abs().max() / 0.35 <= 1 + 1e-3 and math.radians(19) < 0.35 < math.radians(
        21
    )
    slant = (matrix[:, :, 0] * matrix[:, :, 1]).sum(1) / length**2
    assert 0.95 < slant.abs().max() / 0.3 <= 1 + 1e-3
    assert affine(ramps.bfloat16()).dtype == torch.float32
