"""Semi-supervised GAN (Salimans et al., "Improved techniques for training GANs", 2016, section 5).

The critic has K logits l, one for each class, and none for "generated". With Z = sum_k exp l_k(x)
its score is D(x) = log Z, so sigmoid(D) = Z / (Z + 1). It minimises

    supervised         -log softmax(l(x))_y                             on the few labelled images
    unsupervised   1/2 [softplus(D(x)) - D(x) + softplus(D(G(z)))]      on all images: the loss of D

and the generator matches features. No label counts but those of the labelled images. As in the
authors' code, a moving average of the critic's weights names the classes.
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor

from gentrain.adversarial.criterion import AdversarialCriterion
from gentrain.config.types import Count, Positive, Share
from gentrain.models.base import Batch, Classifies
from gentrain.models.gan.base import SingleCriticModel
from gentrain.models.objective import Objective
from gentrain.networks.base import Backbone, Critic, Generator, Translator
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
        unsupervised: weight of the critic's adversarial loss; 1/2 in the authors' code.
        decay: decay of the averaged critic that `classify` uses, at each critic update t; it grows
            as min(decay, (1 + t) / (10 + t)). With 0 it is the critic itself.
    """

    semi_supervised, critic_heads = True, ("linear",)

    def __init__(
        self,
        generator: Backbone[Generator | Translator],
        critic: Backbone[Critic],
        criterion: AdversarialCriterion,
        classes: Count,
        weight: Positive = 1.0,
        unsupervised: Positive = 0.5,
        decay: Share = 0.9999,
    ) -> None:
        self.check_backbones(generator, critic, criterion)
        super().__init__(generator(), LogitCritic(critic, classes), criterion)
        self.weight, self.unsupervised, self.decay = weight, unsupervised, decay
        self.averaged_critic = copy.deepcopy(self.critic).requires_grad_(False)
        self.register_buffer("critic_updates", torch.zeros((), dtype=torch.int64))

    def classify(self, x: Tensor) -> Tensor:
        return self.averaged_critic.logits(x)

    def init_from_batch(self, batch: Batch) -> None:
        for critic in self.critics():
            critic.init_from_batch(batch[0])
        super().init_from_batch(batch)
        self.averaged_critic.load_state_dict(self.critic.state_dict())

    def critic_loss(self, batch: Batch) -> Objective:
        _, x, y = batch
        objective = super().critic_loss(batch)
        losses = objective.losses
        losses["adversarial"] = self.unsupervised * losses["adversarial"]
        x, _ = self.transform_batch(x, x, critics_turn=False)
        logits = self.critic.logits(x)
        losses["classification"] = self.weight * F.cross_entropy(logits, y)
        objective.metrics["accuracy"] = accuracy(logits, y)
        return objective

    @torch.no_grad()
    def after_critic_step(self, scalars: dict[str, Tensor]) -> None:
        super().after_critic_step(scalars)
        mean, critic = self.averaged_critic, self.critic
        updates = self.critic_updates.add_(1)  # type: ignore[operator]
        keep = ((updates + 1) / (updates + 10)).clamp(max=self.decay)
        for averaged, p in zip(mean.parameters(), critic.parameters(), strict=True):
            averaged.lerp_(p, (1 - keep).to(p.dtype))
        for copied, buffer in zip(mean.buffers(), critic.buffers(), strict=True):
            copied.copy_(buffer)
