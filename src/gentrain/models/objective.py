"""What one player minimises on a batch."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import reduce

import torch
from torch import Tensor


@dataclass
class Objective:
    """Named losses, whose sum is minimised, and named metrics beside them. All are logged.

    >>> Objective({"a": torch.tensor(1.0), "b": torch.tensor(2.0)}).loss
    tensor(3.)
    """

    losses: dict[str, Tensor]
    metrics: dict[str, Tensor] = field(default_factory=dict)

    @property
    def loss(self) -> Tensor:
        """The sum of the losses, in float32."""
        return reduce(torch.add, (loss.float() for loss in self.losses.values()))
