"""Alternate between two players, k critic steps to one generator step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning.pytorch.core.optimizer import LightningOptimizer, do_nothing_closure
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from gentrain.config.types import Count, Whole
from gentrain.errors import UserError
from gentrain.models.gan.base import AdversarialModel
from gentrain.models.objective import Objective
from gentrain.training.divergence import OnDivergence
from gentrain.training.module import Batch, Descent, OptimizerFactory, compiled

OPPONENT = {"critic": "generator", "generator": "critic"}


class AdversarialModule(Descent):
    """A training step is `critic_steps` critic updates, each on a batch of its own, and then a generator update, with fresh noise.

    `accumulate` makes every update of the mean gradient of n batches: the batch of n times the size in the memory of one (BigGAN). What
    looks at a batch as a whole (batch norm, feature matching, a mean in the loss) still sees each of the n alone, as BigGAN's own does.
    `compile` compiles both players' objectives whole, a gradient penalty included. The other options are those of `Descent`.
    """

    model: AdversarialModel

    def __init__(
        self,
        model: AdversarialModel,
        optimizers: dict[str, OptimizerFactory],
        critic_steps: Count = 1,
        schedule: Callable[[Optimizer], LRScheduler] | None = None,
        log_every: Count = 50,
        compile: bool = False,
        on_divergence: OnDivergence = "stop",
        divergence_budget: Whole = 10,
        accumulate: Count = 1,
    ) -> None:
        super().__init__(model, optimizers, schedule, log_every, on_divergence, divergence_budget)
        self.critic_steps, self.accumulate = critic_steps, accumulate
        self.objectives: dict[str, Callable[[Batch], Objective]] = {
            "critic": model.critic_loss,
            "generator": model.generator_loss,
        }
        if compile:
            self.objectives = {
                player: compiled(objective) for player, objective in self.objectives.items()
            }
            refuse_uncompilable(model)
        self.model.to(memory_format=torch.channels_last)

    def setup(self, stage: str) -> None:
        self.trainer.datamodule.group = self.critic_steps * self.accumulate  # type: ignore[attr-defined]

    def configure_optimizers(self) -> Any:
        optimizers = self.make_optimizers(
            {"critic": self.model.critic, "generator": self.model.generator}
        )
        for player, optimizer in optimizers.items():
            for regularizer in self.model.each_regularizer():
                regularizer.check_optimizer(player, optimizer)
        return self.scheduled(optimizers)

    def training_step(self, batches: list[Batch], batch_idx: int) -> None:
        self.restore_rank_local()
        critic, generator = self.optimizers()  # type: ignore[misc, attr-defined]
        # Lightning counts every optimizer's step in global_step; ours counts the generator's
        critic._on_before_step = critic._on_after_step = do_nothing_closure
        for i in range(0, len(batches), self.accumulate):
            if self.update_player("critic", critic, batches[i : i + self.accumulate]):
                self.model.after_critic_step({})
        self.stepped = self.update_player("generator", generator, batches[-self.accumulate :])
        if self.stepped:
            self.model.after_generator_step()
            self.step_schedules()
        self.end_step(sum(len(batch[0]) for batch in batches))

    def update_player(
        self, player: str, optimizer: LightningOptimizer, batches: list[Batch]
    ) -> bool:
        """One update of one player; the other's weights get no gradient. False if it was not fit to be made."""
        with self.frozen(OPPONENT[player]):
            return self.descend(player, optimizer, self.objectives[player], batches)

    @contextmanager
    def frozen(self, player: str) -> Iterator[None]:
        for p in self.players[player]:
            p.requires_grad = False
        try:
            yield
        finally:
            for p in self.players[player]:
                p.requires_grad = True


def refuse_uncompilable(model: AdversarialModel) -> None:
    for name, regularizer in model.regularizers.items():
        if not regularizer.compiles:
            raise UserError(
                f"{name} cannot be compiled (compile=true with tricks=[{name}]); use compile=false, or leave the trick out"
            )
