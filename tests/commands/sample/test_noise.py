"""Certificates: great circles, the octant's corners, the truncated normal, standing statistics by
brute force.
"""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from gentrain.commands.sample.latent import linear, octant, slerp
from gentrain.commands.sample.truncation import standing_statistics, truncated


def test_slerp_meets_its_ends_and_keeps_the_norm() -> None:
    z0, z1 = torch.randn(2, 100, dtype=torch.float64)
    z1 = z1 * z0.norm() / z1.norm()
    path = slerp(z0, z1, torch.linspace(0, 1, 9))
    assert torch.allclose(path[0], z0) and torch.allclose(path[-1], z1)
    assert torch.allclose(path.norm(dim=1), z0.norm().expand(9))
    # even steps: the angle between neighbours is an eighth of the whole
    angle = torch.arccos(torch.cosine_similarity(path[:-1], path[1:]))
    assert torch.allclose(angle, torch.arccos(torch.cosine_similarity(z0, z1, dim=0)).expand(8) / 8)
    # in the plane of the two, and not along the chord, whose middle is nearer to the origin
    assert torch.linalg.matrix_rank(torch.stack([z0, z1, path[4]]), rtol=1e-10) == 2
    assert linear(z0, z1, torch.tensor([0.5])).norm() < 0.9 * path[4].norm()


def test_slerp_between_two_norms() -> None:
    z0, z1 = torch.randn(2, 50, dtype=torch.float64)
    norms = slerp(z0, 3 * z1, torch.linspace(0, 1, 5)).norm(dim=1)
    assert torch.allclose(
        norms, torch.lerp(z0.norm(), 3 * z1.norm(), torch.linspace(0, 1, 5, dtype=torch.float64))
    )


@pytest.mark.parametrize("factor", [1.0, 2.0, -1.0])
def test_slerp_of_vectors_on_one_line(factor: float) -> None:
    z = torch.randn(20)
    path = slerp(z, factor * z, torch.tensor([0.0, 0.5, 1.0]))
    assert torch.allclose(path, torch.stack([z, (1 + factor) / 2 * z, factor * z]), atol=1e-6)


def test_octant_has_its_four_corners() -> None:
    z, steps = torch.randn(4, 30), 5
    square = octant(z, steps).unflatten(0, (steps, steps))
    for (row, column), corner in zip([(0, 0), (0, -1), (-1, 0), (-1, -1)], z, strict=True):
        assert torch.allclose(square[row, column], corner, atol=1e-6)
    a, b = math.pi / 8, 3 * math.pi / 8
    by_hand = math.cos(a) * (math.cos(b) * z[0] + math.sin(b) * z[1]) + math.sin(a) * (
        math.cos(b) * z[2] + math.sin(b) * z[3]
    )
    assert torch.allclose(square[1, 3], by_hand, atol=1e-6)


def test_octant_of_orthogonal_corners_of_one_norm_stays_on_the_sphere() -> None:
    assert torch.allclose(octant(7 * torch.eye(4), 6).norm(dim=1), torch.full((36,), 7.0))


@pytest.mark.parametrize("tau", [0.1, 0.5, 1.0, 2.0])
def test_truncated_has_the_moments_of_the_truncated_normal(tau: float) -> None:
    """E z^2 = 1 - 2 tau phi(tau) / (2 Phi(tau) - 1); E z^4 = 3 E z^2 - 2 tau^3 phi / (2 Phi - 1).

    Clamped noise has others.
    """
    z = truncated(torch.randn(1000, 400), tau).double().flatten()
    phi, inside = math.exp(-tau * tau / 2) / math.sqrt(2 * math.pi), math.erf(tau / math.sqrt(2))
    second = 1 - 2 * tau * phi / inside
    fourth = 3 * second - 2 * tau**3 * phi / inside
    assert z.abs().max() <= tau
    assert abs(z.mean()) < 5 * math.sqrt(second / len(z))
    assert abs(z.square().mean() - second) < 5 * math.sqrt((fourth - second**2) / len(z))
    clamped = torch.randn(400_000, dtype=torch.float64).clamp(-tau, tau)
    assert abs(clamped.square().mean() - second) > 0.05 * second


def test_truncated_leaves_what_is_inside() -> None:
    z = torch.randn(50, 50)
    inside = z.abs() <= 1
    assert torch.equal(truncated(z, 1.0)[inside], z[inside])


class Net(nn.Module):
    """Linear, batch norm, rectifier, convolution of the map, batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.BatchNorm1d(12), nn.BatchNorm2d(5)
        self.linear, self.conv = nn.Linear(6, 12), nn.Conv2d(3, 5, 1)

    def forward(self, z: Tensor) -> Tensor:
        return self.second(self.conv(self.first(self.linear(z)).relu().unflatten(1, (3, 2, 2))))


def test_standing_statistics_are_those_of_brute_force() -> None:
    net = Net()
    for _ in range(3):
        net(torch.randn(8, 6))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    batches = [0.3 * torch.randn(16, 6) for _ in range(7)]

    at_first = torch.cat([net.linear(z) for z in batches])
    maps = []
    for z in batches:
        h = net.linear(z)
        h = (h - h.mean(0)) / (
            h.var(0, unbiased=False) + net.first.eps
        ).sqrt() * net.first.weight + net.first.bias
        maps.append(net.conv(h.relu().unflatten(1, (3, 2, 2))))
    at_second = torch.cat(maps).transpose(0, 1).flatten(1)

    with standing_statistics(net, (partial(net, z) for z in batches)):
        assert not net.first.training
        assert torch.allclose(net.first.running_mean, at_first.mean(0), atol=1e-6)
        assert torch.allclose(net.first.running_var, at_first.var(0), rtol=1e-5)
        assert torch.allclose(net.second.running_mean, at_second.mean(1), atol=1e-6)
        assert torch.allclose(net.second.running_var, at_second.var(1), rtol=1e-5)
    after = net.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_standing_statistics_leave_when_something_fails() -> None:
    net = Net()
    before = {name: value.clone() for name, value in net.state_dict().items()}

    def fails() -> None:
        net(torch.randn(4, 6))
        raise ValueError

    with pytest.raises(ValueError), standing_statistics(net, iter([fails])):
        pass
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in before.items())
    assert not net.first._forward_pre_hooks
