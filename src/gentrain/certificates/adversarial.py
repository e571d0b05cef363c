"""Certificates of every GAN: the losses as formulas, and who is real, generated and updated."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from gentrain.adversarial import losses
from gentrain.certificates.base import Call, Certificate, error, largest, recorded
from gentrain.models.gan.base import AdversarialModel
from gentrain.models.gan.bigan import BiGAN
from gentrain.models.gan.bigbigan import BigBiGAN
from gentrain.models.gan.cgan import ConditionedGAN
from gentrain.models.gan.cyclegan import CycleGAN
from gentrain.models.gan.pix2pix import Pix2Pix
from gentrain.models.gan.semi_supervised import SemiSupervisedGAN
from gentrain.models.objective import Objective

Scores = Any  # numbers of numpy, (B,)
STEP = 1e-6  # of a numeric derivative


# --- losses ---------------------------------------------------------------------------------------


class LossValue(Certificate):
    """The losses of both players, and their gradients in the scores, on scores of the system.

    A subclass writes the paper's formulas with numpy.
    """

    name = "loss value"
    property = "both players' losses and their gradients are the formulas"
    bound: ClassVar[float] = 1e-7  # of numeric derivatives

    @abstractmethod
    def critic(self, real: Scores, fake: Scores) -> Any:
        """What the critic minimises."""

    @abstractmethod
    def generator(self, real: Scores, fake: Scores) -> Any:
        """What the generator minimises."""

    def measure(self) -> float:
        model, batch = self.subject.model(), self.subject.batch
        with recorded(model.loss, "critic") as of_critic:
            model.critic_loss(batch)
        with recorded(model.loss, "generator") as of_generator:
            model.generator_loss(batch)
        errors = [self.error(call, model.loss.critic, self.critic) for call in of_critic]
        errors += [self.error(call, model.loss.generator, self.generator) for call in of_generator]
        return largest(*errors) if of_critic else float("inf")

    def error(self, call: Call, loss: Any, formula: Any) -> float:
        """How far a recorded loss, and its gradients in its scores alone, are from a formula.

        The scores of fakes may be some of the first argument, and fewer (top-k).
        """
        real, fake = (scores.detach().numpy() for scores in call.args)
        value = error(call.result, formula(real, fake))
        same = call.args[0] is call.args[1]
        places = [(True, True)] if same else [(True, False), (False, True)]
        leaves = [scores.detach().clone().requires_grad_() for scores in call.args]
        leaves = leaves[:1] * 2 if same else leaves
        found = torch.autograd.grad(
            loss(*leaves), leaves[:1] if same else leaves, allow_unused=True
        )
        slopes = []
        for leaf, each, place in zip(leaves, found, places, strict=False):
            given = torch.zeros(len(leaf)) if each is None else each
            slopes.append(error(given, self.slope(formula, real, fake, place)))
        return largest(value, *slopes)

    def slope(self, formula: Any, real: Scores, fake: Scores, place: tuple[bool, bool]) -> Tensor:
        """The gradient of a formula by differences, in the scores at some places."""
        found = []
        for unit in np.eye(len(real if place[0] else fake)) * STEP:
            a, b = (unit if moved else 0.0 for moved in place)
            rise = formula(real + a, fake + b) - formula(real - a, fake - b)
            found.append(rise / (2 * STEP))
        return torch.tensor(np.array(found))

    def target(self) -> float:
        """The critic's target for real images, with label smoothing or without."""
        return float(self.subject.option("tricks.label_smoothing.target", 1.0))


def sigmoid(t: Scores) -> Any:
    """1 / (1 + exp(-t))."""
    return 1 / (1 + np.exp(-t))


class JensenShannon(LossValue):
    of = (losses.js,)
    source = "Goodfellow et al., 2014, eq. 1 and section 3"

    def critic(self, real: Scores, fake: Scores) -> Any:
        target = self.target()
        on_real = target * np.log(sigmoid(real)) + (1 - target) * np.log(sigmoid(-real))
        return -on_real.mean() - np.log(1 - sigmoid(fake)).mean()

    def generator(self, real: Scores, fake: Scores) -> Any:
        saturating = np.log(1 - sigmoid(fake)).mean()
        return saturating if self.node.get("saturating") else -np.log(sigmoid(fake)).mean()


