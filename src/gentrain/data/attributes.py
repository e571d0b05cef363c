"""Pictures whose domains are in a table of attributes.

The table has the form of CelebA's list_attr_celeba.txt (Liu et al., 2015):

    202599                                   how many lines follow
    5_o_Clock_Shadow Arched_Eyebrows ...     the names of the attributes
    000001.jpg -1  1  1 -1 ...               a picture: 1 for an attribute that it has, else -1
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from gentrain.data.arrays import ArrayDataset
from gentrain.data.checks import ensure
from gentrain.data.image_folder import ImageFolder
from gentrain.errors import UserError

TABLE = "list_attr_celeba.txt"
CSV_TABLE = "list_attr_celeba.csv"  # the same with commas and without the first line


@dataclass(kw_only=True, eq=False, repr=False)
class AttributeTable(ImageFolder):
    """Pictures with labels of a table of attributes.

    With exclusive labels each attribute is a domain: the pictures that have it and none of the
    others of the list. All other pictures are left out. With `Attributes` as the kind of labels, a
    label says which of the attributes a picture has, and no picture of the table is left out.

    Pictures are found by their file names, in any folder below `root`; the first with a name
    counts.

    Args:
        attributes: names of the attributes, as the table has them.
        table: path of the table; null looks in `root` and beside it.
        The other arguments are those of `ImageFolder`.
    """

    attributes: Sequence[str] = ()
    table: str | Path | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.attributes = list(self.attributes)
        ensure(
            not self.labels,
            f"labels of data={self.name} are those of its table (data.labels); give data.table",
        )
        ensure(
            len(set(self.attributes)) > 1,
            f"attributes are {self.attributes} (data.attributes); give two or more different ones",
        )
        ensure(
            self.classes == len(self.attributes),
            f"{len(self.attributes)} attributes are {self.classes} classes (data.classes); "
            f"write data.classes={len(self.attributes)}",
        )
        self.label_kind.check_names(self.attributes)

    def read(self, split: str) -> ArrayDataset:
        tree, label = self.tree(), self.read_table()
        all_names, _ = self.names(tree, split)
        chosen = [name for name in all_names if Path(name).name in label]
        ensure(
            len(chosen) > 0,
            f"none of the {len(all_names)} {split} images of {self.path} has "
            f"{self.label_kind.rows} {', '.join(self.attributes)} in {self.table_file} "
            "(data.attributes); choose others",
        )
        every = torch.stack([label[Path(name).name] for name in chosen])
        kinds = every.unique(dim=0, return_inverse=True)[1]  # images of equal labels are of a kind
        chosen = self.part(tree, chosen, kinds, split)
        images, kept = self.cached(tree, chosen)
        labels = torch.stack([label[Path(name).name] for name in kept])
        found = self.label_kind.vectors(labels, len(self.attributes)).sum(0)
        missing = [name for name, n in zip(self.attributes, found, strict=True) if not n]
        ensure(
            not missing,
            f"no {split} image of {self.path} with {self.label_kind.rows} "
            f"{', '.join(self.attributes)} has {', '.join(missing)} (data.attributes); "
            "choose others",
        )
        return ArrayDataset(images, labels)

    @property
    def domain_names(self) -> Sequence[str]:
        return self.attributes

    @property
    def table_file(self) -> Path:
        """The path of the table."""
        if self.table:
            return Path(self.table).expanduser()
        folders = (self.path, self.path.parent)
        places = [folder / name for name in (TABLE, CSV_TABLE) for folder in folders]
        return next((place for place in places if place.is_file()), places[0])

    def read_table(self) -> dict[str, Tensor]:
        """The label of each file that has one.

        Raises:
            UserError: for a table that cannot be read, or that lacks an attribute.
        """
        names, rows = self.table_rows()
        if unknown := [name for name in self.attributes if name not in names]:
            raise UserError(
                f"{self.table_file} has no attribute {', '.join(unknown)} (data.attributes); "
                f"it has {', '.join(names) or 'none'}"
            )
        columns, has = [names.index(name) for name in self.attributes], {}
        for number, (file, *values) in rows:
            ensure(
                len(values) == len(names) and set(values) <= {"1", "-1", "0"},
                f"line {number} of {self.table_file} has not a name and {len(names)} values of "
                "1 or -1 (data.table); fix it",
            )
            has[file] = [values[column] == "1" for column in columns]
        files = list(has)
        labels, kept = self.label_kind.of_table(torch.tensor(list(has.values())))
        return {files[row]: label for row, label in zip(kept.tolist(), labels, strict=True)}

    def table_rows(self) -> tuple[list[str], list[tuple[int, list[str]]]]:
        """The names of the attributes, and the numbers and the words of the lines below them."""
        lines = self.table_lines()
        if self.table_file.suffix.lower() == ".csv":  # image_id,5_o_Clock_Shadow,...
            words = [[word.strip() for word in line.split(",")] for line in lines]
            head, first = (words[0][1:] if words else []), 1
        else:
            words = [line.split() for line in lines]
            head, first = (words[1] if len(words) > 1 else []), 2
        return head, [(n, row) for n, row in enumerate(words, start=1) if n > first and any(row)]

    def table_lines(self) -> list[str]:
        """The lines of the table. Raises UserError where it cannot be read."""
        ensure(
            self.table_file.is_file() or not self.table_file.exists(),
            f"{self.table_file} is no file (data.table); give the path of {TABLE}",
        )
        try:
            return self.table_file.read_text("utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            why = "it is no text"
            match error:
                case OSError():
                    why = error.strerror or str(error)
            raise UserError(
                f"cannot read {self.table_file}: {why} (data.table); give the path of {TABLE}"
            ) from error
