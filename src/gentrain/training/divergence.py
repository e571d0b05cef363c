"""Nothing that is not a finite number reaches the weights."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from gentrain.errors import Diverged

if TYPE_CHECKING:
    from gentrain.training.module import TrainingModule

log = logging.getLogger("gentrain")

OnDivergence = Literal["stop", "skip", "rollback"]


class DivergenceGuard:
    """Looks at the gradient's norm before every update, and decides what happens when it is not finite.

    stop      end the run as diverged, the last checkpoint as it was
    skip      leave this update out
    rollback  take weights and optimizers from the last checkpoint, and go on with new noise and the next batch
    `budget` updates may be left out or rolled back in one run; one more ends it.
    """

    def __init__(self, on_divergence: OnDivergence, budget: int) -> None:
        self.on_divergence, self.budget, self.used = on_divergence, budget, 0

    def check_gradients(
        self, norm: Tensor, scheme: TrainingModule, player: str, terms: dict[str, Tensor]
    ) -> bool:
        """Whether the update may be made."""
        if math.isfinite(norm):
            return True
        culprit = self.culprit(scheme, player, terms)
        where = f"{culprit} not finite in the {player}'s update after step {scheme.global_step}"
        self.used += 1
        if self.on_divergence == "stop":
            raise Diverged(
                f"{where}; lower scheme.optimizers.*.lr, or set scheme.on_divergence=skip or rollback and resume"
            )
        if self.used > self.budget:
            raise Diverged(
                f"{where}, for the {self.used}th time (scheme.divergence_budget); lower scheme.optimizers.*.lr"
            )
        log.warning("%s; %s (%d of %d)", where, self.on_divergence, self.used, self.budget)
        if self.on_divergence == "rollback":
            roll_back(scheme)
        return False

    def culprit(self, scheme: TrainingModule, player: str, terms: dict[str, Tensor]) -> str:
        """The terms that are not finite, or else the first gradients."""
        bad = [f"{player}/{name}" for name, term in terms.items() if not torch.isfinite(term)]
        if bad:
            return ", ".join(bad)
        grads = (
            (name, p.grad) for name, p in scheme.model.named_parameters() if p.grad is not None
        )
        return (
            ", ".join(
                [
                    f"the gradient of {name}"
                    for name, grad in grads
                    if not torch.isfinite(grad).all()
                ][:3]
            )
            or "the gradient's norm"
        )


def roll_back(scheme: TrainingModule) -> None:
    """Weights, buffers and optimizers of the newest whole checkpoint; steps, data and random numbers go on."""
    from gentrain.runs.checkpoints import load, newest_valid

    path = Path(scheme.trainer.default_root_dir) / "checkpoints" / "last.ckpt"
    if not path.exists():
        raise Diverged(
            "there is no checkpoint to roll back to yet (checkpoint.every); save more often, or set scheme.on_divergence=stop"
        )
    saved = load(newest_valid(path), scheme.device)
    scheme.load_state_dict(saved["state_dict"])
    for optimizer, state in zip(scheme.trainer.optimizers, saved["optimizer_states"], strict=True):
        optimizer.load_state_dict(state)
