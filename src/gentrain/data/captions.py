"""Images with captions: what all have in common, and anybody's pictures with a text each."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gentrain.data.arrays import ArrayDataset
from gentrain.data.base import Data
from gentrain.data.checks import ensure
from gentrain.data.image_folder import ImageFolder
from gentrain.data.labels import Captions, words_of
from gentrain.errors import UserError

if TYPE_CHECKING:
    from gentrain.data.pictures import Tree

log = logging.getLogger("gentrain")
TEXT = "data.texts"


@dataclass(kw_only=True, eq=False, repr=False)
class Captioned(Data):
    """Images whose labels are captions: `label_kind` is `Captions`, `class_names` the vocabulary.

    Args:
        The arguments are those of `Data`; `classes` is the size of the vocabulary, with the entry
        that is no word.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        ensure(
            type(self.label_kind) is Captions,
            f"labels of data={self.name} are captions, not {type(self.label_kind).__name__} "
            "(data.label_kind); leave it as it is",
        )

    @property
    def captions(self) -> Captions:
        """The kind of labels."""
        assert isinstance(self.label_kind, Captions)
        return self.label_kind

    def write_labelled(self, sample: Tensor, label: Tensor, folder: Path, name: str) -> None:
        """A picture and a text of the same name, as data=captions reads them."""
        self.write_file(sample, folder / name)
        text = self.captions.text(label, self.class_names)
        (folder / f"{name}.txt").write_text(f"{text}\n", "utf-8")


@dataclass(kw_only=True, eq=False, repr=False)
class CaptionedFolder(Captioned, ImageFolder):
    """Pictures of a folder or zip with a text each: `NAME.txt` beside `NAME.png`, or a CSV.

    The first line of a text is the caption. The vocabulary is the most frequent words of the
    captions of "train"; rarer words are left out of captions, like those beyond the longest.

    Args:
        texts: a CSV with the caption of each file (see label_files.py); null for text files.
        The other arguments are those of `ImageFolder`.
    """

    texts: str | Path | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        ensure(
            self.labels is None,
            f"labels of data={self.name} are its captions (data.labels); give {TEXT}",
        )
        ensure(
            self.classes is not None and self.classes >= 2,
            f"{self.classes} words are too few for captions (data.classes); e.g. 1000",
        )
        self._vocabulary: list[str] = []

    def read(self, split: str) -> ArrayDataset:
        tree = self.tree()
        names, _ = self.names(tree, split)
        names = self.part(tree, names, None, split)
        caption_of = self.captions_of(tree, names, split)
        self.learn_words(tree)
        images, kept = self.cached(tree, names)
        return ArrayDataset(images, self.numbered([caption_of[name] for name in kept], split))

    @property
    def class_names(self) -> Sequence[str]:
        return self._vocabulary

    def learn_words(self, tree: Tree) -> None:
        """Find the vocabulary in the captions of "train", once."""
        if self._vocabulary:
            return
        names = self.part(tree, self.names(tree, "train")[0], None, "train")
        texts = self.captions_of(tree, names, "train").values()
        counts = Counter(word for text in texts for word in words_of(text))
        ordered = sorted(counts, key=lambda word: (-counts[word], word))
        assert self.classes is not None
        self._vocabulary = ["", *ordered[: self.classes - 1]]
        rare = len(ordered) - len(self._vocabulary) + 1
        self.say_once(
            f"{self.path}: {rare} rarer words of {len(ordered)} are left out of captions "
            "(data.classes)",
            rare > 0,
        )

    def numbered(self, texts: Sequence[str], split: str) -> Tensor:
        """Captions (N, L) of texts.

        Raises:
            UserError: for a text of which no word is in the vocabulary.
        """
        known = {word: number for number, word in enumerate(self._vocabulary) if number}
        rows = [[known[word] for word in words_of(text) if word in known] for text in texts]
        empty = [text for text, row in zip(texts, rows, strict=True) if not row]
        ensure(
            not empty,
            f"{len(empty)} {split} captions of {self.path} have no word of the vocabulary, such as "
            f"{empty[:1]} (data.classes); give more words",
        )
        longer = sum(len(row) > self.captions.length for row in rows)
        self.say_once(
            f"{self.path}: {longer} {split} captions are cut after {self.captions.length} words "
            "(data.label_kind.length)",
            longer > 0,
        )
        return torch.stack([self.captions.filled(row) for row in rows])

    def captions_of(self, tree: Tree, names: list[str], split: str) -> dict[str, str]:
        """The caption of each picture.

        Raises:
            UserError: for a picture without one.
        """
        if self.texts:
            return self.of_table(names)
        open_text, found, missing, longer = self.reader(), dict[str, str](), [], 0
        for name in names:
            lines = [line.strip() for line in open_text(name).splitlines() if line.strip()]
            longer += len(lines) > 1
            found |= {name: lines[0]} if lines else {}
            missing += [] if lines else [name]
        ensure(
            not missing,
            f"pictures without a text or with an empty one: {len(missing)} of {self.path}, such as "
            f"{PurePosixPath(missing[0]).with_suffix('.txt') if missing else ''} (data.root); "
            f"add them, or give {TEXT}=FILE.csv",
        )
        self.say_once(
            f"{self.path}: {longer} {split} texts have several lines, of which the first is the "
            "caption (data.root)",
            longer > 0,
        )
        return found

    def of_table(self, names: list[str]) -> dict[str, str]:
        """The caption of each picture as a CSV has it."""
        from gentrain.data.label_files import CAPTIONS, class_table, classes_in

        table = class_table(Path(self.texts or "").expanduser(), self.path, CAPTIONS)
        return classes_in(table, names, str(self.texts), str(self.path), CAPTIONS)

    def reader(self) -> Callable[[str], str]:
        """What reads the text of a picture by the picture's name; "" where there is none."""
        source = self.open()

        def read(name: str) -> str:
            text = str(PurePosixPath(name).with_suffix(".txt"))
            try:
                return source.read(text).decode("utf-8-sig")
            except (KeyError, FileNotFoundError):
                return ""
            except UnicodeDecodeError as error:
                raise UserError(
                    f"{text} of {self.path} is no text in UTF-8 (data.root); convert it"
                ) from error

        return read

    def report(self, tree: Tree) -> None:
        """See `FileFolder.report`; texts are no pictures, and are read."""
        del tree.left_out[".txt"]
        super().report(tree)
