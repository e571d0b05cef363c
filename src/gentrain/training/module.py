"""The base of all training: guarded updates of one or several players, each with its optimizer."""

from __future__ import annotations

import functools
import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from typing import Any, ClassVar

import lightning as L
import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from gentrain.config.factory import Factory
from gentrain.errors import Diverged
from gentrain.layers.lazy_buffers import HasRankLocalBuffers
from gentrain.models.objective import Objective
from gentrain.patience import say_if_slow
from gentrain.training.curves import Clock, Curves
from gentrain.training.distributed import gathered
from gentrain.training.divergence import DivergenceGuard, OnDivergence
from gentrain.training.gradients import (
    Compile,
    CompiledStep,
    EagerStep,
    GradientStep,
    seconds_of,
    worth_compiling,
)

log = logging.getLogger("gentrain")
Batch = tuple[Tensor, ...]
OptimizerFactory = Callable[..., Optimizer]
ScheduleFactory = Callable[[Optimizer], LRScheduler]


class TrainingModule(L.LightningModule, ABC):
    """A model and how it is trained; a subclass says what one training step is.

    `global_step` counts the updates of `step_counts_player`. Scalars stay on the device. Every
    `log_every` steps their means are read and go to every logger.

    Args:
        model: the model.
        optimizers: makes the optimizer of each player from its parameters.
        schedule: makes a learning-rate schedule, which advances once a step; None keeps the rates.
        log_every: steps between two logged steps.
        compile: compile each player's whole update as one function. auto does so where the run is
            long enough to pay for that; see `worth_compiling`.
        on_divergence: what happens to an update with a gradient that is not finite; see
            `DivergenceGuard`.
        divergence_budget: updates that may be skipped or rolled back.
    """

    step_counts_player: ClassVar[str]
    model: Any
    objectives: dict[str, Callable[[Batch], Objective]]  # what each player minimises

    def __init__(
        self,
        model: Any,
        optimizers: dict[str, OptimizerFactory],
        schedule: ScheduleFactory | None,
        log_every: int,
        compile: Compile,
        on_divergence: OnDivergence,
        divergence_budget: int,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model = model.to(memory_format=model.memory_format)
        self.optimizer_factories, self.make_schedule = optimizers, schedule
        self.log_every, self.guard = log_every, DivergenceGuard(on_divergence, divergence_budget)
        self.compile_when = compile
        self.chosen: dict[str, bool] = {}  # whether each player's update is compiled
        self.steps: dict[str, GradientStep] = {}  # of each player, from its first update on
        self.resumed = False
        self.stepped = False  # the last training step updated the weights of `step_counts_player`
        self.scored_at: int | None = None  # the step of the latest scores, on every process
        self.latest: dict[str, float] = {}  # the newest value of everything logged
        self.logged_at: dict[str, int] = {}  # its step, where this process has logged it
        self.protocols: dict[str, Any] = {}  # how each metric measures, by its key
        self.measured_by: dict[str, str] = {}  # of each score, the key of its metric in `protocols`
        self.origin: dict[str, Any] = {}  # what a checkpoint says of its configuration
        self.curves, self.clock = Curves(), Clock()
        # the rank-local buffers of all processes, until the first step after a resume
        self.rank_local_of_all: list[dict[str, Tensor]] = []

    # --- what callbacks use -----------------------------------------------------------------------

    def due(self, every: int) -> bool:
        """Whether the step that was just made is a multiple of `every`; never, for 0.

        For callbacks, in `on_train_batch_end`.
        """
        return self.stepped and bool(every) and self.global_step % every == 0

    def sample(self, batch: Batch) -> Tensor:
        """As many images as the batch has, for its labels or from its sources."""
        return self.model.sample(batch)

    def record(self, scalars: dict[str, float]) -> None:
        """Log scalars at the current step, and keep them for the summary."""
        self.latest |= scalars
        self.logged_at |= dict.fromkeys(scalars, self.global_step)
        for logger in self.loggers:
            logger.log_metrics(scalars, step=self.global_step)

    # --- the start of a training ------------------------------------------------------------------

    def make_optimizers(self, networks: dict[str, nn.Module]) -> dict[str, Optimizer]:
        """Make an optimizer for each player."""
        self.players = {
            player: [p for p in network.parameters() if p.requires_grad]
            for player, network in networks.items()
        }
        return {
            player: self.make_optimizer(player, network) for player, network in networks.items()
        }

    def make_optimizer(self, player: str, network: nn.Module) -> Optimizer:
        """Make a player's optimizer, with a group for each part that has its own rate."""
        parts = self.rated_parts(player)
        if not parts:
            return self.optimizer_factories[player](network.parameters())
        each = [list(part.parameters()) for part, _ in parts]
        apart = {id(p) for some in each for p in some}
        rest = [p for p in network.parameters() if id(p) not in apart]
        optimizer = self.optimizer_factories[player]([{"params": some} for some in (rest, *each)])
        for group, factor in zip(optimizer.param_groups, self.rate_factors(player), strict=True):
            group["lr"] *= factor
        return optimizer

    def rated_parts(self, player: str) -> list[tuple[nn.Module, float]]:
        """Parts of a player that learn at another rate, and by what factor; none here."""
        return []

    def rate_factors(self, player: str) -> list[float]:
        """The factor of each group of a player's weights; the first is of all other parts."""
        return [1.0, *(factor for _, factor in self.rated_parts(player))]

    def with_schedules(self, optimizers: dict[str, Optimizer]) -> Any:
        """What Lightning wants of `configure_optimizers`."""
        made = list(optimizers.values())
        return made, [self.make_schedule(o) for o in made] if self.make_schedule else []

    def on_fit_start(self) -> None:
        """Show the model a first batch of a new run, and give every process noise of its own."""
        if self.resumed:
            return
        first = next(iter(self.trainer.datamodule.train_dataloader()))  # type: ignore[attr-defined]
        self.model.init_from_batch(first[0])
        self.share_start()
        if rank := self.trainer.global_rank:
            # equal noise in all processes would make their batch as small as one process's
            torch.manual_seed(torch.initial_seed() + (rank << 32))

    @torch.no_grad()
    def share_start(self) -> None:
        """Start every process from what rank 0 has seen: its buffers, and its first weights."""
        if self.trainer.world_size > 1:
            for tensor in (*self.model.parameters(), *self.model.buffers()):
                tensor.copy_(self.trainer.strategy.broadcast(tensor.detach()))

    def on_train_start(self) -> None:
        """Apply the configured rates, which may differ from the checkpoint's in a forced resume."""
        self.clock.start()
        for player, optimizer in zip(self.players, self.trainer.optimizers, strict=True):
            own = [schedule for schedule in self.schedules if schedule.optimizer is optimizer]
            wanted = keywords_of(self.optimizer_factories[player])
            apply_hyperparameters(optimizer, own, wanted, self.rate_factors(player))
            if self.resumed and self.make_schedule:
                self.follow_schedule(player, optimizer, own[0])

    def follow_schedule(self, player: str, optimizer: Optimizer, schedule: LRScheduler) -> None:
        """Set the rate that the configured schedule has at this step.

        The checkpoint's rate is another one where the run is resumed with more steps or with
        another schedule. Otherwise nothing changes, so that a resume is exact.
        """
        assert self.make_schedule is not None
        step = schedule.last_epoch or self.trainer.global_step
        base = keywords_of(self.optimizer_factories[player]).get("lr", optimizer.defaults["lr"])
        rate, state = rate_at(self.make_schedule, base, step)
        old = optimizer.param_groups[0]["lr"]
        if math.isclose(rate, old, rel_tol=1e-6, abs_tol=1e-12 * base):
            return
        schedule.load_state_dict(state)
        factors = self.rate_factors(player)
        schedule.base_lrs = [base * factor for factor in factors]
        for group, factor in zip(optimizer.param_groups, factors, strict=True):
            group["lr"], group["initial_lr"] = rate * factor, base * factor
        log.warning(
            f"learning rate of the {player} at step {step}: {old:.3g} -> {rate:.3g}, that of the "
            "configured schedule and steps (schedule, steps)"
        )

    # --- one update -------------------------------------------------------------------------------

    def update(
        self,
        player: str,
        optimizer: LightningOptimizer,
        step: GradientStep,
        batches: list[Batch],
        curves: str | None = None,
    ) -> dict[str, Tensor] | None:
        """Update one player by the mean gradient of its objective over some batches.

        Args:
            player: whose weights are updated.
            optimizer: the player's.
            step: gives the gradient of a batch.
            batches: whose gradients are averaged.
            curves: the group of the scalars' names; None takes the player's name.

        Returns:
            The player's named losses and metrics; None where the gradient was not finite and the
            weights were left as they are.
        """
        share = 1 / len(batches)
        found = mean_objective([step(batch, share, i > 0) for i, batch in enumerate(batches)])
        scalars = found.losses | found.metrics
        if self.scaler is None:
            scalars["gradient_norm"] = gradient_norm(self.players[player])
            if not self.guard.check_gradients(scalars["gradient_norm"], self, player, found.losses):
                return None
        self.step_optimizer(optimizer, counts=player == self.step_counts_player)
        step.release()
        self.curves.add(curves or player, scalars)
        return scalars

    def gradient_step(self, player: str, batches: list[Batch]) -> GradientStep:
        """How a player's gradient is computed: eagerly or compiled, chosen in its first update."""
        if player not in self.steps:
            self.steps[player] = self.make_step(player, batches)
        return self.steps[player]

    def make_step(self, player: str, batches: list[Batch]) -> GradientStep:
        """Choose how a player's gradient is computed; a resumed run goes on as it was.

        The gradients of several processes are averaged while torch differentiates, which must then
        happen outside of the compiled function.
        """
        eager = self.eager_step(player, self.objectives[player])
        if self.compile_when is False:
            return eager
        if self.trainer.world_size > 1:
            if self.compile_when == "auto":
                log.info("compile=auto leaves a run of several processes as it is")
                return eager
            log.info("of a run of several processes, the objective is compiled alone (compile)")
            return self.eager_step(player, compiled(self.objectives[player]))
        if player not in self.chosen:
            self.chosen[player] = self.compile_when is True or self.pays(player, eager, batches)
        if not self.chosen[player]:
            return eager
        one = torch.ones((), device=self.device)
        scale = None if self.scaler is None else partial(self.scaler.scale, one)
        return CompiledStep(player, eager, self.model, scale, self.computed_in(), self.device)

    def eager_step(self, player: str, objective: Callable[[Batch], Objective]) -> EagerStep:
        """A player's gradient, operation by operation."""
        return EagerStep(objective, self.players[player], self.backward_loss)

    def backward_loss(self, loss: Tensor) -> None:
        """Lightning's manual_backward, without its calls of every callback."""
        self.trainer.strategy.pre_backward(loss)  # DDP looks for the weights of this graph
        (loss if self.scaler is None else self.scaler.scale(loss)).backward()

    def computed_in(self) -> torch.dtype:
        """The type in which most is computed."""
        names = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
        kept = next(self.model.parameters()).dtype
        return names.get(str(self.trainer.precision), kept)

    def pays(self, player: str, eager: GradientStep, batches: list[Batch]) -> bool:
        """Whether compiling a player's update saves more time than it takes."""
        if not self.compilable:
            log.info("compile=auto: the %s's update cannot be compiled", player)
            return False
        seconds = seconds_of(eager, batches, self.model, self.device)
        left = (self.trainer.max_steps - self.global_step) * self.updates_per_step(player)
        worth = worth_compiling(seconds * left, self.device.type)
        log.info(
            "compile=auto: %.3g s of gradients for the %s, %s",
            seconds * left,
            player,
            "which are compiled" if worth else "too few to compile them",
        )
        return worth

    def updates_per_step(self, player: str) -> int:
        """How often a player is updated in a training step."""
        return 1

    @property
    @abstractmethod
    def compilable(self) -> bool:
        """Whether the objectives can be traced."""

    def step_optimizer(self, optimizer: LightningOptimizer, counts: bool) -> None:
        """Make an optimizer's step, without Lightning's calls of every callback.

        A gradient scaler looks for infinite gradients itself, and leaves such a step out.

        Args:
            optimizer: optimizer of one player.
            counts: whether `global_step` counts this step.
        """
        if counts:
            optimizer._on_before_step()
        if self.scaler is None:
            optimizer.optimizer.step()
        else:
            self.scaler.step(optimizer.optimizer)
            self.scaler.update()
        if counts:
            optimizer._on_after_step()

    def step_schedules(self) -> None:
        """Advance every learning-rate schedule by one step."""
        for schedule in self.schedules:
            schedule.step()

    @property
    def schedules(self) -> list[LRScheduler]:
        """The learning-rate schedules."""
        configured = self.trainer.lr_scheduler_configs
        return [config.scheduler for config in configured]  # type: ignore[misc]

    @property
    def scaler(self) -> torch.amp.GradScaler | None:
        """The gradient scaler of 16-bit training."""
        match self.trainer.precision_plugin:
            case MixedPrecision(scaler=scaler):
                return scaler
        return None

    # --- the end of a step ------------------------------------------------------------------------

    def end_step(self, images: int) -> None:
        """Count the real images of this training step, and log when it is time."""
        self.clock.count(images * self.trainer.world_size, self.stepped)
        last = self.stepped and self.global_step == self.trainer.max_steps
        if not (self.due(self.log_every) or last):
            self.clock.stop()
            return
        scalars = self.finite(self.curves.means(self.device))  # waits until the device is done
        self.clock.stop()
        self.record(scalars | self.clock.throughput())

    def finite(self, scalars: dict[str, float]) -> dict[str, float]:
        """The scalars; raises Diverged where one is not finite."""
        if bad := [name for name, value in scalars.items() if not math.isfinite(value)]:
            raise Diverged(
                f"{', '.join(bad)} not finite at step {self.global_step}; "
                "lower scheme.optimizers.*.lr, or resume an earlier checkpoint"
            )
        return scalars

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.clock.start()

    # --- checkpoints ------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["window"] = self.curves.state_dict()
        checkpoint["latest"], checkpoint["protocols"] = self.latest, self.protocols
        checkpoint["measured_by"] = self.measured_by
        checkpoint["origin"], checkpoint["divergences"] = self.origin, self.guard.used
        chosen = {player: self.steps[player].compiled for player in self.chosen}
        checkpoint["threads"] = torch.get_num_threads()
        checkpoint["wall_seconds"] = self.clock.wall_seconds
        checkpoint["compiled"] = {"asked": self.compile_when, "chosen": chosen}
        # the buffers of a single process are in its state_dict
        if self.trainer.world_size > 1 and (own := self.rank_local()):
            on_cpu = {name: buffer.cpu() for name, buffer in own.items()}
            checkpoint["own"] = gathered(on_cpu, self.trainer.world_size)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.curves.load_state_dict(checkpoint["window"])
        self.latest, self.protocols = checkpoint["latest"], checkpoint["protocols"]
        self.measured_by = checkpoint.get("measured_by", {})  # older ones have none
        self.resumed, self.guard.used = True, checkpoint["divergences"]
        self.clock.earlier = checkpoint.get("wall_seconds", 0.0)  # 0.1 did not save it
        before = checkpoint.get("compiled", {})
        if before.get("asked") == self.compile_when:
            self.chosen = before["chosen"]
        self.rank_local_of_all = checkpoint.get("own", [])

    def rank_local(self) -> dict[str, Tensor]:
        """The buffers that each process keeps for itself (Markov chains, pools), by name."""
        return {
            f"{path}.{name}": buffer
            for path, module in self.model.named_modules()
            if isinstance(module, HasRankLocalBuffers)
            for name, buffer in module.rank_local().items()
        }

    def restore_rank_local(self) -> None:
        """Restore this process's own buffers after a resume.

        It is called in a training step: DDP gives all processes rank 0's buffers on the way to the
        first one.
        """
        if len(self.rank_local_of_all) == self.trainer.world_size:
            saved = self.rank_local_of_all[self.trainer.global_rank]
            for name, buffer in self.rank_local().items():
                buffer.copy_(saved[name])
        self.rank_local_of_all = []


def mean_objective(parts: list[Objective]) -> Objective:
    """The mean of each scalar over the batches of one update."""
    if len(parts) == 1:
        return parts[0]
    return Objective(
        mean_scalars([part.losses for part in parts]),
        mean_scalars([part.metrics for part in parts]),
    )


def mean_scalars(each: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of each named scalar."""
    return {name: torch.stack([scalars[name] for scalars in each]).mean(0) for name in each[0]}


def gradient_norm(parameters: list[nn.Parameter]) -> Tensor:
    """The L2 norm of all gradients together."""
    return torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])


def keywords_of(factory: OptimizerFactory) -> dict[str, Any]:
    """The options that the configuration gives an optimizer."""
    match factory:
        case functools.partial(keywords=keywords) | Factory(keywords=keywords):
            return keywords
    return {}


def apply_hyperparameters(
    optimizer: Optimizer,
    schedules: list[LRScheduler],
    wanted: dict[str, Any],
    factors: Sequence[float],
) -> None:
    """Give an optimizer the configured numbers, where a checkpoint has brought it others.

    A schedule goes on from where it is, with the new rate as its base.

    Args:
        optimizer: as the checkpoint has restored it.
        schedules: schedules of this optimizer.
        wanted: the configured options.
        factors: of the rate, of each group of weights.
    """
    for i, (group, factor) in enumerate(zip(optimizer.param_groups, factors, strict=True)):
        initial = group.get("initial_lr", group["lr"])
        group.update({key: value for key, value in wanted.items() if key in group and key != "lr"})
        rate = wanted["lr"] * factor if "lr" in wanted else initial
        if rate == initial:
            continue
        group["lr"] *= rate / initial
        for schedule in schedules:
            group["initial_lr"] = rate
            schedule.base_lrs[i] = rate


def rate_at(make_schedule: ScheduleFactory, base: float, step: int) -> tuple[float, dict[str, Any]]:
    """The rate that a schedule has after some steps, and its state there.

    Args:
        make_schedule: makes the schedule.
        base: the rate that it starts with.
        step: how many steps it makes.
    """
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=base)
    schedule = make_schedule(optimizer)
    for _ in range(step):
        optimizer.step()
        schedule.step()
    return optimizer.param_groups[0]["lr"], schedule.state_dict()


def compiled(objective: Callable[[Batch], Objective]) -> Callable[[Batch], Objective]:
    """Compile an objective as one graph.

    If the graph broke off before a gradient penalty, torch would differentiate the compiled part
    twice, which it cannot do.
    """
    fast, calls = torch.compile(objective, fullgraph=True, dynamic=False), count()

    def called(batch: Batch) -> Objective:
        if next(calls):
            return fast(batch)
        with say_if_slow("compiling the objective, once a run (compile)"):
            return fast(batch)

    return called
