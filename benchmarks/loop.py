"""What a generator iteration costs: gentrain beside hand-written loops.

All of them use the same tensors, live in one process and take turns.

    python benchmarks/loop.py [--quick] [--threads 1] [--device cpu] [--rounds 9] [--out FILE]

See README.md beside this file for what is compared and how to read the table.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import frame
import lightning as L
import torch
import torch.nn.functional as F
from hydra import compose, initialize_config_dir
from omegaconf import open_dict
from torch import Tensor, nn

from gentrain.cli.compose import register
from gentrain.config import paths, schema
from gentrain.config.build import build
from gentrain.layers.activation import LeakyReLU, ReLU
from gentrain.training.job import Job

QUIET = (
    "data=mnist_5k",
    "data.workers=0",
    "quality=none",
    "logger=csv",
    "steps=1000000000",
    "samples.every=0",
    "checkpoint.every=0",
)


@dataclass(frozen=True)
class Work:
    """A training that all contenders do."""

    name: str
    overrides: tuple[str, ...]


WORKS = {
    "nf16": Work(
        "wgan_gp, dcgan nf=16, 5:1, batch 64",
        ("model=wgan_gp", "model.generator.width=16", "model.critic.width=16"),
    ),
    "mlp": Work("wgan_gp, mlp 512 x 2, 5:1, batch 64", ("model=wgan_gp", "network=mlp")),
    "dcgan": Work(
        "dcgan nf=16, batch norm, 1:1, batch 128",
        ("model=dcgan", "model.generator.width=16", "model.critic.width=16"),
    ),
    "nf64": Work("wgan_gp, dcgan nf=64, 5:1, batch 64", ("model=wgan_gp",)),
    "tiny": Work(
        "wgan_gp, mlp 4 x 1, 1:1, batch 4 (no arithmetic to speak of)",
        (
            "model=wgan_gp",
            "network=mlp",
            "scheme.critic_steps=1",
            "data.batch_size=4",
            "model.generator.latent=4",
            "model.generator.width=4",
            "model.critic.width=4",
            "model.generator.depth=1",
            "model.critic.depth=1",
        ),
    ),
}


def configuration(work: Work, device: str) -> dict[str, Any]:
    """The whole configuration of a training, without samples, scores and checkpoints."""
    trainer = "trainer=gpu" if device == "cuda" else "trainer=cpu"
    register()
    with initialize_config_dir(str(paths.conf_dir()), version_base="1.3"):
        cfg = compose("train", overrides=[*QUIET, trainer, *work.overrides])
    with open_dict(cfg):
        cfg.pop("sweep", None)
    return schema.resolved(cfg)


# --- loops written by hand ------------------------------------------------------------------------


def model_of(job: Job) -> Any:
    return job.scheme.model


class ByHand:
    """A loop as one writes it for one paper: no trainer, no log, no checkpoint."""

    fused: bool | None = None  # Adam in one pass over all weights; None for torch's default

    def __init__(self, job: Job, device: str) -> None:
        scheme, model = job.config["scheme"], copy.deepcopy(model_of(job)).to(device)
        self.generator, self.critic, self.device = model.generator, model.critic, device
        self.critic_steps = scheme["critic_steps"]
        self.penalised = "gradient_penalty" in model.regularizers
        self.g_opt = self.adam(self.generator, scheme["optimizers"]["generator"])
        self.d_opt = self.adam(self.critic, scheme["optimizers"]["critic"])
        data = build(job.config["data"], "data")
        self.batches = iter(data.batches(torch.device(device)))

    def adam(self, network: nn.Module, node: dict[str, Any]) -> torch.optim.Adam:
        return torch.optim.Adam(
            network.parameters(), float(node["lr"]), betas=tuple(node["betas"]), fused=self.fused
        )

    def iterate(self, n: int) -> None:
        """n generator iterations."""
        for _ in range(n):
            for _ in range(self.critic_steps):
                real = next(self.batches)[0]
                self.critic_step(real)
            self.generator_step(len(real))

    def weights(self) -> dict[str, Tensor]:
        networks = {"generator": self.generator, "critic": self.critic}
        return {
            f"{player}.{name}": p
            for player, network in networks.items()
            for name, p in network.named_parameters()
        }

    def critic_step(self, real: Tensor) -> None:
        with torch.no_grad():
            fake = self.generator(self.generator.noise(len(real), self.device))
        on_real, on_fake = self.scores(real, fake)
        loss = (
            on_fake.mean() - on_real.mean()
            if self.penalised
            else F.softplus(-on_real).mean() + F.softplus(on_fake).mean()
        )
        if self.penalised:
            loss = loss + self.penalty(real, fake)
        self.d_opt.zero_grad()
        loss.backward()
        self.d_opt.step()

    def generator_step(self, n: int) -> None:
        on_fake = self.critic(self.generator(self.generator.noise(n, self.device)))
        loss = -on_fake.mean() if self.penalised else F.softplus(-on_fake).mean()
        self.g_opt.zero_grad()
        loss.backward()
        self.g_opt.step()

    def penalty(self, real: Tensor, fake: Tensor) -> Tensor:
        eps = torch.rand(len(real), *[1] * (real.ndim - 1), device=self.device)
        x = torch.lerp(fake, real, eps).requires_grad_()
        (grad,) = torch.autograd.grad(self.critic(x).sum(), x, create_graph=True)
        return 10 * (grad.flatten(1).norm(dim=1) - 1).square().mean()

    def scores(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        return self.critic(real), self.critic(fake)


class Minimal(ByHand):
    """The shortest loop that computes the same.

    It has torch's own rectifiers and contiguous weights, scores real and fake images in two
    forwards, and never switches gradients off.
    """

    def __init__(self, job: Job, device: str) -> None:
        super().__init__(job, device)
        for network in (self.generator, self.critic):
            plain(network).to(memory_format=torch.contiguous_format)


class SameArithmetic(ByHand):
    """gentrain's arithmetic, to the last operation.

    It has gentrain's rectifier and channels_last weights, scores both batches in one forward where
    the critic allows it, and computes no gradients of the critic's weights in the generator's step.
    """

    fused = True

    def scores(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        if not self.penalised:  # a critic with batch norm
            return super().scores(real, fake)
        on_real, on_fake = self.critic(torch.cat([real, fake])).chunk(2)
        return on_real, on_fake

    def generator_step(self, n: int) -> None:
        self.critic.requires_grad_(False)
        super().generator_step(n)
        self.critic.requires_grad_(True)


def plain(network: nn.Module) -> nn.Module:
    """Replace gentrain's rectifiers by torch's own."""
    for module in list(network.modules()):
        for name, child in module.named_children():
            match child:
                case ReLU():
                    setattr(module, name, nn.ReLU())
                case LeakyReLU():
                    setattr(module, name, nn.LeakyReLU(child.slope))
    return network


# --- gentrain itself ------------------------------------------------------------------------------


class Finished(Exception):
    """The benchmark needs no more iterations."""


class Gate(L.Callback):
    """The last callback. It stops the trainer's thread until more iterations are asked for."""

    def __init__(self) -> None:
        self.go, self.done, self.allowed = threading.Event(), threading.Event(), 0
        self.error: BaseException | None = None

    def on_train_start(self, *_: Any) -> None:
        self.wait()

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, *_: Any) -> None:
        self.allowed -= 1
        if self.allowed == 0:
            self.wait()

    def wait(self) -> None:
        self.done.set()
        self.go.wait()
        self.go.clear()
        if self.allowed == 0:
            raise Finished


