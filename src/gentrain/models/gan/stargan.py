"""StarGAN (Choi et al., "Unified generative adversarial networks for multi-domain image-to-image
translation", 2018).

One generator translates in all directions: G(x, c) makes of x an image of the domain c. The critic
tells real from generated images and names the domain, which it learns on real images alone. With
c' the image's own domain and c another, drawn anew,

    critic      adversarial + lambda_cls E[-log P(c' | x)]
    generator   adversarial + lambda_cls E[-log P(c | G(x, c))]
                            + lambda_rec E[|| x - G(G(x, c), c') ||_1]

lambda_cls = 1, lambda_rec = 10; the adversarial loss is that of WGAN-GP. The domain joins the
image as one channel for each domain, of ones or zeros.

A domain is one of K, or any of 2^K sets of attributes, as the kind of labels says: P is a softmax,
or a product of sigmoids.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gentrain.adversarial.criterion import AdversarialCriterion
from gentrain.config.types import Count, NonNegative
from gentrain.data.labels import Attributes, Exclusive, LabelKind
from gentrain.models.base import Batch, Classifies, TranslatesBack, eval_mode
from gentrain.models.content_loss import l1
from gentrain.models.gan.base import SingleCriticModel
from gentrain.models.objective import Objective
from gentrain.networks.base import Backbone, Critic, Generator, Translator
from gentrain.networks.classifier import ClassifierCritic
from gentrain.networks.conditional import LabelledTranslator


class StarGAN(SingleCriticModel, Classifies, TranslatesBack):
    """Translation between several domains. Batches are (images, their domains).

    Args:
        generator: a backbone from images to images.
        critic: a backbone from images to scores.
        criterion: loss, Lipschitz method and tricks.
        classes: number of domains, or of attributes, K.
        label_kind: whether an image is of one domain, or has several attributes at once.
        classification: lambda_cls.
        reconstruction: lambda_rec.
        identity: weight of || x - G(x, c') ||_1. It is CycleGAN's and not in this paper. Simple
            images can find the way back from images of other content; this loss tells the
            generator to start from the image that it has.
    """

    labelled, critic_heads = True, ("linear", "patches")
    label_kinds = (Exclusive, Attributes)
    generator_input = "images"

    def __init__(
        self,
        generator: Backbone[Generator | Translator],
        critic: Backbone[Critic],
        criterion: AdversarialCriterion,
        classes: Count,
        label_kind: LabelKind,
        classification: NonNegative = 1.0,
        reconstruction: NonNegative = 10.0,
        identity: NonNegative = 0.0,
    ) -> None:
        self.check_backbones(generator, critic, criterion)
        super().__init__(
            LabelledTranslator(generator, classes, label_kind),
            ClassifierCritic(critic, classes),
            criterion,
        )
        self.classes, self.label_kind = classes, label_kind
        self.classification = classification
        self.reconstruction, self.identity = reconstruction, identity

    def generate(self, generator: Any, batch: Batch, noise: Tensor | None = None) -> Tensor:
        """Make images of the batch's domains, each of the image before it in the batch.

        Made of the image itself, it would be a reconstruction and no translation.
        """
        x, y = batch
        return generator(x.roll(1, 0), y)

    def critic_loss(self, batch: Batch) -> Objective:
        real, y = batch
        with torch.no_grad():
            fake = self.generator(real, shuffled(y))
        real, fake = self.transform_batch(real, fake, critics_turn=True)
        of_real, of_fake = self.scores(self.critic.features, real, fake)  # both heads share them
        objective = self.adversarial_terms(self.critic.score(of_real), self.critic.score(of_fake))
        logits = self.critic.classify(of_real)
        objective.losses["classification"] = self.classification * self.label_kind.nll(logits, y)
        objective.losses |= self.critic_regularizer_terms(self.critic, real, fake)
        objective.metrics["accuracy_real"] = self.label_kind.accuracy(logits, y)
        return objective

    def generator_loss(self, batch: Batch) -> Objective:
        x, y = batch
        target = shuffled(y)
        translated = self.generator(x, target)
        real, fake = self.transform_batch(x, translated, critics_turn=False)
        of_real, of_fake = self.generator_scores(self.critic.features, real, fake)
        on_real, on_fake = self.critic.score(of_real), self.critic.score(of_fake)
        objective = Objective(self.generator_adversarial(on_real, on_fake))
        logits = self.critic.classify(of_fake)
        of_target = self.label_kind.nll(logits, target)
        objective.losses["classification"] = self.classification * of_target
        back = self.generator(translated, y)
        objective.losses["reconstruction"] = self.reconstruction * l1(x, back)
        if self.identity:
            objective.losses["identity"] = self.identity * l1(x, self.generator(x, y))
        objective.losses |= self.generator_regularizer_terms(self.critic, real, fake)
        objective.metrics["accuracy_fake"] = self.label_kind.accuracy(logits, target)
        return objective

    def classify(self, x: Tensor) -> Tensor:
        return self.critic.classify(self.critic.features(x))

    def translate(self, x: Tensor, domains: Tensor | None = None) -> Tensor:
        assert domains is not None
        generator = self.ema_generator or self.generator
        with eval_mode(generator):
            return generator(x, domains)

    def translate_back(self, x: Tensor, domains: Tensor | None = None) -> Tensor:
        return self.translate(x, domains)

    def other_domains(self, y: Tensor) -> Tensor:
        """Draw for each domain another one, each equally likely."""
        return self.label_kind.others(y, self.classes)


def shuffled(y: Tensor) -> Tensor:
    """The domains of a batch in another order.

    So the domains that are asked for are as frequent as those of the data.
    """
    return y[torch.randperm(len(y), device=y.device)]
