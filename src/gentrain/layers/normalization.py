"""Normalisation layers by name, virtual batch norm, and pixel norm."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from gentrain.layers.coupling import CouplesSamples
from gentrain.layers.lazy_buffers import LazyBuffers
from gentrain.layers.lipschitz_bound import LipschitzBounded, WeightLimits, lipschitz_bound

Norm = Literal["none", "batch", "layer", "instance", "instance_plain"]


def norm2d(kind: Norm, channels: int) -> nn.Module:
    """A norm of maps (B, channels, H, W).

    Layer norm is over C, H and W with one gain per channel (group norm of one group), as critics
    of WGAN-GP use it. "instance" has gains and shifts, as in StarGAN; "instance_plain" has none, as
    in CycleGAN.
    """
    match kind:
        case "batch":
            return nn.BatchNorm2d(channels)
        case "layer":
            return nn.GroupNorm(1, channels)
        case "instance":
            return nn.InstanceNorm2d(channels, affine=True)
        case "instance_plain":
            return nn.InstanceNorm2d(channels)
        case _:
            return nn.Identity()


def norm1d(kind: Norm, features: int) -> nn.Module:
    """A norm of vectors (B, features); "instance", which would be zero, means layer norm."""
    match kind:
        case "batch":
            return nn.BatchNorm1d(features)
        case "layer" | "instance":
            return nn.LayerNorm(features)
        case "instance_plain":
            return nn.LayerNorm(features, elementwise_affine=False)
        case _:
            return nn.Identity()


class VirtualBatchNorm(CouplesSamples, LipschitzBounded):
    """Virtual batch norm (Salimans et al., "Improved Techniques for Training GANs", 2016).

    Each example is normalised with the statistics of a reference batch and of itself. A forward
    pass gets the n reference examples and B others as one batch. For a feature with reference
    moments m and q (of x and x^2), example i with its own moments m_i and q_i (over H, W) uses

        mean_i = n/(n+1) m + 1/(n+1) m_i,    var_i = n/(n+1) q + 1/(n+1) q_i - mean_i^2.

    Reference examples use m and q alone. Every sample is coupled with the reference.

    Args:
        features: C of (B, C, ...).
        eps: added to the variance.
    """

    def __init__(self, features: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(features))
        self.bias = nn.Parameter(torch.zeros(features))
        self.eps, self.reference = eps, 0  # the first examples of a batch are the reference

    @classmethod
    def like(cls, norm: nn.modules.batchnorm._BatchNorm) -> VirtualBatchNorm:
        """A virtual batch norm with the gain and shift of a batch norm."""
        made = cls(norm.num_features, norm.eps)
        if norm.affine:
            made.weight, made.bias = norm.weight, norm.bias
        return made

    def lipschitz_bound(self, limits: WeightLimits) -> float:
        return limits.norm(gain=True, eps=self.eps)

    def forward(self, x: Tensor) -> Tensor:
        inside = tuple(range(2, x.ndim))
        mean = x.mean(inside, keepdim=True) if inside else x
        square = x.square().mean(inside, keepdim=True) if inside else x.square()
        mean, square = self.with_reference(mean), self.with_reference(square)
        var = square - mean.square()
        shape = (1, -1, *[1] * len(inside))
        gain, shift = self.weight.view(shape), self.bias.view(shape)
        return (x - mean) * (var.clamp_min(0) + self.eps).rsqrt() * gain + shift

    def with_reference(self, moment: Tensor) -> Tensor:
        """Mix a moment (n + B, C, ...) with the reference's.

        m for the reference, and n/(n+1) m + 1/(n+1) m_i for the others.
        """
        own, others = moment[: self.reference], moment[self.reference :]
        mean = own.mean(0, keepdim=True)
        return torch.cat([mean.expand_as(own), torch.lerp(mean, others, 1 / (self.reference + 1))])


LINEAR = (nn.Linear, nn.Conv1d, nn.ConvTranspose1d, nn.Conv2d, nn.ConvTranspose2d)
NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, VirtualBatchNorm)


class WithReferenceBatch(LazyBuffers, LipschitzBounded):
    """A network with virtual batch norms, which keeps its first input as their reference batch."""

    reference: Tensor | None

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.register_lazy_buffers("reference")

    def lipschitz_bound(self, limits: WeightLimits) -> float:
        return lipschitz_bound(self.network, limits)

    def forward(self, x: Tensor) -> Tensor:
        if self.reference is None:
            self.reference = x.detach().clone()
        n = len(self.reference)
        for module in self.network.modules():
            if isinstance(module, VirtualBatchNorm):
                module.reference = n
        return self.network(torch.cat([self.reference.to(x.dtype), x]))[n:]


def layers_before_norms(network: nn.Module) -> list[str]:
    """Names of the linear layers and convolutions whose output goes straight into a norm.

    Such a norm takes the scale of their weights out again, up to its eps. Layers are found where
    they follow each other in an `nn.Sequential`.

    >>> layers_before_norms(nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2), nn.Linear(2, 1)))
    ['0']
    """
    found = []
    for name, module in network.named_modules():
        match module:
            case nn.Sequential():
                layers = [
                    (f"{name}.{key}".lstrip("."), layer)
                    for key, layer in module.named_children()
                    if not isinstance(layer, nn.Identity)
                ]
                found += [
                    key
                    for (key, layer), (_, after) in pairwise(layers)
                    if isinstance(layer, LINEAR) and isinstance(after, NORMS)
                ]
    return found


class PixelNorm(nn.Module):
    """x / sqrt(mean over channels of x^2 + 1e-8) at every place (Karras et al., 2018)."""

    def forward(self, x: Tensor) -> Tensor:
        return x * (x.square().mean(1, keepdim=True) + 1e-8).rsqrt()
