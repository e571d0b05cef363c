"""MNIST binarised once and for all: 50,000 + 10,000 + 10,000 digits whose pixels are 0 or 1.

Larochelle & Murray, "The neural autoregressive distribution estimator", 2011. Each pixel was drawn
once with the probability of its brightness (Salakhutdinov & Murray, 2008), and papers that say
"binarised MNIST" without more compare nats on these files:

    binarized_mnist_train.amat   binarized_mnist_valid.amat   binarized_mnist_test.amat

A line is an image: 784 times 0 or 1, with spaces between. There are no labels.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from gentrain.data.arrays import ArrayDataset
from gentrain.data.checks import ensure
from gentrain.data.files import root_folder
from gentrain.data.images import Images
from gentrain.data.validation import check_own_split
from gentrain.errors import UserError

PAGE = "https://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist"
PIXELS = 28 * 28


@dataclass(kw_only=True, eq=False, repr=False)
class StaticMNIST(Images):
    """Black and white digits, with the validation split of the files.

    Args:
        root: the folder of the three files.
        verify: compare the number of images with the published one.
        The other arguments are those of `Images`.
    """

    root: str | Path | None = None
    verify: bool = True

    black_and_white: ClassVar[bool] = True
    files: ClassVar[dict[str, tuple[str, int]]] = {
        "train": ("binarized_mnist_train.amat", 50_000),
        "validation": ("binarized_mnist_valid.amat", 10_000),
        "test": ("binarized_mnist_test.amat", 10_000),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        check_own_split(self.validation, f"data={self.name}", self.files["validation"][0])
        ensure(
            self.sides == (28, 28) and not self.jitter,
            f"images of data={self.name} resized would be grey (data.size, data.jitter); "
            "leave 28 and 0",
        )
        ensure(
            bool(self.root),
            f"data={self.name} needs the fixed images of Larochelle & Murray (data.root); "
            f"give data.root=DIR with {self.files['train'][0]} and the two others of {PAGE}",
        )

    @property
    def reads_validation(self) -> bool:
        return True

    def read(self, split: str) -> ArrayDataset:
        file, count = self.files[split]
        path = root_folder(self.root or "") / file
        images = parsed(path)
        ensure(
            not self.verify or len(images) == count,
            f"{path} has {len(images):,} images, not {count:,} (data.root); fetch it again from "
            f"{PAGE}",
        )
        return ArrayDataset(images, None)


def parsed(path: Path) -> torch.Tensor:
    """uint8 (N, 1, 28, 28), 0 or 255, of one file.

    Raises:
        UserError: for a file that is missing, or that is not of that form.
    """
    try:
        text = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as error:
        raise UserError(
            f"cannot read {path}: {error.strerror} (data.root); give the folder with the files of "
            f"{PAGE}"
        ) from error
    is_value = (text == ord("0")) | (text == ord("1"))
    lines = int(((text == ord("\n"))[1:] & (text != ord("\n"))[:-1]).sum())
    lines += int(len(text) > 0 and text[-1] != ord("\n"))
    alone = not (is_value[1:] & is_value[:-1]).any()  # no number of two digits
    known = is_value | np.isin(text, [ord(" "), ord("\n"), ord("\r")])
    values = text[is_value] - ord("0")
    ensure(
        bool(known.all()) and alone and lines > 0 and values.size == PIXELS * lines,
        f"{path} has not {PIXELS} times 0 or 1 in each line (data.root); fetch it from {PAGE}",
    )
    return torch.from_numpy(255 * values).view(-1, 1, 28, 28)
