"""What a generator iteration costs: gentrain beside hand-written loops, on the same tensors, in one process, in turn.

    python benchmarks/loop.py [--quick] [--threads 1] [--device cpu] [--rounds 9] [--out FILE]

See README.md beside this file for what is compared and how to read the table.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import ctypes
import logging
import os
import platform
import shlex
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from hydra import compose, initialize_config_dir
from omegaconf import open_dict
from torch import Tensor, nn

from gentrain.cli.compose import register
from gentrain.config import paths, schema
from gentrain.config.build import build
from gentrain.data.batches import Batches
from gentrain.layers.activation import LeakyReLU, ReLU
from gentrain.training.devices import mallopt
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
    """What all contenders do."""

    name: str
    overrides: tuple[str, ...]


WORKS = {
    "nf16": Work("wgan_gp, dcgan nf=16, 5:1, batch 64", ("model=wgan_gp", "model.generator.width=16", "model.critic.width=16")),
    "mlp": Work("wgan_gp, mlp 512 x 2, 5:1, batch 64", ("model=wgan_gp", "network=mlp")),
    "dcgan": Work("dcgan nf=16, batch norm, 1:1, batch 128", ("model=dcgan", "model.generator.width=16", "model.critic.width=16")),
    "nf64": Work("wgan_gp, dcgan nf=64, 5:1, batch 64", ("model=wgan_gp",)),
    "tiny": Work("wgan_gp, mlp 4 x 1, 1:1, batch 4 (no arithmetic to speak of)", (
        "model=wgan_gp", "network=mlp", "scheme.critic_steps=1", "data.batch_size=4", "model.generator.latent=4",
        "model.generator.width=4", "model.critic.width=4", "model.generator.depth=1", "model.critic.depth=1")),
}  # fmt: skip


def configuration(work: Work, device: str) -> dict[str, Any]:
    trainer = "trainer=gpu" if device == "cuda" else "trainer=cpu"
    register()
    with initialize_config_dir(str(paths.conf_dir()), version_base="1.3"):
        cfg = compose("train", overrides=[*QUIET, trainer, *work.overrides])
    with open_dict(cfg):
        cfg.pop("sweep", None)
    return schema.resolved(cfg)


# --- loops written by hand --------------------------------------------------------------------------------------------------


class ByHand:
    """A loop as one writes it for one paper: no trainer, no log, no checkpoint."""

    def __init__(self, job: Job, device: str) -> None:
        checked, model = job.config, copy.deepcopy(job.scheme.model).to(device)
        self.generator, self.critic, self.device = model.generator, model.critic, device
        self.critic_steps, self.penalised = (
            checked["scheme"]["critic_steps"],
            "gradient_penalty" in model.regularizers,
        )
        self.g_opt, self.d_opt = (
            torch.optim.Adam(network.parameters(), float(node["lr"]), betas=tuple(node["betas"]))
            for network, node in zip(
                (self.generator, self.critic),
                (checked["scheme"]["optimizers"][p] for p in ("generator", "critic")),
                strict=True,
            )
        )
        data = build(checked["data"], "data")
        self.batches = iter(Batches(data.load("train"), data.batch_sampler(), device))

    def iterate(self, n: int) -> None:
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
    """torch's own rectifiers, contiguous weights, one forward for real and one for fake images, no toggling of gradients."""

    def __init__(self, job: Job, device: str) -> None:
        super().__init__(job, device)
        for network in (self.generator, self.critic):
            plain(network).to(memory_format=torch.contiguous_format)


class SameArithmetic(ByHand):
    """gentrain's arithmetic to the last operation: its rectifier, channels_last, one forward for both batches where the critic allows that,
    no weight gradients of the critic in the generator's step."""

    def scores(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        if not self.penalised:  # a batch norm critic
            return super().scores(real, fake)
        on_real, on_fake = self.critic(torch.cat([real, fake])).chunk(2)
        return on_real, on_fake

    def generator_step(self, n: int) -> None:
        self.critic.requires_grad_(False)
        super().generator_step(n)
        self.critic.requires_grad_(True)


def plain(network: nn.Module) -> nn.Module:
    """torch's own rectifiers in the place of gentrain's."""
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, LeakyReLU):
                setattr(
                    module,
                    name,
                    nn.ReLU() if isinstance(child, ReLU) else nn.LeakyReLU(child.slope),
                )
    return network


