"""Pix2pix, image-to-image translation with conditional adversarial networks (Isola, Zhu, Zhou & Efros, 2017), and what else has its form:
SRGAN (Ledig et al., 2017), colorization.

A generator makes an image of a source x, and must hit the target y and be taken for real. The critic is shown (x, y) against (x, G(x)),
or the images alone where it is not given the source:

    G:  a L_adv(D, G(x)) + c content(G(x), y)          pix2pix: a = 1,     c = 100, content = L1
    D:  w L_adv                                        SRGAN:   a = 0.001, c = 1,   content = L2, or a distance of VGG's features

Its only noise is the dropout inside of U-Net, which is on in training and afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from gentrain.adversarial.losses import AdversarialLoss
from gentrain.adversarial.regularizer import Critic as Scorer
from gentrain.adversarial.regularizer import Regularizer
from gentrain.config.types import NonNegative, Positive
from gentrain.errors import UserError
from gentrain.models.gan.base import Batch, ConditionedCritic, SingleCriticModel
from gentrain.models.objective import Objective
from gentrain.networks import base

Content = Callable[[Tensor, Tensor], Tensor]


class Paired(SingleCriticModel):
    """Batches are (targets, sources). `adversarial`, `content_weight` and `critic_weight` are a, c and w of the formula.

    `start` is a finished run of a network like this generator, whose weights it begins with (SRGAN begins with SRResNet's).
    """

    translates = paired = True
    sees_labels: ClassVar[dict[str, bool]] = {"generator": False, "critic": False}

    def __init__(
        self,
        generator: nn.Module,
        critic: nn.Module,
        loss: AdversarialLoss,
        lipschitz: Regularizer,
        tricks: dict[str, Regularizer] | None = None,
        *,
        content: Content,
        content_weight: NonNegative = 100.0,
        adversarial: Positive = 1.0,
        critic_weight: Positive = 1.0,
        start: str | None = None,
    ) -> None:
        super().__init__(generator, critic, loss, lipschitz, tricks)
        self.content, self.content_weight = content, content_weight
        self.adversarial, self.critic_weight, self.start = adversarial, critic_weight, start
        if not self.generators() or not isinstance(generator, base.Translator):
            raise self.incompatible_network(
                "generator", "makes images of noise, and this game's of other images", "unet"
            )

    def generate(self, generator: Any, batch: Batch, noise: Tensor | None = None) -> Tensor:
        return generator(batch[1])

    @torch.no_grad()
    def begin(self, batch: Batch) -> None:
        if self.start is not None:
            adopt(self.generator, Path(self.start))
        super().begin(batch)

    def translate(self, x: Tensor, domains: Tensor | None = None) -> Tensor:
        """Sources to images."""
        return self.sample((x, x))

    def scorer(self, batch: Batch) -> Scorer:
        return (
            ConditionedCritic(self.critic, batch[1]) if self.critic_is_conditional else self.critic
        )

    def critic_loss(self, batch: Batch) -> Objective:
        objective = super().critic_loss(batch)
        objective.losses["adversarial"] = self.critic_weight * objective.losses["adversarial"]
        return objective

    def generator_loss(self, batch: Batch) -> Objective:
        made = self.generate(self.generator, batch)
        objective = self.generator_terms(self.scorer(batch), batch[0], made)
        if "adversarial" in objective.losses:
            objective.losses["adversarial"] = self.adversarial * objective.losses["adversarial"]
        if self.content_weight:
            objective.losses["content"] = self.content_weight * self.distance(made, batch)
        return objective

    def distance(self, made: Tensor, batch: Batch) -> Tensor:
        return self.content(made, batch[0])


def adopt(generator: nn.Module, run: Path) -> None:
    """The weights of a run's network. Raises UserError for a run that is none or has another network."""
    from gentrain.runs.checkpoints import load, newest_valid

    if not (file := run / "checkpoints" / "last.ckpt").exists():
        raise UserError(f"no finished run in {run} (model.start); give a run of model=srresnet")
    saved = load(
        newest_valid(file, "(model.start); no whole checkpoint is left there, give another run")
    )["state_dict"]
    weights = {
        key.split(".", 2)[2]: value
        for key, value in saved.items()
        if key.startswith(("model.network.", "model.generator."))
    }
    try:
        generator.load_state_dict(weights)
    except RuntimeError as error:
        what = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise UserError(
            f"the network in {run} is not this generator: {what[:120]} (model.start); give the same network="
        ) from error
