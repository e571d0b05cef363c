"""Autoregressive densities: log p(v) = sum_i log p(v_i | v_0 ... v_(i-1)), the values in the order of a raster, at each pixel R, G, B.

One pass of a causal network gives all the terms; a sample takes the values in their order, each a function of a uniform number:
v_i is the least k for which P(v_i <= k | v_0 ... v_(i-1)) > u_i.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gentrain.errors import UserError
from gentrain.models.autoregressive.networks import Causal, UncachedSampling
from gentrain.models.base import Batch, eval_mode
from gentrain.models.density import Density
from gentrain.models.objective import Objective
from gentrain.models.pixels import Pixels


class Autoregressive(Density):
    """`network` makes a causal network of (shape, values, classes). With `conditional` it is given the label, one of `classes`:
    log p(v | y). `pixels` must have a finite number of values: binary, or levels.
    """

    prior, sequential = "uniform", True

    def __init__(
        self,
        network: Callable[..., Causal],
        pixels: Pixels,
        shape: list[int],
        conditional: bool = False,
        classes: int | None = None,
    ) -> None:
        super().__init__(pixels)
        if pixels.values is None:
            raise UserError(
                f"an autoregressive model draws one of finitely many values, and not {pixels.name} (pixels); choose binary or levels"
            )
        if len(shape) != 3:
            raise UserError(
                f"an autoregressive model of pixels wants images, and the data's shape is {list(shape)} (data); e.g. data=mnist_5k"
            )
        if conditional and not classes:
            raise UserError(
                "these data have no labels to be given (model.conditional); choose others, or give false"
            )
        self.shape, self.values = list(shape), pixels.values
        self.labelled = conditional  # type: ignore[misc]
        self.network = network(
            shape=self.shape, values=self.values, classes=classes if conditional else 0
        )

    def scaled(self, v: Tensor) -> Tensor:
        """Values as the network sees them, in [-1, 1]: beyond the edges is 0, which in black and white no pixel is."""
        return 2 * v / (self.values - 1) - 1

    def label(self, batch: Batch) -> Tensor | None:
        return batch[1] if self.labelled else None

    def log_prob(self, v: Tensor, y: Tensor | None = None) -> Tensor:
        """v (B, C, H, W), whole numbers -> (B,) nats."""
        logits = self.network(self.scaled(v), y)
        logits = logits.to(
            torch.promote_types(logits.dtype, torch.float32)
        )  # half precision may give logits, and no sums of logarithms
        return -F.cross_entropy(logits, v.long(), reduction="none").flatten(1).sum(1)

    def objective(self, batch: Batch) -> Objective:
        v, _ = self.pixels(batch[0])
        nll = -self.log_prob(v, self.label(batch)).mean()
        return Objective({"nll": nll}, {"bits_per_dim": nll / math.prod(self.shape) / math.log(2)})

    def log_likelihood(self, batch: Batch, samples: int) -> Tensor:
        with eval_mode(self):
            v, log_det = self.pixels(batch[0])
            return self.log_prob(v, self.label(batch)) + log_det

    def protocol(self, samples: int) -> dict[str, Any]:
        return {
            "likelihood": "exact, given the label" if self.labelled else "exact",
            "pixels": self.pixels.name,
        }

    def noise(self, n: int, device: torch.device | str) -> Tensor:
        """(n, values of an image), uniform in [0, 1)."""
        return torch.rand(n, math.prod(self.shape), device=device)

    def sample(self, batch: Batch, noise: Tensor | None = None) -> Tensor:
        with eval_mode(self):
            return self.pixels.inverse(self.fill(self.uniforms(batch, noise), self.label(batch)))

    def complete(self, batch: Batch, known: Tensor, noise: Tensor | None = None) -> Tensor:
        """Known values are given, in their order, like drawn ones; so what is drawn sees the known pixels before it, not those after. It
        sees them as `pixels` has them: binarised, where the model is of black and white; in the result they are as they came.
        """
        with eval_mode(self):
            v, _ = self.pixels(batch[0])
            kept = known.expand_as(v)
            made = self.fill(self.uniforms(batch, noise), self.label(batch), v, kept)
            return torch.where(kept, batch[0], self.pixels.inverse(made))

    def uniforms(self, batch: Batch, noise: Tensor | None) -> Tensor:
        u = self.noise(len(batch[0]), batch[0].device) if noise is None else noise
        return u.unflatten(1, self.shape)

    def fill(
        self,
        u: Tensor,
        y: Tensor | None = None,
        given: Tensor | None = None,
        known: Tensor | None = None,
        naive: bool = False,
    ) -> Tensor:
        """Values (B, C, H, W) of uniforms u, one after the other; those that are `known` are as `given`. `naive` computes the whole network
        for each value, which is slow, and what the other way is proved by.
        """
        past = UncachedSampling(self.network, len(u), y) if naive else self.network.begin(len(u), y)
        v = torch.zeros_like(u)
        for i in range(u.shape[2]):
            past.next_row()
            for j in range(u.shape[3]):
                for c in range(u.shape[1]):
                    drawn = quantile(past.logits(j)[:, :, c], u[:, c, i, j])
                    v[:, c, i, j] = (
                        drawn
                        if known is None or given is None
                        else torch.where(known[:, c, i, j], given[:, c, i, j], drawn)
                    )
                    past.put(j, self.scaled(v[:, :, i, j]))
        return v


def quantile(logits: Tensor, u: Tensor) -> Tensor:
    """The least k with P(v <= k) > u: logits (B, values), u (B,) -> (B,)."""
    return (logits.softmax(1).cumsum(1)[:, :-1] <= u[:, None]).sum(1).to(u.dtype)
