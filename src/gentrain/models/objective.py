"""What one player minimises on a batch."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import reduce

import torch
from torch import Tensor

from gentrain.layers.precision import at_least_single


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
        """The sum of the losses, in float32 or more."""
        return reduce(torch.add, (at_least_single(loss) for loss in self.losses.values()))
