"""Adversarial training: k updates of the critic, then one of the generator."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn

from gentrain.config.types import Count, Positive, Whole
from gentrain.errors import UserError
from gentrain.models.gan.base import AdversarialModel
from gentrain.training.divergence import OnDivergence
from gentrain.training.gradients import Compile
from gentrain.training.module import (
    Batch,
    OptimizerFactory,
    ScheduleFactory,
    TrainingModule,
)

log = logging.getLogger("gentrain")
OPPONENT = {"critic": "generator", "generator": "critic"}


class CriticWarmup:
    """More critic updates before some generator updates: the first, and every so many later.

    It is of the authors' code of Wasserstein GANs (Arjovsky, Chintala & Bottou, 2017).

    Args:
        steps: critic updates before one of these generator updates.
        first: how many generator updates at the start.
        every: and each generator update whose number is a multiple; 0 for none.
    """

    def __init__(self, steps: Count = 100, first: Whole = 25, every: Whole = 500) -> None:
        self.steps, self.first, self.every = steps, first, every

    def __call__(self, step: int, critic_steps: int) -> int:
        """Critic updates before generator update number `step`, counted from 0.

        >>> warmup = CriticWarmup(steps=100, first=25, every=500)
        >>> [warmup(step, 5) for step in (0, 24, 25, 499, 500, 501)]
        [100, 100, 5, 5, 100, 5]
        """
        chosen = step < self.first or (self.every and step % self.every == 0)
        return self.steps if chosen else critic_steps


class AdversarialModule(TrainingModule):
    """A training step is `critic_steps` updates of the critic, then one update of the generator.

    Every critic update has a batch of its own. The generator sees the last one, with new noise.
    Pre-training and a warm-up of the critic are further training steps, without an update of the
    generator. So neither is counted in `global_step`, and both can be interrupted and resumed.

    Args:
        critic_steps: critic updates of each training step.
        critic_warmup: more critic updates before some updates of the generator. They are made in
            rounds of `critic_steps`, the last of which is made whole.
        generator_batch: the generator's batch, as a multiple of the critic's: its update sees the
            last n batches as one. At most `critic_steps`.
        pretraining: updates of the critic as a plain autoencoder before all others, with the
            generator at rest, for a critic that is an energy. Their curves are `pretraining/*`.
        accumulate: gradient accumulation: average the gradients of n batches in each update, which
            acts as one batch of n times the size in the memory of one (BigGAN). What looks at a
            batch as a whole (batch norm, feature matching, a mean in the loss) still sees each of
            the n alone, as in BigGAN.
        rates: factors of the learning rate of parts of the generator's player, by the names that
            the model gives them, such as `{encoder: 10}` (BigBiGAN).
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
        compile: Compile = False,
        on_divergence: OnDivergence = "stop",
        divergence_budget: Whole = 10,
        accumulate: Count = 1,
        critic_warmup: CriticWarmup | None = None,
        generator_batch: Count = 1,
        pretraining: Whole = 0,
        rates: dict[str, Positive] | None = None,
    ) -> None:
        super().__init__(
            model, optimizers, schedule, log_every, compile, on_divergence, divergence_budget
        )
        self.critic_steps, self.accumulate = critic_steps, accumulate
        self.critic_warmup, self.generator_batch = critic_warmup, generator_batch
        self.rates = rates or {}
        self.pretraining, self.pretrained = pretraining, 0  # updates wanted, and made
        self.critic_updates = 0  # since the last update of the generator
        refuse_rounds(critic_steps, critic_warmup, generator_batch)
        refuse_pretraining(model, pretraining)
        refuse_rates(model, self.rates)
        self.objectives = {"critic": model.critic_loss, "generator": model.generator_loss}
        if compile is True:
            refuse_uncompilable(model)

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

    def rated_parts(self, player: str) -> list[tuple[nn.Module, float]]:
        if player != "generator":
            return []
        parts = self.model.generator_parts()
        return [(parts[name], factor) for name, factor in self.rates.items()]

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
        self.stepped = False
        if self.pretrained < self.pretraining and self.global_step == 0:
            self.pretrain(critic, batches)
        else:
            self.train_critic(critic, batches)
            if self.critic_updates >= self.updates_before_generator():
                self.train_generator(generator, batches)
        self.end_step(sum(len(batch[0]) for batch in batches))

    def updates_per_step(self, player: str) -> int:
        return self.critic_steps if player == "critic" else 1

    @property
    def compilable(self) -> bool:
        return all(regularizer.compiles for regularizer in self.model.each_regularizer())

    def updates_before_generator(self) -> int:
        """Critic updates before the next update of the generator."""
        if self.critic_warmup is None:
            return self.critic_steps
        return self.critic_warmup(self.global_step, self.critic_steps)

    def train_critic(self, optimizer: LightningOptimizer, batches: list[Batch]) -> None:
        """Update the critic once for each of `critic_steps` batches."""
        for i in range(0, len(batches), self.accumulate):
            scalars = self.update_player("critic", optimizer, batches[i : i + self.accumulate])
            if scalars is not None:
                self.model.after_critic_step(scalars)
        self.critic_updates += self.critic_steps

    def train_generator(self, optimizer: LightningOptimizer, batches: list[Batch]) -> None:
        """Update the generator on the last batches."""
        self.critic_updates = 0
        last = batches[-self.accumulate * self.generator_batch :]
        scalars = self.update_player("generator", optimizer, joined(last, self.generator_batch))
        self.stepped = scalars is not None
        if self.stepped:
            self.model.after_generator_step()
            self.step_schedules()

    def pretrain(self, optimizer: LightningOptimizer, batches: list[Batch]) -> None:
        """Update the critic as an autoencoder, and log its own curves."""
        step = self.eager_step("critic", self.model.pretraining_loss)
        for i in range(0, len(batches), self.accumulate):
            part = batches[i : i + self.accumulate]
            if self.update("critic", optimizer, step, part, "pretraining") is not None:
                self.model.after_pretraining_step()
            self.pretrained += 1
            done = self.pretrained >= self.pretraining
            if self.pretrained % self.log_every == 0 or done:
                means = self.finite(self.curves.means(self.device))
                self.record(means | {"pretraining/updates": float(self.pretrained)})
                if done:
                    energy = means.get("pretraining/energy", float("nan"))
                    log.info("pre-trained the critic: energy %.3g of data", energy)
                    return

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["critic_rounds"] = [self.pretrained, self.critic_updates]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        self.pretrained, self.critic_updates = checkpoint["critic_rounds"]
        refuse_other_groups(checkpoint, 1 + len(self.rates))

    def update_player(
        self, player: str, optimizer: LightningOptimizer, batches: list[Batch]
    ) -> dict[str, Tensor] | None:
        """Update one player while the other's weights get no gradient; see `update`."""
        with self.frozen(OPPONENT[player]):
            step = self.gradient_step(player, batches)
            return self.update(player, optimizer, step, batches)

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


