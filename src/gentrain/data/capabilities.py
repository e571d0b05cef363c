"""What only some data sets offer: each inherits from its capability, and a metric names it."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from gentrain.capability import Capability
from gentrain.data.arrays import ArrayDataset


class HasModes(Capability):
    """Points of a mixture whose modes are known."""

    what, examples = "has known modes", "data=gaussian_ring or gaussian_grid"

    @property
    @abstractmethod
    def sd(self) -> float:
        """The standard deviation of one mode, in the units of the points."""

    @abstractmethod
    def modes(self) -> Tensor:
        """float32 (K, 2): the centres of the modes, in the units of the points."""


class HasDomainRule(Capability):
    """Images whose domain follows from their pixels by an exact rule."""

    what, examples = "has a rule for the domain of an image", "data=digit_domains"

    @abstractmethod
    def domain_of(self, images: Tensor) -> Tensor:
        """uint8 (N, C, H, W) -> int64 (N,): domains; `len(domain_names)` for none of them."""


class HasSound(Capability):
    """Sounds, waveforms (C, L) of so many values a second."""

    what, examples = "are sounds", "data=tones or audio_folder"

    rate: int


class Heard(NamedTuple):
    """What exact rules find in sounds; a number as large as their count stands for none."""

    hertz: Tensor  # (N,), nan where there is no pitch
    note: Tensor  # int64 (N,)
    timbre: Tensor  # int64 (N,)


class HasTones(Capability):
    """Sounds whose pitch and timbre follow from their waveform by exact rules."""

    what, examples = "have notes of known pitch and timbre", "data=tones"

    @property
    @abstractmethod
    def counts(self) -> tuple[int, int]:
        """How many notes and how many timbres there are; a label is timbre * notes + note."""

    @abstractmethod
    def listen(self, sounds: Tensor) -> Heard:
        """Sounds (N, C, L) in [-1, 1] -> their pitches, notes and timbres."""


class HasCaptionRules(Capability):
    """Images with captions, whose facts follow from the pixels by exact rules but for one.

    The first fact is the kind of thing, which a classifier of the ink must tell.
    """

    what, examples = "have captions whose facts rules can see", "data=captioned_digits"

    @property
    @abstractmethod
    def facts(self) -> dict[str, Sequence[str]]:
        """The values of each of F facts, such as the colours, by the name of the fact."""

    @property
    @abstractmethod
    def held_out_captions(self) -> Tensor:
        """int64 (M, L): captions of which no image of any split is."""

    @abstractmethod
    def facts_said(self, labels: Tensor) -> Tensor:
        """Captions (N, L) -> numbers of the values that they say, int64 (N, F); -1 for none."""

    @abstractmethod
    def facts_of(self, images: Tensor) -> Tensor:
        """uint8 (N, C, H, W) -> numbers of the values that they show, int64 (N, F); -1 for none.

        The first fact is -1 for all.
        """

    @abstractmethod
    def ink_of(self, images: Tensor) -> Tensor:
        """uint8 (N, C, H, W) -> where the thing is, uint8 (N, 1, H, W), whatever its colours."""


class HasContent(Capability):
    """Images of several domains whose content, which a translation keeps, is known."""

    what, examples = "knows the content of its images", "data=digit_domains"

    @abstractmethod
    def content(self, split: str) -> ArrayDataset:
        """Images of all domains, and their content as labels.

        Images that a translation may start from come first, in the order of `load`.
        """
