"""What the generator draws, from the same noise every time, so that pictures of two steps can be compared."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning as L
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.utils import make_grid, save_image

from ..quality.evaluation import as_batch, own_randomness
from ..schema import Count, Whole

if TYPE_CHECKING:
    from ..data import Samples as Data

POINTS, BINS, ZOOM = 10_000, 64, 4  # of a density picture: points that are counted, bins a side, pixels a bin


class Samples(L.Callback):
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
        data = trainer.datamodule.load("train")  # type: ignore[attr-defined]
        self.points, self.aligned = data.images.dim() == 2, trainer.datamodule.aligned  # type: ignore[attr-defined]
        self.translates = data.sources is not None
        count = min(POINTS, len(data.images)) if self.points else self.n
        self.batch = as_batch(data, chosen(data, count, self.seed), pl_module.device)
        save(self.picture(self.batch[0]), directory(trainer) / "real.png")
        if trainer.global_step == 0 and self.every:
            self.draw(trainer, pl_module, "step-000000.png")

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if pl_module.due(self.every) and trainer.is_global_zero:
            self.draw(trainer, pl_module, f"step-{trainer.global_step:06d}.png")

    def on_train_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        if trainer.is_global_zero:
            shown = self.every and trainer.global_step % self.every == 0
            self.draw(trainer, pl_module, "final.png", log=not shown)

    def draw(self, trainer: L.Trainer, pl_module: Any, name: str, log: bool = True) -> None:
        path = directory(trainer) / name
        with own_randomness(self.seed, pl_module.device):
            images = pl_module.sample(self.batch)
        beside = [self.picture(self.batch[0])] if self.points else []
        picture = self.sheet(images) if self.translates else torch.cat([self.picture(images), *beside], 2)
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


def grid(images: Tensor) -> Tensor:
    """(B, C, H, W) in [-1, 1] -> (3, H', W') in [0, 1], as square as it can be."""
    return make_grid(unit(images), nrow=math.ceil(math.sqrt(len(images))))


def sheet(sources: Tensor, images: Tensor, targets: Tensor | None = None, across: int | None = None) -> Tensor:
    """source | image | target, one such group after the other, `across` to a row; (3, H', W') in [0, 1]."""
    size = tuple(max(part.shape[-2:] for part in (sources, images)))
    parts = [enlarged(as_picture(part), size) for part in (sources, images, targets) if part is not None]
    across = across or max(1, math.ceil(math.sqrt(len(images) / len(parts))))
    return make_grid(unit(torch.stack(parts, 1).flatten(0, 1)), nrow=across * len(parts))


def as_picture(part: Tensor) -> Tensor:
    """(B, 3, H, W): grey is repeated, and a mask, the last channel, is left out."""
    part = part.detach().float().cpu()
    part = part[:, :-1] if part.shape[1] in (2, 4) else part
    return part.expand(-1, 3, -1, -1) if part.shape[1] == 1 else part


def enlarged(images: Tensor, size: tuple[int, ...]) -> Tensor:
    return images if images.shape[-2:] == size else F.interpolate(images, size)


def density(points: Tensor) -> Tensor:
    """(B, 2) in [-1, 1]^2 -> (3, H, W): the more points, the darker; the root of the count, so that sparse places show."""
    counts = torch.histogramdd(points.float().cpu(), bins=[BINS, BINS], range=[-1.0, 1.0, -1.0, 1.0]).hist
    return inked(counts.repeat_interleave(ZOOM, 0).repeat_interleave(ZOOM, 1))


def inked(values: Tensor) -> Tensor:
    """Numbers >= 0 at (x, y) -> (3, H, W): the greatest is black."""
    ink = (values / values.max().clamp(min=1e-30)).sqrt().T.flip(0)  # x to the right, y up
    return make_grid((1 - ink)[None], pad_value=0.5)


def unit(images: Tensor) -> Tensor:
    return (images.detach().float().cpu() + 1).div(2).clamp(0, 1)


def save(picture: Tensor, path: Path) -> None:
    """The file is whole or not there: someone may be looking."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    save_image(picture, unfinished, format="png")
    os.replace(unfinished, path)


def directory(trainer: L.Trainer) -> Path:
    return Path(trainer.default_root_dir) / "samples"
