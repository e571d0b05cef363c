"""Alternate between two players, k critic steps to one generator step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning.pytorch.core.optimizer import LightningOptimizer, do_nothing_closure
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from ..errors import UserError
from ..game import Game, Objective
from ..schema import Count, Whole
from .guard import Guard, OnDivergence
from .scheme import Batch, Scheme

OPPONENT = {"critic": "generator", "generator": "critic"}


class Adversarial(Scheme):
    """A training step is `critic_steps` critic updates, each on a batch of its own, and then a generator update, with fresh noise.

    `accumulate` makes every update of the mean gradient of n batches: the batch of n times the size in the memory of one (BigGAN). What
    looks at a batch as a whole (batch norm, feature matching, a mean in the loss) still sees each of the n alone, as BigGAN's own does.
    `optimizers` makes each player's own from its parameters; `schedule` makes a learning-rate schedule from an optimizer and is
    stepped once a generator step. `compile` compiles both players' objectives whole, a gradient penalty included.
    `on_divergence` (stop, skip or rollback) says what happens to an update whose gradient is not finite; see `Guard`.
    """

    model: Game

    def __init__(
        self,
        model: Game,
        optimizers: dict[str, Callable[..., Optimizer]],
        critic_steps: Count = 1,
        schedule: Callable[[Optimizer], LRScheduler] | None = None,
        log_every: Count = 50,
        compile: bool = False,
        on_divergence: OnDivergence = "stop",
        divergence_budget: Whole = 10,
        accumulate: Count = 1,
    ) -> None:
        super().__init__(model, log_every)
        self.guard = Guard(on_divergence, divergence_budget)
        self.make_optimizers, self.critic_steps, self.make_schedule = optimizers, critic_steps, schedule
        self.accumulate = accumulate
        self.resumed = False
        self.objectives: dict[str, Callable[[Batch], Objective]] = {"critic": model.critic_loss, "generator": model.generator_loss}
        if compile:
            self.objectives = {player: compiled(objective) for player, objective in self.objectives.items()}
            refuse_uncompilable(model)
        self.model.to(memory_format=torch.channels_last)

    def setup(self, stage: str) -> None:
        self.trainer.datamodule.group = self.critic_steps * self.accumulate  # type: ignore[attr-defined]

    def configure_optimizers(self) -> Any:
        networks = {"critic": self.model.critic, "generator": self.model.generator}
        self.players = {player: [p for p in network.parameters() if p.requires_grad] for player, network in networks.items()}
        optimizers = {player: self.make_optimizers[player](network.parameters()) for player, network in networks.items()}
        for player, optimizer in optimizers.items():
            for regularizer in self.model.moments():
                regularizer.optimized(player, optimizer)
        schedules = [self.make_schedule(o) for o in optimizers.values()] if self.make_schedule else []
        return list(optimizers.values()), schedules

    def on_fit_start(self) -> None:
        if self.resumed:
            return
        self.model.begin(next(iter(self.trainer.datamodule.train_dataloader()))[0])  # type: ignore[attr-defined]
        for buffer in self.model.buffers():  # what was kept of a first batch is rank zero's, everywhere
            buffer.copy_(self.trainer.strategy.broadcast(buffer))
        if rank := self.trainer.global_rank:  # noise of its own: the same in all processes would be a batch as small as one's
            torch.manual_seed(torch.initial_seed() + (rank << 32))

    def on_train_start(self) -> None:
        """A forced resume may ask for other rates than those in the checkpoint; a schedule goes on from where it was."""
        super().on_train_start()
        for player, optimizer in zip(self.players, self.trainer.optimizers, strict=True):
            schedules = [schedule for schedule in self.schedules() if schedule.optimizer is optimizer]
            adopt(optimizer, schedules, getattr(self.make_optimizers[player], "keywords", {}))

    def training_step(self, batches: list[Batch], batch_idx: int) -> None:
        critic, generator = self.optimizers()  # type: ignore[misc, attr-defined]
        # Lightning counts every optimizer's step in global_step; ours counts the generator's
        critic._on_before_step = critic._on_after_step = do_nothing_closure
        for i in range(0, len(batches), self.accumulate):
            if self.play("critic", critic, batches[i : i + self.accumulate]):
                self.model.after_critic_step()
        self.advanced = self.play("generator", generator, batches[-self.accumulate :])
        if self.advanced:
            self.model.after_generator_step()
            for schedule in self.schedules():
                schedule.step()
        self.played(sum(len(batch[0]) for batch in batches))

    def play(self, player: str, optimizer: LightningOptimizer, batches: list[Batch]) -> bool:
        """One update of one player; the other's weights get no gradient. False if it was not fit to be made."""
        with self.frozen(OPPONENT[player]):
            optimizer.zero_grad()
            objective = mean([self.descend(player, batch, 1 / len(batches)) for batch in batches])
            scalars = objective.scalars()
            if self.scaler is None:
                scalars["gradient_norm"] = self.gradient_norm(player)
                if not self.guard.admits(scalars["gradient_norm"], self, player, objective.terms):
                    return False
            self.update(optimizer)  # a scaler looks for itself, and leaves out what its own scale made infinite
        self.watch(player, scalars)
        return True

    def descend(self, player: str, batch: Batch, share: float) -> Objective:
        """Add `share` of one batch's gradient to what there is. What is returned has no graph, which ends with the batch."""
        objective = self.objectives[player](batch)
        self.differentiate(objective.loss * share if share < 1 else objective.loss)
        return Objective(detached(objective.terms), detached(objective.watched))

    @contextmanager
    def frozen(self, player: str) -> Iterator[None]:
        for p in self.players[player]:
            p.requires_grad = False
        try:
            yield
        finally:
            for p in self.players[player]:
                p.requires_grad = True

    # Lightning's `manual_backward` and `optimizer.step`, less their rounds through all callbacks, of which none listens

    def differentiate(self, loss: torch.Tensor) -> None:
        self.trainer.strategy.pre_backward(loss)  # tells DDP which weights are in this graph
        (loss if self.scaler is None else self.scaler.scale(loss)).backward()

    def update(self, optimizer: LightningOptimizer) -> None:
        optimizer._on_before_step()
        if self.scaler is None:
            optimizer.optimizer.step()
        else:
            self.scaler.step(optimizer.optimizer)
            self.scaler.update()
        optimizer._on_after_step()

    @property
    def scaler(self) -> torch.amp.GradScaler | None:
        return getattr(self.trainer.precision_plugin, "scaler", None)

    def gradient_norm(self, player: str) -> torch.Tensor:
        return torch.nn.utils.get_total_norm([p.grad for p in self.players[player] if p.grad is not None])

    def schedules(self) -> list[LRScheduler]:
        found = self.lr_schedulers()
        return [] if found is None else found if isinstance(found, list) else [found]  # type: ignore[list-item, return-value]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["divergences"] = self.guard.used

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        self.resumed, self.guard.used = True, checkpoint["divergences"]


