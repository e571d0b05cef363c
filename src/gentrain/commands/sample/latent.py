"""Paths through the noise of a generator: great circles, straight lines, the octant of a sphere.

White, "Sampling Generative Networks", 2016: Gaussian noise of many dimensions lies near a sphere,
and a straight line between two of its points leaves that sphere.
"""

from __future__ import annotations

import torch
from torch import Tensor


def slerp(z0: Tensor, z1: Tensor, t: Tensor) -> Tensor:
    """Interpolate along the great circle, at even speed; the norm changes linearly.

    With unit vectors u0, u1 and cos w = <u0, u1>:

        z = ((1 - t) |z0| + t |z1|) (sin((1 - t) w) u0 + sin(t w) u1) / sin w

    Vectors on one line span no circle, and are joined by that line.

    Args:
        z0: (latent,), the start.
        z1: (latent,), the end.
        t: (T,) in [0, 1].

    Returns:
        (T, latent).

    >>> slerp(torch.tensor([2.0, 0.0]), torch.tensor([0.0, 2.0]), torch.tensor([0.5]))
    tensor([[1.4142, 1.4142]])
    """
    r0, r1 = z0.norm(), z1.norm()
    w = torch.arccos((z0 @ z1 / (r0 * r1)).clamp(-1, 1))
    if not torch.sin(w) > 1e-3:
        return linear(z0, z1, t)
    t = t[:, None].to(z0)
    radius = (1 - t) * r0 + t * r1
    direction = torch.sin((1 - t) * w) * z0 / r0 + torch.sin(t * w) * z1 / r1
    return radius * direction / torch.sin(w)


def linear(z0: Tensor, z1: Tensor, t: Tensor) -> Tensor:
    """(1 - t) z0 + t z1, (T, latent): for noise that is uniform in a cube."""
    t = t[:, None].to(z0)
    return (1 - t) * z0 + t * z1


def octant(z: Tensor, steps: int) -> Tensor:
    """Interpolate between four corners over the octant of a sphere.

        z(a, b) = cos a (cos b z0 + sin b z1) + sin a (cos b z2 + sin b z3),   a, b in [0, pi/2]

    The squares of the four weights sum to 1, so z(a, b) is N(0, 1) wherever the corners are.

    Args:
        z: (4, latent), the corners.
        steps: angles in each direction.

    Returns:
        (steps * steps, latent), a by rows and b by columns.
    """
    angle = torch.linspace(0, torch.pi / 2, steps, dtype=torch.float64)
    a, b = angle[:, None, None], angle[None, :, None]
    z0, z1, z2, z3 = z.double()
    upper = a.cos() * (b.cos() * z0 + b.sin() * z1)
    lower = a.sin() * (b.cos() * z2 + b.sin() * z3)
    return (upper + lower).flatten(0, 1).to(z)
