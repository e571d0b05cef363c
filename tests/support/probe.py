"""`gentrain`, and at its end what every process has.

`python -m tests.support.probe key=value ...` leaves rank-0.pt ... in the run directory.

With PROBE_JOINT=1 the random numbers of an objective are those of the joint batch of all processes,
each taking its own rows: two processes of 8 images then compute what one of 16 computes.
"""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor

from gentrain.adversarial import lipschitz
from gentrain.cli.main import run


class Probe(L.Callback):
    """Keeps a digest of every batch's images and of the random state at every step.

    It also keeps the weights at the end.
    """

    def __init__(self) -> None:
        self.images: list[str] = []
        self.random: list[str] = []

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        if "PROBE_JOINT" in os.environ:
            join(trainer, pl_module, batch_idx)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.images += [digest(images) for images, *_ in batch]
        self.random.append(digest(torch.get_rng_state()))

    def on_train_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        model = {
            name: tensor.cpu()
            for name, tensor in pl_module.model.state_dict().items()
            if torch.is_tensor(tensor)
        }
        parameters = [name for name, _ in pl_module.model.named_parameters()]
        kept = {
            "model": model,
            "parameters": parameters,
            "images": self.images,
            "random": self.random,
            "latest": pl_module.latest,
        }
        torch.save(kept, Path(trainer.default_root_dir, f"rank-{trainer.global_rank}.pt"))


def join(trainer: L.Trainer, pl_module: Any, seed: int) -> None:
    draw, rank, world = torch.Generator().manual_seed(seed), trainer.global_rank, trainer.world_size

    def mine(n: int, *shape: int) -> Tensor:
        return torch.rand(n * world, *shape, generator=draw)[n * rank : n * (rank + 1)]

    generator = pl_module.model.generator
    generator.noise = lambda n, device: mine(n, generator.latent) * 2 - 1
    lipschitz.uniform_per_sample = lambda x: mine(len(x), *[1] * (x.ndim - 1))


def digest(tensor: Tensor) -> str:
    return hashlib.sha256(tensor.cpu().contiguous().numpy().tobytes()).hexdigest()


def main() -> None:
    from gentrain.training import job

    make = job.Job.make_trainer

    def watched(self: Any) -> L.Trainer:
        self.callbacks.insert(0, Probe())
        return make(self)

    job.Job.make_trainer = watched
    torch.set_num_threads(1)
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
