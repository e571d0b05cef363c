"""Pix2pix (Isola, Zhu, Zhou & Efros, "Image-to-image translation with conditional adversarial
networks", 2017), and what else has its form: SRGAN (Ledig et al., 2017), colorization, inpainting.

A generator makes an image of a source x. The image must be near the target y, and the critic must
take it for real. The critic sees (x, y) against (x, G(x)), or the images alone:

    G:  a L_adv(D, G(x)) + c content(G(x), y)     pix2pix: a = 1,     c = 100, content = L1
    D:  w L_adv                                   SRGAN:   a = 0.001, c = 1,   content = L2 or VGG

Its only noise is the dropout inside of the U-Net, which stays on at test time.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from gentrain.adversarial.criterion import AdversarialCriterion
from gentrain.adversarial.regularizer import CriticFunction
from gentrain.config.types import NonNegative, Positive
from gentrain.errors import UserError
from gentrain.models.base import Batch, InitialWeights, Translates
from gentrain.models.content_loss import Content
from gentrain.models.gan.base import ConditionedCritic, SingleCriticModel
from gentrain.models.objective import Objective
from gentrain.networks.base import Backbone, Critic, Generator, Translator


class Pix2Pix(SingleCriticModel, Translates):
    """Paired translation. Batches are (targets, sources).

    Args:
        generator: a backbone from images to images.
        critic: a backbone from images, and sources if it has a `source_shape`, to scores.
        criterion: loss, Lipschitz method and tricks.
        content: how far an image is from its target.
        content_weight: c of the formula.
        adversarial: a of the formula. L_adv has no 1/2, also of loss=ls.
        critic_weight: w of the formula.
        start: a finished run whose network has this generator's shape; training starts from its
            weights. SRGAN starts from SRResNet's.
    """

    translates = paired = True
    generator_input = "images"

    def __init__(
        self,
        generator: Backbone[Generator | Translator],
        critic: Backbone[Critic],
        criterion: AdversarialCriterion,
        *,
        content: Content,
        content_weight: NonNegative = 100.0,
        adversarial: Positive = 1.0,
        critic_weight: Positive = 1.0,
        start: str | None = None,
    ) -> None:
        self.check_backbones(generator, critic, criterion)
        super().__init__(generator(), critic(), criterion)
        self.content, self.content_weight = content, content_weight
        self.adversarial, self.critic_weight = adversarial, critic_weight
        if start is not None:
            self.initial_weights = InitialWeights(Path(start), "model.start")

    def load_initial_weights(self, config: dict[str, Any], state_dict: dict[str, Tensor]) -> None:
        """Start from the network of another run."""
        weights = {
            key.split(".", 2)[2]: value
            for key, value in state_dict.items()
            if key.startswith(("model.network.", "model.generator."))
        }
        try:
            self.generator.load_state_dict(weights)
        except RuntimeError as error:
            what = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
            raise UserError(
                f"the network of that run is not this generator: {what[:120]} (model.start); "
                "give the same network="
            ) from error

    def generate(self, generator: Any, batch: Batch, noise: Tensor | None = None) -> Tensor:
        return generator(batch[1])

    def translate(self, x: Tensor, domains: Tensor | None = None) -> Tensor:
        return self.sample((x, x))

    def critic_function(self, batch: Batch) -> CriticFunction:
        if self.critic_is_conditional:
            return ConditionedCritic(self.critic, batch[1])
        return self.critic

    def critic_loss(self, batch: Batch) -> Objective:
        objective = super().critic_loss(batch)
        self.weigh(objective, self.critic_weight)
        return objective

    def generator_loss(self, batch: Batch) -> Objective:
        fake = self.generate(self.generator, batch)
        objective = self.generator_terms(self.critic_function(batch), batch[0], fake)
        self.weigh(objective, self.adversarial)
        if self.content_weight:
            objective.losses["content"] = self.content_weight * self.distance(fake, batch)
        return objective

    def distance(self, fake: Tensor, batch: Batch) -> Tensor:
        """How far generated images are from their targets."""
        return self.content(fake, batch[0])
