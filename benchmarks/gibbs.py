"""The RBM's Gibbs step beside its parts, and its training beside scikit-learn's BernoulliRBM.

    python benchmarks/gibbs.py [--chains 100] [--hidden 500] [--rounds 21] [--epochs 5] [--out FILE]

See README.md beside this file for how to read the tables.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import frame
import torch
from sklearn.neural_network import BernoulliRBM
from torch import Tensor

from gentrain.data.arrays import to_float
from gentrain.data.mnist_5k import MNIST5k
from gentrain.models.energy.rbm import RBM
from gentrain.models.energy.visible import BinaryUnits

SHAPE, INNER = [1, 28, 28], 20  # steps a round
BARE, THEIRS = "two products and the random numbers", "scikit-learn"
STEP = "gentrain: RBM.run_chain"


def step(args: argparse.Namespace) -> Iterator[Any]:
    """The table of one Gibbs step and its parts, on tensors of equal sizes."""
    model = RBM(BinaryUnits(), SHAPE, args.hidden, n_chains=args.chains)
    v, h = model.noise(args.chains, "cpu"), torch.rand(args.chains, args.hidden).round()

    def bare() -> None:
        v @ model.W, h @ model.W.T
        torch.rand_like(h), torch.rand_like(v)

    def sigmoids() -> None:
        torch.sigmoid(h), torch.sigmoid(v)

    def repeated(call: Callable[[], None]) -> Callable[[], None]:
        def calls() -> None:
            for _ in range(INNER):
                call()

        return calls

    calls: dict[str, Callable[[], object]] = {
        BARE: repeated(bare),
        "the two sigmoids": repeated(sigmoids),
        STEP: lambda: model.run_chain(v, INNER),
    }
    with torch.no_grad():
        times = frame.in_turn(calls, args.rounds)
    title = f"A Gibbs step of {args.chains} chains, 784 visible and {args.hidden} hidden units"
    yield frame.Table(title, times, (BARE,), "us", 1e6 / INNER, 1)


class Theirs:
    """scikit-learn's RBM. For the score its weights are put into ours, so one code scores both."""

    def __init__(self, hidden: int, values: Tensor) -> None:
        self.machine = BernoulliRBM(
            hidden, learning_rate=0.05, batch_size=100, n_iter=1, random_state=0
        )
        self.values, self.hidden = values, hidden

    def epoch(self) -> None:
        for batch in self.values[torch.randperm(len(self.values))].split(100):
            self.machine.partial_fit(batch.numpy())

    def scored(self) -> RBM:
        return as_ours(self.machine)


def as_ours(machine: BernoulliRBM) -> RBM:
    """The RBM with scikit-learn's weights."""
    model = RBM(BinaryUnits(threshold=True), SHAPE, machine.n_components)
    found = {
        "W": machine.components_.T,
        "b": machine.intercept_visible_,
        "c": machine.intercept_hidden_,
    }
    with torch.no_grad():
        for name, value in found.items():
            getattr(model, name).copy_(torch.from_numpy(value))
    return model


class Ours:
    """gentrain's RBM; `bf16` trains as trainer.precision=bf16-mixed does, and scores in float32."""

    def __init__(self, hidden: int, images: Tensor, bf16: bool = False, rate: float = 0.05) -> None:
        self.bf16 = bf16
        self.model, self.images = RBM(BinaryUnits(threshold=True), SHAPE, hidden), images
        self.model.init_from_data((images,))
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=rate)

    def epoch(self) -> None:
        for batch in self.images[torch.randperm(len(self.images))].split(100):
            self.optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
                loss = self.model.objective((batch,)).loss
            loss.backward()
            self.optimizer.step()

    def scored(self) -> RBM:
        return self.model


def digits() -> tuple[Tensor, Callable[[RBM], float]]:
    """The training digits, and the score of an RBM.

    Returns:
        Float images (N, 1, 28, 28), and a function that gives the mean pseudo-likelihood of the
        held-out digits in nats, over all units.
    """
    data = MNIST5k(name="mnist_5k", shape=(1, 28, 28), classes=10)
    x, test = (to_float(data.load(split).images) for split in ("train", "test"))
    flat = test.gt(0).float().flatten(1)  # RBMs of this file threshold
    return x, lambda model: model.pseudo_log_likelihood(flat).mean().item()