class Gentrain:
    """A whole `gentrain` run.

    It has Lightning's trainer, every default callback, metrics.csv and scalars every 50 steps.
    """

    def __init__(self, job: Job) -> None:
        self.job, self.gate = job, Gate()
        job.trainer.callbacks.append(self.gate)  # type: ignore[attr-defined]
        self.thread = threading.Thread(
            target=self.run, args=(torch.get_num_threads(),), daemon=True
        )
        self.thread.start()
        self.wait_until_done()

    def run(self, threads: int) -> None:
        torch.set_num_threads(threads)  # OpenMP has a setting for each calling thread
        try:
            self.job.fit()
        except Finished:
            pass
        except BaseException as error:
            self.gate.error = error
        self.gate.done.set()

    def wait_until_done(self) -> None:
        self.gate.done.wait()
        self.gate.done.clear()
        if self.gate.error is not None:
            raise self.gate.error

    def iterate(self, n: int) -> None:
        self.gate.allowed = n
        self.gate.go.set()
        self.wait_until_done()

    def weights(self) -> dict[str, Tensor]:
        return dict(model_of(self.job).named_parameters())

    def close(self) -> None:
        self.iterate(0)
        self.thread.join()


# --- in turn --------------------------------------------------------------------------------------


def contenders(work: Work, device: str, folder: Path) -> dict[str, Any]:
    """All loops for one training, with equal weights."""
    make = partial(Job, configuration(work, device), {"model": "benchmark", "data": "mnist_5k"})
    jobs = {
        name: make(folder / work.name.split(",")[0] / name.replace(" ", "-"))
        for name in ("gentrain", "gentrain without its rectifier")
    }
    first = jobs["gentrain"]
    weights = copy.deepcopy(model_of(first).state_dict())
    found: dict[str, Any] = {
        "minimal loop": Minimal(first, device),
        "the same arithmetic by hand": SameArithmetic(first, device),
    }
    for name, job in jobs.items():
        model_of(job).load_state_dict(weights)
        if name != "gentrain":
            plain(model_of(job))
        found[name] = Gentrain(job)
    return found


