"""Features without a download: a small classifier that learns the data set itself.

After LeNet-5 (LeCun et al., "Gradient-based learning applied to document recognition", 1998): two
convolutions and two linear layers. The 128 values before the last layer are the features. They
rank failures well (blur, a missing class, noise) but live on another scale than Inception's, so
the names of their scores end in `_classifier`, and none is called FID.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gentrain.config.types import Count, Positive, Whole
from gentrain.data.arrays import ArrayDataset, to_float
from gentrain.data.base import Data
from gentrain.data.labels import Exclusive
from gentrain.errors import UserError
from gentrain.layers.precision import default_dtype
from gentrain.quality.cache import cached
from gentrain.quality.features import Features, LabelledImages, fingerprint

log = logging.getLogger(__name__)

VERSION = "1"  # raise it with every change to this file that alters the weights
CPU = torch.device("cpu")
PAUSE = 5.0  # seconds between two lines on how far the training is


SIZE = 128  # features


class LeNet(nn.Module):
    """(B, C, H, W) in [-1, 1] -> features (B, 128) and logits (B, K).

    Strided convolutions halve the image until no side is longer than 8 pixels. LeNet's own
    convolutions, at every pixel and then pooled, cost 3 times as much for half a percent of
    accuracy on MNIST.

    Args:
        shape: (C, H, W).
        classes: K.
        width: channels of the first convolution; the others have twice as many.
    """

    def __init__(self, shape: Sequence[int], classes: int, width: int) -> None:
        super().__init__()
        channels, height, breadth = shape
        layers: list[nn.Module] = []
        while max(height, breadth) > 8:
            wide = width if not layers else 2 * width
            layers += [nn.Conv2d(channels, wide, 5, stride=2, padding=2), nn.ReLU()]
            channels, height, breadth = wide, (height + 1) // 2, (breadth + 1) // 2
        linear = nn.Linear(channels * height * breadth, SIZE)
        self.body = nn.Sequential(*layers, nn.Flatten(), linear, nn.ReLU())
        self.head = nn.Linear(SIZE, classes)
        self.to(memory_format=torch.channels_last)  # half the time on a CPU

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.body(x.contiguous(memory_format=torch.channels_last))
        return features, self.head(features)


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute sums in one order, so that the weights are the same on any number of cores.

    Layers so small gain little from a second core.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Classifier(Features):
    """A LeNet, trained once on the train split: the same features for every run on a data set.

    It is trained on the CPU, from a seed of its own.

    Args:
        width: channels of the first convolution, half of the others'.
        updates: steps of Adam; the time is the same for 5,000 images and for 60,000.
        batch_size: images of each step.
        learning_rate: the highest of a one-cycle schedule.
        seed: seed for the weights and the order of the images; not the run's.
    """

    name = "classifier"
    suffix = "_classifier"
    size = SIZE
    knows_classes = True

    def __init__(
        self,
        width: Count = 16,
        updates: Count = 1000,
        batch_size: Count = 128,
        learning_rate: Positive = 3e-3,
        seed: Whole = 0,
    ) -> None:
        super().__init__()
        self.options = {
            "width": width,
            "updates": updates,
            "batch_size": batch_size,
            "learning_rate": learning_rate,
            "seed": seed,
        }

    def check(self, data: Data) -> None:
        if data.classes is None:
            raise UserError(
                f"quality=classifier learns from labels, and data={data.name} has none "
                "(data.classes); choose quality=rotation, inception or none"
            )
        if type(data.label_kind) is not Exclusive:
            raise UserError(
                f"quality=classifier learns one class of each image, and labels of "
                f"data={data.name} are {type(data.label_kind).__name__} (data.label_kind); "
                "choose quality=inception or quality=none"
            )
        if data.classes < 2:
            raise UserError(
                f"quality=classifier learns to tell classes apart, and data={data.name} has "
                f"{data.classes} (data.classes); choose quality=rotation, inception or none"
            )

    def another(self) -> Classifier:
        """A classifier with the same options, for other labels."""
        return Classifier(**self.options)  # type: ignore[arg-type]

    def prepare(self, data: LabelledImages, cache: Path) -> None:
        key = [data.digest("train"), data.digest("test"), VERSION, self.options, data.classes]
        path = cache / f"classifier-{hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]}.pt"
        kept = cached(path, lambda: self._train(data))
        with default_dtype(torch.float32):
            self.network = LeNet(kept["shape"], kept["classes"], int(self.options["width"]))
        self.network.load_state_dict(kept["weights"])
        self.hash, self.accuracy = kept["hash"], kept["accuracy"]
        self.label_kind = data.label_kind
        self.requires_grad_(False)

    def protocol(self) -> dict[str, Any]:
        stated = {
            "network": "LeNet, 128 features",
            "version": VERSION,
            "test_accuracy": self.accuracy,
            "resizer": None,
            "antialias": None,
        }
        return stated | {f"classifier_{name}": value for name, value in self.options.items()}

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self.network(to_float(images))

    def predict(self, images: Tensor) -> Tensor:
        """uint8 (N, C, H, W) -> the most likely label of each image, (N, ...) on the CPU."""
        return self.label_kind.predict(self.of(images, 500, CPU)[1])

    def _train(self, data: LabelledImages) -> dict[str, Any]:
        """Train and measure; returns what the cache keeps."""
        train, test = data.load("train"), data.load("test")
        shape, classes = list(train.images.shape[1:]), int(data.classes or 0)
        updates = self.options["updates"]
        log.info("training the feature classifier on %s, once (%d updates)", data.name, updates)
        with (
            torch.random.fork_rng(devices=[]),
            torch.enable_grad(),
            torch.inference_mode(False),
            one_thread(),
            default_dtype(torch.float32),
        ):
            torch.default_generator.manual_seed(int(self.options["seed"]))
            self.network = LeNet(shape, classes, int(self.options["width"]))
            self.label_kind = data.label_kind
            self._optimize(train)
        accuracy = self._accuracy(test)
        log.info(
            "the feature classifier of %s names %.2f %% of the test split correctly",
            data.name,
            100 * accuracy,
        )
        weights = self.network.state_dict()
        return {
            "weights": weights,
            "shape": shape,
            "classes": classes,
            "accuracy": accuracy,
            "hash": fingerprint(weights),
        }

    def _optimize(self, train: ArrayDataset) -> None:
        images, labels, _ = train
        assert labels is not None
        updates, rate = int(self.options["updates"]), float(self.options["learning_rate"])
        optimizer = torch.optim.Adam(self.network.parameters(), lr=rate)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=rate, total_steps=updates)
        told = time.monotonic()
        for update in range(updates):
            if time.monotonic() - told > PAUSE:
                told = time.monotonic()
                log.info("feature classifier: %d of %d updates", update, updates)
            rows = torch.randint(len(images), (int(self.options["batch_size"]),))
            _, logits = self(images[rows])
            optimizer.zero_grad()
            self.label_kind.nll(logits, labels[rows]).backward()
            optimizer.step()
            schedule.step()

    def _accuracy(self, test: ArrayDataset) -> float:
        assert test.labels is not None
        return (self.predict(test.images) == test.labels).double().mean().item()
