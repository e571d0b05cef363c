"""Files that say the class of each picture.

Two forms are read. A CSV has a line for each picture, below a line of titles: the file is in the
first column or in one called file, filename, image, image_id, name or path; the class is in the
second of two columns, or in one called class, label, category or target. A dataset.json of StyleGAN
(Karras et al., 2020) is {"labels": [["00000/img00000000.png", 6], ...]}.
"""

import csv
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from gentrain.data.checks import ensure
from gentrain.errors import UserError

FILE = ("file", "filename", "file_name", "image", "image_id", "name", "path")


class Sought(NamedTuple):
    """What a table says of each file, in messages."""

    columns: tuple[str, ...]  # titles of its column
    key: str  # the option that names the table
    one: str = "class"
    many: str = "classes"


CLASSES = Sought(("class", "label", "category", "target"), "(data.labels)")
CAPTIONS = Sought(
    ("caption", "text", "description", "sentence"), "(data.texts)", "caption", "captions"
)


def class_table(path: Path, root: Path, sought: Sought = CLASSES) -> dict[str, str]:
    """The name of the class of each file, or its caption, by the file's path in the table.

    Args:
        path: the table; where it is not there, it is looked for in `root`.
        root: the folder or .zip of the pictures.
        sought: what the table says.

    Raises:
        UserError: for a table that cannot be read.
    """
    text, is_json = text_of(path, root, sought), path.suffix.lower() == ".json"
    table = of_json(text, path, sought) if is_json else of_csv(text, path, sought)
    ensure(
        len(table) > 0,
        f"{path} has no labels {sought.key}; give a CSV or a dataset.json with labels",
    )
    return table


def text_of(path: Path, root: Path, sought: Sought) -> str:
    """The text of a file, or of one of that name in the folder or .zip of the pictures."""
    from gentrain.data.pictures import source

    try:
        if path.is_file():
            return path.read_text("utf-8-sig")
        if (root / path).is_file() or not root.is_dir():
            return source(root).read(str(path)).decode("utf-8-sig")
    except (OSError, KeyError, UnicodeDecodeError) as error:
        why = "it is no text" if isinstance(error, UnicodeDecodeError) else "no such file"
        raise UserError(
            f"cannot read {path}: {why} {sought.key}; give a CSV or a dataset.json"
        ) from error
    raise UserError(f"no file {path}, here or in {root} {sought.key}; give a CSV or a dataset.json")


def of_json(text: str, path: Path, sought: Sought) -> dict[str, str]:
    """The labels of a dataset.json."""
    try:
        match json.loads(text):
            case {"labels": list() as rows}:
                return dict(row_of_json(row) for row in rows)
    except (json.JSONDecodeError, ValueError) as error:
        raise UserError(
            f"{path} is no dataset.json of {sought.many}: {' '.join(str(error).split())} "
            f"{sought.key}; fix it"
        ) from error
    raise UserError(f"{path} has no labels {sought.key}; give a dataset.json with labels")


def row_of_json(row: Any) -> tuple[str, str]:
    """One row of a dataset.json. Raises ValueError for one that has no class."""
    match row:
        case [str(name), bool()]:
            pass
        case [str(name), int() | str() as label]:
            return name, str(label)
    raise ValueError(f"{json.dumps(row)[:80]} is not a file and its class")


def of_csv(text: str, path: Path, sought: Sought) -> dict[str, str]:
    """The labels of a CSV."""
    lines = [line for line in csv.reader(io.StringIO(text), dialect_of(text)) if line]
    ensure(len(lines) > 1, f"{path} has no lines below its titles {sought.key}; fix it")
    titles = [title.strip().lower() for title in lines[0]]
    file = next((titles.index(name) for name in FILE if name in titles), 0)
    label = next((titles.index(name) for name in sought.columns if name in titles), None)
    if label is None and len(titles) == 2:
        label = 1 - file
    if label is None:
        raise UserError(
            f"{path} has no column of {sought.many} among {', '.join(titles[:10])} {sought.key}; "
            f"call one {sought.columns[0]}"
        )
    table = {}
    for number, line in enumerate(lines[1:], start=2):
        ensure(
            len(line) == len(titles) and bool(line[label].strip()),
            f"line {number} of {path} has not a value for each of {len(titles)} titles "
            f"{sought.key}; fix it",
        )
        table[line[file].strip()] = line[label].strip()
    return table


def dialect_of(text: str) -> type[csv.Dialect]:
    """Commas, semicolons or tabs, whichever the line of titles has."""
    head = text.partition("\n")[0]

    class Found(csv.excel):
        delimiter = max(",;\t", key=head.count)

    return Found


def classes_in(
    table: dict[str, str], names: Sequence[str], of: str, root: str, sought: Sought = CLASSES
) -> dict[str, str]:
    """The class of each picture, found by the end of its path that the table has.

    Args:
        table: what `class_table` gives.
        names: paths of pictures.
        of: the file of labels, for messages.
        root: the folder of the pictures, for messages.
        sought: what the table says, for messages.

    Raises:
        UserError: for pictures that the table does not have, or that share a line of it.
    """
    plain = {name.replace("\\", "/").removeprefix("./"): label for name, label in table.items()}
    found, line_of = {}, dict[str, str]()
    missing = []
    for name in sorted(set(names)):
        line = next((end for end in ends(name) if end in plain), None)
        if line is None:
            missing.append(name)
            continue
        other = line_of.setdefault(line, name)
        ensure(
            other == name,
            f"{other} and {name} of {root} are both {line} in {of} {sought.key}; write their "
            "folders into the file as well",
        )
        found[name] = plain[line]
    ensure(
        not missing,
        f"{len(missing)} pictures of {root} have no {sought.one} in {of}: "
        f"{', '.join(missing[:10])} {sought.key}; add them, or take them away",
    )
    return found


def ends(name: str) -> list[str]:
    """A path, and the same without its first folders.

    >>> ends("train/cat/1.png")
    ['train/cat/1.png', 'cat/1.png', '1.png']
    """
    parts = PurePosixPath(name).parts
    return ["/".join(parts[start:]) for start in range(len(parts))]


def natural(name: str) -> tuple[list[Any], str]:
    """A key that sorts numbers in names by their values.

    >>> sorted(["10", "2", "b", "a10", "a9"], key=natural)
    ['2', '10', 'a9', 'a10', 'b']
    """
    parts: list[Any] = re.split(r"(\d+)", name)
    parts[1::2] = [int(number) for number in parts[1::2]]
    return parts, name
