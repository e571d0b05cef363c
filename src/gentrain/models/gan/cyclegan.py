"""CycleGAN (Zhu, Park, Isola & Efros, "Unpaired image-to-image translation using cycle-consistent
adversarial networks", 2017).

There are two domains of images, A (the source) and B (the target), and no pairs. Two generators,
G: A -> B and F: B -> A, each face the critic of the domain that they make. An image keeps its
content because it must find the way back:

    adversarial   L(G, D_B) + L(F, D_A)
    cycle         || F(G(a)) - a ||_1 + || G(F(b)) - b ||_1
    identity      || F(a) - a ||_1 + || G(b) - b ||_1     an image of the domain stays as it is
    generators    adversarial + 10 (cycle + 0.5 identity)
    critics       half of theirs

|| . ||_1 is a mean over pixels. Critics see old fakes among the new ones (tricks=[replay], with a
pool for each domain).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gentrain.adversarial.criterion import AdversarialCriterion
from gentrain.config.types import NonNegative, Positive
from gentrain.errors import UserError
from gentrain.layers.lipschitz_bound import LipschitzBounded, WeightLimits, lipschitz_bound
from gentrain.models.base import Batch, TranslatesBack, eval_mode
from gentrain.models.content_loss import l1
from gentrain.models.gan.base import AdversarialModel
from gentrain.models.objective import Objective
from gentrain.networks.base import Backbone, Critic, Generator, Translator, with_options


class TwoTranslators(nn.Module):
    """One player of two generators: `there`, source to target, and `back`.

    Args:
        backbone: a translator; its options hold both shapes.
    """

    prior: str | None = None

    def __init__(self, backbone: Backbone[Any]) -> None:
        super().__init__()
        shape, source_shape = both_shapes(backbone)
        self.same_shape = list(shape) == list(source_shape)
        self.there = backbone()
        self.back = with_options(backbone, shape=source_shape, source_shape=shape)()

    def backbones(self) -> list[nn.Module]:
        """The networks with a body."""
        return [*self.there.backbones(), *self.back.backbones()]

    def forward(self, x: Tensor) -> Tensor:
        """Source images to the target domain."""
        return self.there(x)


class TwoCritics(nn.Module, LipschitzBounded):
    """One player of two critics: of images of the `target` domain, and of the `source` domain.

    Args:
        backbone: a critic; it is built once for each domain, and sees no source beside an image.
        shapes: shapes of the target and of the source.
    """

    def __init__(self, backbone: Backbone[Any], shapes: tuple[list[int], list[int]]) -> None:
        super().__init__()
        alone = without_source(backbone)
        self.target, self.source = (with_options(alone, shape=shape)() for shape in shapes)

    def backbones(self) -> list[nn.Module]:
        """The networks with a body."""
        return [*self.target.backbones(), *self.source.backbones()]

    def lipschitz_bound(self, limits: WeightLimits) -> float:
        return max(lipschitz_bound(each, limits) for each in (self.target, self.source))


def both_shapes(backbone: Backbone[Any]) -> tuple[list[int], list[int]]:
    """The shapes of the target and of the source.

    Raises:
        UserError: for data with one domain.
    """
    source_shape = backbone.keywords.get("source_shape")
    if source_shape is None:
        raise UserError(
            "this model translates between two domains, and these data have one (data); "
            "choose data=digit_domains"
        )
    return backbone.keywords["shape"], source_shape


def without_source(backbone: Backbone[Any]) -> Backbone[Any]:
    """A critic that sees images alone."""
    if "source_shape" not in backbone.keywords:
        return backbone
    return with_options(backbone, source_shape=None)


class CycleGAN(AdversarialModel, TranslatesBack):
    """Unpaired translation. Batches are (target images, source images); no two belong together.

    Args:
        generator: a backbone from images to images.
        critic: a backbone from images to scores.
        criterion: loss, Lipschitz method and tricks.
        cycle: weight of the cycle loss; 0 leaves it out, and then `identity` must be 0, too.
        identity: weight of the identity loss, as a share of `cycle`.
        adversarial: weight of the generators' adversarial losses. The paper's least squares are
            (D(G) - 1)^2, without the 1/2 of loss=ls.
        critic_weight: weight of the critics' adversarial losses, which have no 1/2 either.
    """

    translates, domains = True, ("target", "source")
    generator_input = "images"

    def __init__(
        self,
        generator: Backbone[Generator | Translator],
        critic: Backbone[Critic],
        criterion: AdversarialCriterion,
        cycle: NonNegative = 10.0,
        identity: NonNegative = 0.5,
        adversarial: Positive = 1.0,
        critic_weight: Positive = 0.5,
    ) -> None:
        self.check_backbones(generator, critic, criterion)
        translators = TwoTranslators(generator)
        super().__init__(translators, TwoCritics(critic, both_shapes(generator)), criterion)
        self.cycle, self.identity = cycle, identity
        self.adversarial, self.critic_weight = adversarial, critic_weight
        if identity and not cycle:
            raise UserError(
                "the identity's weight is a share of the cycle's, which is 0 (model.identity); "
                "write model.identity=0"
            )
        if identity and not translators.same_shape:
            raise UserError(
                "no image is of both domains where their shapes differ (model.identity); "
                "write model.identity=0"
            )

    def generate(self, generator: Any, batch: Batch, noise: Tensor | None = None) -> Tensor:
        return generator.there(batch[1])

    @torch.no_grad()
    def init_from_batch(self, batch: Batch) -> None:
        self.generator.back(batch[0])
        super().init_from_batch(batch)

    def critic_loss(self, batch: Batch) -> Objective:
        b, a = batch[:2]
        with torch.no_grad():
            fake_b, fake_a = self.generator.there(a), self.generator.back(b)
        domains = {
            "target": self.critic_terms(self.critic.target, b, fake_b, domain="target"),
            "source": self.critic_terms(self.critic.source, a, fake_a, domain="source"),
        }
        for terms in domains.values():
            self.weigh(terms, self.critic_weight)
        return self.merge_domains(domains)

    def generator_loss(self, batch: Batch) -> Objective:
        b, a = batch[:2]
        G, F = self.generator.there, self.generator.back
        fake_b, fake_a = G(a), F(b)
        domains = {
            "target": self.generator_terms(self.critic.target, b, fake_b, domain="target"),
            "source": self.generator_terms(self.critic.source, a, fake_a, domain="source"),
        }
        for terms in domains.values():
            self.weigh(terms, self.adversarial)
        objective = self.merge_domains(domains)
        if self.cycle:
            for domain, error in {"target": l1(G(fake_a), b), "source": l1(F(fake_b), a)}.items():
                objective.losses[f"{domain}_cycle"] = self.cycle * error
        if self.identity:
            weight = self.cycle * self.identity
            for domain, error in {"target": l1(G(b), b), "source": l1(F(a), a)}.items():
                objective.losses[f"{domain}_identity"] = weight * error
        return objective

    def critic_scores(self, batch: Batch, fake: bool = False) -> Tensor:
        """Scores of images of the target domain."""
        return self.eval_scores(self.critic.target, batch[0], fake)

    def translate(self, x: Tensor, domains: Tensor | None = None) -> Tensor:
        generator = self.ema_generator or self.generator
        with eval_mode(generator):
            return generator.there(x)

    def translate_back(self, x: Tensor, domains: Tensor | None = None) -> Tensor:
        generator = self.ema_generator or self.generator
        with eval_mode(generator):
            return generator.back(x)
