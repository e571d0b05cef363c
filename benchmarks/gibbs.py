"""The RBM's Gibbs step against its parts, and its training against scikit-learn's BernoulliRBM.

    python benchmarks/gibbs.py                    # the step: 100 chains, 784 visible and 500 hidden units
    python benchmarks/gibbs.py --epochs 5         # and both trained on the 4,500 digits of mnist_5k (needs scikit-learn)

The parts: two matrix products, the random numbers of both sides, two sigmoids. Every figure is the median of many rounds, in which the
contestants take turns.
"""

import argparse
import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor

from gentrain.models.rbm import RBM, BinaryUnits


def rounds(contestants: dict[str, Callable[[], object]], count: int, device: torch.device) -> dict[str, float]:
    """Seconds a call."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for i in range(count + 3):
        for name, call in contestants.items():
            synchronize(device)
            began = time.perf_counter()
            call()
            synchronize(device)
            if i >= 3:
                times[name].append(time.perf_counter() - began)
    return {name: median(each) for name, each in times.items()}


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@torch.no_grad()
def step(chains: int, hidden: int, count: int, device: torch.device) -> None:
    model = RBM(BinaryUnits(), [1, 28, 28], hidden, n_chains=chains).to(device)
    v, h = model.noise(chains, device), torch.rand(chains, hidden, device=device).round()
    inner = 20

    def repeated(call: Callable[[], object]) -> Callable[[], object]:
        return lambda: [call() for _ in range(inner)]

    found = rounds(
        {
            "Gibbs steps": lambda: model.moved(v, inner),
            "two products": repeated(lambda: (v @ model.W, h @ model.W.T)),
            "random numbers": repeated(lambda: (torch.rand_like(h), torch.rand_like(v))),
            "sigmoids": repeated(lambda: (torch.sigmoid(h), torch.sigmoid(v))),
        },
        count,
        device,
    )
    whole = found["Gibbs steps"]
    for name, seconds in found.items():
        print(f"{name:15} {1e6 * seconds / inner:9.1f} us  {seconds / whole:5.2f}")
    parts = sum(found.values()) - whole
    print(f"the step is {whole / parts:.2f} of the sum of its parts; {chains * inner / whole:,.0f} chain steps a second")


def against_sklearn(epochs: int, hidden: int) -> None:
    """PCD-1, batches of 100, a rate of 0.05, on digits cut at 1/2; pseudo-likelihood of the 500 held-out digits by 20 flips each."""
    from sklearn.neural_network import BernoulliRBM

    from gentrain.data import MNIST5k

    data = MNIST5k(name="mnist_5k", shape=(1, 28, 28), classes=10)
    x, test = (images(data.load(split).images) for split in ("train", "test"))
    ours = RBM(BinaryUnits(threshold=True), [1, 28, 28], hidden)
    ours.survey((x,))
    sgd = torch.optim.SGD(ours.parameters(), lr=0.05)
    theirs = BernoulliRBM(hidden, learning_rate=0.05, batch_size=100, n_iter=1, random_state=0)
    flat = ours.values(x).numpy()
    seconds = {"gentrain": 0.0, "scikit-learn": 0.0}
    for epoch in range(1, epochs + 1):
        began = time.perf_counter()
        for batch in x[torch.randperm(len(x))].split(100):
            sgd.zero_grad()
            ours.objective((batch,)).loss.backward()
            sgd.step()
        seconds["gentrain"] += time.perf_counter() - began
        began = time.perf_counter()
        for batch in torch.from_numpy(flat)[torch.randperm(len(x))].split(100):
            theirs.partial_fit(batch.numpy())
        seconds["scikit-learn"] += time.perf_counter() - began
        judge = RBM(BinaryUnits(threshold=True), [1, 28, 28], hidden)
        with torch.no_grad():
            judge.W.copy_(torch.from_numpy(theirs.components_.T))
            judge.b.copy_(torch.from_numpy(theirs.intercept_visible_))
            judge.c.copy_(torch.from_numpy(theirs.intercept_hidden_))
        scores = [model.pseudo_log_likelihood((test,), 20).mean().item() for model in (ours, judge)]
        print(
            f"epoch {epoch:3}   gentrain {seconds['gentrain']:7.2f} s, pseudo-likelihood {scores[0]:8.2f}   "
            f"scikit-learn {seconds['scikit-learn']:7.2f} s, {scores[1]:8.2f}"
        )


def images(levels: Tensor) -> Tensor:
    return levels.float() / 127.5 - 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--chains", type=int, default=100)
    parser.add_argument("--hidden", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--epochs", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    torch.manual_seed(0)
    step(options.chains, options.hidden, options.rounds, torch.device(options.device))
    if options.epochs:
        against_sklearn(options.epochs, options.hidden)
