"""The conditional GAN (Mirza & Osindero, 2014)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from gentrain.adversarial.losses import AdversarialLoss
from gentrain.adversarial.regularizer import Critic as Scorer
from gentrain.adversarial.regularizer import Regularizer
from gentrain.errors import UserError
from gentrain.models.gan.base import (
    Batch,
    ConditionedCritic,
    SingleCriticModel,
)
from gentrain.models.objective import Objective


class ConditionalGAN(SingleCriticModel):
    """Both players see the label (Mirza & Osindero, 2014).

    `matching_aware` shows the critic a third pair, a real image with a wrong label, as one more fake (GAN-CLS: Reed et al.,
    "Generative Adversarial Text to Image Synthesis", 2016). The loss on fakes is the mean of the two: for the original game

        -log D(x, y) - 1/2 [log(1 - D(G(z, y), y)) + log(1 - D(x, y'))],   y' uniform over the other classes.
    """

    labelled = True
    sees_labels: ClassVar[dict[str, bool]] = {"generator": True, "critic": True}

    def __init__(
        self,
        generator: nn.Module,
        critic: nn.Module,
        loss: AdversarialLoss,
        lipschitz: Regularizer,
        tricks: dict[str, Regularizer] | None = None,
        matching_aware: bool = False,
    ) -> None:
        super().__init__(generator, critic, loss, lipschitz, tricks)
        self.matching_aware = matching_aware
        if matching_aware and self.generator.classes < 2:
            raise UserError(
                "with one class there is no wrong label (model.matching_aware); use data of two classes or more"
            )

    def scorer(self, batch: Batch) -> Scorer:
        return ConditionedCritic(self.critic, batch[1])

    def critic_loss(self, batch: Batch) -> Objective:
        if not self.matching_aware:
            return super().critic_loss(batch)
        real, y = batch
        with torch.no_grad():
            fake = self.generate(self.generator, batch)
        return self.critic_terms(
            self.scorer(batch),
            real,
            fake,
            mismatched=ConditionedCritic(self.critic, wrong_labels(y, self.generator.classes)),
        )


def wrong_labels(y: Tensor, classes: int) -> Tensor:
    """For each label one of the other classes, each as likely."""
    return (y + torch.randint_like(y, 1, classes)) % classes
