"""Stacked MNIST (Metz et al., 2017; as used by PacGAN, 2018): three random digits as the colours of one image, 1,000 modes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from gentrain.data.base import Images, is_count, labelled, require
from gentrain.data.mnist import MNIST
from gentrain.data.mnist_5k import MNIST5k
from gentrain.data.samples import Samples
from gentrain.data.stream import generator


@dataclass(kw_only=True, eq=False, repr=False)
class StackedMNIST(Images):
    """`n` triples of training digits for "train", a tenth as many of test digits for "test"; label 100 r + 10 g + b."""

    digits: str = "mnist"  # mnist | mnist_5k: whose digits are stacked
    n: int = 128_000
    draw_seed: int = 0  # which triples are drawn; not the run's seed, so that runs with other seeds share the data
    root: str | Path | None = None  # of data=mnist, as the next two
    mirrors: Sequence[str] = ()
    verify: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.digits in ("mnist", "mnist_5k"), f"no digits {self.digits!r} (data.digits); write mnist or mnist_5k")
        require(is_count(self.n, 10), f"n must be a whole number >= 10, not {self.n!r} (data.n); e.g. 128000")

    def source(self) -> Images:
        shape = (1, self.size, self.size)
        if self.digits == "mnist_5k":
            return MNIST5k(name=self.digits, shape=shape, size=self.size)
        return MNIST(
            name=self.digits, shape=shape, size=self.size, cache=self.cache, root=self.root, mirrors=self.mirrors, verify=self.verify
        )

    def read(self, split: str) -> Samples:
        images, labels, _ = self.source().load(split)
        assert labels is not None
        count = self.n if split == "train" else self.n // 10
        triples = torch.randint(len(images), (count, 3), generator=generator(self.draw_seed, type(self).__name__, split))
        return labelled(images[:, 0][triples], labels[triples] @ torch.tensor([100, 10, 1]))
