"""Conditional image synthesis with auxiliary classifier GANs (Odena, Olah & Shlens, 2017).

The critic is not told the label, as in a conditional GAN, but must name it: a second head on its features gives log P(c | x).
With L_S the original game's log-likelihood of the source and

    L_C = E[log P(C = c | x)] + E[log P(C = c | G(z, c))],

the critic maximises L_S + L_C and the generator L_C - L_S.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gentrain.adversarial.losses import AdversarialLoss
from gentrain.adversarial.regularizer import Critic as Scorer
from gentrain.adversarial.regularizer import Regularizer
from gentrain.config.types import NonNegative
from gentrain.models.gan.base import Batch, SingleCriticModel
from gentrain.models.objective import Objective
from gentrain.networks.classifier import accuracy


class AuxiliaryClassifier(SingleCriticModel):
    """A generator that is given the label, against a critic that must find it; any adversarial loss in the place of L_S.

    `weight` is that of L_C in both objectives, where it is the term `classification` (a cross-entropy, in nats: the negative of L_C).
    """

    labelled = classifies = True
    sees_labels: ClassVar[dict[str, bool]] = {"generator": True, "critic": False}
    needs: ClassVar[dict[str, str]] = {"critic": "classify"}

    def __init__(
        self,
        generator: nn.Module,
        critic: nn.Module,
        loss: AdversarialLoss,
        lipschitz: Regularizer,
        tricks: dict[str, Regularizer] | None = None,
        weight: NonNegative = 1.0,
    ) -> None:
        super().__init__(generator, critic, loss, lipschitz, tricks)
        self.weight = weight

    def scorer(self, batch: Batch) -> Scorer:
        return self.critic

    def classify(self, x: Tensor) -> Tensor:
        """Images -> logits of their classes (B, K)."""
        return self.critic.classify(self.critic.features(x))

    def critic_loss(self, batch: Batch) -> Objective:
        real, y = batch
        with torch.no_grad():
            fake = self.generate(self.generator, batch)
        real, fake = self.transform_batch(real, fake, critics_turn=True)
        of_real, of_fake = self.scores(self.critic.features, real, fake)  # both heads share them
        objective = self.adversarial_terms(self.critic.score(of_real), self.critic.score(of_fake))
        on_real, on_fake = self.critic.classify(of_real), self.critic.classify(of_fake)
        objective.losses["classification"] = self.weight * (
            F.cross_entropy(on_real, y) + F.cross_entropy(on_fake, y)
        )
        objective.losses |= self.regularizer_terms("critic_term", self.critic, real, fake)
        objective.metrics |= {
            "accuracy_real": accuracy(on_real, y),
            "accuracy_fake": accuracy(on_fake, y),
        }
        return objective

    def generator_loss(self, batch: Batch) -> Objective:
        real, y = batch
        real, fake = self.transform_batch(
            real, self.generate(self.generator, batch), critics_turn=False
        )
        of_real, of_fake = self.generator_scores(self.critic.features, real, fake)
        objective = Objective(
            self.generator_adversarial(self.critic.score(of_real), self.critic.score(of_fake))
        )
        objective.losses["classification"] = self.weight * F.cross_entropy(
            self.critic.classify(of_fake), y
        )
        objective.losses |= self.regularizer_terms("generator_term", self.critic, real, fake)
        return objective
