"""Semi-supervised GAN (Salimans et al., "Improved techniques for training GANs", 2016, section 5).

The critic has K logits l, one for each class, and none for "generated". With Z = sum_k exp l_k(x)
its score is D(x) = log Z, so sigmoid(D) = Z / (Z + 1). It minimises

    supervised     -log softmax(l(x))_y                               on the few labelled images
    unsupervised   -[D(x) - softplus(D(x))] + softplus(D(G(z)))       on all images: the loss of D

and the generator matches features. No label counts but those of the labelled images.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from gentrain.adversarial.criterion import AdversarialCriterion
from gentrain.config.types import Count, Positive
from gentrain.models.base import Batch, Classifies
from gentrain.models.gan.base import SingleCriticModel
from gentrain.models.objective import Objective
from gentrain.networks.base import Backbone
from gentrain.networks.classifier import LogitCritic, accuracy


class SemiSupervisedGAN(SingleCriticModel, Classifies):
    """A GAN whose critic learns classes from few labels, and from all images and fakes.

    Batches are (images, labelled images, their labels). The supervised loss is `classification`.

    Args:
        generator: a backbone from noise to images.
        critic: a backbone from images to scores; its head is replaced by K logits.
        criterion: loss, Lipschitz method and tricks.
        classes: number of labels K.
        weight: weight of the supervised loss.
    """

    semi_supervised, critic_heads = True, ("linear",)

    def __init__(
        self,
        generator: Backbone[Any],
        critic: Backbone[Any],
        criterion: AdversarialCriterion,
        classes: Count,
        weight: Positive = 1.0,
    ) -> None:
        self.check_backbones(generator, critic, criterion)
        super().__init__(generator(), LogitCritic(critic, classes), criterion)
        self.weight = weight

    @property
    def classifier(self) -> nn.Module:
        """The network that names classes: the critic."""
        return self.critic

    def classify(self, x: Tensor) -> Tensor:
        return self.critic.logits(x)

    def critic_loss(self, batch: Batch) -> Objective:
        _, x, y = batch
        objective = super().critic_loss(batch)
        x, _ = self.transform_batch(x, x, critics_turn=False)
        logits = self.classify(x)
        objective.losses["classification"] = self.weight * F.cross_entropy(logits, y)
        objective.metrics["accuracy"] = accuracy(logits, y)
        return objective
