"""Certificates of autoregressive models of pixels."""

from __future__ import annotations

from itertools import product
from typing import Any

import torch
from torch import Tensor

from gentrain.certificates.base import Certificate, error, largest
from gentrain.models.autoregressive.base import Autoregressive

STIR = 0.1  # of weights


class EveryImage(Certificate):
    """The probabilities of all images of 2 x 2 pixels, given a label or without."""

    of = (Autoregressive,)
    property = "the probabilities of all images sum to one"
    source = "van den Oord et al., 2016, eq. 1"

    def measure(self) -> float:
        model = self.subject.model(stirred=STIR, shape=[1, 2, 2], values=2).eval()
        levels = range(model.n_values) if model.n_values == 2 else ()
        images = torch.tensor(list(product(levels, repeat=4))).double()
        y = torch.zeros(len(images), dtype=torch.long) if model.labelled else None
        with torch.no_grad():
            return error(model.log_prob(images.view(-1, 1, 2, 2), y).exp().sum(), 1.0)


class Causal(Certificate):
    """The logits of each pixel have no gradient in itself and in later ones."""

    of = (Autoregressive,)
    property = "logits of a pixel have no gradient in it or in later ones, and one before it"
    source = "van den Oord et al., 2016, section 3.1"
    bound = 0.0

    def measure(self) -> float:
        model = self.subject.model(stirred=STIR, shape=[1, 4, 4]).eval()
        v = torch.rand(1, 1, 4, 4, requires_grad=True)
        y = torch.zeros(1, dtype=torch.long) if model.labelled else None
        logits = model.network(2 * v - 1, y)[0].flatten(1)
        worst, seen = 0.0, True
        for i in range(16):
            (slope,) = torch.autograd.grad(logits[:, i].sum(), v, retain_graph=True)
            slope = slope.flatten().abs()
            worst = max(worst, float(slope[i:].max()))
            seen = seen and (i == 0 or bool(slope[i - 1] > 0 or i % 4 == 0))
        return worst if seen else float("inf")


class NegativeLogLikelihood(Certificate):
    of = (Autoregressive,)
    name = "objective"
    property = "the loss is the mean of -sum_i log p(v_i | v_<i), pixel by pixel"
    source = "van den Oord et al., 2016, eq. 1"

    def measure(self) -> float:
        model, batch = self.subject.model(stirred=STIR), self.subject.batch
        torch.manual_seed(1)
        found = model.objective(batch).losses
        torch.manual_seed(1)
        v = model.pixels(batch[0])[0]
        logits = model.network(model.scaled(v), model.labels(batch))
        probabilities = (logits - logits.logsumexp(1, keepdim=True)).exp()
        of_values = probabilities.gather(1, v.long()[:, None])[:, 0]
        expected = -of_values.log().flatten(1).sum(1).mean()
        return error(found["nll"], expected) if set(found) == {"nll"} else float("inf")


class PixelByPixel(Certificate):
    """Sampling keeps what it has computed; the images are those of whole passes."""

    of = (Autoregressive,)
    property = "images drawn with a cache are those of a whole pass for each pixel"
    source = "van den Oord et al., 2016, section 3"
    bound = 0.0

    def measure(self) -> float:
        model = self.subject.model(stirred=STIR, shape=[1, 5, 5]).eval()
        y = torch.zeros(3, dtype=torch.long) if model.labelled else None
        u = torch.rand(3, 1, 5, 5)
        with torch.no_grad():
            drawn: tuple[Tensor, ...] = tuple(
                model.fill(u, y, cached=cached) for cached in (True, False)
            )
            return largest(error(*drawn), self.quantiles(model, drawn[0], u, y))

    def quantiles(self, model: Any, v: Tensor, u: Tensor, y: Tensor | None) -> float:
        """How many values are not the least k with P(v <= k) > u."""
        p = model.network(model.scaled(v), y).softmax(1).cumsum(1)
        upper = p.gather(1, v.long()[:, None])[:, 0]
        lower = (p.gather(1, (v.long() - 1).clamp(min=0)[:, None])[:, 0]) * (v > 0)
        return float(((u >= upper) | (u < lower)).sum())
