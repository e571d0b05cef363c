"""Points from a table in a file: a row is a point, and a column is a coordinate.

Columns are standardised by the mean m and the standard deviation s of the training rows,

    x = (v - m) / s,    log |dx/dv| = -sum log s,

which samples and likelihoods undo: both are in the units of the file.
"""

import csv
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from gentrain.data.arrays import ArrayDataset, Frame
from gentrain.data.base import Data
from gentrain.data.batches import generator
from gentrain.data.checks import check_drawn_split, ensure
from gentrain.data.validation import divided
from gentrain.errors import UserError

KEYS = ("points", "X", "x", "data")  # of an .npz with several arrays, the first of these
SEPARATORS = (",", ";", "\t")
SHOWN = 0.999  # share of the training rows, in each column, that pictures show


class Table(NamedTuple):
    """The numbers of a file, and the names of its columns; () where it has none."""

    values: np.ndarray  # float64 (N, D)
    names: tuple[str, ...] = ()


@dataclass(kw_only=True, eq=False, repr=False)
class Points(Data):
    """Rows of a table as points; "test" is a share of them, drawn by `draw_seed`.

    Args:
        file: a .npy, .npz, .csv or .parquet; the first line of a .csv may name the columns.
        key: the array of an .npz; null for its only one, or for `points`, `X`, `x` or `data`.
        standardise: give each column mean 0 and deviation 1, those of the training rows.
        bounded: all values are in [-1, 1], so that generators may end with tanh.
        test: share of the rows that is the test split.
        draw_seed: which rows are held out. It is not the run's seed, so that runs with other seeds
            share the data.
        The other arguments are those of `Data`.
    """

    file: str | Path | None = None
    key: str | None = None
    standardise: bool = True
    bounded: bool = False
    test: float = 0.1
    draw_seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_drawn_split(self.test, self.draw_seed)
        ensure(not self.flip, "points have no left and right (data.flip); write false")
        ensure(self.classes is None, "points have no labels (data.classes); write null")
        self._parts: dict[str, np.ndarray] = {}

    @property
    def reads_validation(self) -> bool:
        return True

    def read(self, split: str) -> ArrayDataset:
        mean, sd = self.units
        values = (self.parts[split] - mean) / sd
        found = torch.from_numpy(values.astype(np.float32))
        ensure(
            bool(found.isfinite().all()),
            f"{self.file} has values too large for 32 bits (data.standardise); write true",
        )
        ensure(
            not self.bounded or float(found.abs().max()) <= 1,
            f"values of {self.file} are not all in [-1, 1] (data.bounded); write false",
        )
        return ArrayDataset(found, None)

    # --- rows -------------------------------------------------------------------------------------

    @property
    def table(self) -> Table:
        """What the file has, after a look at it."""
        return read_table(self.file, self.key)

    @property
    def parts(self) -> dict[str, np.ndarray]:
        """The rows (N, D) of each split in the units of the file; without numbers no split."""
        if not self._parts:
            self._parts = self.divided_rows()
            train = self._parts["train"]
            for number in np.flatnonzero(train.min(0) == train.max(0))[:1]:
                raise UserError(
                    f"{self.column(number)} of {self.file} is constant in the training rows, so "
                    "that it has no density (data.file); leave it out"
                )
        return self._parts

    def divided_rows(self) -> dict[str, np.ndarray]:
        """The rows of each split, in their order."""
        values = self.table.values
        count = len(values)
        held_out = max(1, round(self.test * count))
        ensure(
            count - held_out >= 2,
            f"{count} row{'s' * (count != 1)} of {self.file} cannot be shared by a training and a "
            "test split (data.file, data.test); give more rows, or a smaller share",
        )
        order = torch.randperm(count, generator=generator(self.draw_seed, "points", count))
        rest = order[held_out:].sort().values
        rows = {"train": torch.arange(len(rest))}
        if self.validation:
            rows = divided(len(rest), None, self.validation, str(self.file))
        parts = {split: values[rest[some].numpy()] for split, some in rows.items()}
        return parts | {"test": values[order[:held_out].sort().values.numpy()]}

    def column(self, number: int) -> str:
        """A column in words."""
        names = self.table.names
        return f"column {names[number]!r}" if names else f"column {number + 1}"

    # --- units ------------------------------------------------------------------------------------

    @property
    def units(self) -> tuple[np.ndarray, np.ndarray]:
        """What is subtracted from each column, and by what it is divided, (D,) each."""
        train = self.parts["train"]
        if not self.standardise:
            return np.zeros(train.shape[1]), np.ones(train.shape[1])
        return train.mean(0), train.std(0)

    @property
    def log_det(self) -> float:
        return -float(np.log(self.units[1]).sum())

    def in_units(self, points: Tensor) -> Tensor:
        mean, sd = (torch.from_numpy(each).to(points.device) for each in self.units)
        return (points.double() * sd + mean).float()

    def from_units(self, points: Tensor) -> Tensor:
        mean, sd = (torch.from_numpy(each).to(points.device) for each in self.units)
        return ((points.double() - mean) / sd).float()

    @property
    def columns(self) -> Sequence[str]:
        return self.table.names

    @property
    def frame(self) -> Frame:
        x = self.load("train").images.double().numpy()
        low, high = np.quantile(x, [1 - SHOWN, SHOWN], axis=0)
        half = np.maximum(0.55 * (high - low), 1e-6)
        centre, half = (torch.from_numpy(each).float() for each in ((low + high) / 2, half))
        return Frame(centre, half)

    def units_protocol(self) -> dict[str, Any]:
        mean, sd = self.units
        return {
            "file": str(self.file),
            "columns": list(self.columns),
            "mean": mean.tolist(),
            "sd": sd.tolist(),
        }


