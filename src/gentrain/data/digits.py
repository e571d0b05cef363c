"""Data sets that are made of digits: MNIST's own files, or the embedded ones."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from gentrain.config.types import Size
from gentrain.data.checks import ensure
from gentrain.data.images import Images, sides_of
from gentrain.data.mnist import MNIST
from gentrain.data.mnist_5k import MNIST5k


@dataclass(kw_only=True, eq=False, repr=False)
class OfDigits(Images):
    """Images that are made of grey digits.

    Args:
        digits: whose digits: mnist or mnist_5k.
        draw_seed: seed for all random draws. It is not the run's seed, so that runs with other
            seeds share the data.
        root: as in data=mnist, like `mirrors` and `verify`.
        The other arguments are those of `Images`.
    """

    digits: str = "mnist"
    draw_seed: int = 0
    root: str | Path | None = None
    mirrors: Sequence[str] = ()
    verify: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        ensure(
            self.digits in ("mnist", "mnist_5k"),
            f"no digits {self.digits!r} (data.digits); write mnist or mnist_5k",
        )
        embedded = self.digits == "mnist_5k"
        ensure(
            not embedded or self.root in (None, os.environ.get("GENTRAIN_DATA_DIR")),
            f"the embedded digits are in no folder such as {self.root} (data.root); write "
            "data.digits=mnist to read it, or leave data.root out",
        )
        ensure(
            not embedded or self.verify,
            "the embedded digits have no files to compare (data.verify); write data.digits=mnist, "
            "or leave it true",
        )

    @cached_property
    def plain(self) -> Images:
        """The digits themselves, with a validation split where `read` makes one of theirs."""
        return self.plain_of(self.size)

    def plain_of(self, size: Size) -> Images:
        """The digits in another size, with the same splits."""
        shape = (1, *sides_of(size))
        validation = self.validation if self.reads_validation else 0.0
        if self.digits == "mnist_5k":
            return MNIST5k(name=self.digits, shape=shape, size=size, validation=validation)
        return MNIST(
            name=self.digits,
            shape=shape,
            size=size,
            validation=validation,
            cache=self.cache,
            root=self.root,
            mirrors=self.mirrors,
            verify=self.verify,
        )
