"""Pictures to translate between: side by side in one file, or in two folders.

A is the left picture, or the folder `a`; B is the right one, or `b`. `direction` says which is the
source. Splits, decoding and the cache are those of image_folder.
"""

import io
import unicodedata
from abc import ABC
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor

from gentrain.config.types import Size
from gentrain.data.arrays import ArrayDataset
from gentrain.data.checks import ensure
from gentrain.data.decoded_files import listed
from gentrain.data.folder_layout import drawn, layout, unwrapped
from gentrain.data.image_folder import ImageFolder
from gentrain.data.images import Images

if TYPE_CHECKING:
    from gentrain.data.pictures import Form, Tree

DIRECTIONS = ("a2b", "b2a")


def directed(a: Tensor, b: Tensor, direction: str) -> ArrayDataset:
    """Sources and images of A and B."""
    return ArrayDataset(b, None, a) if direction == "a2b" else ArrayDataset(a, None, b)


def check_pair(data: Images, direction: str) -> None:
    """Refuse a direction that there is not, and sources of another kind."""
    ensure(
        direction in DIRECTIONS, f"direction is {direction!r} (data.direction); write a2b or b2a"
    )
    ensure(
        data.degrade is None,
        f"data={data.name} has sources already (data.degrade); write null, or choose "
        "data=image_folder",
    )
    ensure(
        data.source_shape == data.shape,
        f"sources of data={data.name} have the shape of its images, {data.shape}, not "
        f"{data.source_shape} (data.source_shape); leave it",
    )


@dataclass(kw_only=True, eq=False, repr=False)
class SideBySide(ImageFolder):
    """Files of two pictures, each half of the width, as pix2pix has them (Isola et al., 2017).

    Args:
        direction: a2b or b2a.
        paired: false makes them two domains, of which no two pictures belong together.
        The other arguments are those of `ImageFolder`.
    """

    direction: str = "a2b"
    paired: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_pair(self, self.direction)
        ensure(self.classes is None, f"data={self.name} has no classes (data.classes); write null")

    @property
    def aligned(self) -> bool:
        return self.paired

    @property
    def form(self) -> "Form":
        return super().form._replace(across=2)

    def read(self, split: str) -> ArrayDataset:
        both = super().read(split).images
        return directed(both[:, : self.channels], both[:, self.channels :], self.direction)


class OneOfTwo(ImageFolder):
    """One of two folders."""

    def refuse_unread_seed(self, is_drawn: bool) -> None:
        """Nothing: a split of the other folder may be drawn; see `TwoFolders`."""


class FolderA(OneOfTwo):
    """The folder `a`."""

    key: ClassVar[str] = "a"


class FolderB(OneOfTwo):
    """The folder `b`."""

    key: ClassVar[str] = "b"


@dataclass(kw_only=True, eq=False, repr=False)
class TwoFolders(Images, ABC):
    """Two folders or zips of pictures, each with or without train/ and test/.

    Args:
        a: the first folder or .zip.
        b: the second.
        direction: a2b or b2a.
        channels: 3 for colour, 1 for grey.
        crop: cut the middle, of the shape of `size`; false squeezes the whole to it.
        range: the values of pixels that become black and white; null for those of the type.
        on_bad: what an unreadable image does: stop or skip. Of a pair both are skipped.
        draw_seed: which tenth is held out where there is no test/.
        The other arguments are those of `Images`.
    """

    a: str | Path | None = None
    b: str | Path | None = None
    direction: str = "a2b"
    size: Size = 64
    channels: int = 3
    crop: bool = True
    range: Sequence[float] | None = None
    on_bad: str = "stop"
    draw_seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.folders = tuple(
            kind(
                name=self.name,
                shape=self.shape,
                root=root,
                size=self.size,
                channels=self.channels,
                crop=self.crop,
                range=self.range,
                on_bad=self.on_bad,
                draw_seed=self.draw_seed,
                validation=self.validation,
                workers=self.workers,
                cache=self.cache,
            )
            for kind, root in ((FolderA, self.a), (FolderB, self.b))
        )
        check_pair(self, self.direction)

    @property
    def reads_validation(self) -> bool:
        return True

    @property
    def pixel_range(self) -> tuple[float, float] | None:
        return self.folders[0].pixel_range

    def refuse_unread_seed(self, trees: list["Tree"], split: str) -> None:
        """Refuse a seed for the draw of a split where none of the folders has one drawn."""
        ensure(
            not self.draw_seed or any(layout(tree, split)[1] for tree in trees),
            f"{self.a} and {self.b} have splits to test of their own, and none is drawn "
            "(data.draw_seed); leave it 0",
        )


