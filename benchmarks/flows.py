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

import frame
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


def training(args: argparse.Namespace, folder: Path) -> Iterator[Any]:
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
    times = loop.interleaved(found, args.rounds, args.seconds, "cpu")
    base = "zuko, a loop by hand"
    yield frame.Table(f"A training step: {WORK.name}", times, (base,), digits=1)
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
        unwrapped.invert(x, *network(x, None).unbind(1))


def sampling(args: argparse.Namespace) -> Iterator[Any]:
    """The tables of samples: the teacher of model=iaf_distilled in two ways, and its student."""
    teacher = stirred(
        MaskedAutoregressive(SHAPE, LAYERS, WIDTH, depth=2, bound=5.0, batch_norm=True)
    )
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
            times = frame.in_turn(calls, args.rounds)
        naive, _, own = times
        times[naive] = [t * SIZE * LAYERS / PASSES for t in times[naive]]
        yield frame.Table(f"{n} sample(s) of {SIZE} values", times, (own,), digits=1)
    yield (
        "\nThe whole passes are scaled up from ten; that they give the same samples is a test "
        "(tests/certificates/test_flows.py)."
    )


def report(args: argparse.Namespace) -> Iterator[Any]:
    with tempfile.TemporaryDirectory() as folder:
        yield from training(args, Path(folder))
    yield from sampling(args)


def main() -> None:
    parser = frame.parser(__doc__, rounds=9)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each block of steps")
    parser.add_argument("--samples", type=int, nargs="+", default=[1, 64])
    args = parser.parse_args()
    frame.publish_in_process("Autoregressive flows: training and sampling", report(args), args)


if __name__ == "__main__":
    main()
