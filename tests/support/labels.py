"""Labels for data that a test makes up."""

from __future__ import annotations

import torch
from torch import Tensor

from gentrain.data.labels import Captions, LabelKind


def toy_labels(kind: LabelKind, n: int, classes: int) -> Tensor:
    """Classes in turn, or captions (n, L) that differ."""
    match kind:
        case Captions():
            y = torch.arange(n)[:, None] + torch.arange(kind.length)
            return 1 + (y * y) % (classes - 1)
    return torch.arange(n) % classes
