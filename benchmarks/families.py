"""A training step of models that are no GANs: gentrain, eager and compiled, beside loops by hand.

    python benchmarks/families.py [--work vae maf ...] [--rounds 7] [--out FILE]

Other libraries take part where they are installed; gentrain needs none of them but zuko and
scikit-learn, for tests. See README.md beside this file.
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import frame
import loop
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gentrain.config.build import build
from gentrain.models.pixels import Logit
from gentrain.training.job import Job

MORE = {"model": "benchmark", "data": "benchmark"}


class ByHand:
    """Minimises a loss of a batch with torch's own Adam, and does nothing else."""

    def __init__(self, job: Job, model: nn.Module, loss: Callable[[Tensor], Tensor]) -> None:
        self.model, self.loss = model, loss
        self.batches = iter(build(job.config["data"], "data").batches(torch.device("cpu")))
        node = job.config["scheme"]["optimizers"]["model"]
        self.optimizer = torch.optim.Adam(model.parameters(), float(node["lr"]))

    def iterate(self, n: int) -> None:
        for _ in range(n):
            loss = self.loss(next(self.batches)[0])
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()


def same_model(job: Job) -> ByHand:
    """gentrain's model in a loop by hand."""
    model: Any = copy.deepcopy(job.scheme.model).to(memory_format=torch.contiguous_format)
    return ByHand(job, model, lambda x: model.objective((x,)).loss)


# --- minimal models -------------------------------------------------------------------------------


class PlainVAE(nn.Module):
    """The VAE of 2014: 784-500-20-500-784, binary pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(784, 500), nn.ReLU(), nn.Linear(500, 40))
        self.decoder = nn.Sequential(nn.Linear(20, 500), nn.ReLU(), nn.Linear(500, 784))

    def forward(self, x: Tensor) -> Tensor:
        v = torch.bernoulli((x.flatten(1) + 1) / 2)
        mean, log_variance = self.encoder(v).chunk(2, 1)
        z = mean + torch.exp(log_variance / 2) * torch.randn_like(mean)
        nll = F.binary_cross_entropy_with_logits(self.decoder(z), v, reduction="sum")
        kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum()
        return (nll + kl) / len(x)


class PlainRBM:
    """PCD-1 of 784-500 units and 100 chains, its gradient by its formula."""

    def __init__(self, job: Job, rate: float = 0.05) -> None:
        self.rate = rate
        self.W, self.b, self.c = 0.01 * torch.randn(784, 500), torch.zeros(784), torch.zeros(500)
        self.v = torch.rand(100, 784).round()
        self.batches = iter(build(job.config["data"], "data").batches(torch.device("cpu")))

    def iterate(self, n: int) -> None:
        for _ in range(n):
            self.step(torch.bernoulli((next(self.batches)[0].flatten(1) + 1) / 2))

    def step(self, data: Tensor) -> None:
        h = torch.bernoulli(torch.sigmoid(self.v @ self.W + self.c))
        self.v = torch.bernoulli(torch.sigmoid(h @ self.W.T + self.b))
        up, down = (torch.sigmoid(v @ self.W + self.c) for v in (data, self.v))
        n, m = len(data), len(self.v)
        self.W += self.rate * (data.T @ up / n - self.v.T @ down / m)
        self.b += self.rate * (data.mean(0) - self.v.mean(0))
        self.c += self.rate * (up.mean(0) - down.mean(0))


# --- other libraries ------------------------------------------------------------------------------


def logits(nll: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The loss of a density of values in logit space, dequantised anew as gentrain does it."""
    pixels = Logit(1e-6)

    def loss(x: Tensor) -> Tensor:
        v, log_det = pixels(x)
        return (nll(v.flatten(1)) - log_det).mean()

    return loss


def zuko_maf(job: Job) -> ByHand:
    import zuko

    flow = zuko.flows.MAF(784, transforms=5, hidden_features=(1024,))
    return ByHand(job, flow, logits(lambda v: -flow().log_prob(v)))


def nflows_maf(job: Job) -> ByHand:
    from nflows.distributions.normal import StandardNormal
    from nflows.flows.base import Flow
    from nflows.transforms.autoregressive import MaskedAffineAutoregressiveTransform
    from nflows.transforms.base import CompositeTransform

    maps = [
        MaskedAffineAutoregressiveTransform(784, 1024, num_blocks=0, use_residual_blocks=False)
        for _ in range(5)
    ]
    flow = Flow(CompositeTransform(maps), StandardNormal([784]))
    return ByHand(job, flow, logits(lambda v: -flow.log_prob(v)))


