"""How well a linear classifier tells classes from an encoder's codes, given few labels.

    python scripts/probe.py RUN --labels 10 100 1000

RUN is a run of a model with an encoder, such as model=bigan. For codes, and for pixels, the script
trains a logistic regression on a few labelled images and prints its test accuracy (Donahue,
Krähenbühl & Darrell, "Adversarial Feature Learning", 2017).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from gentrain.capability import supports
from gentrain.data.arrays import to_float
from gentrain.models.base import Encodes
from gentrain.models.gan.bigan import BiGAN
from gentrain.runs.reopen import reopen

Features = Callable[[Tensor], Tensor]  # images (B, C, H, W) -> (B, F)


def accuracy(
    train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], standardised: bool = True
) -> float:
    """Test accuracy of a logistic regression, with scikit-learn's default penalty, C = 1."""
    probe = make_pipeline(*[StandardScaler()] * standardised, LogisticRegression(max_iter=1000))
    return float(probe.fit(*(t.numpy() for t in train)).score(*(t.numpy() for t in test)))


def in_parts(features: Features, images: Tensor) -> Tensor:
    """Features of many images, 500 at a time."""
    return torch.cat([features(part) for part in images.split(500)])


def features_of(model: Any) -> dict[str, Features]:
    """What is compared: pixels, codes, and the encoder's features where a model has these."""
    found: dict[str, Features] = {"pixels": lambda images: images.flatten(1)}
    if supports(model, Encodes):
        found["codes"] = partial(in_parts, model.encode)
    if supports(model, BiGAN):
        found["the layer before them"] = partial(in_parts, model.features)
    return found


def labelled_rows(labels: Tensor, n: int, seed: int) -> Tensor:
    """The indices of n images, as many of each class."""
    chance = torch.Generator().manual_seed(seed)
    of_class = [(labels == k).nonzero().squeeze(1) for k in range(int(labels.max()) + 1)]
    each = n // len(of_class)
    return torch.cat(
        [rows[torch.randperm(len(rows), generator=chance)[:each]] for rows in of_class]
    )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument(
        "--labels", type=int, nargs="+", default=[10, 30, 100, 1000], help="numbers of labels"
    )
    parser.add_argument(
        "--draws", type=int, default=5, help="random choices of the labels, to average over"
    )
    parser.add_argument("--plain", action="store_true", help="do not standardise the features")
    parser.add_argument("--checkpoint", default="last", choices=["last", "best"])
    return parser.parse_args()


@torch.no_grad()
def main() -> None:
    args = arguments()
    run = reopen(args.run, args.checkpoint)
    train, test = run.data.load("train"), run.data.load("test")
    y, test_y = train.labels, test.labels
    if y is None or test_y is None:
        raise SystemExit(f"the data of {args.run} have no labels")
    x, test_x = to_float(train.images), to_float(test.images)
    views = features_of(run.model)
    of_test = {name: features(test_x) for name, features in views.items()}
    for n in args.labels:
        scores: dict[str, list[float]] = {name: [] for name in views}
        for draw in range(args.draws):
            rows = labelled_rows(y, n, draw)
            for name, features in views.items():
                labelled = (features(x[rows]), y[rows])
                scores[name].append(accuracy(labelled, (of_test[name], test_y), not args.plain))
        shares = (f"{name} {sum(s) / len(s):.1%}" for name, s in scores.items())
        print(f"{n} labels: right for {', '.join(shares)} of {len(test_y):,} test images")


if __name__ == "__main__":
    main()
