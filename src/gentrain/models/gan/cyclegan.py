"""CycleGAN, unpaired image-to-image translation using cycle-consistent adversarial networks (Zhu, Park, Isola & Efros, 2017).

Two domains of images, and no pairs: A, the source, and B, the target. Two generators, G: A -> B and F: B -> A, each against the critic of
the domain that it paints. What keeps a picture's content is that it must find the way back:

    adversarial   L(G, D_B) + L(F, D_A)
    cycle         || F(G(a)) - a ||_1 + || G(F(b)) - b ||_1
    identity      || F(a) - a ||_1 + || G(b) - b ||_1          what lies in the domain already stays as it is
    objective     adversarial + 10 (cycle + 0.5 identity),     || . ||_1 as a mean over pixels

Critics see old fakes among the new (tricks=[replay], a pool for each domain).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from gentrain.adversarial.losses import AdversarialLoss
from gentrain.adversarial.regularizer import Regularizer
from gentrain.config.types import NonNegative, Positive
from gentrain.errors import UserError
from gentrain.models.base import eval_mode
from gentrain.models.content_loss import l1
from gentrain.models.gan.base import AdversarialModel, Batch
from gentrain.models.objective import Objective
from gentrain.networks import base

DOMAINS = ("target", "source")


class TwoWays(nn.Module):
    """One player of two generators: `there`, source to target, and `back`."""

    def __init__(
        self,
        translator: Callable[..., base.Translator],
        shape: list[int],
        source_shape: list[int] | None,
    ) -> None:
        super().__init__()
        source_shape = two_domains(source_shape)
        self.alike = list(shape) == list(source_shape)
        self.there = translator(shape=shape, source_shape=source_shape)
        self.back = translator(shape=source_shape, source_shape=shape)

    def forward(self, x: Tensor) -> Tensor:
        return self.there(x)


class TwoCritics(nn.Module):
    """One player of two critics: of images of the `target` domain, and of the `source` domain."""

    def __init__(
        self, critic: Callable[..., base.Critic], shape: list[int], source_shape: list[int] | None
    ) -> None:
        super().__init__()
        self.target, self.source = critic(shape=shape), critic(shape=two_domains(source_shape))


def two_domains(source_shape: list[int] | None) -> list[int]:
    if source_shape is None:
        raise UserError(
            "this game translates between two domains, and these data have one (data); choose data=digit_domains"
        )
    return source_shape


class CycleConsistent(AdversarialModel):
    """Batches are (images of the target domain, images of the source domain), of which no two belong together.

    `cycle` and `identity` are weights, the latter a share of the former; `adversarial` is that of the generators' adversarial terms.
    The paper's least squares are not halved as Mao's are, which is what loss=ls means: 2 is the paper's, and 1 that of other losses. Its
    critics' objective is halved, so it is that of loss=ls.
    """

    needs: ClassVar[dict[str, str]] = {"generator": "back", "critic": "source"}
    translates, domains = True, DOMAINS

    def __init__(
        self,
        generator: nn.Module,
        critic: nn.Module,
        loss: AdversarialLoss,
        lipschitz: Regularizer,
        tricks: dict[str, Regularizer] | None = None,
        cycle: Positive = 10.0,
        identity: NonNegative = 0.5,
        adversarial: Positive = 1.0,
    ) -> None:
        super().__init__(generator, critic, loss, lipschitz, tricks)
        self.cycle, self.identity, self.adversarial = cycle, identity, adversarial
        if identity and not self.generator.alike:
            raise UserError(
                "no image is of both domains where their shapes differ (model.identity); write model.identity=0"
            )

    def generate(self, generator: Any, batch: Batch, noise: Tensor | None = None) -> Tensor:
        return generator.there(batch[1])

    @torch.no_grad()
    def begin(self, batch: Batch) -> None:
        self.generator.back(batch[0])
        super().begin(batch)

    def critic_loss(self, batch: Batch) -> Objective:
        b, a = batch[:2]
        with torch.no_grad():
            fake_b, fake_a = self.generator.there(a), self.generator.back(b)
        return self.merge_domains(
            {
                "target": self.critic_terms(self.critic.target, b, fake_b, domain="target"),
                "source": self.critic_terms(self.critic.source, a, fake_a, domain="source"),
            }
        )

    def generator_loss(self, batch: Batch) -> Objective:
        b, a = batch[:2]
        G, F = self.generator.there, self.generator.back
        fake_b, fake_a = G(a), F(b)
        contests = {
            "target": self.generator_terms(self.critic.target, b, fake_b, domain="target"),
            "source": self.generator_terms(self.critic.source, a, fake_a, domain="source"),
        }
        for contest in contests.values():
            if "adversarial" in contest.losses:
                contest.losses["adversarial"] = self.adversarial * contest.losses["adversarial"]
        objective = self.merge_domains(contests)
        cycles = {"target": l1(G(fake_a), b), "source": l1(F(fake_b), a)}
        objective.losses |= {
            f"{domain}_cycle": self.cycle * error for domain, error in cycles.items()
        }
        if self.identity:
            same = {"target": l1(G(b), b), "source": l1(F(a), a)}
            objective.losses |= {
                f"{domain}_identity": self.cycle * self.identity * error
                for domain, error in same.items()
            }
        return objective

    def critic_scores(self, batch: Batch, made: bool = False) -> Tensor:
        """Scores of images of the target domain."""
        return self.eval_scores(self.critic.target, batch[0], made)

    def translate(self, x: Tensor, domains: Tensor | None = None) -> Tensor:
        """Source images to the target domain."""
        return self.at_rest_by("there", x)

    def back(self, x: Tensor, domains: Tensor | None = None) -> Tensor:
        """Images of the target domain, also made ones, to the source domain."""
        return self.at_rest_by("back", x)

    def at_rest_by(self, way: str, x: Tensor) -> Tensor:
        generator = self.ema_generator or self.generator
        with eval_mode(generator):
            return getattr(generator, way)(x)
