"""Gibbs sampling (Geman & Geman, 1984): each part in turn is drawn anew from its distribution given all the others; nothing is rejected."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from gentrain.samplers.kernel import Kernel, LogDensity, State


class Gibbs(Kernel):
    """Of any log-density of variables that take few values: the conditional is found by trying each value.

    Args:
        values: (V,) what each variable may be, such as [-1, 1].
        blocks: indices of the (flattened) variables that are drawn together, in this order; None for one after the other. A block of k
            variables tries V^k values, and a step (one sweep over all blocks) evaluates the target that many times for each.
    """

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
        """(C, V^k): the probability of each setting of a block, given the rest."""
        return self.candidates(target, x, block)[1].softmax(1)

    def candidates(
        self, target: LogDensity, x: Tensor, block: Sequence[int]
    ) -> tuple[Tensor, Tensor]:
        """x with every setting of the block (C, V^k, ...), and log p* of each (C, V^k)."""
        settings = torch.cartesian_prod(*[self.values.to(x)] * len(block)).view(-1, len(block))
        tried = x.flatten(1)[:, None].repeat(1, len(settings), 1)
        tried[:, :, list(block)] = settings
        tried = tried.view(len(x), len(settings), *x.shape[1:])
        return tried, target(tried.flatten(0, 1)).view(len(x), len(settings))


class BlockGibbs(Kernel):
    """With conditionals that are known: each of `draws` takes x and returns it with its block drawn anew given the rest.

    The target is only evaluated for `State.log_p`.
    """

    def __init__(self, draws: Sequence[Callable[[Tensor], Tensor]]) -> None:
        self.draws = draws

    def step(self, target: LogDensity, state: State) -> State:
        x = state.x
        for draw in self.draws:
            x = draw(x)
        return self.start(target, x)