def joined(batches: list[Batch], n: int) -> list[Batch]:
    """Each n batches as one."""
    if n == 1:
        return batches
    groups = [batches[i : i + n] for i in range(0, len(batches), n)]
    return [tuple(map(torch.cat, zip(*group, strict=True))) for group in groups]


def refuse_rounds(critic_steps: int, warmup: CriticWarmup | None, generator_batch: int) -> None:
    """Raise UserError for numbers of batches that do not fit together."""
    if generator_batch > critic_steps:
        raise UserError(
            f"the generator's update joins {generator_batch} batches, and a step has "
            f"{critic_steps} (scheme.generator_batch, scheme.critic_steps); "
            "write scheme.generator_batch=1, or more critic steps"
        )
    if warmup is not None and warmup.steps <= critic_steps:
        raise UserError(
            f"a warm-up of {warmup.steps} critic updates is no more than the {critic_steps} of "
            "every step (scheme.critic_warmup.steps, scheme.critic_steps); "
            "give more, or write scheme.critic_warmup=null"
        )


def refuse_pretraining(model: AdversarialModel, updates: int) -> None:
    """Raise UserError for pre-training of a critic that is no autoencoder."""
    if updates and not model.loss.of_energy:
        raise UserError(
            "only a critic that is an autoencoder can be pre-trained (scheme.pretraining); "
            "choose model=ebgan, or write scheme.pretraining=0"
        )


def refuse_rates(model: AdversarialModel, rates: dict[str, float]) -> None:
    """Raise UserError for the rate of a part that the model does not have."""
    parts = sorted(model.generator_parts())
    for name in rates:
        if name not in parts:
            known = f"rates are of {', '.join(parts)}" if parts else "leave the rates out"
            raise UserError(
                f"{type(model).__name__} has no part {name} with a rate of its own "
                f"(scheme.rates.{name}); {known}"
            )


def refuse_other_groups(checkpoint: dict[str, Any], groups: int) -> None:
    """Raise UserError where a checkpoint's optimizer has other parts than the configuration."""
    saved = len(checkpoint["optimizer_states"][1]["param_groups"])
    if saved != groups:
        raise UserError(
            f"the checkpoint has rates of {saved - 1} parts of the generator, and the "
            f"configuration of {groups - 1} (scheme.rates); resume with the rates of the run"
        )


def refuse_uncompilable(model: AdversarialModel) -> None:
    """Raise UserError for a trick that cannot be compiled."""
    for name, regularizer in model.regularizers.items():
        if not regularizer.compiles:
            raise UserError(
                f"{name} cannot be compiled (compile=true with tricks=[{name}]); "
                "use compile=false, or leave the trick out"
            )
