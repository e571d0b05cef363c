"""Rectifiers whose second derivative is declared to be what it is: zero.

torch's own rectifiers hand the backward of a backward a tensor of zeros, so a gradient penalty pays for a complete extra pass
through the critic. Saying that there is no second derivative saves a third of the penalty's arithmetic; gradients are equal bit for bit.
"""

from typing import Any

import torch
from torch import Tensor, nn


class LeakyReLU(nn.Module):
    """max(x, slope * x)"""

    def __init__(self, slope: float = 0.2) -> None:
        super().__init__()
        self.slope = slope

    def forward(self, x: Tensor) -> Tensor:
        if torch.compiler.is_compiling():
            # a custom Function inside a compiled step would lose the penalty's gradient without a word
            return x * torch.where(x.detach() > 0, 1.0, self.slope).to(x.dtype)
        return _Rectify.apply(x, self.slope)

    def extra_repr(self) -> str:
        return f"{self.slope}"


class ReLU(LeakyReLU):
    """max(x, 0)"""

    def __init__(self) -> None:
        super().__init__(0.0)


class _Rectify(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: float) -> Tensor:
        y = torch.ops.aten.leaky_relu(x, slope)
        ctx.save_for_backward(y)  # y has the sign of x, and the next layer keeps it anyway
        ctx.slope = slope
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        (y,) = ctx.saved_tensors
        return _Slope.apply(grad, y.detach(), ctx.slope), None


class _Slope(torch.autograd.Function):
    """grad * (1 or slope): linear in grad, and no function of y where it is differentiable."""

    @staticmethod
    def forward(ctx: Any, grad: Tensor, y: Tensor, slope: float) -> Tensor:
        ctx.save_for_backward(y)
        ctx.slope = slope
        return slopes(grad, y, slope)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        (y,) = ctx.saved_tensors
        return _Slope.apply(grad, y, ctx.slope), None, None


def slopes(grad: Tensor, y: Tensor, slope: float) -> Tensor:
    return torch.ops.aten.leaky_relu_backward(grad, y, slope, False)
