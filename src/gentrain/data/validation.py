"""Which rows of a training split are held out for validation.

They choose between models: the best checkpoint, the best run of a sweep. The test split then says
how good the choice is, once. The draw does not depend on the run's seed, so that runs with other
seeds are compared on the same rows.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from gentrain.config.schema import SHARE
from gentrain.data.batches import generator
from gentrain.data.checks import ensure


class Rows(NamedTuple):
    """Rows of a split in what was read, for its images (N,) and for its sources (M,), if any."""

    images: Tensor
    sources: Tensor | None = None


def validation_count(count: int, share: float, of: str) -> int:
    """How many of `count` training samples are held out: the share, rounded.

    Raises:
        UserError: where that is none of them, or all.
    """
    held_out = round(share * count)
    ensure(
        0 < held_out < count,
        f"a share of {share:g} of the {count} training samples of {of} is {held_out} "
        "(data.validation); give another share, more samples, or 0 for no validation split",
    )
    return held_out


def samples_of(split: str, n: int, share: float, of: str) -> int:
    """How many samples a split has of data that are drawn: n, a tenth of n, or a share of n."""
    match split:
        case "train":
            return n
        case "validation":
            return validation_count(n, share, of)
    return n // 10


def check_own_split(share: float, of: str, where: str) -> None:
    """Refuse a share of the training split where the data have a validation split of their own.

    Args:
        share: `data.validation`.
        of: what has the split.
        where: the folder or file of the split.
    """
    ensure(
        share in (0, SHARE),
        f"{of} has a validation split of its own, {where} (data.validation); "
        "leave the share out, or write 0 for none",
    )


def divided(count: int, labels: Tensor | None, share: float, of: str) -> dict[str, Tensor]:
    """The rows of "train" and of "validation" among `count` rows, in their order.

    Each class gives its share: the largest remainders decide which classes give one row more. At
    least one row of each class stays in "train".

    Args:
        count: number of rows.
        labels: int64 (count,); None draws from all rows alike.
        share: between 0 and 1.
        of: the name of the data set, for a message.

    Raises:
        UserError: where no row would be held out, or none would be left.
    """
    total = validation_count(count, share, of)
    labels = torch.zeros(count, dtype=torch.int64) if labels is None else labels.cpu()
    classes, sizes = labels.unique(return_counts=True)
    quotas = quotas_of(sizes, total)
    ensure(
        bool(quotas.any()),
        f"each of the {len(classes)} classes of {of} has too few training samples to hold one out "
        "(data.validation); give more samples, or 0 for no validation split",
    )
    held_out = torch.zeros(count, dtype=torch.bool)
    for label, quota in zip(classes.tolist(), quotas.tolist(), strict=True):
        rows = (labels == label).nonzero().squeeze(1)
        order = torch.randperm(len(rows), generator=generator("validation", label, len(rows)))
        held_out[rows[order[:quota]]] = True
    return {"train": (~held_out).nonzero().squeeze(1), "validation": held_out.nonzero().squeeze(1)}


def quotas_of(sizes: Tensor, total: int) -> Tensor:
    """`total` shared out to classes in proportion to their sizes (K,), by largest remainders.

    >>> quotas_of(torch.tensor([50, 30, 21]), 10)
    tensor([5, 3, 2])
    """
    exact = sizes.double() * total / sizes.sum()
    quotas = exact.floor().long()
    # ties of equal remainders are broken by a draw, not by the order of the classes
    draw = torch.rand(len(sizes), generator=generator("validation", "ties"), dtype=torch.float64)
    remainder = exact - quotas + 1e-9 * draw
    remainder[quotas + 1 >= sizes] = -1.0
    best = remainder.argsort(descending=True)[: total - int(quotas.sum())]
    quotas[best[remainder[best] >= 0]] += 1
    return torch.minimum(quotas, sizes - 1)
