"""Semi-supervised learning with a GAN ("Improved Techniques for Training GANs", Salimans et al., 2016, section 5).

A classifier of K classes is the critic at the same time: "generated" is a class K + 1, whose logit is held at zero. With its K logits
l(x), Z(x) = sum_k exp l_k(x) and D(x) = log Z(x) as the score (a logit: the probability of "real" is Z / (Z + 1)),

    supervised     -log p(y | x, y <= K) = -l_y(x) + D(x)                          on the few images that have labels
    unsupervised   -[D(x) - softplus(D(x))] + softplus(D(G(z)))                    on all images: the original game's loss of D

and the generator matches features. No label of an image counts that is not among the few.
"""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from gentrain.adversarial.losses import AdversarialLoss
from gentrain.adversarial.regularizer import Regularizer
from gentrain.config.types import Positive
from gentrain.models.gan.base import Batch
from gentrain.models.gan.gan import GAN
from gentrain.models.objective import Objective
from gentrain.networks.classifier import accuracy


class SemiSupervised(GAN):
    """A game whose critic learns the classes from few labels, and from all images and fakes. `weight` is the supervised term's.

    Batches are (images, labelled images, their labels), see `Data.train_dataloader`; the supervised term is `classification`.
    """

    semi_supervised = classifies = True
    needs: ClassVar[dict[str, str]] = {"critic": "logits"}

    def __init__(
        self,
        generator: nn.Module,
        critic: nn.Module,
        loss: AdversarialLoss,
        lipschitz: Regularizer,
        tricks: dict[str, Regularizer] | None = None,
        weight: Positive = 1.0,
    ) -> None:
        super().__init__(generator, critic, loss, lipschitz, tricks)
        self.weight = weight

    @property
    def classifier(self) -> nn.Module:
        return self.critic

    def classify(self, x: Tensor) -> Tensor:
        """Images -> logits of their classes (B, K)."""
        return self.critic.logits(x)

    def critic_loss(self, batch: Batch) -> Objective:
        _, x, y = batch
        objective = super().critic_loss(batch)
        shown, _ = self.transform_batch(x, x, critics_turn=False)
        logits = self.classify(shown)
        objective.losses["classification"] = self.weight * F.cross_entropy(logits, y)
        objective.metrics["accuracy"] = accuracy(logits, y)
        return objective
