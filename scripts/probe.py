"""How much of an image's class an encoder's code tells: logistic regression on few labels, on codes and on pixels (Donahue et al., 2017).

python scripts/probe.py RUN --labels 10 100 1000     # RUN keeps a model with an encoder, e.g. of model=bigan; prints test accuracies
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from gentrain.data.arrays import to_float
from gentrain.runs.reopen import reopen


def accuracy(
    train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], standardised: bool = True
) -> float:
    """Test accuracy; the strength of the penalty is scikit-learn's own, C = 1."""
    probe = make_pipeline(*[StandardScaler()] * standardised, LogisticRegression(max_iter=1000))
    return float(probe.fit(*(t.numpy() for t in train)).score(*(t.numpy() for t in test)))


def in_parts(view: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    return torch.cat([view(part) for part in images.split(500)])


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument(
        "--labels", type=int, nargs="+", default=[10, 30, 100, 1000], help="as many of each class"
    )
    parser.add_argument(
        "--draws", type=int, default=5, help="choices of the labels, of which the mean is told"
    )
    parser.add_argument(
        "--plain", action="store_true", help="features as they are, not standardised"
    )
    parser.add_argument("--checkpoint", default="last")
    args = parser.parse_args()
    run = reopen(args.run, args.checkpoint)
    model = run.model
    (x, y), (u, t) = (
        (to_float(images), labels)
        for images, labels, _ in (run.data.load("train"), run.data.load("test"))
    )
    views: dict[str, Callable[[Tensor], Tensor]] = {"pixels": lambda images: images.flatten(1)}
    for name, method in {"codes": "encode", "the layer before them": "features"}.items():
        if hasattr(model, method):
            views[name] = partial(in_parts, getattr(model, method))
    tests = {name: view(u) for name, view in views.items()}
    for n in args.labels:
        found: dict[str, list[float]] = {name: [] for name in views}
        for draw in range(args.draws):
            g = torch.Generator().manual_seed(draw)
            of_class = [(y == k).nonzero().squeeze(1) for k in range(int(y.max()) + 1)]
            rows = torch.cat(
                [
                    each[torch.randperm(len(each), generator=g)[: n // len(of_class)]]
                    for each in of_class
                ]
            )
            for name, view in views.items():
                found[name].append(
                    accuracy((view(x[rows]), y[rows]), (tests[name], t), not args.plain)
                )
        shares = ", ".join(
            f"{name} {sum(values) / len(values):.1%}" for name, values in found.items()
        )
        print(f"{n} labels: right for {shares} of {len(t):,} test images", flush=True)


if __name__ == "__main__":
    main()
