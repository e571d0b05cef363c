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
from gentrain.adversarial.tricks.images import DiffAugment


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_a_gradient_passes_through_each(name: str) -> None:
    x = torch.rand(64, 3, 16, 16, requires_grad=True)
    changed = augmented(x, [name])  # type: ignore[list-item]
    assert changed.shape == x.shape and not torch.equal(changed, x)
    (changed**2).sum().backward()
    assert x.grad is not None and x.grad.isfinite().all() and x.grad.any()


@pytest.mark.parametrize(("side", "most"), [(28, 4), (32, 4), (64, 8)])
def test_translation_by_up_to_an_eighth(side: int, most: int) -> None:
    """int(side / 8 + 1/2) pixels both ways, each shift as likely; zeros come in from outside."""
    ramp = torch.arange(1.0, side + 1).expand(600, 1, side, side)
    seen = translation(ramp)
    shown = seen[:, 0, side // 2].round().long().tolist()
    want = {
        tuple(i + s + 1 if 0 <= i + s < side else 0 for i in range(side))
        for s in range(-most, most + 1)
    }
    assert set(map(tuple, shown)) == want
    rows = translation(ramp.transpose(2, 3))[:, 0, :, side // 2].round().long().tolist()
    assert set(map(tuple, rows)) == want


@pytest.mark.parametrize(("side", "length"), [(28, 14), (32, 16), (64, 32), (27, 14), (26, 13)])
def test_cutout_is_that_of_the_authors_code(side: int, length: int) -> None:
    """Every square of the official code, border cases too, and no other.

    DiffAugment_pytorch.py (read) draws an offset below side + 1 - length % 2, and zeroes
    clamp(offset - length // 2 + 0 ... length - 1).
    """
    official = set()
    for offset in range(side + 1 - length % 2):
        places = [min(max(offset - length // 2 + i, 0), side - 1) for i in range(length)]
        official.add((min(places), max(places)))
    holes = cutout(torch.ones(1500, 1, side, side))[:, 0] == 0
    for axis in (1, 2):
        line = holes.any(axis)
        first, count = line.long().argmax(1), line.sum(1)
        found = set(zip(first.tolist(), (first + count - 1).tolist(), strict=True))
        assert found == official
        assert count.max() == length and count.min() == length // 2 + length % 2
    assert torch.equal(holes.sum((1, 2)), holes.any(2).sum(1) * holes.any(1).sum(1))


def test_colour_is_that_of_the_authors_code() -> None:
    """The official formulas (read) with the same three draws: brightness, saturation, contrast."""
    x = torch.rand(6, 3, 5, 5) * 2 - 1
    torch.manual_seed(4)
    found = color(x)
    torch.manual_seed(4)
    b, s, c = (torch.rand(6, 1, 1, 1) for _ in range(3))
    want = x + (b - 0.5)
    want = (want - want.mean(1, True)) * (s * 2) + want.mean(1, True)
    middle = want.mean((1, 2, 3), True)
    torch.testing.assert_close(found, (want - middle) * (c + 0.5) + middle)
    assert DiffAugment().policy == ["color", "translation", "cutout"]


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
