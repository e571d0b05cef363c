"""A transition of Markov chains, and `run`, which repeats it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from gentrain.streams import uniform

LogDensity = Callable[[Tensor], Tensor]  # (C, ...) -> (C,), up to a constant


class State(NamedTuple):
    """The state of C chains."""

    x: Tensor  # (C, ...)
    log_p: Tensor  # (C,) the target at x
    accepted: Tensor  # (C,) bool, whether the last proposal was accepted; True if never rejected
    carry: Any = None  # what a kernel keeps from step to step, such as the gradient at x


class Kernel(ABC):
    """A transition of many chains at once, which leaves the target invariant."""

    rejects: ClassVar[bool] = True  # it may reject a proposal
    replicas: int = 1  # states that it keeps of each chain; the first one is the draw
    bounds: list[float] | None = None  # [low, high] of a box in which every step ends

    def start(self, target: LogDensity, x: Tensor) -> State:
        """The state of chains at x (C, ...)."""
        log_p = target(x)
        return State(x, log_p, torch.ones_like(log_p, dtype=torch.bool))

    @abstractmethod
    def step(self, target: LogDensity, state: State) -> State:
        """Move every chain by one step."""

    def resume(self, target: LogDensity, replicas: Tensor) -> State:
        """The state of chains whose replicas (C, K, ...) are those of an earlier run."""
        return self.start(target, replicas[:, 0])

    def replicas_of(self, state: State) -> Tensor:
        """The replicas (C, K, ...) of each chain, from which another run may `resume`."""
        return state.x[:, None]


class Chains(NamedTuple):
    """What `run` returns."""

    draws: Tensor  # (T, C, ...)
    accepted: Tensor  # (T, C) the share of accepted steps between two draws
    state: State  # the last one, from which another run may continue


@torch.no_grad()
def run(
    kernel: Kernel,
    target: LogDensity,
    x: Tensor | State,
    steps: int,
    burn_in: int = 0,
    thin: int = 1,
) -> Chains:
    """Run chains, and keep their draws. A rejected step counts the old sample again.

    Args:
        kernel: the transition.
        target: log p*.
        x: (C, ...) where the chains start, or the state of an earlier run on the same target.
        steps: the number of draws.
        burn_in: steps before the first draw.
        thin: steps between draws.
    """
    state = x if isinstance(x, State) else kernel.start(target, x)
    for _ in range(burn_in):
        state = kernel.step(target, state)
    draws, accepted = [], []
    for _ in range(steps):
        share = torch.zeros_like(state.log_p)
        for _ in range(thin):
            state = kernel.step(target, state)
            share += state.accepted
        draws.append(state.x)
        accepted.append(share / thin)
    return Chains(torch.stack(draws), torch.stack(accepted), state)


def metropolis(old: State, new: State, log_ratio: Tensor) -> State:
    """Accept the new state of each chain with probability min(1, exp(log_ratio)).

    A log-ratio of nan is a rejection.
    """
    taken = uniform(log_ratio).log() < log_ratio
    return select(taken, new, old)


def select(taken: Tensor, new: State, old: State) -> State:
    """The new state of the chains where `taken` (C,), and the old state of the others."""

    def chosen(one: Tensor, other: Tensor) -> Tensor:
        return torch.where(taken.view(-1, *[1] * (one.ndim - 1)), one, other)

    carry = chosen(new.carry, old.carry) if isinstance(new.carry, Tensor) else new.carry
    return State(chosen(new.x, old.x), chosen(new.log_p, old.log_p), taken, carry)


def slope(target: LogDensity, x: Tensor) -> tuple[Tensor, Tensor]:
    """log p* (C,) and its gradient at x (C, ...)."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        log_p = target(x)
        (gradient,) = torch.autograd.grad(log_p.sum(), x)
    return log_p.detach(), gradient


def total(x: Tensor) -> Tensor:
    """The sum of each chain's values, (C, ...) -> (C,)."""
    return x.flatten(1).sum(1)
