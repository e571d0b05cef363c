"""Learning-rate schedules that torch does not have under one name."""

from __future__ import annotations

from functools import partial

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from gentrain.config.types import Count, Positive, Share


def constant_then_linear(optimizer: Optimizer, steps: Count, constant: Share = 0.5) -> LambdaLR:
    """Keep the rate for a share of the steps, then lower it linearly to zero at the last one.

    CycleGAN does so, with 100 epochs of each.

    Args:
        optimizer: whose rate is changed.
        steps: number of steps of the whole training.
        constant: the share of the steps with the initial rate.
    """
    return LambdaLR(optimizer, partial(rate_factor, steps=steps, constant=constant))


def constant_then_exponential(
    optimizer: Optimizer, steps: Count, constant: Share = 0.5, final: Positive = 0.01
) -> LambdaLR:
    """Keep the rate for a share of the steps, then lower it exponentially to `final` times itself.

    BiGAN's authors do so, with 200 epochs of each.

    Args:
        optimizer: whose rate is changed.
        steps: number of steps of the whole training.
        constant: the share of the steps with the initial rate.
        final: what is left of the rate at the last step.
    """
    factor = partial(exponential_factor, steps=steps, constant=constant, final=final)
    return LambdaLR(optimizer, factor)


def exponential_factor(step: int, steps: int, constant: float, final: float) -> float:
    """final ** max(0, (step - steps * constant) / (steps - steps * constant)).

    >>> [exponential_factor(step, 8, 0.5, 0.01) for step in (0, 4, 6, 8)]
    [1.0, 1.0, 0.1, 0.01]
    """
    return final ** (1 - rate_factor(step, steps, constant))


def rate_factor(step: int, steps: int, constant: float) -> float:
    """min(1, (steps - step) / (steps - steps * constant)).

    >>> [rate_factor(step, steps=8, constant=0.5) for step in (0, 4, 6, 8)]
    [1.0, 1.0, 0.5, 0.0]
    """
    falling = steps * (1 - constant)
    return max(0.0, min(1.0, (steps - step) / falling)) if falling else 1.0
