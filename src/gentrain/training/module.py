"""Guarded updates of one or several players, each with an optimizer of its own, and what a resume must bring them."""

from __future__ import annotations

import logging
import math
import time
from abc import ABC
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import lightning as L
import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from gentrain.errors import Diverged
from gentrain.models.objective import Objective
from gentrain.training.distributed import gathered
from gentrain.training.divergence import DivergenceGuard, OnDivergence

log = logging.getLogger("gentrain")
Batch = tuple[Tensor, ...]
OptimizerFactory = Callable[..., Optimizer]


class TrainingModule(L.LightningModule, ABC):
    """A model and the way it descends.

    `global_step` counts updates of the generator (of the one player, where there is one). Scalars stay on the device, and are
    read once every `log_every` steps: their mean goes to every logger under that step.
    """

    def __init__(self, model: nn.Module, log_every: int) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model, self.log_every = model, log_every
        self.stepped = False  # the last training step made a step; an update that was not fit to be made is none
        self.latest: dict[str, float] = {}  # the newest value of everything logged
        self.protocols: dict[str, Any] = {}  # how each score was measured
        self.origin: dict[
            str, Any
        ] = {}  # what a checkpoint says of where it comes from: config, choices, version
        self.images, self.seconds, self.steps_timed = 0, 0.0, 0  # since the start of this process
        self._window: dict[str, list[Tensor]] = defaultdict(list)
        self._since: float | None = None
        self._counted = (0, 0.0)

    # --- what callbacks use -------------------------------------------------------------------------------------------

    def due(self, every: int) -> bool:
        """In `on_train_batch_end`: is the step just made a multiple of `every`? Never, for 0."""
        return self.stepped and bool(every) and self.global_step % every == 0

    model: Any

    def sample(self, batch: Batch) -> Tensor:
        """As many images as the batch has, of its labels, from its sources; float in [-1, 1]."""
        return self.model.sample(batch)

    def record(self, scalars: dict[str, float]) -> None:
        """Log at the current step, and keep for the summary."""
        self.latest |= scalars
        for logger in self.loggers:
            logger.log_metrics(scalars, step=self.global_step)

    # --- what schemes use ---------------------------------------------------------------------------------------------

    def watch(self, player: str, scalars: dict[str, Tensor]) -> None:
        for name, value in scalars.items():
            self._window[f"{player}/{name}"].append(value)

    def end_step(self, images: int) -> None:
        """At the end of every training step: count the real images it took, and log when it is time."""
        self.images += images * self.trainer.world_size
        self.steps_timed += self.stepped
        if self.due(self.log_every) or (
            self.stepped and self.global_step == self.trainer.max_steps
        ):
            scalars = self.flush()
            self.stop_clock()
            self.record(scalars | self.throughput())
        else:
            self.stop_clock()

    def flush(self) -> dict[str, float]:
        """The mean of each scalar since the last flush, in one transfer from the device."""
        names = list(self._window)
        if not names:
            return {}
        means = torch.stack([self.mean(self._window[name]) for name in names]).tolist()
        self._window.clear()
        scalars = dict(zip(names, means, strict=True))
        if bad := [name for name, value in scalars.items() if not math.isfinite(value)]:
            raise Diverged(
                f"{', '.join(bad)} not finite at step {self.global_step}; lower scheme.optimizers.*.lr, or resume an earlier checkpoint"
            )
        return scalars

    def mean(self, values: list[Tensor]) -> Tensor:
        """Of scalars on the device, some of which a checkpoint may have brought to the CPU."""
        return torch.stack([value.to(self.device) for value in values]).float().mean()

    def throughput(self) -> dict[str, float]:
        images, seconds = self.images - self._counted[0], self.seconds - self._counted[1]
        self._counted = (self.images, self.seconds)
        return {"images_per_second": images / seconds} if seconds else {}

    # --- a checkpoint between two logged steps brings what it had of the curves along ---------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["window"] = {
            name: [float(value) for value in values] for name, values in self._window.items()
        }
        checkpoint["latest"], checkpoint["protocols"], checkpoint["origin"] = (
            self.latest,
            self.protocols,
            self.origin,
        )

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._window.update(
            {
                name: [torch.tensor(value) for value in values]
                for name, values in checkpoint["window"].items()
            }
        )
        self.latest, self.protocols = checkpoint["latest"], checkpoint["protocols"]

    # --- the clock runs while batches are fetched and played, and stands while callbacks draw, score and save ----------

    def stop_clock(self) -> None:
        if self._since is not None:
            self.seconds += time.perf_counter() - self._since
            self._since = None

    def on_train_start(self) -> None:
        self._since = time.perf_counter()

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._since = time.perf_counter()