def apart(found: dict[str, Any]) -> dict[str, float]:
    """How far each contender's weights are from gentrain's after three iterations.

    All draw the same random numbers. The distance is relative to the norm of the weights. The
    critic's last bias is left out: its gradient is zero up to rounding, and Adam turns rounding
    errors into whole steps.
    """
    for contender in found.values():
        torch.manual_seed(1)
        contender.iterate(3)
    vectors = {name: vector(contender.weights()) for name, contender in found.items()}
    ours = vectors["gentrain"]
    return {name: float((theirs - ours).norm() / ours.norm()) for name, theirs in vectors.items()}


def vector(weights: dict[str, Tensor]) -> Tensor:
    return torch.cat(
        [
            w.detach().double().flatten().cpu()
            for name, w in sorted(weights.items())
            if name != "critic.head.bias"
        ]
    )


def timed(iterate: Callable[[int], None], n: int, device: str) -> float:
    """Seconds per iteration."""
    synchronize(device)
    began = time.perf_counter()
    iterate(n)
    synchronize(device)
    return (time.perf_counter() - began) / n


def synchronize(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def interleaved(
    found: dict[str, Any], rounds: int, seconds: float, device: str
) -> dict[str, list[float]]:
    """Seconds per iteration, of every contender in every round: A B C D, then D C B A."""
    block = max(1, round(seconds / min(timed(c.iterate, 2, device) for c in found.values())))
    times: dict[str, list[float]] = {name: [] for name in found}
    for number in range(rounds):
        for name in frame.order(found, number):
            times[name].append(timed(found[name].iterate, block, device))
    return times


def compared(work: Work, device: str, args: argparse.Namespace, folder: Path) -> Iterator[Any]:
    """One training's table."""
    found = contenders(work, device, folder)
    distance = apart(found)
    # Equal arithmetic must give equal weights. Sums in another order may differ by what float32 and
    # three steps of Adam make of it.
    if distance["the same arithmetic by hand"] > 1e-4 or max(distance.values()) > 1e-2:
        raise SystemExit(f"{work.name}: the contenders do not compute the same: {distance}")
    times = interleaved(found, args.rounds, args.seconds, device)
    cells = {name: f"{value:.0e}" for name, value in distance.items()}
    yield frame.Table(work.name, times, tuple(list(times)[:2]), more={"apart": cells})
    if "no arithmetic" in work.name:
        pairs = zip(times["gentrain"], times["the same arithmetic by hand"], strict=True)
        more = frame.spread([(a - b) * 1e6 for a, b in pairs], 0)
        yield f"\nWhat gentrain adds to one critic and one generator step: {more} µs."
    for contender in found.values():
        if isinstance(contender, Gentrain):
            contender.close()


def report(args: argparse.Namespace) -> Iterator[Any]:
    yield (
        "Milliseconds a generator iteration. `apart`: relative distance of the weights from "
        "gentrain's after three iterations with the same draws."
    )
    with tempfile.TemporaryDirectory() as folder:
        for key in args.work:
            yield from compared(WORKS[key], args.device, args, Path(folder, key))


def arguments() -> argparse.Namespace:
    parser = frame.parser(__doc__, rounds=11)
    parser.add_argument("--work", nargs="+", choices=WORKS, default=list(WORKS))
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each block")
    parser.add_argument(
        "--quick", action="store_true", help="under a minute: fewer and shorter rounds, no nf=64"
    )
    args = parser.parse_args()
    if args.quick:
        args.work, args.rounds, args.seconds = [w for w in args.work if w != "nf64"], 5, 0.3
    return args


def main() -> None:
    args = arguments()
    frame.publish_in_process("The training loop beside hand-written ones", report(args), args)


if __name__ == "__main__":
    main()
