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

    Degrees: value i has i + 1; hidden units have 0 to D - 1, in rising order; a hidden unit sees what has at most its degree (>=), an
    output what has less than its own (strict >).
    """

    def __init__(self, size: int, outputs: int, width: int, depth: int, context: int = 0) -> None:
        super().__init__()
        self.outputs, self.size = outputs, size
        values, hidden = torch.arange(size) + 1, torch.arange(width) * size // width
        self.ends = torch.searchsorted(
            hidden, torch.arange(size), right=True
        ).tolist()  # units of degree i or less
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

    @torch.no_grad()
    def one_by_one(
        self, fill: Callable[[int, Tensor], Tensor], like: Tensor, context: Tensor | None = None
    ) -> Tensor:
        """Values x (B, D) made in their order: x_i = fill(i, outputs of i (B, outputs)), with the arithmetic of one forward in all.

        A unit of degree i sees no value from i on, so it is computed once, at step i, from what is kept of the steps before: units are
        in the order of their degrees, so what it sees are the first ones of the layer below, and no mask is needed. Gives no gradient.
        """
        layers: list[Any] = [
            self.first,
            *(layer for layer in self.rest if isinstance(layer, MaskedLinear)),
        ]
        V, c = (
            self.last.weight.view(self.outputs, self.size, -1),
            self.last.bias.view(self.outputs, self.size, 1),
        )
        beside = None if self.context is None else self.context(context).T
        x = like.new_empty(self.size, len(like))  # values and units down, samples across
        kept = [like.new_empty(layer.out_features, len(like)) for layer in layers]
        start = 0
        for i, end in enumerate(self.ends):
            seen = x[:i]
            for layer, units in zip(layers, kept, strict=True):
                new = torch.addmm(
                    layer.bias[start:end, None],
                    layer.weight[start:end, : len(seen)],
                    seen,
                    out=units[start:end],
                )
                if beside is not None and layer is self.first:
                    new += beside[start:end]
                new.relu_()
                seen = units[:end]
            x[i] = fill(i, torch.addmm(c[:, i], V[:, i, :end], seen).T)
            start = end
        return x.T.contiguous()
