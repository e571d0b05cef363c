"""Nothing that is not a finite number reaches the weights."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from gentrain.errors import Diverged
from gentrain.runs.checkpoints import load, newest_valid

log = logging.getLogger("gentrain")

OnDivergence = Literal["stop", "skip", "rollback"]


class GuardedModule(Protocol):
    """What the guard needs of a training module."""

    model: nn.Module
    trainer: Any

    @property
    def global_step(self) -> int:
        """Steps made so far."""

    @property
    def device(self) -> torch.device:
        """Where the weights are."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any:
        """Load weights and buffers."""


class DivergenceGuard:
    """Checks the gradient's norm before every update.

    Args:
        on_divergence: what happens when the norm is not finite. "stop" ends the run as diverged
            and leaves the last checkpoint as it is. "skip" leaves the update out. "rollback"
            restores weights and optimizers from the last checkpoint, and goes on with new noise
            and the next batch.
        budget: updates that may be left out or rolled back in one run; one more ends it.
    """

    def __init__(self, on_divergence: OnDivergence, budget: int) -> None:
        self.on_divergence, self.budget, self.used = on_divergence, budget, 0

    def check_gradients(
        self, norm: Tensor, module: GuardedModule, player: str, losses: dict[str, Tensor]
    ) -> bool:
        """Whether the update may be made.

        Raises:
            Diverged: when it may not, and the run must end.
        """
        if math.isfinite(norm):
            return True
        what = not_finite(module.model, player, losses)
        where = f"{what} not finite in the {player}'s update after step {module.global_step}"
        self.used += 1
        if self.on_divergence == "stop":
            raise Diverged(
                f"{where}; lower scheme.optimizers.*.lr, or set scheme.on_divergence=skip or "
                "rollback and resume"
            )
        if self.used > self.budget:
            raise Diverged(
                f"{where}, for the {self.used}th time (scheme.divergence_budget); "
                "lower scheme.optimizers.*.lr"
            )
        log.warning("%s; %s (%d of %d)", where, self.on_divergence, self.used, self.budget)
        if self.on_divergence == "rollback":
            roll_back(module)
        return False


def not_finite(model: nn.Module, player: str, losses: dict[str, Tensor]) -> str:
    """The names of the losses that are not finite, or else of the first such gradients."""
    bad = [f"{player}/{name}" for name, loss in losses.items() if not torch.isfinite(loss)]
    if bad:
        return ", ".join(bad)
    gradients = [
        f"the gradient of {name}"
        for name, p in model.named_parameters()
        if p.grad is not None and not torch.isfinite(p.grad).all()
    ]
    return ", ".join(gradients[:3]) or "the gradient's norm"


def roll_back(module: GuardedModule) -> None:
    """Restore weights, buffers and optimizers from the newest whole checkpoint.

    Steps, data and random numbers go on.
    """
    path = Path(module.trainer.default_root_dir) / "checkpoints" / "last.ckpt"
    if not path.exists():
        raise Diverged(
            "there is no checkpoint to roll back to yet (checkpoint.every); save more often, "
            "or set scheme.on_divergence=stop"
        )
    saved = load(newest_valid(path), module.device)
    module.load_state_dict(saved["state_dict"])
    states = saved["optimizer_states"]
    for optimizer, state in zip(module.trainer.optimizers, states, strict=True):
        optimizer.load_state_dict(state)
