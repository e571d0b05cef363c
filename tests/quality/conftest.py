"""Stand-ins: a data set of three easy classes, a model that draws from it, and what scores it."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from gentrain.data.arrays import ArrayDataset
from gentrain.data.base import Data
from gentrain.data.capabilities import HasModes
from gentrain.models.base import GenerativeModel
from gentrain.quality.base import Metric, measure, prepare_metric

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Bars(Data):
    """16 x 16 images with a bright bar and noise around it.

    Class 0 has it at the top, 1 in the middle, 2 at the bottom.
    """

    def __init__(self, classes: int | None = 3, sizes: tuple[int, int] = (600, 120)) -> None:
        super().__init__(name="bars", shape=(1, 16, 16), classes=classes)
        self.sizes = dict(zip(("train", "test"), sizes, strict=True))

    def read(self, split: str) -> ArrayDataset:
        generator = torch.Generator().manual_seed(len(split))
        n = self.sizes[split]
        labels = torch.arange(n) % 3
        images = torch.randint(0, 60, (n, 1, 16, 16), generator=generator, dtype=torch.uint8)
        for row, label in enumerate(labels.tolist()):
            images[row, :, 5 * label : 5 * label + 4] += 180
        return ArrayDataset(images, labels if self.classes else None)


class Sampler(GenerativeModel):
    """Draws the batch's own images with noise, or whatever `draw` makes of the batch."""

    ema_generator = None

    def __init__(self, draw: Callable[[Any], torch.Tensor] | None = None) -> None:
        super().__init__()
        self.draw = draw or (lambda batch: batch[0] + 0.1 * torch.randn_like(batch[0]))
        self.batches: list[tuple[torch.Tensor, ...]] = []

    def sample(self, batch, noise=None):
        self.batches.append(batch)
        return self.draw(batch)


class TwoGaussians(Data, HasModes):
    """Points of two Gaussians."""

    sd = 0.01

    def __init__(self) -> None:
        super().__init__(name="two", shape=(2,), classes=2)

    def modes(self) -> torch.Tensor:
        return torch.tensor([[-0.5, 0.0], [0.5, 0.0]])

    def read(self, split: str) -> ArrayDataset:
        labels = torch.arange(400) % 2
        draw = torch.Generator().manual_seed(0)
        points = self.modes()[labels] + self.sd * torch.randn(400, 2, generator=draw)
        return ArrayDataset(points, labels)


def scores_of(metric: Metric, data: Any, model: Any) -> tuple[dict[str, float], dict[str, Any]]:
    """Scores, without "quality/", and protocol, as a training gets them."""
    metric.check(data, model)
    protocol = prepare_metric(metric, data, model, CPU)
    scores = measure(metric, data, model, CPU)
    return {name.removeprefix("quality/"): value for name, value in scores.items()}, protocol


@pytest.fixture(scope="session")
def bars():
    return Bars()


@pytest.fixture
def model():
    return Sampler


@pytest.fixture
def scored():
    return scores_of


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def points():
    return TwoGaussians()
