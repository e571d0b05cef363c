"""A real adversarial game on 8x8 noise, and the trainer that plays it."""

from __future__ import annotations

import random
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import ProgressBar

from gentrain.adversarial.criterion import AdversarialCriterion
from gentrain.adversarial.lipschitz import Unconstrained
from gentrain.adversarial.losses import js
from gentrain.data.arrays import ArrayDataset
from gentrain.data.base import Data
from gentrain.models.gan.gan import GAN
from gentrain.networks import mlp
from gentrain.training.adversarial import AdversarialModule
from gentrain.training.checkpoint_io import AtomicIO
from gentrain.training.datamodule import DataModule


class Noise(Data):
    """96 images of noise in 4 classes, or points in the plane."""

    def read(self, split: str) -> ArrayDataset:
        draw = torch.Generator().manual_seed(3)
        if len(self.shape) == 1:
            return ArrayDataset(torch.rand(96, 2, generator=draw) * 2 - 1, None)
        return ArrayDataset(
            torch.randint(256, (96, *self.shape), generator=draw, dtype=torch.uint8),
            torch.randint(4, (96,), generator=draw),
        )


class Drawing(L.Callback):
    """Uses every kind of random number, as augmentations might; `seen` shows whether a resumed run
    goes on with the same ones.
    """

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_train_batch_start(self, *_: Any) -> None:
        self.seen += [random.random(), float(np.random.rand()), float(torch.rand(()))]


class Score(L.Callback):
    """Records a given score at given steps, as quality does."""

    def __init__(self, scores: dict[int, float], name: str = "quality/fid") -> None:
        self.scores, self.name = scores, name

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, *_: Any) -> None:
        if pl_module.due(1) and trainer.global_step in self.scores:
            pl_module.record({self.name: self.scores[trainer.global_step]})


def scheme(
    shape: tuple[int, ...] = (1, 8, 8),
    critic_steps: int = 3,
    log_every: int = 1,
    dropout: float = 0.1,
) -> AdversarialModule:
    sizes: Any = {"shape": list(shape), "width": 16, "depth": 1}
    generator = partial(mlp.Generator, **sizes, latent=4)
    critic = partial(mlp.Critic, **sizes, dropout=dropout)
    game = GAN(generator, critic, AdversarialCriterion(js(), Unconstrained()))

    def adam(parameters: Any) -> torch.optim.Optimizer:
        return torch.optim.Adam(parameters, 1e-3)

    def decay(optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
        return torch.optim.lr_scheduler.StepLR(optimizer, 4, 0.5)

    return AdversarialModule(
        game, {"critic": adam, "generator": adam}, critic_steps, decay, log_every
    )


def trainer(
    run_dir: Path, steps: int, callbacks: list[L.Callback], loggers: Any = False
) -> L.Trainer:
    return L.Trainer(
        accelerator="cpu",
        max_steps=steps,
        max_epochs=-1,
        default_root_dir=run_dir,
        logger=loggers,
        callbacks=callbacks,
        plugins=[AtomicIO()],
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=any(isinstance(callback, ProgressBar) for callback in callbacks),
        use_distributed_sampler=False,
    )


def train(
    run_dir: Path,
    steps: int,
    callbacks: list[L.Callback],
    loggers: Any = False,
    seed: int = 0,
    resume: Path | None = None,
    shape: tuple[int, ...] = (1, 8, 8),
    validation: float = 0.1,
    **options: Any,
) -> AdversarialModule:
    L.seed_everything(seed, verbose=False)
    model = scheme(shape, **options)
    data = Noise(
        name="noise",
        shape=shape,
        classes=4 if len(shape) == 3 else None,
        validation=validation,
        batch_size=8,
    )
    trainer(run_dir, steps, callbacks, loggers).fit(
        model, datamodule=DataModule(data), ckpt_path=resume
    )
    return model
