"""When a model is judged, and how its fakes are drawn: before the first step, every so many steps and at the end, beside the training."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, cast

import lightning as L
import torch
from torch import Tensor

from gentrain.data.arrays import to_bytes as as_bytes
from gentrain.errors import Diverged, UserError

if TYPE_CHECKING:
    from gentrain.data.arrays import ArrayDataset
    from gentrain.data.base import Data
from gentrain.data.batches import as_batch
from gentrain.models.base import fork_rng


class Judged(Protocol):
    """What a scheme offers to be judged."""

    device: torch.device
    global_step: int
    protocols: dict[str, dict[str, Any]]

    def sample(self, batch: tuple[Tensor, ...]) -> Tensor: ...
    def record(self, metrics: dict[str, float]) -> None: ...
    def due(self, every: int) -> bool: ...


class Evaluation(L.Callback, ABC):
    """Scores at step 0, every `every` generator steps (never, for 0), and at the end. Rank 0 does all the work, the others wait.

    Neither the training's random numbers nor its weights are touched: a run with scores equals, bit for bit, a run without.
    """

    of_fakes: ClassVar[bool] = True  # the scores are of what the model draws

    def __init__(
        self, every: int, samples: int, batch_size: int, seed: int, at_start: bool
    ) -> None:
        if samples < 2:
            raise UserError(
                f"a score needs at least 2 fakes and got {samples} (quality.samples); 5000 is usual while training"
            )
        if batch_size < 1:
            raise UserError(
                f"{batch_size} fakes at a time are too few (quality.batch_size); give 1 or more"
            )
        self.every, self.samples, self.batch_size, self.seed, self.at_start = (
            every,
            samples,
            batch_size,
            seed,
            at_start,
        )
        self.last: int | None = None  # the step of the latest scores

    @abstractmethod
    def check(self, data: "Data") -> None:
        """Refuse, by a UserError, a data set that these scores do not fit."""

    @abstractmethod
    def prepare(self, data: "Data", model: Judged) -> None:
        """Whatever is needed once, on rank 0, before the first scores."""

    @abstractmethod
    def score(self, data: "Data", model: Judged) -> dict[str, float]:
        """The scores of the model as it stands."""

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self.check(cast(Any, trainer).datamodule.data)

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.is_global_zero:
            with fork_rng(self.seed, pl_module.device):
                self.prepare(cast(Any, trainer).datamodule.data, cast(Judged, pl_module))
        trainer.strategy.barrier("quality: prepared")

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.at_start and trainer.global_step == 0:
            self.evaluate(trainer, pl_module)

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        if cast(Judged, pl_module).due(self.every):
            self.evaluate(trainer, pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.last != trainer.global_step:
            self.evaluate(trainer, pl_module)

    def evaluate(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.last = trainer.global_step
        if trainer.is_global_zero:
            model = cast(Judged, pl_module)
            with fork_rng(self.seed, pl_module.device):
                scores = self.score(cast(Any, trainer).datamodule.data, model)
            model.record(scores)
        trainer.strategy.barrier("quality: scored")

    def state_dict(self) -> dict[str, Any]:
        return {"last": self.last}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.last = state_dict["last"]

    def fakes(self, model: Judged, source: "ArrayDataset") -> Iterator[Tensor]:
        """`samples` fakes in batches, of the labels (and from the images) of the rows `asked` of `source`."""
        for chunk in self.asked(source).split(self.batch_size):
            fakes = model.sample(as_batch(source, chunk, model.device))
            if not fakes.isfinite().all():
                raise Diverged(
                    f"sample() gives values that are not finite numbers at step {self.last}; the scores cannot be computed"
                )
            yield fakes

    def asked(self, source: "ArrayDataset") -> Tensor:
        """`samples` rows, a fixed random choice, repeated if there are fewer."""
        order = torch.randperm(source.rows, generator=torch.Generator().manual_seed(self.seed))
        return order.repeat(-(-self.samples // len(order)))[: self.samples]

    def images(self, model: Judged, source: "ArrayDataset") -> Tensor:
        """The fakes as uint8 (N, C, H, W) on the CPU."""
        return torch.cat([as_bytes(fakes).cpu() for fakes in self.fakes(model, source)])


def uses_ema(model: Judged) -> bool:
    """Are the fakes made with the moving average of the weights?"""
    return getattr(getattr(model, "model", None), "averaged", None) is not None


def labelled(model: Judged) -> bool:
    """Are the fakes made for labels?"""
    return bool(getattr(getattr(model, "model", None), "labelled", False))
