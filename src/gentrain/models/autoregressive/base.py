"""Autoregressive models of pixels: log p(v) = sum_i log p(v_i | v_0 ... v_(i-1)).

Values are in raster order, and at each pixel in the order R, G, B. One pass of a causal network
gives all terms. A sample draws the values in their order, each as a function of a uniform number:
v_i is the least k with P(v_i <= k | v_0 ... v_(i-1)) > u_i. At the temperature T the logits l are
l / T; at 0 each value is the most probable one given those before.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from gentrain.errors import UserError
from gentrain.models.autoregressive.networks import Causal, UncachedSampling
from gentrain.models.base import Batch, Completes, HasLogProb, HasTemperature, eval_mode
from gentrain.models.density import DensityModel, temperature_protocol
from gentrain.models.objective import Objective
from gentrain.models.pixels import Pixels
from gentrain.streams import uniform


class Autoregressive(DensityModel, Completes, HasLogProb, HasTemperature):
    """An autoregressive model of images, log p(v), or log p(v | y) where it is conditional.

    Args:
        network: makes a causal network of (shape, values, classes).
        pixels: binary, or levels.
        shape: (C, H, W) of images.
        conditional: the network sees the label.
        classes: the number of labels, or None for data without.

    Raises:
        UserError: for labels that do not exist.
    """

    takes: ClassVar = ("binary", "levels")
    sequential = True

    def __init__(
        self,
        network: Callable[..., Causal],
        pixels: Pixels,
        shape: list[int],
        conditional: bool = False,
        classes: int | None = None,
    ) -> None:
        super().__init__(pixels, shape)
        assert pixels.values is not None
        if conditional and not classes:
            raise UserError(
                "these data have no labels to be given (model.conditional); "
                "choose others, or give false"
            )
        self.n_values, self.labelled = pixels.values, conditional
        self.network = network(
            shape=self.shape, values=self.n_values, classes=classes if conditional else 0
        )

    @property
    def prior(self) -> str | None:
        return "uniform"

    def scaled(self, v: Tensor) -> Tensor:
        """Values as the network sees them, in [-1, 1].

        Zero is what a convolution sees beyond the edges; no black and white pixel has that value.
        """
        return 2 * v / (self.n_values - 1) - 1

    # --- likelihood -------------------------------------------------------------------------------

    def log_prob(self, v: Tensor, y: Tensor | None = None) -> Tensor:
        """(B,) nats of whole numbers v (B, C, H, W), given labels (B,) where it is conditional."""
        logits = self.network(self.scaled(v), y)
        # half precision is enough for logits, but not for sums of logarithms
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        return -F.cross_entropy(logits, v.long(), reduction="none").flatten(1).sum(1)

    def objective(self, batch: Batch) -> Objective:
        v, _ = self.pixels(batch[0])
        nll = -self.log_prob(v, self.labels(batch)).mean()
        return Objective({"nll": nll}, {"bits_per_dim": nll / math.prod(self.shape) / math.log(2)})

    def log_likelihood_of_values(self, v: Tensor, y: Tensor | None, samples: int) -> Tensor:
        return self.log_prob(v, y)

    def protocol(self, samples: int) -> dict[str, Any]:
        return {"likelihood": "exact", "pixels": self.pixels.name}

    # --- sampling ---------------------------------------------------------------------------------

    def noise(self, n: int, device: torch.device | str) -> Tensor:
        """(n, C * H * W), uniform in [0, 1)."""
        return uniform(torch.empty(n, math.prod(self.shape), device=device))

    def uniforms(self, batch: Batch, noise: Tensor | None) -> Tensor:
        """The noise of a batch, new where it is None, as (B, C, H, W)."""
        u = self.noise(len(batch[0]), batch[0].device) if noise is None else noise
        return u.unflatten(1, self.shape)

    def sample(self, batch: Batch, noise: Tensor | None = None) -> Tensor:
        with eval_mode(self):
            return self.pixels.inverse(self.fill(self.uniforms(batch, noise), self.labels(batch)))

    def sample_protocol(self) -> dict[str, Any]:
        return temperature_protocol(self)

    def complete(self, batch: Batch, known: Tensor, noise: Tensor | None = None) -> Tensor:
        """The batch's images with the unknown pixels drawn anew; known pixels stay exactly.

        Known values take the place of drawn ones, in raster order. So a drawn pixel depends on the
        known pixels before it, and not on those after it. The network sees known pixels as `pixels`
        has them, such as binarised.

        Args:
            batch: images in [-1, 1], with labels for a conditional model.
            known: bool, broadcast over (B, C, H, W); True where a pixel is known.
            noise: as `sample` takes it.
        """
        with eval_mode(self):
            v, _ = self.pixels(batch[0])
            kept = known.expand_as(v)
            made = self.fill(self.uniforms(batch, noise), self.labels(batch), v, kept)
            return torch.where(kept, batch[0], self.pixels.inverse(made))

    def fill(
        self,
        u: Tensor,
        y: Tensor | None = None,
        given: Tensor | None = None,
        known: Tensor | None = None,
        cached: bool = True,
    ) -> Tensor:
        """Draw values (B, C, H, W) one after the other.

        Args:
            u: uniform numbers, (B, C, H, W).
            y: labels (B,) of a conditional model.
            given: values that are not drawn, where `known`.
            known: bool (B, C, H, W).
            cached: False computes the whole network for each value, which is slow; a test compares.
        """
        n = len(u)
        cache = (
            self.network.sampling_cache(n, y) if cached else UncachedSampling(self.network, n, y)
        )
        v = torch.zeros_like(u)
        for i in range(u.shape[2]):
            cache.next_row()
            for j in range(u.shape[3]):
                for c in range(u.shape[1]):
                    logits = tempered(cache.logits(j)[:, :, c], self.temperature)
                    drawn = quantile(logits, u[:, c, i, j])
                    if known is not None and given is not None:
                        drawn = torch.where(known[:, c, i, j], given[:, c, i, j], drawn)
                    v[:, c, i, j] = drawn
                    cache.set_pixel(j, self.scaled(v[:, :, i, j]))
        return v


def tempered(logits: Tensor, temperature: float) -> Tensor:
    """Logits (B, values) at a temperature T: l / T, and for T = 0 the most probable value alone.

    >>> tempered(torch.tensor([[1.0, 3.0]]), 0.5).diff()
    tensor([[4.]])
    """
    if temperature == 1:
        return logits
    below = logits - logits.amax(1, keepdim=True)  # so that nothing overflows for a small T
    return below / temperature if temperature else torch.where(below < 0, -torch.inf, 0.0)


def quantile(logits: Tensor, u: Tensor) -> Tensor:
    """The least k with P(v <= k) > u: logits (B, values), u (B,) -> (B,).

    >>> quantile(torch.zeros(2, 4), torch.tensor([0.3, 0.9]))
    tensor([1., 3.])
    """
    return (logits.softmax(1).cumsum(1)[:, :-1] <= u[:, None]).sum(1).to(u.dtype)