# --- files ----------------------------------------------------------------------------------------


def points_shape(file: str | Path | None, key: str | None) -> list[int]:
    """The shape [D] of the points of a file."""
    return [read_table(file, key).values.shape[1]]


def read_table(file: str | Path | None, key: str | None) -> Table:
    """The numbers of a file.

    Raises:
        UserError: where there is no such file, or where it is no table of finite numbers.
    """
    ensure(
        bool(file),
        "data=points needs a file of a table (data.file); give data.file=X.npy, .npz, .csv or "
        ".parquet",
    )
    path = Path(str(file)).expanduser()
    ensure(path.is_file(), f"no such file {path} (data.file); give a .npy, .npz, .csv or .parquet")
    about = path.stat()
    return cached_table(path, key, about.st_mtime_ns, about.st_size)


@lru_cache(maxsize=1)
def cached_table(path: Path, key: str | None, modified: int, size: int) -> Table:
    """The numbers of a file, read once as long as it stays what it is."""
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise UserError(
            f"{path} is no table that can be read (data.file); give {', '.join(READERS)}"
        )
    ensure(
        key is None or path.suffix.lower() == ".npz",
        f"{path.name} has no arrays by names (data.key); leave it out",
    )
    try:
        table = reader(path, key)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split()).partition(";")[0].rstrip(".")[:160]
        raise UserError(f"{path} cannot be read: {reason} (data.file); mend the file") from error
    return with_numbers(table, path)


def with_numbers(table: Table, path: Path) -> Table:
    """The table as float64, after a look at its numbers."""
    values = table.values
    ensure(
        values.dtype.kind in "fiub",
        f"{path} holds values of type {values.dtype}, not numbers (data.file); leave them out",
    )
    ensure(
        values.ndim == 2 and values.size > 0,
        f"{path} holds an array of shape {values.shape}, not (rows, columns) (data.file); "
        "reshape it, or give data.key",
    )
    values = values.astype(np.float64)
    row, column = np.argwhere(~np.isfinite(values))[:1].T
    if len(row):
        name = repr(table.names[column[0]]) if table.names else column[0] + 1
        raise UserError(
            f"row {row[0] + 1} of {path} has {values[row[0], column[0]]} in column {name} "
            "(data.file); fill it, or leave such rows out"
        )
    return Table(values, table.names)


def from_npy(path: Path, key: str | None) -> Table:
    """An array of NumPy."""
    return Table(np.load(path, allow_pickle=False))


def from_npz(path: Path, key: str | None) -> Table:
    """One array of an archive of NumPy, and `columns`, the names that `gentrain sample` writes."""
    with np.load(path, allow_pickle=False) as archive:
        names = [name for name in archive.files if name != "columns"]
        likely = [name for name in KEYS if name in names]
        found = key or (names[0] if len(names) == 1 else next(iter(likely), None))
        ensure(
            found in names,
            f"no array {key!r} among {', '.join(names) or 'none'} in {path} (data.key); name one"
            if key
            else f"{path} has several arrays (data.key); name one of {', '.join(names)}",
        )
        columns = archive["columns"].tolist() if "columns" in archive.files else ()
        return Table(archive[found or ""], tuple(map(str, columns)))


def from_csv(path: Path, key: str | None) -> Table:
    """Lines of numbers between commas, semicolons or tabs; the first line may be names."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        first = file.readline()
    separator = max(SEPARATORS, key=first.count)
    names = next(csv.reader([first], delimiter=separator), [])
    header = not all(map(is_number, names))
    values = np.loadtxt(
        path,
        delimiter=separator,
        skiprows=int(header),
        comments=None,
        quotechar='"',
        ndmin=2,
        encoding="utf-8-sig",
    )
    names = [name.strip() for name in names] if header else []
    ensure(
        not header or not values.size or len(names) == values.shape[1],
        f"{path} has {len(names)} names and {values.shape[-1]} columns (data.file); mend the file",
    )
    return Table(values, tuple(names))


def is_number(text: str) -> bool:
    """Whether a text is a number, as Python reads it."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def from_parquet(path: Path, key: str | None) -> Table:
    """A table of Parquet, by pyarrow."""
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise UserError(
            f"{path} needs the package pyarrow (data.file); pip install pyarrow, or give a .csv"
        ) from error
    table = parquet.read_table(path)
    columns = [column.to_numpy(zero_copy_only=False) for column in table.columns]
    for name, values in zip(table.column_names, columns, strict=True):
        ensure(
            values.dtype.kind in "fiub",
            f"column {name!r} of {path} holds {values.dtype}, not numbers (data.file); "
            "leave it out",
        )
    return Table(np.stack(columns, 1), tuple(table.column_names))


READERS: dict[str, Callable[[Path, str | None], Table]] = {
    ".npy": from_npy,
    ".npz": from_npz,
    ".csv": from_csv,
    ".parquet": from_parquet,
}
