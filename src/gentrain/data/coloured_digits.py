"""Digits in domains that differ in colour alone, so that a translation can be scored exactly."""

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from gentrain.data.arrays import ArrayDataset, with_labels
from gentrain.data.batches import generator
from gentrain.data.capabilities import HasContent, HasDomainRule
from gentrain.data.checks import ensure
from gentrain.data.digits import OfDigits

COLOURS = {
    "red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1),
    "yellow": (1, 1, 0), "magenta": (1, 0, 1), "cyan": (0, 1, 1), "white": (1, 1, 1),
}  # fmt: skip
INVERTED = "inverted"  # black on white
LOOKS = (*COLOURS, INVERTED)


def painted(grey: Tensor, look: str) -> Tensor:
    """Paint digits in a colour on black, or in black on white.

    Args:
        grey: uint8 (N, 1, H, W), light on dark.
        look: one of `LOOKS`.

    Returns:
        uint8 (N, 3, H, W).
    """
    if look == INVERTED:
        return (255 - grey).expand(-1, 3, -1, -1)
    return grey * torch.tensor(COLOURS[look], dtype=torch.uint8).view(1, 3, 1, 1)


def looks(images: Tensor) -> Tensor:
    """Name the look of each image by its colour.

    An image that is light on the whole is inverted. Any other has the colour of its bright pixels:
    those at least half as bright, in their strongest channel, as the brightest pixel of the image.
    A channel is on if its mean over them is at least half of the strongest mean.

    Args:
        images: uint8 (N, 3, H, W).

    Returns:
        int64 (N,), numbers in `LOOKS`.
    """
    x = images.float()
    strongest = x.amax(1, keepdim=True)
    bright = strongest >= strongest.amax((2, 3), keepdim=True) / 2
    mean = (x * bright).sum((2, 3)) / bright.sum((2, 3))
    on = (mean >= mean.amax(1, keepdim=True) / 2).long()
    codes = torch.tensor(list(COLOURS.values()), device=images.device)
    found = (on[:, None] == codes).all(2).long().argmax(1)
    return torch.where(x.mean((1, 2, 3)) > 127.5, LOOKS.index(INVERTED), found)


@dataclass(kw_only=True, eq=False, repr=False)
class Painted(OfDigits, HasDomainRule, HasContent):
    """Digits in several domains. Every digit is in one of them alone."""

    def __post_init__(self) -> None:
        super().__post_init__()
        ensure(
            self.shape[0] == 3,
            f"painted digits have 3 channels, not {self.shape[0]} (data.shape); "
            "set data.size instead",
        )

    @property
    @abstractmethod
    def domain_names(self) -> list[str]:
        """Names, by their number."""

    def domain_of(self, images: Tensor) -> Tensor:
        numbers = torch.full((len(LOOKS),), len(self.domain_names), device=images.device)
        for number, name in enumerate(self.domain_names):
            numbers[LOOKS.index(name)] = number
        return numbers[looks(images)]

    def drawn(self, n: int, split: str) -> torch.Generator:
        """The random generator of one split of n digits."""
        return generator(self.draw_seed, type(self).__name__, n, split)


@dataclass(kw_only=True, eq=False, repr=False)
class ColouredDigits(Painted):
    """Each digit in one of the first `classes` colours, which is its label."""

    def __post_init__(self) -> None:
        super().__post_init__()
        most = len(COLOURS)
        ensure(
            self.classes is not None and 2 <= self.classes <= most,
            f"{self.classes} colours (data.classes); give 2 to {most}: {', '.join(COLOURS)}",
        )

    @property
    def domain_names(self) -> list[str]:
        return list(COLOURS)[: self.classes]

    def read(self, split: str) -> ArrayDataset:
        grey, *_ = self.plain.load(split)
        labels = torch.randint(
            len(self.domain_names), (len(grey),), generator=self.drawn(len(grey), split)
        )
        images = torch.empty(len(grey), *self.shape, dtype=torch.uint8)
        for number, name in enumerate(self.domain_names):
            images[labels == number] = painted(grey[labels == number], name)
        return with_labels(images, labels)

    def content(self, split: str) -> ArrayDataset:
        digits, rows = self.plain.load(read_as(split)).labels, self.rows_read(split)
        assert digits is not None
        return ArrayDataset(
            self.load(split).images, digits if rows is None else digits[rows.images]
        )


@dataclass(kw_only=True, eq=False, repr=False)
class DigitDomains(Painted):
    """Two domains without pairs: half of the digits look like `source`, the others like `target`.

    Args:
        source: the look of the sources, one of `LOOKS`.
        target: the look of the images.
        The other arguments are those of `OfDigits`.
    """

    source: str = "white"
    target: str = "red"

    def __post_init__(self) -> None:
        super().__post_init__()
        ensure(
            self.degrade is None,
            f"data={self.name} has sources already (data.degrade); write null, or choose "
            "data=coloured_digits",
        )
        for key, look in (("source", self.source), ("target", self.target)):
            ensure(
                look in LOOKS,
                f"digits do not look {look!r} (data.{key}); write one of {', '.join(LOOKS)}",
            )
        ensure(
            self.source != self.target,
            f"source and target are both {self.source} (data.source, data.target); choose two",
        )

    @property
    def aligned(self) -> bool:
        return False

    @property
    def domain_names(self) -> list[str]:
        return [self.source, self.target]

    def halves(self, split: str) -> tuple[ArrayDataset, ArrayDataset]:
        """Grey digits of the source and of the target."""
        grey, labels, *_ = self.plain.load(split)
        assert labels is not None
        rows = torch.randperm(len(grey), generator=self.drawn(len(grey), split))
        of_source, of_target = rows.chunk(2)
        return ArrayDataset(grey[of_source], labels[of_source]), ArrayDataset(
            grey[of_target], labels[of_target]
        )

    def read(self, split: str) -> ArrayDataset:
        source, target = self.halves(split)
        return ArrayDataset(
            painted(target.images, self.target).contiguous(),
            None,
            painted(source.images, self.source).contiguous(),
        )

    def content(self, split: str) -> ArrayDataset:
        samples, rows = self.load(split), self.rows_read(split)
        of_sources, of_images = (half.labels for half in self.halves(read_as(split)))
        assert samples.sources is not None and of_sources is not None and of_images is not None
        if rows is not None and rows.sources is not None:
            of_sources, of_images = of_sources[rows.sources], of_images[rows.images]
        return ArrayDataset(
            torch.cat([samples.sources, samples.images]), torch.cat([of_sources, of_images])
        )


def read_as(split: str) -> str:
    """The split of the digits that a split is drawn from."""
    return "test" if split == "test" else "train"