class LeastSquares(LossValue):
    of = (losses.ls,)
    source = "Mao et al., 2017, eq. 2"

    def critic(self, real: Scores, fake: Scores) -> Any:
        a, b = self.node.get("a", 0.0), self.node.get("b", 1.0) * self.target()
        return 0.5 * ((real - b) ** 2).mean() + 0.5 * ((fake - a) ** 2).mean()

    def generator(self, real: Scores, fake: Scores) -> Any:
        return 0.5 * ((fake - self.node.get("c", 1.0)) ** 2).mean()


class Wasserstein(LossValue):
    of = (losses.wasserstein,)
    source = "Arjovsky et al., 2017, algorithm 1; drift: Karras et al., 2018, appendix A.1"

    def critic(self, real: Scores, fake: Scores) -> Any:
        drift = self.node.get("drift", 0.0) * (real**2).mean()
        return np.mean(fake) - np.mean(real) + drift

    def generator(self, real: Scores, fake: Scores) -> Any:
        return -np.mean(fake)


class Hinge(LossValue):
    of = (losses.hinge,)
    source = "Miyato et al., 2018, eq. 16 and 17"

    def critic(self, real: Scores, fake: Scores) -> Any:
        return np.maximum(0, 1 - real).mean() + np.maximum(0, 1 + fake).mean()

    def generator(self, real: Scores, fake: Scores) -> Any:
        return -np.mean(fake)


class Relativistic(LossValue):
    of = (losses.relativistic,)
    source = "Jolicoeur-Martineau, 2019, section 4"

    def critic(self, real: Scores, fake: Scores) -> Any:
        if not self.node.get("average"):
            return -np.log(sigmoid(real - fake)).mean()
        on_fake = np.log(1 - sigmoid(fake - real.mean())).mean()
        return -np.log(sigmoid(real - fake.mean())).mean() - on_fake

    def generator(self, real: Scores, fake: Scores) -> Any:
        return self.critic(fake, real)


class Margin(LossValue):
    of = (losses.margin,)
    source = "Zhao et al., 2017, eq. 1 and 2"

    def critic(self, real: Scores, fake: Scores) -> Any:
        return np.mean(-real) + np.maximum(0, self.node.get("m", 10.0) - (-fake)).mean()

    def generator(self, real: Scores, fake: Scores) -> Any:
        return np.mean(-fake)


class OptimalCritic(Certificate):
    """With D* = log p - log q the value is 2 JSD - 2 log 2, for two distributions of 7 values."""

    of = (losses.js,)
    property = "at the optimal critic the value is 2 JSD - 2 log 2"
    source = "Goodfellow et al., 2014, theorem 1"

    def measure(self) -> float:
        loss = losses.js()
        p, q = (torch.rand(7).softmax(0) for _ in range(2))
        logits = (p / q).log()
        value = sum(
            a * b * -loss.critic(x[None], y[None])
            for a, x in zip(p, logits, strict=True)
            for b, y in zip(q, logits, strict=True)
        )
        m = (p + q) / 2
        divergence = ((p * (p / m).log()).sum() + (q * (q / m).log()).sum()) / 2
        return error(value, 2 * divergence - 2 * np.log(2))


# --- the players ----------------------------------------------------------------------------------


