"""Small stand-ins: a data set of three easy classes, a model that draws from it, and a trainer that
only counts.
"""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from gentrain.data.arrays import ArrayDataset, sha256_of


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Bars:
    """16 x 16 images with a bright bar, noise around it: class 0 at the top, 1 in the middle, 2 at
    the bottom.
    """

    name, shape, source_shape = "bars", (1, 16, 16), None

    def __init__(self, classes: int | None = 3, sizes: tuple[int, int] = (600, 120)) -> None:
        self.classes, self.sizes = classes, dict(zip(("train", "test"), sizes, strict=True))
        self.reads = 0

    def load(self, split: str) -> ArrayDataset:
        self.reads += 1
        generator = torch.Generator().manual_seed(len(split))
        n = self.sizes[split]
        labels = torch.arange(n) % 3
        images = torch.randint(0, 60, (n, 1, 16, 16), generator=generator, dtype=torch.uint8)
        for row, label in enumerate(labels.tolist()):
            images[row, :, 5 * label : 5 * label + 4] += 180
        return ArrayDataset(images, labels if self.classes else None)

    def digest(self, split: str) -> str:
        return sha256_of(self.load(split))


class Model:
    """What a scheme offers; its fakes are the batch's own images with noise, or whatever `draw`
    makes of the batch.
    """

    device = torch.device("cpu")
    global_step = 0

    def __init__(self, draw: Any = None) -> None:
        self.draw = draw or (lambda batch: batch[0] + 0.1 * torch.randn_like(batch[0]))
        self.protocols: dict[str, dict[str, Any]] = {}
        self.records: list[dict[str, float]] = []
        self.batches: list[tuple[torch.Tensor, ...]] = []

    def sample(self, batch):
        self.batches.append(batch)
        return self.draw(batch)

    def record(self, metrics):
        self.records.append(metrics)

    def due(self, every):
        return self.global_step % every == 0


def trainer_of(data: Any, step: int = 0) -> Any:
    strategy = SimpleNamespace(barrier=lambda name=None: None)
    return SimpleNamespace(
        datamodule=data, global_step=step, is_global_zero=True, strategy=strategy
    )


@pytest.fixture(scope="session")
def bars():
    return Bars()


@pytest.fixture
def model():
    return Model


@pytest.fixture
def trainer():
    return trainer_of


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def points():
    """Points of two Gaussians as a data set."""
    centres = torch.tensor([[-0.5, 0.0], [0.5, 0.0]])
    labels = torch.arange(400) % 2
    images = centres[labels] + 0.01 * torch.randn(
        400, 2, generator=torch.Generator().manual_seed(0)
    )
    return SimpleNamespace(
        name="two",
        shape=(2,),
        classes=2,
        sd=0.01,
        modes=lambda: centres,
        load=lambda split: ArrayDataset(images, labels),
        digest=lambda split: "d",
    )
