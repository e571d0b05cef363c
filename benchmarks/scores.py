"""What scores cost: FID with its samples, annealed importance sampling, the bound of a VAE.

    python benchmarks/scores.py [--samples 1000 10000] [--rounds 3] [--out FILE]

See README.md beside this file.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import frame
import loop
import torch
from torch import Tensor

from gentrain.config.build import build
from gentrain.models.base import eval_mode
from gentrain.quality.base import measure, metrics_of, prepare_metric

CPU = torch.device("cpu")


def configured(*overrides: str) -> dict[str, Any]:
    return loop.configuration(loop.Work("", overrides), "cpu")


# --- FID, in a process of its own for each number of samples --------------------------------------


def peak() -> float:
    """The greatest memory of this process since `reset_peak`, in MB."""
    status = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in status if line.startswith("VmHWM")).split()[1]) / 1e3


def reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def fid_alone(samples: int) -> None:
    """Draw, score, and print the seconds and the megabytes that this took."""
    config = configured("model=wgan_gp", "quality=classifier", f"quality.samples={samples}")
    data, model = build(config["data"], "data"), build(config["model"], "model")
    (metric,) = metrics_of(config).values()
    metric.check(data, model)
    prepare_metric(metric, data, model, CPU)
    reset_peak()
    before, began = peak(), time.perf_counter()
    scores = measure(metric, data, model, CPU)
    seconds = time.perf_counter() - began
    print(json.dumps({"seconds": seconds, "megabytes": peak() - before, "scores": scores}))


def fid(args: argparse.Namespace) -> Iterator[Any]:
    """The table of FIDs of more and more samples."""
    names = {f"{n:,} samples": n for n in args.samples}
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for number in range(args.rounds):
        for name in frame.order(names, number):
            words = ["--alone", str(names[name]), "--threads", str(args.fid_threads)]
            done = subprocess.run(
                [sys.executable, __file__, *words], capture_output=True, text=True, check=True
            )
            found[name].append(json.loads(done.stdout.splitlines()[-1]))
    seconds, megabytes = (
        {name: [each[key] for each in rounds] for name, rounds in found.items()}
        for key in ("seconds", "megabytes")
    )
    first = next(iter(names))
    about = f"of wgan_gp's samples by {args.fid_threads} threads"
    yield frame.Table(f"FID, IS, KID and PRDC {about}: time", seconds, (first,), "s", 1, 1)
    yield frame.Table("The same: peak of memory above the start", megabytes, (first,), "MB", 1, 0)


# --- batched likelihoods --------------------------------------------------------------------------


def annealing(args: argparse.Namespace) -> Iterator[Any]:
    """Annealed importance sampling: all chains at once, and one after the other."""
    model = build(configured("model=rbm")["model"], "model")
    chains, temperatures = 100, 50
    betas = torch.linspace(0, 1, temperatures + 1, dtype=torch.float64).tolist()
    calls = {
        "one chain after the other": lambda: [
            model.annealed_log_partition(1, betas) for _ in range(chains)
        ],
        "gentrain": lambda: model.annealed_log_partition(chains, betas),
    }
    with eval_mode(model):
        times = frame.in_turn(calls, args.rounds)
    title = f"Annealed importance sampling: {chains} chains, {temperatures} temperatures"
    yield frame.Table(title, times, ("gentrain",), digits=1)


def bound(args: argparse.Namespace) -> Iterator[Any]:
    """The importance-weighted bound: images and samples at once, and one after the other."""
    model = build(configured("model=vae")["model"], "model")
    samples, v = 50, torch.rand(20, 1, 28, 28).round()

    def one_by_one(v: Tensor) -> None:
        for image in v.split(1):
            posterior = model.posterior(image, None)
            for _ in range(samples):
                model.log_weights(image, None, posterior, 1)

    calls = {
        "image by image, sample by sample": partial(one_by_one, v),
        "gentrain": partial(model.importance_weighted, v, None, samples),
    }
    with eval_mode(model):
        times = frame.in_turn(calls, args.rounds)
    title = f"The importance-weighted bound: {len(v)} images, {samples} samples"
    yield frame.Table(title, times, ("gentrain",), digits=1)


def report(args: argparse.Namespace) -> Iterator[Any]:
    yield from fid(args)
    yield from annealing(args)
    yield from bound(args)


def main() -> None:
    parser = frame.parser(__doc__, rounds=3)
    parser.add_argument("--samples", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--fid-threads", type=int, default=2)
    parser.add_argument("--alone", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.alone:
        torch.set_num_threads(args.threads)
        fid_alone(args.alone)
        return
    frame.publish_in_process("Scores", report(args), args)


if __name__ == "__main__":
    main()