@dataclass(kw_only=True, eq=False, repr=False)
class Pairs(TwoFolders):
    """Pictures whose names are equal, except for the extension, are pairs of equal size.

    A split is drawn of these names, once for both folders.
    """

    def read(self, split: str) -> ArrayDataset:
        trees = [folder.tree() for folder in self.folders]
        self.refuse_unread_seed(trees, split)
        named = [self.by_stem(here, tree, split) for here, tree in enumerate(trees)]
        for here in (0, 1):
            self.refuse_missing_partners(named, here)
        stems, first = sorted(named[0]), self.folders[0]
        if layout(trees[0], split)[1]:
            stems = drawn(stems, split, self.draw_seed)
        ensure(
            len(stems) > 0,
            f"too few pairs in {first.path} to draw a {split} split (data.a); give at least 10",
        )
        stems = first.part(trees[0], stems, None, split)
        self.refuse_other_sizes([(named[0][each], named[1][each]) for each in stems])
        a, b = self.decoded(trees, [[of[each] for each in stems] for of in named])
        return directed(a, b, self.direction)

    def by_stem(self, here: int, tree: "Tree", split: str) -> dict[str, str]:
        """All pictures from which a split is drawn, by their paths without the extension.

        Raises:
            UserError: for two of one path.
        """
        prefix, found = unwrapped(tree, layout(tree, split)[0]), dict[str, str]()
        path = self.folders[here].path
        for name in sorted(tree.under(prefix).files):
            other = found.setdefault(stem(name, prefix), name)
            ensure(
                other == name,
                f"{other} and {name} of {path} differ in the extension alone, so their partner is "
                f"not known (data.{self.folders[here].key}); rename one, or take it away",
            )
        return found

    def decoded(self, trees: list["Tree"], names: list[list[str]]) -> tuple[Tensor, Tensor]:
        """The pictures of both folders, row by row; a pair of which one is skipped is skipped."""
        read = [
            folder.cached(tree, some)
            for folder, tree, some in zip(self.folders, trees, names, strict=True)
        ]
        kept = [set(some) for _, some in read]
        good = [a in kept[0] and b in kept[1] for a, b in zip(*names, strict=True)]
        both = f"{self.folders[0].path} and {self.folders[1].path}"
        ensure(any(good), f"no pair of {both} is readable (data.a, data.b); fix them")
        parts = []
        for here, (images, some) in enumerate(read):
            chosen = {name for name, ok in zip(names[here], good, strict=True) if ok}
            rows = [row for row, name in enumerate(some) if name in chosen]
            # an index copies what is mapped from the disk
            parts.append(images if len(rows) == len(some) else images[rows])
        return parts[0], parts[1]

    def refuse_missing_partners(self, named: list[dict[str, str]], here: int) -> None:
        """Refuse pictures of one folder that the other does not have."""
        alone = sorted(named[here].keys() - named[1 - here].keys())
        examples = ", ".join(named[here][name] for name in alone[:10])
        ensure(
            not alone,
            f"{len(alone)} pictures of {self.folders[here].path} have no partner of the same name "
            f"in {self.folders[1 - here].path}: {examples} (data.a, data.b); "
            "add the partners, or take these away",
        )

    def refuse_other_sizes(self, pairs: list[tuple[str, str]]) -> None:
        """Refuse pairs of pictures that differ in size."""
        from gentrain.data.pictures import source

        a, b = (source(folder.path) for folder in self.folders)
        odd = []
        for name, partner in pairs:
            sizes = size_of(a.read(name)), size_of(b.read(partner))
            # a broken picture is reported when it is decoded
            if None not in sizes and sizes[0] != sizes[1]:
                pair = " and ".join("{} x {}".format(*size) for size in sizes)  # type: ignore[misc]
                odd.append((name, pair))
        ensure(
            not odd,
            f"{len(odd)} pairs of {self.folders[0].path} and {self.folders[1].path} differ in "
            f"size: {listed(odd)} (data.a, data.b); make them equal",
        )


@dataclass(kw_only=True, eq=False, repr=False)
class Unpaired(TwoFolders):
    """Two domains, each of any number of pictures, of which no two belong together."""

    @property
    def aligned(self) -> bool:
        return False

    def read(self, split: str) -> ArrayDataset:
        self.refuse_unread_seed([folder.tree() for folder in self.folders], split)
        a, b = (folder.load(split).images for folder in self.folders)
        return directed(a, b, self.direction)


def stem(name: str, prefix: str) -> str:
    """A path without its prefix and extension; accents are written in one way.

    >>> stem("train/x/1.png", "train/")
    'x/1'
    """
    bare = str(PurePosixPath(name.removeprefix(prefix)).with_suffix(""))
    return unicodedata.normalize("NFC", bare)  # macOS writes an accented letter as two characters


def size_of(content: bytes) -> tuple[int, int] | None:
    """Width and height as they are shown, read from the head of a file; None for no picture."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content)) as picture:
            width, height = picture.size
            return (height, width) if picture.getexif().get(0x0112, 1) >= 5 else (width, height)
    except Exception:  # a broken file makes Pillow raise almost anything
        return None
