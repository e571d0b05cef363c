"""Masked perceptrons (MADE: Germain, Gregor, Murray & Larochelle, 2015): outputs for value i see only the values before i."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MaskedLinear(nn.Linear):
    """A linear layer some of whose weights are zero for ever; mask (outputs, inputs)."""

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__(mask.shape[1], mask.shape[0])
        self.register_buffer("mask", mask.to(torch.get_default_dtype()))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.mask, self.bias)


class MADE(nn.Module):
    """(B, D) and a context (B, context) -> (B, outputs, D); output i of each is a function of values 0 to i - 1, and of the context.

    Degrees: value i has i + 1; hidden units are given 0 to D - 1 in turn; a hidden unit sees what has at most its degree (>=), an output
    what has less than its own (strict >).
    """

    def __init__(self, size: int, outputs: int, width: int, depth: int, context: int = 0) -> None:
        super().__init__()
        self.outputs, self.size = outputs, size
        values, hidden = torch.arange(size) + 1, torch.arange(width) % size
        layers: list[nn.Module] = []
        degrees = values
        for _ in range(depth):
            layers += [MaskedLinear(hidden[:, None] >= degrees[None]), nn.ReLU()]
            degrees = hidden
        self.first: Any = layers[0]
        self.rest = nn.Sequential(*layers[1:])
        self.last = MaskedLinear((values[:, None] > degrees[None]).repeat(outputs, 1))
        self.context = nn.Linear(context, width, bias=False) if context else None
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        h = self.first(x)
        if self.context is not None:
            h = h + self.context(context)
        return self.last(self.rest(h)).view(-1, self.outputs, self.size)

    def one_by_one(self, fill: Callable[[int, Tensor], Tensor], like: Tensor, context: Tensor | None = None) -> Tensor:
        """Values x (B, D) made in their order: x_i = fill(i, outputs of i (B, outputs)). No forward of the whole network a value: the first
        layer's sums grow by one column at a time, and of the last layer only the rows of i are computed.
        """
        W, V = self.first.weight * self.first.mask, (self.last.weight * self.last.mask).view(self.outputs, self.size, -1)
        h = self.first.bias.expand(len(like), -1)
        if self.context is not None:
            h = h + self.context(context)
        bias, x = self.last.bias.view(self.outputs, self.size), torch.zeros_like(like)
        for i in range(self.size):
            x[:, i] = fill(i, F.linear(self.rest(h), V[:, i], bias[:, i]))
            h = torch.addcmul(h, x[:, i, None], W[:, i])
        return x