class Terms(Certificate):
    """The adversarial terms of both objectives are the losses of the scores, by their weights."""

    of: ClassVar[tuple[Any, ...]] = (AdversarialModel,)
    property = "each player's adversarial term is its loss, by its weight"
    source = "the paper of the model"

    def weights(self) -> tuple[float, float]:
        """Of the critic's and of the generator's loss."""
        return 1.0, 1.0

    def measure(self) -> float:
        model, batch = self.subject.model(), self.subject.batch
        with recorded(model.loss, "critic") as of_critic:
            critic = model.critic_loss(batch)
        with recorded(model.loss, "generator") as of_generator:
            generator = model.generator_loss(batch)
        players = zip((critic, generator), (of_critic, of_generator), self.weights(), strict=True)
        in_place = [name for name, r in model.named_regularizers() if r.is_adversarial]
        return largest(*(self.error(*player, in_place) for player in players))

    def error(self, objective: Any, calls: list[Call], weight: float, in_place: list[str]) -> float:
        """How far a player's adversarial terms are from the weighted losses.

        Args:
            objective: of the player.
            calls: of its loss.
            weight: of each.
            in_place: names of tricks whose terms are adversarial losses, too.
        """
        names = ("adversarial", "inference", *in_place)
        terms = [t for name, t in objective.losses.items() if name.rpartition("_")[2] in names]
        if len(terms) != len(calls):
            return float("inf")
        expected = [weight * call.result for call in calls]
        return largest(*map(error, terms, expected))

    def unhalved(self) -> float:
        """2 for least squares, which the paper of the model writes without its 1/2."""
        squares = losses.ls.__name__ == str(self.subject.option("loss._target_")).split(".")[-1]
        return 2.0 if squares else 1.0


class WeightedTerms(Terms):
    of = (Pix2Pix, CycleGAN)
    source = "Isola et al., 2017, eq. 4; Zhu et al., 2017, eq. 3; Ledig et al., 2017, eq. 3"

    def weights(self) -> tuple[float, float]:
        model = self.subject.config["model"]
        unhalved = self.unhalved()
        return unhalved * model["critic_weight"], unhalved * model["adversarial"]


class ConditionedTerms(Terms):
    """With wrong labels the critic's loss is the mean of the losses on fakes and on these pairs.

    The generator of captions in between has a second adversarial term.
    """

    of = (ConditionedGAN,)
    source = "Mirza & Osindero, 2014, eq. 2; Reed et al., 2016, eq. 5 and algorithm 1"

    def error(self, objective: Any, calls: list[Call], *rest: Any, **named: Any) -> float:
        in_between = "interpolation" in objective.losses
        if in_between:
            losses = dict(objective.losses)
            losses["in_between_adversarial"] = losses.pop("interpolation")
            objective = Objective(losses)
        elif self.subject.option("model.matching_aware", False) and len(calls) == 2:
            of_fakes, of_wrong = calls
            calls = [of_fakes._replace(result=(of_fakes.result + of_wrong.result) / 2)]
        return super().error(objective, calls, *rest, **named)


class HalvedTerms(Terms):
    of = (SemiSupervisedGAN,)
    source = "Salimans et al., 2016, section 5, and the authors' code"

    def weights(self) -> tuple[float, float]:
        return self.subject.config["model"]["unsupervised"], 1.0


class RealIsReal(Certificate):
    """What the critic's loss takes for scores of real images are such scores, and no others.

    The scores of real images have a gradient in these images, and those of fakes have none.
    """

    of: ClassVar[tuple[Any, ...]] = (AdversarialModel,)
    property = "scores of the data are the loss's first argument, scores of fakes the second"
    source = "Goodfellow et al., 2014, algorithm 1"

    def measure(self) -> float:
        model = self.subject.model()
        batch = tuple(
            each.clone().requires_grad_() if each.is_floating_point() else each
            for each in self.subject.batch
        )
        with recorded(model.loss, "critic") as calls:
            model.critic_loss(batch)
        errors = []
        # images of each domain; a critic of pairs may score codes as well
        for images, call in zip(batch[: len(model.domains)], calls, strict=False):
            on_real, on_fake = (gradient(scores, images) for scores in call.args)
            errors.append(on_fake / on_real if on_real else float("inf"))
        return largest(*errors) if errors else float("inf")


