"""Normalisation layers by the names that a critic's `norm` may take, and virtual batch norm."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from gentrain.layers.lazy_buffers import LazyBuffers

Norm = Literal["none", "batch", "layer", "instance"]


def norm2d(kind: Norm, channels: int) -> nn.Module:
    """Of images. Layer norm is over C, H, W with one gain per channel (group norm of one group), as WGAN-GP critics use it."""
    match kind:
        case "batch":
            return nn.BatchNorm2d(channels)
        case "layer":
            return nn.GroupNorm(1, channels)
        case "instance":
            return nn.InstanceNorm2d(channels, affine=True)
        case _:
            return nn.Identity()


def norm1d(kind: Norm, features: int) -> nn.Module:
    """Of vectors; instance norm of a vector would be zero, so it is layer norm."""
    match kind:
        case "batch":
            return nn.BatchNorm1d(features)
        case "layer" | "instance":
            return nn.LayerNorm(features)
        case _:
            return nn.Identity()


class VirtualBatchNorm(nn.Module):
    """Normalise each example with the statistics of a reference batch and that example (Salimans et al., 2016).

    A forward gets the n reference examples and B others as one batch. For a feature with reference moments m, q (of x and x^2),
    example i with own moments m_i, q_i (over H, W) uses
        mean_i = n/(n+1) m + 1/(n+1) m_i,   var_i = n/(n+1) q + 1/(n+1) q_i - mean_i^2;
    reference examples use m and q alone.
    """

    couples_samples = (
        True  # through the reference, with every sample of it: no place for a gradient penalty
    )

    def __init__(self, features: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight, self.bias = (
            nn.Parameter(torch.ones(features)),
            nn.Parameter(torch.zeros(features)),
        )
        self.eps, self.reference = eps, 0  # examples at the head of a batch that are the reference

    @classmethod
    def like(cls, norm: nn.modules.batchnorm._BatchNorm) -> VirtualBatchNorm:
        made = cls(norm.num_features, norm.eps)
        if norm.affine:
            made.weight, made.bias = norm.weight, norm.bias
        return made

    def forward(self, x: Tensor) -> Tensor:
        inside = tuple(range(2, x.ndim))
        mean = x.mean(inside, keepdim=True) if inside else x
        square = x.square().mean(inside, keepdim=True) if inside else x.square()
        mean, square = self.with_reference(mean), self.with_reference(square)
        var = square - mean.square()
        shape = (1, -1, *[1] * len(inside))
        return (x - mean) * (var.clamp_min(0) + self.eps).rsqrt() * self.weight.view(
            shape
        ) + self.bias.view(shape)

    def with_reference(self, moment: Tensor) -> Tensor:
        """A moment of each example, (n + B, C, ...) -> m for the reference, n/(n+1) m + 1/(n+1) m_i for the others."""
        own, others = moment[: self.reference], moment[self.reference :]
        mean = own.mean(0, keepdim=True)
        return torch.cat([mean.expand_as(own), torch.lerp(mean, others, 1 / (self.reference + 1))])


class Referenced(LazyBuffers):
    """A network whose virtual batch norms see a reference batch: the inputs of its first forward, kept from then on."""

    reference: Tensor | None

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.late_buffers("reference")

    def forward(self, x: Tensor) -> Tensor:
        if self.reference is None:
            self.reference = x.detach().clone()
        n = len(self.reference)
        for module in self.network.modules():
            if isinstance(module, VirtualBatchNorm):
                module.reference = n
        return self.network(torch.cat([self.reference.to(x.dtype), x]))[n:]


class PixelNorm(nn.Module):
    """x / sqrt(mean over channels of x^2 + 1e-8), at every place (Karras et al., 2018); nothing to learn."""

    def forward(self, x: Tensor) -> Tensor:
        return x * (x.square().mean(1, keepdim=True) + 1e-8).rsqrt()
