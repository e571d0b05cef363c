"""Masked products by blocks, beside the whole product of masked weights."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gentrain.layers import masked
from gentrain.layers.masked import MADE, MaskedLinear


def whole(layer: MaskedLinear, x: Tensor) -> Tensor:
    return F.linear(x, layer.weight * layer.mask, layer.bias)


def gradients(layer: MaskedLinear, x: Tensor, forward: Any) -> list[Tensor]:
    inputs = [x, *layer.parameters()]
    return list(torch.autograd.grad(forward(x).sin().sum(), inputs))


@pytest.mark.parametrize("outputs", [1, 2])
def test_blocks_give_the_values_and_gradients_of_the_whole(
    outputs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With rows that see nothing, and blocks of unequal size."""
    monkeypatch.setattr(masked, "BLOCK", 1)
    degrees = torch.arange(30)
    mask = (degrees[:, None] > degrees[None] + 3).repeat(outputs, 1)
    layer = MaskedLinear(mask, 4 * outputs).double()
    assert len(layer.rows) > 1
    assert max(layer.ends[:2]) < 30
    x = torch.randn(5, 30, dtype=torch.float64, requires_grad=True)
    assert torch.allclose(layer(x), whole(layer, x), rtol=1e-12, atol=1e-14)
    ours, theirs = (gradients(layer, x, forward) for forward in (layer, lambda x: whole(layer, x)))
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a, b, rtol=1e-12, atol=1e-14)


def test_a_digit_s_network_has_blocks_and_a_small_one_none() -> None:
    """A triangle of 4 blocks leaves out 3/8 of the products."""
    large, small = MADE(784, 2, 1024, 1), MADE(40, 2, 320, 1)
    for layer in (large.first, large.last):
        computed = sum(rows * end for rows, end in zip(layer.rows, layer.ends, strict=True))
        assert computed / layer.mask.numel() == pytest.approx(5 / 8, abs=0.01)
    assert small.first.rows == [320]


def test_blocks_equal_the_whole_in_a_whole_network() -> None:
    torch.manual_seed(0)
    network = MADE(400, 2, 512, 1)
    torch.nn.init.normal_(network.last.weight, 0, 0.1)
    plain = copy.deepcopy(network)
    for layer in (plain.first, plain.last):
        layer.rows, layer.ends = [layer.out_features], [layer.in_features]
    assert len(network.first.rows) > 1
    x = torch.randn(3, 400)
    assert torch.allclose(network(x), plain(x), rtol=1e-5, atol=1e-5)
