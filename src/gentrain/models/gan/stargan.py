"""StarGAN, unified generative adversarial networks for multi-domain image-to-image translation (Choi et al., 2018).

One generator for all directions: G(x, c) paints x as an image of the domain c. The critic tells real from made and names the domain, which
it learns on real images alone. With c' the image's own domain and c another, drawn anew,

    critic      adversarial + lambda_cls E[-log P(c' | x)]
    generator   adversarial + lambda_cls E[-log P(c | G(x, c))] + lambda_rec E[|| x - G(G(x, c), c') ||_1]

(lambda_cls = 1, lambda_rec = 10; the adversarial loss is that of WGAN-GP). The domain is given as one channel for each, of ones or zeros.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gentrain.adversarial.losses import AdversarialLoss
from gentrain.adversarial.regularizer import Critic as Scorer
from gentrain.adversarial.regularizer import Regularizer
from gentrain.config.types import NonNegative
from gentrain.models.base import eval_mode
from gentrain.models.content_loss import l1
from gentrain.models.gan.base import Batch, SingleCriticModel
from gentrain.models.gan.cgan import wrong_labels
from gentrain.models.objective import Objective
from gentrain.networks.classifier import accuracy


class DomainTransfer(SingleCriticModel):
    """Batches are (images, their domains). `classification` and `reconstruction` are lambda_cls and lambda_rec.

    `identity` is the weight of || x - G(x, c') ||_1, which is CycleGAN's and not in this paper: simple images can find the way back from
    pictures of another content, and this term tells the generator to begin with the picture that it has.
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
        classification: NonNegative = 1.0,
        reconstruction: NonNegative = 10.0,
        identity: NonNegative = 0.0,
    ) -> None:
        super().__init__(generator, critic, loss, lipschitz, tricks)
        self.classification, self.reconstruction, self.identity = (
            classification,
            reconstruction,
            identity,
        )

    def generate(self, generator: Any, batch: Batch, noise: Tensor | None = None) -> Tensor:
        """Images of the batch's domains, each made from the image before it in the batch: of its own it would be none."""
        x, y = batch
        return generator(x.roll(1, 0), y)

    def scorer(self, batch: Batch) -> Scorer:
        return self.critic

    def critic_loss(self, batch: Batch) -> Objective:
        real, y = batch
        with torch.no_grad():
            fake = self.generator(real, shuffled(y))
        real, fake = self.transform_batch(real, fake, critics_turn=True)
        of_real, of_fake = self.scores(self.critic.features, real, fake)  # both heads share them
        objective = self.adversarial_terms(self.critic.score(of_real), self.critic.score(of_fake))
        named = self.critic.classify(of_real)
        objective.losses["classification"] = self.classification * F.cross_entropy(named, y)
        objective.losses |= self.regularizer_terms("critic_term", self.critic, real, fake)
        objective.metrics["accuracy_real"] = accuracy(named, y)
        return objective

    def generator_loss(self, batch: Batch) -> Objective:
        x, y = batch
        wanted = shuffled(y)
        made = self.generator(x, wanted)
        real, fake = self.transform_batch(x, made, critics_turn=False)
        of_real, of_fake = self.generator_scores(self.critic.features, real, fake)
        objective = Objective(
            self.generator_adversarial(self.critic.score(of_real), self.critic.score(of_fake))
        )
        named = self.critic.classify(of_fake)
        objective.losses["classification"] = self.classification * F.cross_entropy(named, wanted)
        objective.losses["reconstruction"] = self.reconstruction * l1(x, self.generator(made, y))
        if self.identity:
            objective.losses["identity"] = self.identity * l1(x, self.generator(x, y))
        objective.losses |= self.regularizer_terms("generator_term", self.critic, real, fake)
        objective.metrics["accuracy_fake"] = accuracy(named, wanted)
        return objective

    def translate(self, x: Tensor, domains: Tensor) -> Tensor:
        """Images to these domains (B,)."""
        generator = self.ema_generator or self.generator
        with eval_mode(generator):
            return generator(x, domains)

    def back(self, x: Tensor, domains: Tensor) -> Tensor:
        """Made images to the domains that their sources were of: the same generator."""
        return self.translate(x, domains)

    def elsewhere(self, y: Tensor) -> Tensor:
        """For each domain one of the others, each as likely."""
        return wrong_labels(y, self.generator.classes)


def shuffled(y: Tensor) -> Tensor:
    """The domains of a batch, in another order: the domains asked for are as frequent as those of the data."""
    return y[torch.randperm(len(y), device=y.device)]
