"""An optimizer: Lion.

Chen, Liang, Huang, Real, Wang, Liu, ... & Le, "Symbolic discovery of optimization algorithms",
2023. Every weight moves by the same length, lr, in the direction of a sign:

    w <- w - lr (sign(b1 m + (1 - b1) g) + weight_decay w)
    m <- b2 m + (1 - b2) g

A rate is a third to a tenth of Adam's.

    gentrain model=dcgan optimizer=lion plugins=lion --config-dir conf
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch.optim import Optimizer


class Lion(Optimizer):
    """Steps of one length, in the direction of the sign of a momentum.

    Args:
        params: what is trained.
        lr: length of a step.
        betas: (b1, b2), of the step and of the momentum.
        weight_decay: towards zero, as in AdamW.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 3e-5,
        betas: Sequence[float] = (0.9, 0.99),
        weight_decay: float = 0.0,
    ) -> None:
        if lr < 0 or weight_decay < 0 or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"lr={lr}, betas={betas} or weight_decay={weight_decay} out of range")
        # what stands here can be read and changed by a schedule, and is in the checkpoint
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            b1, b2 = group["betas"]
            for weight in (each for each in group["params"] if each.grad is not None):
                # self.state is in the checkpoint, too
                m = self.state[weight].setdefault("momentum", torch.zeros_like(weight))
                direction = (b1 * m + (1 - b1) * weight.grad).sign()
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.add_(direction, alpha=-group["lr"])
                m.lerp_(weight.grad, 1 - b2)
