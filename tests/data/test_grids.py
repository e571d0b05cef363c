"""Pictures are, byte for byte, those that torchvision would write."""

from pathlib import Path

import pytest
import torch
from torchvision.utils import make_grid, save_image

from gentrain.data import grids


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("count", "columns"), [(1, 3), (2, 3), (7, 3), (9, 3), (16, 20)])
def test_a_grid_is_that_of_torchvision(
    count: int, columns: int, channels: int, tmp_path: Path
) -> None:
    images = torch.rand(count, channels, 5, 7, generator=torch.Generator().manual_seed(0))
    expected = make_grid(images, nrow=columns)
    picture = grids.tile(images, columns)
    assert torch.equal(picture, expected)
    save_image(expected, tmp_path / "expected.png", format="png")
    grids.save(picture, tmp_path / "saved.png")
    assert (tmp_path / "saved.png").read_bytes() == (tmp_path / "expected.png").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["expected.png", "saved.png"]
