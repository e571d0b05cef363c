"""Pictures at the right steps, of the same noise, that leave the training as it was."""

from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from PIL import Image

from gentrain.data.arrays import ArrayDataset as Data
from gentrain.data.grids import density, grid
from gentrain.training.callbacks.samples import SampleGrids, chosen
from gentrain.training.loggers import Dashboard
from tests.support.tensors import assert_equal
from tests.support.toy import train


def read_picture(path: Path) -> torch.Tensor:
    """uint8 (C, H, W)"""
    with Image.open(path) as picture:
        return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


class Album(Dashboard):
    """A dashboard that keeps the names of pictures."""

    def __init__(self) -> None:
        self.images: list[tuple[str, str, int]] = []

    def show(self, name: str, path: Path, step: int, caption: str) -> None:
        self.images.append((name, path.name, step))

    def close(self, *_: Any) -> None: ...


def test_grids_at_their_steps(tmp_path: Path) -> None:
    train(tmp_path, 5, [SampleGrids(every=2, n=10)])
    names = sorted(path.name for path in (tmp_path / "samples").iterdir())
    assert names == [
        "final.png",
        "real.png",
        "step-000000.png",
        "step-000002.png",
        "step-000004.png",
    ]
    pictures = [read_picture(tmp_path / "samples" / name) for name in names]
    # 4 x 3 images of 8 pixels, 2 between
    assert {tuple(picture.shape) for picture in pictures} == {(3, 3 * 10 + 2, 4 * 10 + 2)}
    assert not torch.equal(pictures[2], pictures[3])


def test_the_same_noise_every_time(tmp_path: Path) -> None:
    """The last step and the end are drawn one after the other, with other random numbers used in
    between.
    """

    class Noisy(SampleGrids):
        def draw(self, trainer: L.Trainer, pl_module: Any, name: str, log: bool = True) -> None:
            torch.rand(len(name))
            super().draw(trainer, pl_module, name, log)

    train(tmp_path, 2, [Noisy(every=1, n=4)])
    assert (tmp_path / "samples" / "step-000002.png").read_bytes() == (
        tmp_path / "samples" / "final.png"
    ).read_bytes()


def test_training_with_pictures_equals_training_without(tmp_path: Path) -> None:
    with_, without = train(tmp_path, 4, [SampleGrids(every=1, n=5)]), train(tmp_path, 4, [])
    assert_equal(with_.state_dict(), without.state_dict())


def test_every_0_draws_the_end_alone(tmp_path: Path) -> None:
    train(tmp_path, 2, [SampleGrids(every=0)])
    assert sorted(path.name for path in (tmp_path / "samples").iterdir()) == [
        "final.png",
        "real.png",
    ]


@pytest.mark.parametrize(
    ("steps", "last"), [(4, ("samples", "step-000004.png", 4)), (5, ("samples", "final.png", 5))]
)
def test_one_grid_a_time_goes_to_the_loggers(
    tmp_path: Path, steps: int, last: tuple[str, str, int]
) -> None:
    album = Album()

    class Quiet(SampleGrids):
        def draw(self, trainer: L.Trainer, pl_module: Any, name: str, log: bool = True) -> None:
            loggers, trainer.loggers = trainer.loggers, [album]  # type: ignore[list-item]
            super().draw(trainer, pl_module, name, log)
            trainer.loggers = loggers

    train(tmp_path, steps, [Quiet(every=2, n=4)])
    assert [step for _, _, step in album.images] == sorted({step for _, _, step in album.images})
    assert album.images[0] == ("samples", "step-000000.png", 0) and album.images[-1] == last


def test_points_are_drawn_as_densities(tmp_path: Path) -> None:
    train(tmp_path, 2, [SampleGrids(every=1)], shape=(2,))
    assert read_picture(tmp_path / "samples" / "final.png").shape == (3, 64 * 4, 2 * 64 * 4)


def test_density_has_x_to_the_right_and_y_up() -> None:
    picture = density(torch.tensor([[0.99, 0.99], [0.99, 0.99], [-0.99, 0.99]]))
    assert picture[0, 0, -1] == 0 and 0 < picture[0, 0, 0] < 1 and picture[0, -1].min() == 1


def test_a_grid_maps_minus_one_to_black_and_clamps() -> None:
    picture = grid(torch.tensor([-1.0, 0.0, 3.0]).view(3, 1, 1, 1).expand(3, 1, 2, 2))
    assert [picture[0, 2, 2 + 4 * i] for i in range(2)] == [0, 0.5] and picture[0, 6, 2] == 1


def test_the_rows_show_the_classes_in_turn() -> None:
    labels = torch.tensor([2, 0, 0, 5, 2, 0])
    rows = chosen(Data(torch.zeros(6, 1, 2, 2, dtype=torch.uint8), labels), 8, seed=0)
    assert labels[rows].tolist() == [0, 2, 5, 0, 2, 5, 0, 2]
    assert chosen(Data(torch.zeros(3, 1, 2, 2, dtype=torch.uint8), None), 7, seed=0).shape == (7,)