def normflows_couplings(job: Job) -> ByHand:
    import normflows

    maps: list[Any] = []
    for _ in range(8):
        network = normflows.nets.MLP([1, 64, 64, 64, 2], init_zeros=True)
        maps += [normflows.flows.AffineCouplingBlock(network), normflows.flows.Permute(2)]
    flow = normflows.NormalizingFlow(normflows.distributions.DiagGaussian(2), maps)
    return ByHand(job, flow, flow.forward_kld)


def pythae_vae(job: Job) -> ByHand:
    from pythae.models import VAE, VAEConfig

    model = VAE(VAEConfig(input_dim=(1, 28, 28), latent_dim=20, reconstruction_loss="bce"))
    return ByHand(job, model, lambda x: model({"data": (x + 1) / 2}).loss)


# --- the works ------------------------------------------------------------------------------------

Make = Callable[[Job], Any]


@dataclass(frozen=True)
class Work:
    """A training: of gentrain, of a loop by hand, and of other libraries by their packages."""

    about: str
    overrides: tuple[str, ...]
    by_hand: tuple[str, Make]
    peers: dict[str, Make]
    compiles: bool = True


SAME = ("gentrain's model, a loop by hand", same_model)
MAF = ("model.flow.depth=1", "model.flow.batch_norm=false")
WORKS = {
    "vae": Work(
        "vae, 784-500-20, batch 100",
        ("model=vae",),
        ("minimal loop", lambda job: ByHand(job, model := PlainVAE(), model)),
        {"pythae": pythae_vae},  # a hidden layer of 512, as it comes; grey pixels
    ),
    "maf": Work(
        "maf, 5 x 1,024, digits of 28 x 28, batch 100",
        ("model=maf", *MAF, "scheme.optimizers.model.weight_decay=0"),
        SAME,
        {"zuko": zuko_maf, "nflows": nflows_maf},
    ),
    "realnvp": Work("realnvp, width 16, digits of 28 x 28, batch 64", ("model=realnvp",), SAME, {}),
    "points": Work(
        "realnvp_points, 8 couplings of width 64, batch 64",
        ("model=realnvp_points", "data=two_moons"),
        SAME,
        {"normflows": normflows_couplings},
    ),
    "gated_pixelcnn": Work(
        "gated_pixelcnn, width 32, depth 8, batch 32", ("model=gated_pixelcnn",), SAME, {}
    ),
    "rbm": Work(
        "rbm, 784-500, PCD-1, batch 100",
        ("model=rbm", "schedule=constant"),
        ("minimal loop", PlainRBM),
        {},  # scikit-learn: gibbs.py
        compiles=False,  # chains run inside its objective
    ),
}


def compared(work: Work, args: argparse.Namespace, folder: Path) -> Iterator[Any]:
    """The table of one training."""
    name, by_hand = work.by_hand
    variants: dict[str, tuple[str, ...]] = {"gentrain": ()}
    if work.compiles:
        variants["gentrain, compiled"] = ("compile=true",)
    jobs = {
        variant: Job(
            loop.configuration(loop.Work(work.about, (*work.overrides, *more)), "cpu"),
            MORE,
            folder / variant.replace(", ", "-"),
        )
        for variant, more in variants.items()
    }
    job = jobs["gentrain"]
    found: dict[str, Any] = {name: by_hand(job)}
    absent = [peer for peer in work.peers if importlib.util.find_spec(peer) is None]
    found |= {peer: make(job) for peer, make in work.peers.items() if peer not in absent}
    found |= {variant: loop.Gentrain(each) for variant, each in jobs.items()}
    bases = (name, *(peer for peer in work.peers if peer not in absent))
    times = loop.interleaved(found, args.rounds, args.seconds, "cpu")
    yield frame.Table(work.about, times, bases)
    if absent:
        yield f"\nNot installed: {', '.join(absent)}."
    if work.compiles and not jobs["gentrain, compiled"].scheme.steps["model"].compiled:
        yield "\ncompile=true went on eagerly."
    for variant in jobs:
        found[variant].close()


def report(args: argparse.Namespace) -> Iterator[Any]:
    yield "Milliseconds of a training step."
    with tempfile.TemporaryDirectory() as folder:
        for key in args.work:
            yield from compared(WORKS[key], args, Path(folder, key))


def main() -> None:
    parser = frame.parser(__doc__, rounds=7)
    parser.add_argument("--work", nargs="+", choices=WORKS, default=list(WORKS))
    parser.add_argument("--seconds", type=float, default=0.5, help="of each block of steps")
    args = parser.parse_args()
    frame.publish_in_process("Models that are no GANs", report(args), args)


if __name__ == "__main__":
    main()
