"""Progressive growing of GANs (Karras, Aila, Laine & Lehtinen, 2018).

Both players start at the smallest resolution and grow level by level. A new level fades in, and
real images lose their detail in the same way. The critic is trained on images of the level's own
size, so a gradient penalty is about the pixels that there are. See `networks.progan`.
"""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from gentrain.adversarial.criterion import AdversarialCriterion
from gentrain.adversarial.regularizer import RegularizedModel, Regularizer
from gentrain.config.types import Count
from gentrain.models.base import Batch
from gentrain.models.gan.gan import GAN
from gentrain.models.objective import Objective
from gentrain.networks.base import Backbone, Critic, Generator, Translator
from gentrain.networks.progan import Growing, average_pool_to, doubled, halved

log = logging.getLogger("gentrain")


class Growth(Regularizer):
    """When the players grow.

    A level trains alone for `stable` images, the next fades in over `fade` images, and so on to
    the last. Images are the real ones that the critic has seen, in all processes. The count is a
    buffer, so it is in the checkpoint. Both optimizers lose their state when a fade starts and when
    it ends, as in the authors' code.

    Args:
        fade: images of a fade.
        stable: images between two fades.
    """

    order = Regularizer.IMAGES + 1  # after the pool of full-size fakes, before what the critic sees
    images: Tensor

    def __init__(self, fade: Count = 800_000, stable: Count = 800_000) -> None:
        super().__init__()
        self.fade, self.stable = fade, stable
        self.register_buffer("images", torch.zeros((), dtype=torch.int64))
        self.optimizers: list[Optimizer] = []

    def attach(self, model: RegularizedModel) -> None:
        # a list hides the critic's body from nn.Module: it is the model's submodule
        self.critic = [body(model.critic)]
        self.apply_level(model, 0, 1.0)

    def check_optimizer(self, player: str, optimizer: Optimizer) -> None:
        self.optimizers.append(optimizer)

    def on_train_start(self, model: RegularizedModel) -> None:
        self.images.zero_()

    def phase(self, images: int) -> tuple[int, float]:
        """(level, alpha) after so many images."""
        if images < self.stable:
            return 0, 1.0
        levels, within = divmod(images - self.stable, self.fade + self.stable)
        last = len(self.critic[0].sides) - 1
        return (1 + levels, min(1.0, within / self.fade)) if levels < last else (last, 1.0)

    def transform_batch(
        self, real: Tensor, fake: Tensor, critics_turn: bool, domain: str = ""
    ) -> tuple[Tensor, Tensor]:
        """Bring both to the level's size; fade new detail of real images in."""
        if critics_turn:
            self.images += len(real)
        (critic,) = self.critic
        real, fake = (average_pool_to(x, critic.side) for x in (real, fake))
        return (critic.blend(doubled(halved(real)), real) if critic.level else real), fake

    def after_generator_step(self, model: RegularizedModel) -> None:
        before = self.critic[0].stage
        self.apply_level(model, *self.phase(int(self.images) * processes()))
        if self.critic[0].stage != before:
            for optimizer in self.optimizers:
                optimizer.state.clear()

    def check_length(self, images: int) -> None:
        """Warn of a run that ends before the last level has faded in."""
        seen = int(self.images) * processes()
        level, alpha = self.phase(seen + images)
        sides = self.critic[0].sides
        if (level, alpha) == (len(sides) - 1, 1.0):
            return
        needed = (len(sides) - 1) * (self.stable + self.fade)
        share = "" if alpha == 1 else f" ({alpha:.0%} faded in)"
        log.warning(
            f"this run ends before it has grown: after {seen + images:,} images it is at "
            f"{sides[level]} of {sides[-1]} px{share}, and all levels take {needed:,} "
            "(steps, model.growth.fade, model.growth.stable); give more steps, or shorter phases"
        )

    def apply_level(self, model: RegularizedModel, level: int, alpha: float) -> None:
        """Grow every network to a level."""
        for network in (model.generator, model.critic, model.ema_generator):
            if network is not None:
                body(network).grow(level, alpha)


def body(network: Any) -> Growing:
    """The growing part of a player, whatever a trick has wrapped around it."""
    (found,) = (module for module in network.modules() if isinstance(module, Growing))
    return found


def processes() -> int:
    """The number of processes that train."""
    return torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1


class ProgressiveGAN(GAN):
    """A GAN whose players grow.

    The metric `levels_grown` is the level: 1.3 means that the third fades in, by 0.3.

    Args:
        generator: a backbone that grows, from noise to images.
        critic: a backbone that grows, from images to scores.
        criterion: loss, Lipschitz method and tricks.
        growth: when the players grow.
    """

    grows = True

    def __init__(
        self,
        generator: Backbone[Generator | Translator],
        critic: Backbone[Critic],
        criterion: AdversarialCriterion,
        growth: Growth,
    ) -> None:
        super().__init__(generator, critic, criterion.with_tricks(growth=growth))

    def critic_loss(self, batch: Batch) -> Objective:
        objective = super().critic_loss(batch)
        critic = body(self.critic)
        faded = critic.alpha * bool(critic.level)
        objective.metrics["levels_grown"] = max(critic.level - 1, 0) + faded
        return objective
