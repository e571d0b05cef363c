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


def test_words_make_images_large_enough() -> None:
    """Images of 8 pixels below a long word are enlarged by whole pixels; no words, no margin."""
    images = torch.rand(4, 1, 8, 8) * 2 - 1
    plain = grids.annotated(images, [], ["", ""])
    assert plain.shape == (3, 2 * 58 + 2, 2 * 58 + 2)  # 56 pixels, and 2 between
    assert torch.equal(plain[:, 2:58:7, 2:58:7][0], plain[:, 3:59:7, 3:59:7][0])
    words = ["a long word of many letters", "b"]
    wide = grids.annotated(images, ["a"], words)
    times, rest = divmod((wide.shape[1] - 12 - 2) // 2 - 2, 8)
    assert rest == 0 and times > 7
    assert wide.shape[2] > 2 * plain.shape[2] and (wide[:, :12] < 1).any()
