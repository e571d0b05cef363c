"""Gibbs sampling (Geman & Geman, "Stochastic Relaxation, Gibbs Distributions, and the Bayesian
Restoration of Images", 1984): each part in turn is drawn given all others, and never rejected.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from gentrain.samplers.kernel import Kernel, LogDensity, State


class Gibbs(Kernel):
    """Gibbs sampling of discrete variables, whose conditionals are found by trying every value.

    A step is one sweep over all blocks. A block of k variables evaluates the target V^k times.

    Args:
        values: (V,) the values of each variable, such as [-1, 1].
        blocks: indices of the flattened variables that are drawn together, in this order; None for
            one variable after the other.
    """

    rejects = False

    def __init__(self, values: Tensor, blocks: Sequence[Sequence[int]] | None = None) -> None:
        self.values, self.blocks = values, blocks

    def step(self, target: LogDensity, state: State) -> State:
        x, log_p = state.x, state.log_p
        for block in self.blocks or [[i] for i in range(x[0].numel())]:
            candidates, log_each = self.candidates(target, x, block)
            chosen = torch.distributions.Categorical(logits=log_each).sample()
            rows = torch.arange(len(x), device=x.device)
            x, log_p = candidates[rows, chosen], log_each[rows, chosen]
        return State(x, log_p, torch.ones_like(log_p, dtype=torch.bool))

    def conditional(self, target: LogDensity, x: Tensor, block: Sequence[int]) -> Tensor:
        """The probability of each setting of a block given the rest, (C, V^k)."""
        return self.candidates(target, x, block)[1].softmax(1)

    def candidates(
        self, target: LogDensity, x: Tensor, block: Sequence[int]
    ) -> tuple[Tensor, Tensor]:
        """x with every setting of a block (C, V^k, ...), and log p* of each (C, V^k)."""
        settings = torch.cartesian_prod(*[self.values.to(x)] * len(block)).view(-1, len(block))
        tried = x.flatten(1)[:, None].repeat(1, len(settings), 1)
        tried[:, :, list(block)] = settings
        tried = tried.view(len(x), len(settings), *x.shape[1:])
        return tried, target(tried.flatten(0, 1)).view(len(x), len(settings))


class BlockGibbs(Kernel):
    """Gibbs sampling with known conditionals.

    The target is evaluated only for `State.log_p`.

    Args:
        draws: functions that return x with one block drawn anew given the rest.
    """

    rejects = False

    def __init__(self, draws: Sequence[Callable[[Tensor], Tensor]]) -> None:
        self.draws = draws

    def step(self, target: LogDensity, state: State) -> State:
        x = state.x
        for draw in self.draws:
            x = draw(x)
        return self.start(target, x)
