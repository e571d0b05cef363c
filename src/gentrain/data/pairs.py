"""Pictures to translate between: two side by side in one file, or two folders, of pairs or of two domains.

Of the two, A is the left one (or the folder `a`), and B the right one (or `b`); `direction` says from which to which. Splits, decoding and
the cache are those of image_folder.
"""

import io
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor

from gentrain.data.arrays import ArrayDataset
from gentrain.data.checks import ensure
from gentrain.data.image_folder import ImageFolder, listed
from gentrain.data.images import Images

if TYPE_CHECKING:
    from gentrain.data.pictures import Form

DIRECTIONS = ("a2b", "b2a")


def directed(a: Tensor, b: Tensor, direction: str) -> ArrayDataset:
    return ArrayDataset(b, None, a) if direction == "a2b" else ArrayDataset(a, None, b)


def check_pair(data: Images, direction: str) -> None:
    ensure(
        direction in DIRECTIONS, f"direction is {direction!r} (data.direction); write a2b or b2a"
    )
    ensure(
        data.degrade is None,
        f"data={data.name} has sources already (data.degrade); write null, or choose data=image_folder",
    )
    ensure(
        data.source_shape == data.shape,
        f"sources of data={data.name} have the shape of its images, {data.shape}, not {data.source_shape} (data.source_shape); leave it",
    )


@dataclass(kw_only=True, eq=False, repr=False)
class SideBySide(ImageFolder):
    """Files of two pictures, each half of the width, as pix2pix has them (Isola et al., 2017). `paired=false` makes them two domains,
    of which no two pictures are known to belong together.
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


class FolderA(ImageFolder):
    key: ClassVar[str] = "a"


class FolderB(ImageFolder):
    key: ClassVar[str] = "b"


@dataclass(kw_only=True, eq=False, repr=False)
class TwoFolders(Images, ABC):
    """`a` and `b`, folders or zips of pictures, each with train/ and test/ or without."""

    a: str | Path | None = None
    b: str | Path | None = None
    direction: str = "a2b"
    size: int = 64
    channels: int = 3  # 3 colour, 1 grey
    crop: bool = True  # cut the centre square; false: squeeze to a square
    draw_seed: int = 0  # which tenth is held out where there is no test/

    def __post_init__(self) -> None:
        super().__post_init__()
        self.folders = tuple(
            kind(
                name=self.name, shape=self.shape, root=root, size=self.size, channels=self.channels, crop=self.crop,
                draw_seed=self.draw_seed, workers=self.workers, cache=self.cache,
            )
            for kind, root in ((FolderA, self.a), (FolderB, self.b))
        )  # fmt: skip
        check_pair(self, self.direction)

    @abstractmethod
    def check_names(self, split: str) -> None:
        """Raises UserError for folders that do not fit each other."""

    def read(self, split: str) -> ArrayDataset:
        self.check_names(split)
        a, b = (folder.load(split).images for folder in self.folders)
        return directed(a, b, self.direction)


@dataclass(kw_only=True, eq=False, repr=False)
class Pairs(TwoFolders):
    """Pictures of equal names, but for the ending, and of equal sizes belong together."""

    def check_names(self, split: str) -> None:
        from gentrain.data.pictures import source

        trees = [folder.tree() for folder in self.folders]
        drawn, prefixes = zip(
            *(folder.names(tree, split) for folder, tree in zip(self.folders, trees, strict=True)),
            strict=True,
        )
        named = [  # all from which a split is drawn, so that equal names are drawn of both
            {stem(name, prefix): name for name in tree.under(prefix).files}
            for tree, prefix in zip(trees, prefixes, strict=True)
        ]
        for here in (0, 1):
            alone = sorted(named[here].keys() - named[1 - here].keys())
            ensure(
                not alone,
                f"{len(alone)} pictures of {self.folders[here].path} have no partner of the same name in {self.folders[1 - here].path}: "
                f"{', '.join(named[here][one] for one in alone[:10])} (data.a, data.b); add the partners, or take these away",
            )
        a, b = (source(folder.path) for folder in self.folders)
        odd = []
        for name in drawn[0]:
            sizes = [size_of(a.read(name)), size_of(b.read(named[1][stem(name, prefixes[0])]))]
            if (
                None not in sizes and sizes[0] != sizes[1]
            ):  # a broken picture is told when it is decoded
                odd.append((name, "{} x {} and {} x {}".format(*sizes[0], *sizes[1])))  # type: ignore[misc]
        ensure(
            not odd,
            f"{len(odd)} pairs of {self.folders[0].path} and {self.folders[1].path} differ in size: {listed(odd)} "
            "(data.a, data.b); make them equal",
        )


@dataclass(kw_only=True, eq=False, repr=False)
class Unpaired(TwoFolders):
    """Two domains, of any numbers of pictures, of which no two belong together."""

    @property
    def aligned(self) -> bool:
        return False

    def check_names(self, split: str) -> None:
        """Any names will do."""


def stem(name: str, prefix: str) -> str:
    """train/x/1.png -> x/1"""
    return str(PurePosixPath(name.removeprefix(prefix)).with_suffix(""))


def size_of(content: bytes) -> tuple[int, int] | None:
    """Width and height as they are shown; None for what is no picture. Only the head of the file is looked at."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content)) as picture:
            width, height = picture.size
            return (height, width) if picture.getexif().get(0x0112, 1) >= 5 else (width, height)
    except Exception:  # a broken file makes PIL raise almost anything
        return None
