"""Adversarial training: k updates of the critic, then one of the generator."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor

from gentrain.config.types import Count, Whole
from gentrain.errors import UserError
from gentrain.models.gan.base import AdversarialModel
from gentrain.models.objective import Objective
from gentrain.training.divergence import OnDivergence
from gentrain.training.module import (
    Batch,
    OptimizerFactory,
    ScheduleFactory,
    TrainingModule,
    compiled,
)

OPPONENT = {"critic": "generator", "generator": "critic"}


class AdversarialModule(TrainingModule):
    """A training step is `critic_steps` updates of the critic, then one update of the generator.

    Every critic update has a batch of its own. The generator sees the last one, with new noise.

    Args:
        critic_steps: critic updates of each training step.
        compile: compile both players' objectives as one graph each, gradient penalty included.
        accumulate: gradient accumulation: average the gradients of n batches in each update, which
            acts as one batch of n times the size in the memory of one (BigGAN). What looks at a
            batch as a whole (batch norm, feature matching, a mean in the loss) still sees each of
            the n alone, as in BigGAN.
        The other arguments are those of `TrainingModule`.
    """

    step_counts_player = "generator"
    model: AdversarialModel

    def __init__(
        self,
        model: AdversarialModel,
        optimizers: dict[str, OptimizerFactory],
        critic_steps: Count = 1,
        schedule: ScheduleFactory | None = None,
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
            refuse_uncompilable(model)
            for player, objective in self.objectives.items():
                self.objectives[player] = compiled(objective)

    def setup(self, stage: str) -> None:
        batches = self.critic_steps * self.accumulate
        self.trainer.datamodule.batches_per_step = batches  # type: ignore[attr-defined]

    def configure_optimizers(self) -> Any:
        optimizers = self.make_optimizers(
            {"critic": self.model.critic, "generator": self.model.generator}
        )
        for player, optimizer in optimizers.items():
            for regularizer in self.model.each_regularizer():
                regularizer.check_optimizer(player, optimizer)
        return self.with_schedules(optimizers)

    def on_train_start(self) -> None:
        super().on_train_start()
        if self.trainer.is_global_zero:
            size = self.trainer.datamodule.data.batch_size  # type: ignore[attr-defined]
            per_step = size * self.trainer.world_size * self.critic_steps * self.accumulate
            left = max(0, self.trainer.max_steps - self.global_step)
            for regularizer in self.model.each_regularizer():
                regularizer.check_length(left * per_step)

    def training_step(self, batches: list[Batch], batch_idx: int) -> None:
        self.restore_rank_local()
        critic, generator = self.optimizers()  # type: ignore[misc, attr-defined]
        for i in range(0, len(batches), self.accumulate):
            scalars = self.update_player("critic", critic, batches[i : i + self.accumulate])
            if scalars is not None:
                self.model.after_critic_step(scalars)
        scalars = self.update_player("generator", generator, batches[-self.accumulate :])
        self.stepped = scalars is not None
        if self.stepped:
            self.model.after_generator_step()
            self.step_schedules()
        self.end_step(sum(len(batch[0]) for batch in batches))

    def update_player(
        self, player: str, optimizer: LightningOptimizer, batches: list[Batch]
    ) -> dict[str, Tensor] | None:
        """Update one player while the other's weights get no gradient; see `update`."""
        with self.frozen(OPPONENT[player]):
            return self.update(player, optimizer, self.objectives[player], batches)

    @contextmanager
    def frozen(self, player: str) -> Iterator[None]:
        """Keep gradients away from a player's weights."""
        for p in self.players[player]:
            p.requires_grad = False
        try:
            yield
        finally:
            for p in self.players[player]:
                p.requires_grad = True


def refuse_uncompilable(model: AdversarialModel) -> None:
    """Raise UserError for a trick that cannot be compiled."""
    for name, regularizer in model.regularizers.items():
        if not regularizer.compiles:
            raise UserError(
                f"{name} cannot be compiled (compile=true with tricks=[{name}]); "
                "use compile=false, or leave the trick out"
            )
