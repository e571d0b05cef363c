"""Learning-rate schedules that torch has not under one name."""

from __future__ import annotations

from functools import partial

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from gentrain.config.types import Count, Share


def constant_then_linear(optimizer: Optimizer, steps: Count, constant: Share = 0.5) -> LambdaLR:
    """The rate stays for a share of the steps, then falls linearly to zero at the last (CycleGAN: 100 epochs and 100)."""
    return LambdaLR(optimizer, partial(height, steps=steps, constant=constant))


def height(step: int, steps: int, constant: float) -> float:
    """min(1, (steps - step) / (steps - steps * constant))"""
    falling = steps * (1 - constant)
    return max(0.0, min(1.0, (steps - step) / falling)) if falling else 1.0