def adopt(optimizer: Optimizer, schedules: list[LRScheduler], wanted: dict[str, Any]) -> None:
    """Give an optimizer the numbers of the configuration, where a checkpoint has brought it others."""
    for group in optimizer.param_groups:
        initial = group.get("initial_lr", group["lr"])
        group.update({key: value for key, value in wanted.items() if key in group and key != "lr"})
        if (rate := wanted.get("lr", initial)) == initial:
            continue
        group["lr"] *= rate / initial
        for schedule in schedules:
            group["initial_lr"] = rate
            schedule.base_lrs = [rate for _ in schedule.base_lrs]


def detached(scalars: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value.detach() for name, value in scalars.items()}


def mean(objectives: list[Objective]) -> Objective:
    """Of each scalar over the batches of one update."""

    def over(kind: str) -> dict[str, torch.Tensor]:
        each = [getattr(objective, kind) for objective in objectives]
        return {name: torch.stack([scalars[name] for scalars in each]).mean(0) for name in each[0]}

    return objectives[0] if len(objectives) == 1 else Objective(over("terms"), over("watched"))


def compiled(objective: Callable[[Batch], Objective]) -> Callable[[Batch], Objective]:
    """Whole or not at all: a graph that broke off before the penalty would be differentiated twice, which torch cannot do."""
    return torch.compile(objective, fullgraph=True, dynamic=False)


def refuse_uncompilable(model: Game) -> None:
    for name, regularizer in model.regularizers.items():
        if not regularizer.compiles:
            raise UserError(f"{name} cannot be compiled (compile=true with tricks=[{name}]); use compile=false, or leave the trick out")
