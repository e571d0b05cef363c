"""Masked perceptrons (Germain, Gregor, Murray & Larochelle, "MADE: Masked Autoencoder for
Distribution Estimation", 2015): outputs for value i see only the values before i.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BLOCKS = 4  # of a triangular mask: with more of them, calls cost what arithmetic is saved
BLOCK = 2**16  # weights of a block, at least


class MaskedLinear(nn.Linear):
    """A linear layer with some weights fixed at zero.

    On a CPU its rows are computed in blocks, each of the columns up to its last live one. With a
    triangular mask of n blocks that is (n + 1) / 2n of the arithmetic.

    Args:
        mask: bool (outputs, inputs), False where a weight is zero.
        blocks: n, where these are large enough.
    """

    mask: Tensor

    def __init__(self, mask: Tensor, blocks: int = 1) -> None:
        super().__init__(mask.shape[1], mask.shape[0])
        self.register_buffer("mask", mask.to(torch.get_default_dtype()))
        parts = mask.chunk(max(1, min(blocks, mask.numel() // BLOCK)))
        self.rows = [len(part) for part in parts]
        self.ends = [last_live(part) + 1 for part in parts]

    def forward(self, x: Tensor) -> Tensor:
        if len(self.rows) == 1 or x.device.type != "cpu":
            return F.linear(x, self.weight * self.mask, self.bias)
        parts = (part.split(self.rows) for part in (self.weight, self.mask, self.bias))
        return torch.cat(
            [
                F.linear(x[..., :end], weight[:, :end] * mask[:, :end], bias)
                for weight, mask, bias, end in zip(*parts, self.ends, strict=True)
            ],
            -1,
        )


def last_live(mask: Tensor) -> int:
    """The last column (of rows, columns) with a True; 0 if there is none."""
    live = mask.any(0).nonzero()
    return int(live.max()) if len(live) else 0


class MADE(nn.Module):
    """A masked perceptron with ReLU units, whose outputs start at zero.

    (B, D) and a context (B, context) -> (B, outputs, D). Output i of each kind is a function of
    values 0 to i - 1 and of the context.

    Value i has degree i + 1; hidden units have degrees 0 to D - 1 in rising order. A hidden unit
    sees what has at most its degree (>=), an output what has less than its own (strict >).

    Args:
        size: D, the number of values.
        outputs: the number of outputs for each value.
        width: hidden units of each layer.
        depth: the number of hidden layers.
        context: further numbers that every output may depend on.
    """

    def __init__(self, size: int, outputs: int, width: int, depth: int, context: int = 0) -> None:
        super().__init__()
        self.outputs, self.size = outputs, size
        values, hidden = torch.arange(size) + 1, torch.arange(width) * size // width
        # the number of units of degree i or less
        self.ends = torch.searchsorted(hidden, torch.arange(size), right=True).tolist()
        layers: list[nn.Module] = []
        degrees = values
        for _ in range(depth):
            layers += [MaskedLinear(hidden[:, None] >= degrees[None], BLOCKS), nn.ReLU()]
            degrees = hidden
        self.first: Any = layers[0]
        self.rest = nn.Sequential(*layers[1:])
        self.last = MaskedLinear(
            (values[:, None] > degrees[None]).repeat(outputs, 1), BLOCKS * outputs
        )
        self.context = nn.Linear(context, width, bias=False) if context else None
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        h = self.first(x)
        if self.context is not None:
            h = h + self.context(context)
        return self.last(self.rest(h)).view(-1, self.outputs, self.size)

    @torch.no_grad()
    def fill_sequentially(
        self, fill: Callable[[int, Tensor], Tensor], like: Tensor, context: Tensor | None = None
    ) -> Tensor:
        """Compute values x (B, D) in their order, x_i = fill(i, outputs of i), without gradients.

        All of it costs the arithmetic of one forward pass. A unit of degree i sees no value from i
        on, so it is computed once, at step i, and kept. Units are sorted by degree, so what one
        sees comes first in the layer below, and no mask is needed.

        Args:
            fill: (i, outputs (B, outputs)) -> values (B,).
            like: a tensor (B, D) of the wanted type and device.
            context: (B, context).
        """
        hidden: list[Any] = [self.first, *self.rest[1::2]]
        W = self.last.weight.view(self.outputs, self.size, -1)
        b = self.last.bias.view(self.outputs, self.size, 1)
        from_context = None if self.context is None else self.context(context).T
        # values and units are rows, samples are columns
        x = like.new_empty(self.size, len(like))
        kept = [like.new_empty(layer.out_features, len(like)) for layer in hidden]
        start = 0
        for i, end in enumerate(self.ends):
            seen = x[:i]
            for layer, units in zip(hidden, kept, strict=True):
                new = torch.addmm(
                    layer.bias[start:end, None],
                    layer.weight[start:end, : len(seen)],
                    seen,
                    out=units[start:end],
                )
                if from_context is not None and layer is self.first:
                    new += from_context[start:end]
                new.relu_()
                seen = units[:end]
            x[i] = fill(i, torch.addmm(b[:, i], W[:, i, :end], seen).T)
            start = end
        return x.T.contiguous()
