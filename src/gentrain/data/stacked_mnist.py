"""Stacked MNIST: three random digits as the colours of one image, so 1,000 modes.

Metz et al., "Unrolled Generative Adversarial Networks", 2017; as in Lin et al., "PacGAN", 2018.
"""

from dataclasses import dataclass

import torch

from gentrain.data.arrays import ArrayDataset, with_labels
from gentrain.data.batches import generator
from gentrain.data.checks import ensure, is_count
from gentrain.data.digits import OfDigits
from gentrain.data.validation import samples_of


@dataclass(kw_only=True, eq=False, repr=False)
class StackedMNIST(OfDigits):
    """Triples of digits, with the label 100 r + 10 g + b.

    Args:
        n: triples of training digits for "train"; "test" has a tenth as many of test digits, and
            "validation" the share `validation` as many of digits that "train" has not.
        The other arguments are those of `OfDigits`.
    """

    n: int = 128_000

    def __post_init__(self) -> None:
        super().__post_init__()
        ensure(
            is_count(self.n, 10),
            f"n must be a whole number >= 10, not {self.n!r} (data.n); e.g. 128000",
        )

    @property
    def reads_validation(self) -> bool:
        return True

    def read(self, split: str) -> ArrayDataset:
        images, labels, _ = self.plain.load(split)
        assert labels is not None
        count = samples_of(split, self.n, self.validation, self.name)
        triples = torch.randint(
            len(images), (count, 3), generator=generator(self.draw_seed, type(self).__name__, split)
        )
        return with_labels(images[:, 0][triples], labels[triples] @ torch.tensor([100, 10, 1]))
