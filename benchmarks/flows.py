"""Masked autoregressive flows: a training step beside zuko's, and a teacher's samples beside its
student's.

    python benchmarks/flows.py [--rounds 9] [--threads 1] [--out FILE]

See README.md beside this file for how to read the tables.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import loop
import torch
import zuko

from gentrain.config.build import build
from gentrain.models.flow.autoregressive import InverseAutoregressive, MaskedAutoregressive
from gentrain.models.flow.base import FlowDensity, Reversed
from gentrain.models.pixels import Logit
from gentrain.training.job import Job

WORK = loop.Work(
    "maf, 5 x 1,024, digits of 28 x 28, batch 100",
    (
        "model=maf",
        "model.flow.depth=1",
        "model.flow.batch_norm=false",
        "scheme.optimizers.model.weight_decay=0",
    ),
)
SHAPE, SIZE, LAYERS, WIDTH = [1, 28, 28], 784, 5, 1024
PASSES = 10  # whole passes that are timed, of as many as there are values and maps


class ByHand:
    """Minimises `nll` of modelled values with Adam, and does nothing else."""

    def __init__(
        self, job: Job, model: torch.nn.Module, nll: Callable[[torch.Tensor], torch.Tensor]
    ) -> None:
        self.model, self.nll, self.pixels = model, nll, Logit(1e-6)
        data = build(job.config["data"], "data")
        self.batches = iter(data.batches(torch.device("cpu")))
        self.optimizer = torch.optim.Adam(model.parameters(), 1e-4)

    def iterate(self, n: int) -> None:
        for _ in range(n):
            v, log_det = self.pixels(next(self.batches)[0])
            self.optimizer.zero_grad()
            (self.nll(v.flatten(1)) - log_det).mean().backward()
            self.optimizer.step()


def training(args: argparse.Namespace, folder: Path) -> Iterator[str]:
    job = Job(loop.configuration(WORK, "cpu"), {"model": "benchmark", "data": "mnist_5k"}, folder)
    theirs = zuko.flows.MAF(SIZE, transforms=LAYERS, hidden_features=(WIDTH,))
    ours = FlowDensity(
        partial(MaskedAutoregressive, layers=LAYERS, width=WIDTH, bound=5.0), Logit(1e-6), SHAPE
    )
    counts = [sum(p.numel() for p in model.parameters()) for model in (theirs, ours)]
    if counts[0] != counts[1]:
        raise SystemExit(f"not the same model: {counts} parameters")
    found: dict[str, Any] = {
        "zuko, a loop by hand": ByHand(job, theirs, lambda v: -theirs().log_prob(v)),
        "gentrain's flow, a loop by hand": ByHand(job, ours, lambda v: -ours.log_prob(v)),
        "gentrain": loop.Gentrain(job),
    }
    yield f"\n## A training step: {WORK.name}\n\n| | ms | to zuko |\n|---|---|---|"
    times = loop.interleaved(found, args.rounds, args.seconds, "cpu")
    for name, own in times.items():
        ratio = loop.spread(loop.ratio(own, times["zuko, a loop by hand"]))
        yield f"| {name} | {loop.spread([t * 1e3 for t in own], 1)} | {ratio} |"
    found["gentrain"].close()


def stirred(flow: Any, sd: float = 0.02) -> Any:
    """Draw weights as large as after training: with zeros, exponentials would cost too little."""
    for weights in flow.parameters():
        torch.nn.init.normal_(weights, 0, sd)
    return flow.eval().requires_grad_(False)


def whole_passes(flow: MaskedAutoregressive, x: torch.Tensor) -> None:
    """PASSES passes of one map. A sample takes one for each value and map."""
    unwrapped: Any = flow
    network = unwrapped.maps[0]
    for _ in range(PASSES):
        unwrapped.back(x, *network(x, None).unbind(1))


def sampling(args: argparse.Namespace) -> Iterator[str]:
    """The tables of samples: a teacher in two ways, and its student."""
    teacher = stirred(MaskedAutoregressive(SHAPE, LAYERS, WIDTH, bound=5.0))
    student = stirred(
        Reversed(
            SHAPE, partial(InverseAutoregressive, layers=4, width=WIDTH, gated=False, bound=5.0)
        )
    )
    for n in args.samples:
        u = torch.randn(n, SIZE)
        calls: dict[str, Callable[[], Any]] = {
            "teacher (maf), a whole pass for each value and map": partial(whole_passes, teacher, u),
            "teacher (maf), gentrain's sampler": partial(teacher.inverse, u),
            "student (iaf), one pass": partial(student.inverse, u),
        }
        with torch.no_grad():
            times = loop.in_turn(calls, args.rounds)
        naive, _, own = times
        times[naive] = [t * SIZE * LAYERS / PASSES for t in times[naive]]
        yield f"\n## {n} sample(s) of {SIZE} values\n\n| | ms | to the student |\n|---|---|---|"
        for name, each in times.items():
            ratio = loop.spread(loop.ratio(each, times[own]), 1)
            yield f"| {name} | {loop.spread([t * 1e3 for t in each], 1)} | {ratio} |"
    yield (
        "\nThe whole passes are scaled up from ten; that they give the same samples is a test "
        "(tests/certificates/test_flows.py)."
    )


def report(args: argparse.Namespace) -> Iterator[str]:
    yield "# Autoregressive flows: training and sampling\n"
    yield from loop.provenance(args)
    yield (
        f"zuko {zuko.__version__}. Medians of {args.rounds} rounds [least-most]; ratios are taken "
        "in each round."
    )
    with tempfile.TemporaryDirectory() as folder:
        yield from training(args, Path(folder))
    yield from sampling(args)


def main() -> None:
    parser = argparse.ArgumentParser(description="Time autoregressive flows.")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument(
        "--seconds", type=float, default=1.0, help="of each block of training steps"
    )
    parser.add_argument("--samples", type=int, nargs="+", default=[1, 64])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="also write the tables to a file")
    args = parser.parse_args()
    args.device = "cpu"
    loop.publish(report(args), args.threads, args.out)


if __name__ == "__main__":
    main()
