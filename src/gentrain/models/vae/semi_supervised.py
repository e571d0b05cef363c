"""Semi-supervised learning with deep generative models (Kingma, Rezende, Mohamed & Welling, 2014): their model M2.

The label y is a second latent variable, seen on a few images: p(x, y, z) = p(y) p(z) p(x | y, z), p(y) = 1 / K, p(z) = N(0, I), with
q(y, z | x) = q(y | x) q(z | x, y). The classifier q(y | x) learns from all images, since on those without a label every y is tried:

    L(x, y) = E_q(z | x, y) log p(x | y, z) + log p(y) - KL(q(z | x, y) || p(z))      <= log p(x, y)
    U(x)    = sum_y q(y | x) L(x, y) + H(q(y | x))                                    <= log p(x)
    J       = -mean U - labelled mean L + alpha mean(-log q(y | x))                   the last two of the images with labels

The paper sums over all images, with `labelled` N_labelled / N, and alpha 0.1.
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
from gentrain.networks.coding import Decoder, Encoder, again


class SemiSupervisedVAE(VAE, Classifies):
    """M2. Training batches are (images, labelled images, their labels), see `Data.train_dataloader`; `classifier` gives logits of q(y | x).

    The K bounds of a batch are one pass of the networks. `unlabelled=0` leaves the images without labels out: the classifier alone.
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
    ) -> None:
        super().__init__(encoder, decoder, likelihood, beta, warm_up, flow)
        self.classifier, self.classes = classifier, self.decoder.classes
        self.alpha, self.labelled_weight, self.unlabelled_weight = alpha, labelled, unlabelled

    def classify(self, x: Tensor) -> Tensor:
        """Images -> logits of q(y | x), (B, K)."""
        return self.classifier(x)

    def objective(self, batch: Batch) -> Objective:
        x, few, y = batch
        labelled = self.costs(few, y).mean()
        logits = self.classify(few)
        cross_entropy = F.cross_entropy(logits, y)
        terms = {
            "labelled": self.labelled_weight * labelled,
            "classification": self.alpha * cross_entropy,
        }
        watched = {"cross_entropy": cross_entropy, "accuracy": accuracy(logits, y)}
        if self.unlabelled_weight:
            tried = torch.arange(self.classes, device=x.device).repeat_interleave(len(x))
            bound, entropy = marginal(
                self.costs(x, tried).view(self.classes, len(x)), self.classify(x)
            )
            terms["unlabelled"] = self.unlabelled_weight * bound.mean()
            watched["class_entropy"] = entropy.mean()
        return Objective(terms, watched)

    def costs(self, x: Tensor, y: Tensor) -> Tensor:
        """-L(x, y), (n B,), of labels that are n times as many as images.

        All labels of an image have the same pixels and the same noise, so that chance tells them apart no more than it must.
        """
        v, noise = self.pixels(x)[0], self.noise(len(x), x.device)
        reconstruction, divergence = self.bound(
            again(v, len(y)), y, self.encoded(v, y), again(noise, len(y))
        )
        return reconstruction + self.weight() * divergence + math.log(self.classes)

    def log_likelihood(self, batch: Batch, samples: int) -> Tensor:
        """log sum_y p(y) p(x | y): every label, and `samples` importance samples of z for each."""
        with eval_mode(self):
            v, log_det = self.pixels(batch[0])
            each = [
                self.importance(v, torch.full((len(v),), y, device=v.device), samples)
                for y in range(self.classes)
            ]
            return torch.logsumexp(torch.stack(each), 0) - math.log(self.classes) + log_det

    def encode(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """As of a VAE; a label that is not given is the classifier's."""
        return super().encode(x, self.likeliest(x) if y is None else y)

    def reconstruct(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return super().reconstruct(x, self.likeliest(x) if y is None else y)

    def likeliest(self, x: Tensor) -> Tensor:
        """The classifier's labels, (B,)"""
        with eval_mode(self):
            return self.classify(x).argmax(1)

    def protocol(self, samples: int) -> dict[str, Any]:
        found = super().protocol(samples)
        return found | {
            "likelihood": f"{found['likelihood']} of each of {self.classes} labels, summed over the labels"
        }


def marginal(costs: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
    """-U = sum_y q(y | x) (-L(x, y)) - H(q), and H: (B,) each, of the costs -L (K, B) and the logits of q (B, K)."""
    q = logits.softmax(1)
    entropy = -(q * logits.log_softmax(1)).sum(1)
    return (q * costs.T).sum(1) - entropy, entropy
