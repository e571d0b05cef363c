"""The conditional GAN (Mirza & Osindero, 2014): both players see the label."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from gentrain.adversarial.criterion import AdversarialCriterion
from gentrain.adversarial.regularizer import CriticFunction
from gentrain.config.types import Count
from gentrain.data.labels import Exclusive
from gentrain.errors import UserError
from gentrain.models.base import Batch
from gentrain.models.gan.base import ConditionedCritic, SingleCriticModel
from gentrain.models.objective import Objective
from gentrain.networks.base import Backbone, Critic, Generator, Translator
from gentrain.networks.conditional import (
    Conditioning,
    conditional_critic,
    conditional_generator,
)


class ConditionedGAN(SingleCriticModel, ABC):
    """G(z, y) against D(x, y), whatever the labels y say.

    With `matching_aware` the critic sees a third pair, a real image with a wrong label, as one
    more fake (GAN-CLS: Reed et al., "Generative Adversarial Text to Image Synthesis", 2016). The
    loss on fakes is the mean of the two. For the original loss

        -log D(x, y) - 1/2 [log(1 - D(G(z, y), y)) + log(1 - D(x, y'))].

    A subclass sets `matching_aware`, and draws the wrong labels y'.
    """

    labelled = critic_is_labelled = True
    matching_aware: bool

    @abstractmethod
    def wrong_labels(self, y: Tensor) -> Tensor:
        """Draw for each label of a batch (B, ...) another one."""

    def condition(self, y: Tensor) -> Tensor:
        """What the critic sees of labels (B, ...)."""
        return y

    def critic_function(self, batch: Batch) -> CriticFunction:
        return ConditionedCritic(self.critic, self.condition(batch[1]))

    def critic_loss(self, batch: Batch) -> Objective:
        if not self.matching_aware:
            return super().critic_loss(batch)
        real, y = batch
        with torch.no_grad():
            fake = self.generate(self.generator, batch)
        mismatched = ConditionedCritic(self.critic, self.condition(self.wrong_labels(y)))
        return self.critic_terms(self.critic_function(batch), real, fake, mismatched)


class ConditionalGAN(ConditionedGAN):
    """G(z, y) against D(x, y) for classes y; the wrong labels are uniform over the other classes.

    Args:
        generator: a backbone from noise to images.
        critic: a backbone from images to scores.
        criterion: loss, Lipschitz method and tricks.
        classes: number of labels K.
        embedding: length of the label's embedding beside the noise; None for 50, or for a network
            that takes labels itself.
        conditioning: how the critic sees the label: as planes beside the image ("concat"), or by
            the product of features and an embedding ("projection").
        matching_aware: also show real images with wrong labels.
    """

    def __init__(
        self,
        generator: Backbone[Generator | Translator],
        critic: Backbone[Critic],
        criterion: AdversarialCriterion,
        classes: Count,
        embedding: Count | None = None,
        conditioning: Conditioning = "concat",
        matching_aware: bool = False,
    ) -> None:
        self.check_backbones(generator, critic, criterion)
        super().__init__(
            conditional_generator(generator, classes, embedding),
            conditional_critic(critic, classes, conditioning),
            criterion,
        )
        self.classes, self.matching_aware = classes, matching_aware
        if matching_aware and classes < 2:
            raise UserError(
                "with one class there is no wrong label (model.matching_aware); "
                "use data of two classes or more"
            )

    def wrong_labels(self, y: Tensor) -> Tensor:
        """Draw for each label (B,) one of the other classes, each equally likely."""
        return Exclusive().others(y, self.classes)