def training(args: argparse.Namespace) -> Iterator[Any]:
    """The table of epochs, all with the same rate and batches."""
    x, nats = digits()
    ours = Ours(args.hidden, x)
    machines: dict[str, Any] = {
        THEIRS: Theirs(args.hidden, ours.model.values(x)),
        "gentrain": ours,
        "gentrain, bf16-mixed": Ours(args.hidden, x, bf16=True),
    }
    yield (
        f"\n## Epochs of {len(x):,} digits: PCD-1, batches of 100, a rate of 0.05, "
        f"{args.hidden} hidden units\n\nSeconds so far, and the pseudo-likelihood in nats of the "
        "held-out digits, over all units.\n"
    )
    yield f"| epoch | {' | | '.join(machines)} | |\n|---|{'---|---|' * len(machines)}"
    curves: dict[str, list[tuple[float, float]]] = {name: [(0.0, -math.inf)] for name in machines}
    for epoch in range(1, args.epochs + 1):
        for name, machine in machines.items():
            seconds = curves[name][-1][0] + seconds_of(machine.epoch)
            curves[name].append((seconds, nats(machine.scored())))
        cells = (f"{curve[-1][0]:.2f} | {curve[-1][1]:.1f}" for curve in curves.values())
        yield f"| {epoch} | {' | '.join(cells)} |"
    yield from conclusions(curves)
    epochs = {
        name: [after[0] - before[0] for before, after in pairwise(curve)]
        for name, curve in curves.items()
    }
    yield frame.Table("An epoch of these", epochs, (THEIRS,), "s", 1)


def conclusions(curves: dict[str, list[tuple[float, float]]]) -> Iterator[str]:
    """How much less time ours took: for an epoch, and until scikit-learn's last score."""
    reached, wanted = curves[THEIRS][-1]
    for name, curve in curves.items():
        if name == THEIRS:
            continue
        found = next((seconds for seconds, score in curve if score >= wanted), None)
        until = (
            "has not reached it"
            if found is None
            else f"reached the last pseudo-likelihood of {THEIRS} in {reached / found:.1f} times "
            "less"
        )
        yield f"\n{name}: {reached / curve[-1][0]:.1f} times less time an epoch; {until}."


def seconds_of(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def by_default(args: argparse.Namespace) -> Iterator[str]:
    """The table of each library's own defaults.

    scikit-learn's are float64 and batches of 10; gentrain's are float32 and batches of 100.
    """
    x, nats = digits()
    ours = {
        "gentrain": Ours(args.hidden, x, rate=0.1),
        "gentrain, bf16-mixed": Ours(args.hidden, x, bf16=True, rate=0.1),
    }
    theirs = BernoulliRBM(args.hidden, n_iter=args.epochs, random_state=0)
    values = ours["gentrain"].model.values(x).double().numpy()
    reached = seconds_of(lambda: theirs.fit(values))
    wanted, per_epoch = nats(as_ours(theirs)), reached / args.epochs
    yield (
        f"\n## The same digits, each by its own defaults: fit(X) of {THEIRS} has float64, batches "
        "of 10 and a rate of 0.1; gentrain batches of 100, here with that rate\n"
    )
    yield (
        "| | seconds an epoch | epochs | seconds | nats | times less an epoch | times less in all |"
    )
    yield "|---|---|---|---|---|---|---|"
    yield f"| {THEIRS} | {per_epoch:.2f} | {args.epochs} | {reached:.2f} | {wanted:.1f} | | |"
    for name, machine in ours.items():
        seconds, epochs, score = 0.0, 0, -math.inf
        while score < wanted and epochs < 20 * args.epochs:
            seconds += seconds_of(machine.epoch)
            epochs, score = epochs + 1, nats(machine.scored())
        faster = f"{per_epoch / (seconds / epochs):.1f} | {reached / seconds:.1f}"
        times = f"{seconds / epochs:.2f} | {epochs} | {seconds:.2f}"
        yield f"| {name} | {times} | {score:.1f} | {faster} |"


def report(args: argparse.Namespace) -> Iterator[Any]:
    torch.manual_seed(0)
    yield from step(args)
    if args.epochs:
        yield from training(args)
        yield from by_default(args)


def main() -> None:
    parser = frame.parser(__doc__, rounds=21)
    parser.add_argument("--chains", type=int, default=100)
    parser.add_argument("--hidden", type=int, default=500)
    parser.add_argument("--epochs", type=int, default=5)
    args = parser.parse_args()
    frame.publish_in_process("The restricted Boltzmann machine", report(args), args)


if __name__ == "__main__":
    main()