class PairsAreReal(RealIsReal):
    """Pairs of BiGAN are made without gradients, so they are looked at themselves."""

    of: ClassVar[tuple[Any, ...]] = (BiGAN,)
    name = RealIsReal.name
    property = "(x, E(x)) are the real pairs, (G(z), z) the fake ones"
    source = "Donahue et al., 2017, eq. 3"
    scored_by = "critic_terms"  # the method whose last arguments are the pairs

    def measure(self) -> float:
        model, x = self.subject.model().eval(), self.subject.batch[0]
        with recorded(model, self.scored_by) as calls:
            model.critic_loss(self.subject.batch)
        *_, real, fake = calls[0].args
        pixels = x.flatten(1).shape[1]
        made = model.generator(fake[:, pixels:]).flatten(1)
        both_ways = model.generator
        mean, sd = both_ways.encoder.posterior(x)
        off = (real[:, pixels:] - mean).abs() - 6 * sd  # of an encoder that draws its codes
        return largest(
            error(real[:, :pixels], x.flatten(1)),
            error(fake[:, :pixels], made),
            float(off.detach().max().clamp(min=0)),
        )


class PartsOfRealPairs(PairsAreReal):
    """The same of the pairs whose image, code and both have scores."""

    of = (BigBiGAN,)
    source = "Donahue & Simonyan, 2019, section 2"
    scored_by = "part_scores"


class PlayersApart(Certificate):
    """The critic's objective has no gradient in the generator, and each player has its own."""

    of = (AdversarialModel,)
    property = "the critic's objective leaves the generator alone, and each player learns"
    source = "Goodfellow et al., 2014, algorithm 1"
    bound = 0.0

    def measure(self) -> float:
        model, batch = self.subject.model(), self.subject.batch
        model.critic_loss(batch).loss.backward()
        of_generator = steepness(model.generator)
        learns = steepness(model.critic) > 0
        model.zero_grad()
        model.generator_loss(batch).loss.backward()
        learns = learns and steepness(model.generator) > 0
        return of_generator if learns else float("inf")


class GeneratorDescends(Certificate):
    """A small step of the generator down its loss makes that loss smaller: noise is the same."""

    of: ClassVar[tuple[Any, ...]] = (AdversarialModel,)
    property = "a small step down the generator's gradient lowers its objective as far as it says"
    source = "Goodfellow et al., 2014, algorithm 1"
    bound = 0.05

    def measure(self) -> float | None:
        model = self.subject.model()
        return self.off(model, model.generator.parameters(), self.loss)

    def off(
        self, model: Any, moved: Iterable[nn.Parameter], loss: Callable[[Any, Any], Tensor]
    ) -> float:
        """How far the fall of a loss is from what its gradient says, as a share of that.

        Args:
            model: the system; it makes a small step.
            moved: the parameters that do.
            loss: of the model and a batch.
        """
        batch = self.subject.batch
        state = {name: buffer.clone() for name, buffer in model.named_buffers()}
        before = loss(model, batch)
        parameters = [p for p in moved if p.requires_grad]
        slopes = torch.autograd.grad(before, parameters, allow_unused=True)
        square = sum(float(s.square().sum()) for s in slopes if s is not None)
        if not square:
            return float("inf")
        step = 1e-6 / square**0.5
        with torch.no_grad():
            for p, slope in zip(parameters, slopes, strict=True):
                if slope is not None:
                    p.sub_(step * slope)
            for name, buffer in model.named_buffers():  # a power iteration goes on
                buffer.copy_(state[name])
        fallen = float((before - loss(model, batch)).detach())
        return abs(fallen / (step * square) - 1)

    def loss(self, model: Any, batch: Any) -> Tensor:
        """The generator's objective, with the same random numbers each time."""
        torch.manual_seed(self.subject.seed)
        return model.generator_loss(batch).loss


def gradient(scores: Tensor, images: Tensor) -> float:
    """The largest entry of the gradient of some scores in some images."""
    if not scores.requires_grad:
        return 0.0
    (found,) = torch.autograd.grad(scores.sum(), images, retain_graph=True, allow_unused=True)
    return 0.0 if found is None else float(found.abs().max())


def steepness(network: Any) -> float:
    """The largest entry of the gradients of a network's weights."""
    found = [p.grad.abs().max() for p in network.parameters() if p.grad is not None]
    return float(torch.stack(found).max()) if found else 0.0
