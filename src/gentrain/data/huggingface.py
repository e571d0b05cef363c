"""Data sets of Hugging Face, by the package `datasets`: of the hub, or a copy on the disk.

A copy is what `save_to_disk` wrote, or a folder that `load_dataset` reads: files of Parquet, or
pictures. Images are in the column with the feature `Image`, labels in the one with `ClassLabel`,
whose names are recorded. Pictures are decoded by pictures.py, once, as those of a folder are.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gentrain.data.checks import ensure
from gentrain.data.folder_layout import HELD_OUT
from gentrain.data.image_folder import ImageFolder
from gentrain.data.label_files import natural
from gentrain.errors import Unavailable, UserError

if TYPE_CHECKING:
    from gentrain.data.pictures import Source, Tree

NAME = "huggingface"  # of the data set as long as none is given
SAVED = ("dataset_dict.json", "state.json")  # of what save_to_disk writes


@dataclass(kw_only=True, eq=False, repr=False)
class HuggingFace(ImageFolder):
    """Images of a data set of the hub, or of a copy on the disk.

    Args:
        name: of the data set in the hub, such as user/set; also a folder.
        root: a copy on the disk; null for that of `name`.
        subset: the configuration of the data set; null for its only one.
        image: the column of images; null for the only one with the feature Image.
        label: the column of labels; null for the only one with the feature ClassLabel.
        The other arguments are those of `ImageFolder`.
    """

    subset: str | None = None
    image: str | None = None
    label: str | None = None

    def __post_init__(self) -> None:
        ensure(
            bool(self.root) or self.name != NAME,
            "data=huggingface needs a data set (data.name); give data.name=user/set of the hub, "
            "or data.root=DIR of a copy on the disk",
        )
        self.root = self.root or self.name
        super().__post_init__()
        ensure(
            not self.labels,
            f"labels of data={NAME} are a column (data.labels); give data.label=COLUMN",
        )
        ensure(
            self.label is None or self.classes is not None,
            f"column {self.label} is not read without data.classes (data.label); give "
            "data.classes=K as well, or write null",
        )

    @property
    def open(self) -> Callable[[], "Source"]:
        return partial(Columns, str(self.root), self.subset, self.image)

    def check_path(self) -> None:
        """Nothing: the name may be of the hub."""

    def labelling(self, tree: "Tree") -> Callable[[list[str]], Tensor] | None:
        if self.classes is None:
            return None
        splits = self.open().splits  # type: ignore[attr-defined]
        column = column_of(splits, "ClassLabel", self.label, "label", str(self.root))
        feature = next(iter(splits.values())).features[column]
        found = {split: list(rows[column]) for split, rows in splits.items()}
        if type(feature).__name__ == "ClassLabel":
            self._class_names = list(feature.names)
        else:
            words = {str(value) for values in found.values() for value in values}
            self._class_names = sorted(words, key=natural)
            number = {name: index for index, name in enumerate(self._class_names)}
            found = {split: [number[str(v)] for v in values] for split, values in found.items()}
        count = len(self._class_names)
        ensure(
            count == self.classes,
            f"column {column} of {self.root} has {count} classes, not {self.classes} "
            f"(data.classes); give {count}",
        )
        for split, values in found.items():
            missing = sum(value is None or value < 0 for value in values)
            ensure(
                not missing,
                f"{missing} images of {self.root}, {split}, have no label (data.classes); "
                "write data.classes=null",
            )
        return lambda names: torch.tensor(
            [found[split][row] for split, row in map(place_of, names)]
        ).long()


class Columns:
    """The column of images of each split, as files named split/row."""

    def __init__(self, root: str, subset: str | None, image: str | None) -> None:
        self.root, self.splits = root, loaded(root, subset)
        column = column_of(self.splits, "Image", image, "image", root)
        from datasets import Image

        self.images = {
            split: rows.select_columns([column]).cast_column(column, Image(decode=False))
            for split, rows in self.splits.items()
        }
        self.column = column

    def tree(self) -> "Tree":
        from gentrain.data.pictures import Tree

        files = {
            name_of(split, row): stamp
            for split, rows in self.images.items()
            for stamp in [stamp_of(rows)]
            for row in range(len(rows))
        }
        return Tree(files, set(self.splits), Counter())

    def read(self, name: str) -> bytes:
        split, row = place_of(name)
        cell = self.images[split][row][self.column]
        if cell is None:
            raise ValueError("no image in this row")
        return cell["bytes"] if cell["bytes"] is not None else Path(cell["path"]).read_bytes()


def name_of(split: str, row: int) -> str:
    """The name of a row, such that names are in the order of rows."""
    return f"{split}/{row:09d}"


def place_of(name: str) -> tuple[str, int]:
    """The split and the row of a name.

    >>> place_of(name_of("train", 12))
    ('train', 12)
    """
    split, _, row = name.rpartition("/")
    return split, int(row)


def stamp_of(rows: Any) -> tuple[int, ...]:
    """Numbers that change when the files of a split do; the time for what is in memory."""
    files = [Path(each["filename"]).stat() for each in rows.cache_files]
    if not files:
        return (time.time_ns(),)
    return (max(each.st_mtime_ns for each in files), sum(each.st_size for each in files))


@lru_cache(maxsize=4)
def loaded(root: str, subset: str | None) -> dict[str, Any]:
    """The splits "train", "test" and "validation", if there are any, or "all" for a single one.

    Raises:
        UserError: without the package, and for what is no data set.
        Unavailable: where the hub cannot be reached.
    """
    try:
        import datasets
    except ImportError as error:
        raise UserError(
            f"data={NAME} needs the package datasets (data); pip install 'gentrain[huggingface]'"
        ) from error
    folder = Path(root).expanduser()
    try:
        if any((folder / name).is_file() for name in SAVED):
            found = datasets.load_from_disk(str(folder))
        else:
            found = datasets.load_dataset(str(folder) if folder.is_dir() else root, subset)
    except ConnectionError as error:
        raise Unavailable(
            f"no folder {root}, and the hub cannot be reached: {one_line(error)} (data.name); "
            "go online, or give data.root=DIR of a copy"
        ) from error
    except Exception as error:  # datasets raises almost anything
        raise UserError(
            f"{root} cannot be read: {one_line(error)} (data.name, data.subset); give "
            "user/set of the hub, or a folder that save_to_disk wrote"
        ) from error
    return named_splits(found, root)


def named_splits(found: Any, root: str) -> dict[str, Any]:
    """The splits by our names; "all" where there is only one."""
    from datasets import DatasetDict

    splits = dict(found) if type(found) is DatasetDict else {"all": found}
    if len(splits) == 1:
        return {"all": next(iter(splits.values()))}
    known = {name: rows for name, rows in splits.items() if name in ("train", *HELD_OUT)}
    ensure(
        "train" in known,
        f"{root} has the splits {', '.join(map(str, splits))}, and no train (data.name); give a "
        "data set with one",
    )
    return known


def column_of(splits: dict[str, Any], feature: str, given: str | None, key: str, root: str) -> str:
    """The column of a feature, or the one that is given.

    Args:
        splits: of the data set.
        feature: the name of its class in `datasets`.
        given: the name of a column; None for the only one with the feature.
        key: of the option.
        root: the data set, for messages.
    """
    features = next(iter(splits.values())).features
    ensure(
        given is None or given in features,
        f"no column {given!r} among {', '.join(features)} of {root} (data.{key}); name one",
    )
    if given is not None:
        ensure(
            feature != "Image" or type(features[given]).__name__ == feature,
            f"column {given} of {root} has no images (data.{key}); name one with the feature Image",
        )
        return given
    found = [name for name, each in features.items() if type(each).__name__ == feature]
    ensure(
        len(found) == 1,
        f"{root} has {len(found)} columns with the feature {feature} (data.{key}); name one of "
        f"{', '.join(found or features)}",
    )
    return found[0]


def one_line(error: BaseException) -> str:
    """What is wrong, in one line."""
    return " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
