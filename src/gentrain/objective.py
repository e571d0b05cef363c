"""What one player minimises on a batch."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import reduce

import torch
from torch import Tensor


@dataclass
class Objective:
    """Named terms, whose sum is minimised, and named scalars to watch beside them. All are curves in the log."""

    terms: dict[str, Tensor]
    watched: dict[str, Tensor] = field(default_factory=dict)

    @property
    def loss(self) -> Tensor:
        return reduce(torch.add, (term.float() for term in self.terms.values()))
