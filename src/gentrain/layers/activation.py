"""Rectifiers whose second derivative is declared zero, which it is.

For the second derivative torch's own rectifiers return a tensor of zeros, so that a gradient
penalty pays for one more pass through the critic. Without it, a third of the penalty's arithmetic
is saved, and gradients are the same bit for bit.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gentrain.layers.lipschitz_bound import LipschitzBounded, WeightLimits


class LeakyReLU(nn.Module, LipschitzBounded):
    """max(x, slope * x).

    Args:
        slope: for negative x, in [0, 1).
    """

    def __init__(self, slope: float = 0.2) -> None:
        super().__init__()
        self.slope = slope

    def forward(self, x: Tensor) -> Tensor:
        if torch.compiler.is_compiling():
            # in a compiled step a custom Function would silently lose the penalty's gradient
            return x * torch.where(x.detach() > 0, 1.0, self.slope).to(x.dtype)
        return _Rectify.apply(x, self.slope)

    def lipschitz_bound(self, limits: WeightLimits) -> float:
        return 1.0

    def extra_repr(self) -> str:
        return f"{self.slope}"


class ReLU(LeakyReLU):
    """max(x, 0)."""

    def __init__(self) -> None:
        super().__init__(0.0)


class MaxPieces(nn.Module, LipschitzBounded):
    """The largest of each `pieces` neighbouring channels: maxout units (Goodfellow et al., 2013).

    Args:
        pieces: linear maps of a unit.
    """

    def __init__(self, pieces: int) -> None:
        super().__init__()
        self.pieces = pieces

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, ...) -> (B, C / pieces, ...)."""
        return x.unflatten(1, (-1, self.pieces)).amax(2)

    def lipschitz_bound(self, limits: WeightLimits) -> float:
        return 1.0


class _Rectify(torch.autograd.Function):
    """max(x, slope * x), whose backward is `_Slope`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: float) -> Tensor:
        y = torch.ops.aten.leaky_relu(x, slope)
        # y has the sign of x, and the next layer keeps y anyway
        ctx.save_for_backward(y)
        ctx.slope = slope
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        (y,) = ctx.saved_tensors
        return _Slope.apply(grad, y.detach(), ctx.slope), None


class _Slope(torch.autograd.Function):
    """grad * (1 or slope): linear in grad, and constant in y wherever it is differentiable."""

    @staticmethod
    def forward(ctx: Any, grad: Tensor, y: Tensor, slope: float) -> Tensor:
        ctx.save_for_backward(y)
        ctx.slope = slope
        return multiply_by_slope(grad, y, slope)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        (y,) = ctx.saved_tensors
        return _Slope.apply(grad, y, ctx.slope), None, None


def multiply_by_slope(grad: Tensor, y: Tensor, slope: float) -> Tensor:
    """grad where y > 0, and slope * grad elsewhere."""
    return torch.ops.aten.leaky_relu_backward(grad, y, slope, False)
