"""What a linear classifier of few labels reads from an encoder's codes.

Donahue, Krähenbühl & Darrell, "Adversarial feature learning", 2017, and Donahue & Simonyan, "Large
scale adversarial representation learning", 2019, compare encoders in this way; with all labels of
ImageNet, and by the layer before the codes.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Annotated, Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from gentrain.config.types import Count, Positive, Whole
from gentrain.data.arrays import ArrayDataset, to_float
from gentrain.data.base import Data
from gentrain.data.batches import generator
from gentrain.data.labels import Exclusive
from gentrain.errors import UserError
from gentrain.models.base import Encodes, GenerativeModel, eval_mode
from gentrain.quality.base import Score
from gentrain.quality.test_error import LabelMetric

View = Callable[[Tensor], Tensor]  # images (B, C, H, W) -> what is read, (B, F)


class LinearProbe(LabelMetric):
    """The share of held-out images that a multinomial logistic regression gets wrong.

    It learns from N training images with their labels, the same number of each class, and reads

        codes      what the encoder gives, in a distribution its means;
        features   the layer before the codes, where a model has one (BiGAN and its kin);
        pixels     the image itself, the baseline.

    `probe_codes_100` is the mean over several choices of 100 images, and `probe_codes_100_sd` their
    standard deviation. Every value is standardised by the N images first.

    Args:
        labels: numbers N of labels.
        draws: choices of the images for each N.
        C: inverse weight of the squared weights; see `logistic_regression`.
        seed: of the choices.
        The other arguments are those of `LabelMetric`.

    Raises:
        UserError: for data of several attributes, for a model whose codes are given the label, and
            for more labels than there are.
    """

    key = "quality=probe"
    requires = Encodes
    scores: ClassVar = {
        "probe_*_sd": Score("share of images", None),
        "probe_*": Score("share of images", error="probe_*_sd"),
    }

    def __init__(
        self,
        every: Whole = 1000,
        labels: Annotated[list[Count], Field(min_length=1)] | None = None,
        draws: Count = 5,
        C: Positive = 1.0,
        batch_size: Count | None = None,
        seed: Whole = 0,
        at_start: bool = True,
    ) -> None:
        super().__init__(every, batch_size, at_start)
        self.labels, self.draws, self.C, self.seed = labels or [100, 1000], draws, C, seed

    def options_for(self, model: GenerativeModel) -> dict[str, str]:
        return super().options_for(model) | {"seed": "seed"}

    def check(self, data: Data, model: GenerativeModel) -> None:
        super().check(data, model)
        if type(data.label_kind) is not Exclusive:
            raise UserError(
                f"images of data={data.name} have several attributes each, and a probe names one "
                f"class ({self.key}); choose another metric, or quality=none"
            )
        if model.labelled:
            raise UserError(
                f"codes of {type(model).__name__} are given the label, which a probe would read "
                f"from them ({self.key}); choose another metric, or quality=none"
            )
        most = smallest_class(data)
        for n in self.labels:
            assert data.classes is not None
            if n % data.classes or not 1 <= n // data.classes <= most:
                raise UserError(
                    f"{n} labels cannot be as many of each of {data.classes} classes, of which the "
                    f"rarest has {most} training images ({self.key}, quality.labels); give "
                    f"multiples of {data.classes}, at most {most * data.classes}"
                )

    def protocol(self, data: Data, model: GenerativeModel) -> dict[str, Any]:
        return super().protocol(data, model) | {
            "probe": f"logistic regression, C = {self.C:g}, standardised values",
            "labels": list(self.labels),
            "draws": self.draws,
            "seed": self.seed,
            "train_digest": data.digest("train"),
        }

    def compute(self, data: Data, model: Any, device: torch.device) -> dict[str, float]:
        train = data.load("train")
        assert train.labels is not None and data.classes is not None
        found: dict[str, float] = {}
        for name, view in views(model).items():
            read, truth = self.said(data, model, view, device)
            if read.shape[1] == 0:  # the model has no such vector
                continue
            for n in self.labels:
                errors = []
                for draw in range(self.draws):
                    rows = balanced_rows(
                        train.labels, n // data.classes, data.classes, self.seed, draw
                    )
                    seen = self.read(train, rows, model, view, device)
                    probe = fitted(seen, train.labels[rows].cpu(), data.classes, self.C)
                    errors.append(float((probe(read) != truth).double().mean()))
                found[f"probe_{name}_{n}"] = statistics.fmean(errors)
                if self.draws > 1:
                    found[f"probe_{name}_{n}_sd"] = statistics.stdev(errors)
        return found

    def read(
        self, train: ArrayDataset, rows: Tensor, model: Any, view: View, device: torch.device
    ) -> Tensor:
        """What a view gives of some training images, (N, F) on the CPU."""
        parts = rows.to(train.images.device).split(self.batch_size)
        with eval_mode(model):
            return torch.cat(
                [view(to_float(train.images[part].to(device))).cpu() for part in parts]
            )


def views(model: Any) -> dict[str, View]:
    """What is read of images, by name; (B, 0) where a model has no such vector."""

    def features(x: Tensor) -> Tensor:
        found = model.features(x)
        return x.new_empty(len(x), 0) if found is None else found.flatten(1)

    return {
        "codes": lambda x: model.encode(x).flatten(1),
        "features": features,
        "pixels": lambda x: x.flatten(1),
    }


def smallest_class(data: Data) -> int:
    """How many training images the rarest class has."""
    labels = data.load("train").labels
    assert labels is not None and data.classes is not None
    return int(torch.bincount(labels.flatten(), minlength=data.classes).min())


def balanced_rows(labels: Tensor, each: int, classes: int, seed: int, draw: int) -> Tensor:
    """Rows of training images, `each` of every class, as a seed and the number of a draw choose."""
    chosen = []
    for label in range(classes):
        rows = (labels == label).nonzero().squeeze(1)
        order = torch.randperm(len(rows), generator=generator(seed, f"probe {draw}", label))
        chosen.append(rows[order[:each].to(rows.device)])
    return torch.cat(chosen)


def fitted(x: Tensor, y: Tensor, classes: int, C: float) -> Callable[[Tensor], Tensor]:
    """A logistic regression of standardised values, (B, F) -> classes (B,)."""
    x = x.double()
    mean, sd = x.mean(0), x.std(0, correction=0)
    scale = torch.where(sd > 0, sd, 1.0)
    weight, bias = logistic_regression((x - mean) / scale, y, classes, C)

    def predict(v: Tensor) -> Tensor:
        return (((v.double() - mean) / scale) @ weight.T + bias).argmax(1)

    return predict


def logistic_regression(
    x: Tensor, y: Tensor, classes: int, C: float, steps: int = 1000
) -> tuple[Tensor, Tensor]:
    """The weights (K, F) and biases (K,) that minimise

        C sum_i -log softmax(W x_i + b)_{y_i} + |W|^2 / 2,

    by L-BFGS in double precision. It is the objective of scikit-learn's `LogisticRegression`.

    Args:
        x: (N, F).
        y: (N,) classes.
        classes: K.
        C: inverse weight of the penalty.
        steps: most iterations.
    """
    # a caller may be in inference mode, and its tensors know no gradient
    with torch.inference_mode(False), torch.enable_grad():
        x, y = x.detach().clone().double(), y.clone()
        weight = torch.zeros(classes, x.shape[1], dtype=x.dtype, requires_grad=True)
        bias = torch.zeros(classes, dtype=x.dtype, requires_grad=True)
        optimizer = torch.optim.LBFGS(
            [weight, bias],
            max_iter=steps,
            max_eval=2 * steps,
            tolerance_grad=1e-5,
            tolerance_change=1e-12,
            line_search_fn="strong_wolfe",
        )

        def objective() -> Tensor:
            optimizer.zero_grad()
            loss = C * F.cross_entropy(x @ weight.T + bias, y, reduction="sum")
            loss = loss + weight.square().sum() / 2
            loss.backward()
            return loss

        optimizer.step(objective)  # type: ignore[arg-type]
    return weight.detach(), bias.detach()
