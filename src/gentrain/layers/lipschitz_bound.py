"""Bounds of Lipschitz constants, from bounds of weights.

K bounds a map f if |f(x) - f(y)| <= K |x - y| for all x and y, in Euclidean norms over a whole
batch, since some layers couple samples. Bounds of a chain multiply, and those of a sum add (Szegedy
et al., "Intriguing properties of neural networks", 2014, section 4.3). For a weight W as a matrix
(outputs, the rest), with spectral norm |W|,

    linear                  |W|
    convolution             |W| sqrt(product of ceil(k / s))
    transposed convolution  the same times sqrt(product of s)
    norm                    max |gain| / sqrt(eps)

of kernel k and stride s in each dimension: a pixel is in so many patches. A norm divides by sd(x),
and eps alone bounds the result where x is nearly constant.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class WeightLimits:
    """Within what a Lipschitz method keeps the parameters of a critic.

    Args:
        entry: largest absolute value of a parameter, gains of norms included.
        spectral: largest spectral norm of a weight as a matrix.
        samples: samples of a batch, on which the bounds of some coupling layers depend. By default
            any number, of which such a layer has no bound.
    """

    entry: float = math.inf
    spectral: float = math.inf
    samples: float = math.inf

    def matrix(self, rows: int, columns: int) -> float:
        """The largest spectral norm of a weight; |W| <= max |w| sqrt(rows columns)."""
        return min(self.spectral, self.entry * math.sqrt(rows * columns))

    def norm(self, gain: bool, eps: float) -> float:
        """K of a norm layer, with a gain or without."""
        return (self.entry if gain else 1.0) / math.sqrt(eps)


class LipschitzBounded(ABC):
    """A layer or network that says what bounds its Lipschitz constant.

    A layer that does not inherit from it, and is none of those below, counts as unbounded.
    """

    @abstractmethod
    def lipschitz_bound(self, limits: WeightLimits) -> float:
        """K for all weights within limits; infinite where there is none."""


def lipschitz_bound(layer: nn.Module, limits: WeightLimits) -> float:
    """K of a layer or a network for all weights within limits; infinite where there is none.

    >>> lipschitz_bound(nn.Sequential(nn.Linear(4, 9), nn.Tanh()), WeightLimits(entry=0.5))
    3.0
    """
    match layer:
        case LipschitzBounded():
            return layer.lipschitz_bound(limits)
        case nn.Sequential():
            return math.prod(lipschitz_bound(each, limits) for each in layer)
        case nn.ModuleList():
            return max((lipschitz_bound(each, limits) for each in layer), default=1.0)
        case nn.Linear():
            return limits.matrix(layer.out_features, layer.in_features)
        case nn.Conv1d() | nn.Conv2d() | nn.ConvTranspose1d() | nn.ConvTranspose2d():
            return of_convolution(layer, limits)
        case nn.modules.batchnorm._NormBase() | nn.GroupNorm() | nn.LayerNorm():
            return limits.norm(layer.weight is not None, layer.eps)
        case nn.AvgPool2d() if layer.kernel_size == layer.stride:
            return 1.0 / int(layer.kernel_size)  # type: ignore[arg-type]
        case nn.Dropout():
            return 1.0 / (1.0 - layer.p) if layer.p < 1 else 1.0
        case nn.Identity() | nn.Flatten() | nn.Unflatten() | nn.Tanh() | nn.ReLU():
            return 1.0
    return math.inf


Convolution = nn.Conv1d | nn.ConvTranspose1d | nn.Conv2d | nn.ConvTranspose2d


def of_convolution(layer: Convolution, limits: WeightLimits) -> float:
    """K of a convolution; padding with anything but zeros repeats pixels, and has no bound here."""
    if layer.padding_mode != "zeros":
        return math.inf
    sides = list(zip(layer.kernel_size, layer.stride, strict=True))
    patches = math.prod(math.ceil(kernel / stride) for kernel, stride in sides)
    transposed = math.prod(layer.stride) if layer.transposed else 1
    inputs = layer.in_channels // layer.groups * math.prod(layer.kernel_size)
    return limits.matrix(layer.out_channels, inputs) * math.sqrt(patches * transposed)


def unbounded_layers(network: nn.Module, limits: WeightLimits, name: str = "") -> list[str]:
    """Names and types of the innermost layers of a network that nothing bounds.

    >>> unbounded_layers(nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2)), WeightLimits(spectral=1))
    ['1 (LayerNorm)']
    """
    if lipschitz_bound(network, limits) < math.inf:
        return []
    inner = [
        found
        for key, child in network.named_children()
        for found in unbounded_layers(child, limits, f"{name}.{key}")
    ]
    return inner or [f"{name.lstrip('.')} ({type(network).__name__})".strip()]