class Descent(TrainingModule):
    """`optimizers` makes each player's own from its parameters; `schedule` makes a learning-rate schedule from an optimizer and is
    stepped once a step. `on_divergence` (stop, skip or rollback) says what happens to an update whose gradient is not finite; see `DivergenceGuard`.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizers: dict[str, OptimizerFactory],
        schedule: Callable[[Optimizer], LRScheduler] | None,
        log_every: int,
        on_divergence: OnDivergence,
        divergence_budget: int,
    ) -> None:
        super().__init__(model, log_every)
        self.optimizer_factories, self.make_schedule = optimizers, schedule
        self.guard, self.resumed = DivergenceGuard(on_divergence, divergence_budget), False
        self.rank_local_of_all: list[
            dict[str, Tensor]
        ] = []  # what each process had for itself, from a checkpoint

    def make_optimizers(self, networks: dict[str, nn.Module]) -> dict[str, Optimizer]:
        """An optimizer for each player."""
        self.players = {
            player: [p for p in network.parameters() if p.requires_grad]
            for player, network in networks.items()
        }
        return {
            player: self.optimizer_factories[player](network.parameters())
            for player, network in networks.items()
        }

    def scheduled(self, optimizers: dict[str, Optimizer]) -> Any:
        """What Lightning wants of `configure_optimizers`."""
        return list(optimizers.values()), [
            self.make_schedule(o) for o in optimizers.values()
        ] if self.make_schedule else []

    def on_fit_start(self) -> None:
        if self.resumed:
            return
        first = next(iter(self.trainer.datamodule.train_dataloader()))  # type: ignore[attr-defined]
        self.model.init_from_batch(first[0])
        for (
            buffer
        ) in self.model.buffers():  # what was kept of a first batch is rank zero's, everywhere
            buffer.copy_(self.trainer.strategy.broadcast(buffer))
        if (
            rank := self.trainer.global_rank
        ):  # noise of its own: the same in all processes would be a batch as small as one's
            torch.manual_seed(torch.initial_seed() + (rank << 32))

    def on_train_start(self) -> None:
        """A forced resume may ask for other rates than those in the checkpoint; a schedule goes on from where it was."""
        super().on_train_start()
        for player, optimizer in zip(self.players, self.trainer.optimizers, strict=True):
            schedules = [
                schedule for schedule in self.schedules() if schedule.optimizer is optimizer
            ]
            apply_hyperparameters(
                optimizer, schedules, getattr(self.optimizer_factories[player], "keywords", {})
            )

    def descend(
        self,
        player: str,
        optimizer: LightningOptimizer,
        objective: Callable[[Batch], Objective],
        batches: list[Batch],
    ) -> bool:
        """One update of one player, down the mean of its objective over some batches. False if it was not fit to be made."""
        parts: list[Objective] = []
        for batch in batches:
            part = objective(batch)
            if not parts:
                optimizer.zero_grad()  # the old gradients' memory goes to the new ones, and not to what is computed before them
            parts.append(self.gradient(part, 1 / len(batches)))
        found = mean_objective(parts)
        scalars = found.losses | found.metrics
        if self.scaler is None:
            scalars["gradient_norm"] = gradient_norm(self.players[player])
            if not self.guard.check_gradients(scalars["gradient_norm"], self, player, found.losses):
                return False
        self.update(
            optimizer
        )  # a scaler looks for itself, and leaves out what its own scale made infinite
        self.watch(player, scalars)
        return True

    def gradient(self, objective: Objective, share: float) -> Objective:
        """Add `share` of an objective's gradient to what there is. What is returned has no graph."""
        self.differentiate(objective.loss * share if share < 1 else objective.loss)
        return Objective(detached(objective.losses), detached(objective.metrics))

    def rank_local(self) -> dict[str, Tensor]:
        """What each process keeps for itself, by name: buffers that a module lists as `of_each_process` (Markov chains, pools of fakes)."""
        kept = {
            f"{path}.{name}": getattr(module, name)
            for path, module in self.model.named_modules()
            for name in getattr(module, "rank_local_buffers", ())
        }
        return {name: buffer for name, buffer in kept.items() if buffer is not None}

    def restore_rank_local(self) -> None:
        """In a training step, not before: DDP gives all processes rank zero's buffers on its way to the first."""
        if len(self.rank_local_of_all) == self.trainer.world_size:
            for name, buffer in self.rank_local().items():
                buffer.copy_(self.rank_local_of_all[self.trainer.global_rank][name])
        self.rank_local_of_all = []

    def step_schedules(self) -> None:
        for schedule in self.schedules():
            schedule.step()

    # Lightning's `manual_backward` and `optimizer.step`, less their rounds through all callbacks, of which none listens

    def differentiate(self, loss: Tensor) -> None:
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

    def schedules(self) -> list[LRScheduler]:
        found = self.lr_schedulers()
        return [] if found is None else found if isinstance(found, list) else [found]  # type: ignore[list-item, return-value]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["divergences"] = self.guard.used
        if self.trainer.world_size > 1 and (
            own := self.rank_local()
        ):  # that of one process is in its state_dict
            checkpoint["own"] = gathered(
                {name: buffer.cpu() for name, buffer in own.items()}, self.trainer.world_size
            )

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        self.resumed, self.guard.used = True, checkpoint["divergences"]
        self.rank_local_of_all = checkpoint.get("own", [])


def detached(scalars: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach() for name, value in scalars.items()}


def mean_objective(objectives: list[Objective]) -> Objective:
    """Of each scalar over the batches of one update."""

    def over(kind: str) -> dict[str, Tensor]:
        each = [getattr(objective, kind) for objective in objectives]
        return {name: torch.stack([scalars[name] for scalars in each]).mean(0) for name in each[0]}

    return objectives[0] if len(objectives) == 1 else Objective(over("terms"), over("watched"))


def gradient_norm(parameters: list[nn.Parameter]) -> Tensor:
    return torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])


def apply_hyperparameters(
    optimizer: Optimizer, schedules: list[LRScheduler], wanted: dict[str, Any]
) -> None:
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


def compiled(objective: Callable[[Batch], Objective]) -> Callable[[Batch], Objective]:
    """Whole or not at all: a graph that broke off before the penalty would be differentiated twice, which torch cannot do."""
    return torch.compile(objective, fullgraph=True, dynamic=False)
