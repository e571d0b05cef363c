"""Pictures of samples, from the same noise every time, so that two steps can be compared."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor

from gentrain.config.types import Count, Whole
from gentrain.data.arrays import ArrayDataset, random_rows
from gentrain.data.batches import as_batch
from gentrain.data.grids import POINTS, grid, save, scatter, sheet
from gentrain.models.base import fork_rng, warn_of_few_chains
from gentrain.patience import say_if_slow
from gentrain.streams import image_streams
from gentrain.tables import quantity
from gentrain.training.loggers import dashboards


class SampleGrids(L.Callback):
    """Draws grids of samples at step 0, every so many steps, and at the end.

    The files are `samples/step-000500.png` and the like, `samples/final.png`, and
    `samples/real.png` with real images of the same labels. Where the data are labelled, image i is
    of class i mod K. Points are drawn as densities (see `scatter`), the generator's left of the
    data's. Each translation stands between its source and its target. Sounds are shown as their mel
    spectrograms, and `samples/step-000500.wav` has the first of them. Every picture goes to the
    loggers that take images, too. The random numbers of the training are not touched: a run with
    pictures equals, bit for bit, a run without.

    Args:
        every: steps between two grids; 0 for the end alone.
        n: images of a grid.
        seed: seed for the noise, and for the choice of labels and sources.
    """

    def __init__(self, every: Whole = 500, n: Count = 100, seed: int = 0) -> None:
        self.every, self.n, self.seed = every, n, seed

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        if not trainer.is_global_zero:
            return
        data = trainer.datamodule.data  # type: ignore[attr-defined]
        train = data.load("train")
        self.points, self.aligned = train.images.dim() == 2, data.aligned
        self.translates = train.sources is not None
        self.frame, self.data = data.frame if self.points else None, data
        count = min(POINTS, len(train.images)) if self.points else self.n
        warn_of_few_chains(pl_module.model, count)
        self.batch = as_batch(train, chosen(train, count, self.seed), pl_module.device)
        real = directory(trainer) / "real.png"
        save(self.picture(self.batch[0]), real)
        heard = data.write_to_hear(self.batch[0], real.with_suffix(""))
        if trainer.global_step == 0:
            self.show("real", real, heard, trainer)
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
        """Draw one grid into a file, and send it to the loggers."""
        path = directory(trainer) / name
        streams = image_streams(self.seed, range(len(self.batch[0])))
        slow = say_if_slow(f"drawing {quantity(len(self.batch[0]), 'sample')} for {path.name}")
        with fork_rng(self.seed, pl_module.device), streams, slow:
            images = pl_module.sample(self.batch)
        if self.translates:
            target = self.batch[0] if self.aligned else None
            save(sheet(self.batch[1], images, target), path)
        else:
            real = [self.picture(self.batch[0])] if self.points else []
            save(torch.cat([self.picture(images), *real], 2), path)
        heard = self.data.write_to_hear(images, path.with_suffix(""))
        if log:
            self.show("samples", path, heard, trainer)

    def show(self, name: str, path: Path, heard: Sequence[Path], trainer: L.Trainer) -> None:
        """Send a picture, and what is to be heard, to the dashboards."""
        step = trainer.global_step
        caption = f"{path.stem}, step {step}, seed {self.seed}"
        for dashboard in dashboards(trainer.loggers):
            dashboard.show(name, path, step, caption)
            for sound in heard:
                dashboard.play_sound(name, sound, step, caption)

    def picture(self, images: Tensor) -> Tensor:
        """Points as densities, images as a grid, sounds as a grid of spectrograms."""
        return scatter(images, self.frame) if self.points else grid(self.data.as_images(images))


def chosen(data: ArrayDataset, n: int, seed: int) -> Tensor:
    """Rows of `n` samples in a random order, again if there are too few.

    Where there are labels, the classes take turns.
    """
    order = random_rows(len(data.images), seed=seed)
    if data.labels is None or data.images.dim() == 2:
        return order.repeat(-(-n // len(order)))[:n]
    _, labels = data.labels.cpu()[order].unique(dim=0, return_inverse=True)
    classes = [order[labels == label] for label in range(int(labels.max()) + 1)]
    turns = (divmod(i, len(classes)) for i in range(n))
    return torch.stack([classes[label][turn % len(classes[label])] for turn, label in turns])


def directory(trainer: L.Trainer) -> Path:
    """Where a run's pictures are."""
    return Path(trainer.default_root_dir) / "samples"