# --- gentrain itself ------------------------------------------------------------------------------------------------------------


class Finished(Exception):
    """The benchmark needs no more iterations."""


class Gate(L.Callback):
    """The last callback: lets a trainer through, that runs in a thread of its own, for as many generator iterations as it is asked."""

    def __init__(self) -> None:
        self.go, self.done, self.allowed, self.error = threading.Event(), threading.Event(), 0, None

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
    """A whole `gentrain` run: Lightning's trainer, every default callback, metrics.csv, scalars every 50 steps."""

    def __init__(self, job: Job) -> None:
        self.job, self.gate = job, Gate()
        job.trainer.callbacks.append(self.gate)
        self.thread = threading.Thread(
            target=self.run, args=(torch.get_num_threads(),), daemon=True
        )
        self.thread.start()
        self.arrive()

    def run(self, threads: int) -> None:
        torch.set_num_threads(threads)  # OpenMP counts them for each thread that calls
        try:
            self.job.fit()
        except Finished:
            pass
        except BaseException as error:
            self.gate.error = error
        self.gate.done.set()

    def arrive(self) -> None:
        self.gate.done.wait()
        self.gate.done.clear()
        if self.gate.error is not None:
            raise self.gate.error

    def iterate(self, n: int) -> None:
        self.gate.allowed = n
        self.gate.go.set()
        self.arrive()

    def weights(self) -> dict[str, Tensor]:
        return dict(self.job.scheme.model.named_parameters())

    def close(self) -> None:
        self.iterate(0)
        self.thread.join()


# --- in turn ----------------------------------------------------------------------------------------------------------------------


def contenders(work: Work, device: str, folder: Path) -> dict[str, Any]:
    make = partial(Job, configuration(work, device), {"model": "benchmark", "data": "mnist_5k"})
    jobs = {
        name: make(folder / work.name.split(",")[0] / name.replace(" ", "-"))
        for name in ("gentrain", "gentrain without its rectifier")
    }
    first = jobs["gentrain"]
    weights = copy.deepcopy(first.scheme.model.state_dict())
    found: dict[str, Any] = {
        "minimal loop": Minimal(first, device),
        "the same arithmetic by hand": SameArithmetic(first, device),
    }
    for name, job in jobs.items():
        job.scheme.model.load_state_dict(weights)
        if name != "gentrain":
            plain(job.scheme.model)
        found[name] = Gentrain(job)
    return found


