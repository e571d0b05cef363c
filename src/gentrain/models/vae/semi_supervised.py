"""The semi-supervised VAE M2 (Kingma, Rezende, Mohamed & Welling, "Semi-Supervised Learning with
Deep Generative Models", 2014).

The label y is a second latent variable, observed for few images:

    p(x, y, z) = p(y) p(z) p(x | y, z),   p(y) = 1 / K,   p(z) = N(0, I)
    q(y, z | x) = q(y | x) q(z | x, y)

The classifier q(y | x) learns from all images, since every label is tried where none is given:

    L(x, y) = E_q(z | x, y) log p(x | y, z) + log p(y) - KL(q(z | x, y) || p(z))   <= log p(x, y)
    U(x)    = sum_y q(y | x) L(x, y) + H(q(y | x))                                 <= log p(x)
    J       = -u mean U(x) - l mean L(x, y) + alpha mean(-log q(y | x))

The last two means are over images with labels. The paper sums over all images: u = 1, l is the
share of images with labels, and alpha = 0.1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gentrain.config.types import NonNegative, Whole
from gentrain.models.base import Batch, Classifies, eval_mode
from gentrain.models.flow.base import Flow
from gentrain.models.objective import Objective
from gentrain.models.vae.likelihoods import Likelihood
from gentrain.models.vae.vae import VAE
from gentrain.networks.classifier import accuracy
from gentrain.networks.vae import Decoder, Encoder, repeat_batch


class SemiSupervisedVAE(VAE, Classifies):
    """M2. A training batch is (images, labelled images, their labels).

    The K bounds of a batch take one pass of the networks.

    Args:
        classifier: images -> logits of q(y | x), (B, K).
        alpha: the weight of the classification loss.
        labelled: l, the weight of images with labels.
        unlabelled: u, the weight of images without; 0 leaves them out.

    The other arguments are those of `VAE`; encoder and decoder must have classes.
    """

    semi_supervised = True

    def __init__(
        self,
        encoder: Callable[..., Encoder],
        decoder: Callable[..., Decoder],
        classifier: nn.Module,
        likelihood: Likelihood,
        alpha: NonNegative = 0.1,
        labelled: NonNegative = 1.0,
        unlabelled: NonNegative = 1.0,
        beta: NonNegative = 1.0,
        warm_up: Whole = 0,
        flow: Flow | None = None,
        mean: bool = False,
    ) -> None:
        super().__init__(encoder, decoder, likelihood, beta, warm_up, flow, mean)
        self.classifier, self.classes = classifier, self.decoder.classes
        self.alpha, self.labelled_weight, self.unlabelled_weight = alpha, labelled, unlabelled

    def classify(self, x: Tensor) -> Tensor:
        return self.classifier(x)

    def objective(self, batch: Batch) -> Objective:
        x, labelled, y = batch
        cost = self.costs(labelled, y).mean()
        logits = self.classify(labelled)
        cross_entropy = F.cross_entropy(logits, y)
        losses = {
            "labelled": self.labelled_weight * cost,
            "classification": self.alpha * cross_entropy,
        }
        metrics = {"cross_entropy": cross_entropy, "accuracy": accuracy(logits, y)}
        if self.unlabelled_weight:
            every = torch.arange(self.classes, device=x.device).repeat_interleave(len(x))
            costs = self.costs(x, every).view(self.classes, len(x))
            bound, entropy = marginal(costs, self.classify(x))
            losses["unlabelled"] = self.unlabelled_weight * bound.mean()
            metrics["class_entropy"] = entropy.mean()
        return Objective(losses, metrics)

    def costs(self, x: Tensor, y: Tensor) -> Tensor:
        """-L(x, y), (n B,), of images (B, ...) and n labels for each, (n B,).

        All labels of an image share its binarised pixels and its noise, so that costs differ by
        chance as little as possible.
        """
        v, noise = self.pixels(x)[0], self.noise(len(x), x.device)
        reconstruction, divergence = self.bound(
            repeat_batch(v, len(y)), y, self.posterior(v, y), repeat_batch(noise, len(y))
        )
        return reconstruction + self.kl_weight() * divergence + math.log(self.classes)

    @property
    def given_labels(self) -> bool:
        """False: y is a latent variable, over which the likelihood is summed."""
        return False

    def log_likelihood_of_values(self, v: Tensor, y: Tensor | None, samples: int) -> Tensor:
        """log sum_y p(y) p(x | y), (B,), with `samples` importance samples of z for each label."""
        each = [
            self.importance_weighted(v, torch.full((len(v),), label, device=v.device), samples)
            for label in range(self.classes)
        ]
        return torch.logsumexp(torch.stack(each), 0) - math.log(self.classes)

    def encode(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """As for a VAE; the classifier names labels that are not given."""
        return super().encode(x, self.predict(x) if y is None else y)

    def reconstruct(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """As for a VAE; the classifier names labels that are not given."""
        return super().reconstruct(x, self.predict(x) if y is None else y)

    def predict(self, x: Tensor) -> Tensor:
        """The classifier's labels, (B,)."""
        with eval_mode(self):
            return self.classify(x).argmax(1)

    def protocol(self, samples: int) -> dict[str, Any]:
        found = super().protocol(samples)
        of = f"of each of {self.classes} labels, summed over the labels"
        return found | {"likelihood": f"{found['likelihood']} {of}"}


def marginal(costs: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
    """-U = sum_y q(y | x) (-L(x, y)) - H(q), and H: (B,) each.

    Args:
        costs: -L(x, y), (K, B).
        logits: logits of q(y | x), (B, K).
    """
    q = logits.softmax(1)
    entropy = -(q * logits.log_softmax(1)).sum(1)
    return (q * costs.T).sum(1) - entropy, entropy
