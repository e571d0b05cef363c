"""Ways through the noise of a generator: great circles, a sphere's octant, truncation.

White, "Sampling Generative Networks", 2016: Gaussian noise of many dimensions lies near a sphere, which a straight line between two
points of it leaves. Brock, Donahue, Simonyan, "Large Scale GAN Training for High Fidelity Natural Image Synthesis" (BigGAN), 2019:
truncation, and the standing statistics of batch norm that belong to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


def slerp(z0: Tensor, z1: Tensor, t: Tensor) -> Tensor:
    """Along the great circle, at even speed; the norm goes evenly from the one to the other.

    With unit vectors u0, u1, cos w = <u0, u1>:   z = ((1 - t) |z0| + t |z1|) (sin((1 - t) w) u0 + sin(t w) u1) / sin w

    z0, z1: (latent,); t: (T,). Returns (T, latent). Vectors on one line span no circle: they are joined by that line.
    """
    r0, r1 = z0.norm(), z1.norm()
    w = torch.arccos((z0 @ z1 / (r0 * r1)).clamp(-1, 1))
    if not torch.sin(w) > 1e-3:
        return linear(z0, z1, t)
    t = t[:, None].to(z0)
    return (
        ((1 - t) * r0 + t * r1)
        * (torch.sin((1 - t) * w) * z0 / r0 + torch.sin(t * w) * z1 / r1)
        / torch.sin(w)
    )


def linear(z0: Tensor, z1: Tensor, t: Tensor) -> Tensor:
    """(1 - t) z0 + t z1, (T, latent): what noise that is uniform in a cube wants, which a great circle leaves."""
    t = t[:, None].to(z0)
    return (1 - t) * z0 + t * z1


def octant(z: Tensor, steps: int) -> Tensor:
    """Four corners: z(a, b) = cos a (cos b z0 + sin b z1) + sin a (cos b z2 + sin b z3),  a, b in [0, pi/2].

    The squares of the four weights sum to 1, so z(a, b) is N(0, 1) wherever the corners are. z: (4, latent).
    Returns (steps * steps, latent), a by rows, b by columns.
    """
    angle = torch.linspace(0, torch.pi / 2, steps, dtype=torch.float64)
    a, b = angle[:, None, None], angle[None, :, None]
    z0, z1, z2, z3 = z.double()
    return (
        (a.cos() * (b.cos() * z0 + b.sin() * z1) + a.sin() * (b.cos() * z2 + b.sin() * z3))
        .flatten(0, 1)
        .to(z)
    )


def truncated(z: Tensor, tau: float) -> Tensor:
    """N(0, 1) given |z| <= tau: values outside are drawn again until they are inside (never clamped, which would pile them up at tau)."""
    z = z.clone()
    while (outside := z.abs() > tau).any():
        z[outside] = torch.randn(int(outside.sum()), device=z.device, dtype=z.dtype)
    return z


@contextmanager
def standing_statistics(
    generator: nn.Module, forwards: Iterator[Callable[[], object]]
) -> Iterator[None]:
    """Batch norm with the mean and the variance of what it sees in these forwards; afterwards with those that it had.

    In the forwards each batch is normalised by itself, as in training. Mean and variance are those of all their values together:
    m = E[x], v = E[x^2] - m^2 (times n / (n - 1)), summed in float64.
    """
    norms = [
        m
        for m in generator.modules()
        if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats
    ]
    before = [{name: value.clone() for name, value in norm.state_dict().items()} for norm in norms]
    seen = [Sums() for _ in norms]
    hooks = [norm.register_forward_pre_hook(sums) for norm, sums in zip(norms, seen, strict=True)]
    generator.eval()
    try:
        for norm in norms:
            norm.train()
        with torch.no_grad():
            for forward in forwards:
                forward()
        for norm, sums in zip(norms, seen, strict=True):
            norm.eval()
            mean, variance = sums.moments()
            norm.get_buffer("running_mean").copy_(mean)
            norm.get_buffer("running_var").copy_(variance)
        for hook in hooks:
            hook.remove()
        yield
    finally:
        for norm, state, hook in zip(norms, before, hooks, strict=True):
            hook.remove()
            norm.eval().load_state_dict(state)


class Sums:
    """n, sum x and sum x^2 of every channel of a module's inputs."""

    def __init__(self) -> None:
        self.n, self.first, self.second = 0, torch.zeros(()), torch.zeros(())

    def __call__(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0].detach().double().transpose(0, 1).flatten(1)  # (C, values)
        self.n += x.shape[1]
        self.first, self.second = self.first.to(x) + x.sum(1), self.second.to(x) + x.square().sum(1)

    def moments(self) -> tuple[Tensor, Tensor]:
        mean = self.first / self.n
        return mean, (self.second / self.n - mean.square()).clamp_min(0) * self.n / max(
            1, self.n - 1
        )
