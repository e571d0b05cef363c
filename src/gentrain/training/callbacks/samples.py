"""What the generator draws, from the same noise every time, so that pictures of two steps can be compared."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning as L
import torch
from torch import Tensor

from gentrain.config.types import Count, Whole
from gentrain.data.batches import as_batch
from gentrain.models.base import fork_rng

if TYPE_CHECKING:
    from gentrain.data.arrays import ArrayDataset as Data
from gentrain.data.grids import POINTS, density, grid, save, sheet


class SampleGrids(L.Callback):
    """Grids of `n` images: `samples/step-000500.png` at step 0 and every `every` steps, `samples/final.png` at the end.

    Where the data are labelled, image i is of class i mod K. `samples/real.png` shows real images of the same labels. Points in the
    plane are drawn as densities, the generator's left of the data's; of a translation each image stands between its source and its
    target. Every picture goes to the loggers that take images, too.
    Training's random numbers are not touched: a run with pictures equals, bit for bit, a run without.
    """

    def __init__(self, every: Whole = 500, n: Count = 100, seed: int = 0) -> None:
        self.every, self.n, self.seed = every, n, seed

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        if not trainer.is_global_zero:
            return
        data = trainer.datamodule.data.load("train")  # type: ignore[attr-defined]
        self.points, self.aligned = data.images.dim() == 2, trainer.datamodule.data.aligned  # type: ignore[attr-defined]
        self.translates = data.sources is not None
        count = min(POINTS, len(data.images)) if self.points else self.n
        self.batch = as_batch(data, chosen(data, count, self.seed), pl_module.device)
        save(self.picture(self.batch[0]), directory(trainer) / "real.png")
        if trainer.global_step == 0 and self.every:
            self.draw(trainer, pl_module, "step-000000.png")

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if pl_module.due(self.every) and trainer.is_global_zero:
            self.draw(trainer, pl_module, f"step-{trainer.global_step:06d}.png")

    def on_train_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        if trainer.is_global_zero:
            shown = self.every and trainer.global_step % self.every == 0
            self.draw(trainer, pl_module, "final.png", log=not shown)

    def draw(self, trainer: L.Trainer, pl_module: Any, name: str, log: bool = True) -> None:
        path = directory(trainer) / name
        with fork_rng(self.seed, pl_module.device):
            images = pl_module.sample(self.batch)
        beside = [self.picture(self.batch[0])] if self.points else []
        picture = (
            self.sheet(images) if self.translates else torch.cat([self.picture(images), *beside], 2)
        )
        save(picture, path)
        for logger in trainer.loggers if log else []:
            if hasattr(logger, "log_image"):
                logger.log_image("samples", [str(path)], step=trainer.global_step)

    def sheet(self, images: Tensor) -> Tensor:
        return sheet(self.batch[1], images, self.batch[0] if self.aligned else None)

    def picture(self, images: Tensor) -> Tensor:
        return density(images) if self.points else grid(images)


def chosen(data: Data, n: int, seed: int) -> Tensor:
    """Rows of `n` samples in a random order of their own, of the classes in turn where there are labels; again when there are too few."""
    order = torch.randperm(len(data.images), generator=torch.Generator().manual_seed(seed))
    if data.labels is None or data.images.dim() == 2:
        return order.repeat(-(-n // len(order)))[:n]
    labels = data.labels.cpu()[order]
    classes = [order[labels == label] for label in labels.unique().tolist()]
    turns = (divmod(i, len(classes)) for i in range(n))
    return torch.stack([classes[label][turn % len(classes[label])] for turn, label in turns])


def directory(trainer: L.Trainer) -> Path:
    return Path(trainer.default_root_dir) / "samples"
