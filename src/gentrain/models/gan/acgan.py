"""Auxiliary classifier GAN (Odena, Olah & Shlens, "Conditional image synthesis with auxiliary
classifier GANs", 2017).

The critic does not see the label, as in a conditional GAN, but must name it: a second head on its
features gives log P(c | x). With L_S the log-likelihood of the source (real or generated) and

    L_C = E[log P(C = c | x)] + E[log P(C = c | G(z, c))],

the critic maximises L_S + L_C and the generator L_C - L_S.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from gentrain.adversarial.criterion import AdversarialCriterion
from gentrain.config.types import Count, NonNegative
from gentrain.models.base import Batch, Classifies
from gentrain.models.gan.base import SingleCriticModel
from gentrain.models.objective import Objective
from gentrain.networks.base import Backbone, Critic, Generator, Translator
from gentrain.networks.classifier import ClassifierCritic, accuracy
from gentrain.networks.conditional import conditional_generator


class AuxiliaryClassifierGAN(SingleCriticModel, Classifies):
    """A generator that is given the label, against a critic that must find it.

    Any adversarial loss can take the place of L_S. The loss `classification` is a cross-entropy in
    nats, the negative of L_C.

    Args:
        generator: a backbone from noise to images.
        critic: a backbone from images to scores.
        criterion: loss, Lipschitz method and tricks.
        classes: number of labels K.
        embedding: length of the label's embedding beside the noise; None for 50, or for a network
            that takes labels itself.
        weight: weight of L_C in both objectives.
    """

    labelled, critic_heads = True, ("linear", "patches")

    def __init__(
        self,
        generator: Backbone[Generator | Translator],
        critic: Backbone[Critic],
        criterion: AdversarialCriterion,
        classes: Count,
        embedding: Count | None = None,
        weight: NonNegative = 1.0,
    ) -> None:
        self.check_backbones(generator, critic, criterion)
        super().__init__(
            conditional_generator(generator, classes, embedding),
            ClassifierCritic(critic, classes),
            criterion,
        )
        self.weight = weight

    def classify(self, x: Tensor) -> Tensor:
        return self.critic.classify(self.critic.features(x))

    def critic_loss(self, batch: Batch) -> Objective:
        real, y = batch
        with torch.no_grad():
            fake = self.generate(self.generator, batch)
        real, fake = self.transform_batch(real, fake, critics_turn=True)
        of_real, of_fake = self.scores(self.critic.features, real, fake)  # both heads share them
        objective = self.adversarial_terms(self.critic.score(of_real), self.critic.score(of_fake))
        on_real, on_fake = self.critic.classify(of_real), self.critic.classify(of_fake)
        cross_entropy = F.cross_entropy(on_real, y) + F.cross_entropy(on_fake, y)
        objective.losses["classification"] = self.weight * cross_entropy
        objective.losses |= self.critic_regularizer_terms(self.critic, real, fake)
        objective.metrics["accuracy_real"] = accuracy(on_real, y)
        objective.metrics["accuracy_fake"] = accuracy(on_fake, y)
        return objective

    def generator_loss(self, batch: Batch) -> Objective:
        real, y = batch
        fake = self.generate(self.generator, batch)
        real, fake = self.transform_batch(real, fake, critics_turn=False)
        of_real, of_fake = self.generator_scores(self.critic.features, real, fake)
        on_real, on_fake = self.critic.score(of_real), self.critic.score(of_fake)
        objective = Objective(self.generator_adversarial(on_real, on_fake))
        cross_entropy = F.cross_entropy(self.critic.classify(of_fake), y)
        objective.losses["classification"] = self.weight * cross_entropy
        objective.losses |= self.generator_regularizer_terms(self.critic, real, fake)
        return objective