def apart(found: dict[str, Any]) -> dict[str, float]:
    """How far each one's weights are from gentrain's after three iterations with the same draws, relative to their norm.

    The critic's last bias is left out: its gradient is zero but for rounding, of which Adam makes whole steps.
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
    """Seconds an iteration."""
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
    """Seconds an iteration of every contender in every round: A B C D, then D C B A."""
    block = max(1, round(seconds / min(timed(c.iterate, 2, device) for c in found.values())))
    times: dict[str, list[float]] = {name: [] for name in found}
    for number in range(rounds):
        for name in list(found) if number % 2 == 0 else list(found)[::-1]:
            times[name].append(timed(found[name].iterate, block, device))
    return times


def in_turn(contenders: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of every contender in every round: A B C, then C B A. The first round is not counted."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name in list(contenders) if number % 2 == 0 else list(contenders)[::-1]:
            began = time.perf_counter()
            contenders[name]()
            if number:
                times[name].append(time.perf_counter() - began)
    return times


def rows(work: Work, device: str, rounds: int, seconds: float, folder: Path) -> Iterator[str]:
    found = contenders(work, device, folder)
    distance = apart(found)
    # equal arithmetic must give equal weights; another order of the sums, at most what float32 and three steps of Adam make of it
    if distance["the same arithmetic by hand"] > 1e-4 or max(distance.values()) > 1e-2:
        raise SystemExit(f"{work.name}: the contenders do not compute the same: {distance}")
    times = interleaved(found, rounds, seconds, device)
    for name, own in times.items():
        to = {
            base: spread([a / b for a, b in zip(own, times[base], strict=True)])
            for base in list(times)[:2]
        }
        yield f"| {name} | {spread([t * 1e3 for t in own])} | {' | '.join(to.values())} | {distance[name]:.0e} |"
    if "tiny" in work.name or "no arithmetic" in work.name:
        extra = [
            a - b
            for a, b in zip(times["gentrain"], times["the same arithmetic by hand"], strict=True)
        ]
        yield f"\nWhat gentrain adds to one critic and one generator step: {spread([t * 1e6 for t in extra], 0)} µs."
    for contender in found.values():
        if isinstance(contender, Gentrain):
            contender.close()


def spread(values: list[float], digits: int = 3) -> str:
    """median [least-most]"""
    return "{} [{}-{}]".format(
        *(f"{v:.{digits}f}" for v in (statistics.median(values), min(values), max(values)))
    )


def heading(args: argparse.Namespace) -> Iterator[str]:
    device = torch.cuda.get_device_name() if args.device == "cuda" else processor()
    yield "# The training loop beside hand-written ones\n"
    yield f"`python {sys.argv[0]} {shlex.join(sys.argv[1:])}`, {time.strftime('%Y-%m-%d')}.\n".replace(
        " `", "`"
    )
    versions = (
        f"Python {platform.python_version()}, torch {torch.__version__}, lightning {L.__version__}"
    )
    yield f"{device}, {os.cpu_count()} cores, {args.threads} thread(s); load {os.getloadavg()[0]:.1f} at the start; {versions}.\n"
    yield (
        f"Milliseconds a generator iteration; medians of {args.rounds} rounds [least-most]; ratios are taken in each round. "
        "`apart`: relative distance of the weights from gentrain's after three iterations with the same draws."
    )


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next(
        (line.split(":")[1].strip() for line in lines if line.startswith("model name")),
        platform.machine(),
    )


def report(args: argparse.Namespace) -> Iterator[str]:
    yield from heading(args)
    with tempfile.TemporaryDirectory() as folder:
        for key in args.work:
            yield f"\n## {WORKS[key].name}\n"
            yield "| | ms | to the minimal loop | to the same arithmetic | apart |\n|---|---|---|---|---|"
            yield from rows(WORKS[key], args.device, args.rounds, args.seconds, Path(folder, key))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Time gentrain's loop beside hand-written ones.")
    parser.add_argument("--work", nargs="+", choices=WORKS, default=list(WORKS))
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each block")
    parser.add_argument(
        "--quick", action="store_true", help="under a minute: fewer and shorter rounds, no nf=64"
    )
    parser.add_argument("--out", type=Path, help="write the table to a file, too")
    args = parser.parse_args()
    if args.quick:
        args.work, args.rounds, args.seconds = [w for w in args.work if w != "nf64"], 5, 0.3
    return args


def one_heap() -> None:
    """glibc gives threads heaps of 64 MB that fault their pages in anew; gentrain's own thread must not pay for being one here."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").mallopt(-8, 1)  # M_ARENA_MAX


def publish(report: Iterator[str], threads: int, out: Path | None) -> None:
    """Print a report while it is measured, and write it to a file, too."""
    torch.set_num_threads(threads)
    one_heap()
    mallopt()
    lines = []
    for line in report:
        logging.getLogger("gentrain").setLevel(logging.WARNING)
        print(line, flush=True)
        lines.append(line)
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text("\n".join(lines) + "\n")


def main() -> None:
    args = arguments()
    publish(report(args), args.threads, args.out)


if __name__ == "__main__":
    main()
