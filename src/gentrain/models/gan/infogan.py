"""InfoGAN (Chen, Duan, Houthooft, Schulman, Sutskever & Abbeel, "InfoGAN: interpretable
representation learning by information maximizing generative adversarial nets", 2016).

The noise of the generator has codes c beside the rest z: categories, each equally likely, and
numbers that are uniform in [-1, 1]. A network Q on the body of the critic reads them back from the
image. With V the adversarial objective, the players' game is

    min over G, Q   max over D   V(D, G) - lambda L(G, Q),
    L(G, Q) = H(c) + E[log q(c | G(z, c))]  <=  I(c; G(z, c))         (Barber & Agakov, 2003).

q is a softmax for each categorical code and a normal distribution for each continuous one. L is
`mutual_information`, in nats, of the last batch: at most log K of a code of K categories. As in the
authors' code, Q learns in the critic's update, and G in its own.

L is as large where categories cut across the classes of the data. With `consistency`, Q also sees
real images x, with an augmentation x' of each, and the critic minimises -w I(c; c') as well: the
information that the categories of the two views have of each other (Ji, Henriques & Vedaldi,
"Invariant information clustering", 2019), with the joint distribution of the batch,

    P = E[q(. | x) q(. | x')^T],  made symmetric.

I is H(c) - H(c | c'). `balance` weighs its first part, as IMSAT does (Hu et al., "Learning discrete
representations via information maximizing self-augmented training", 2017): categories of few images
and those of two classes then give way.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from gentrain.adversarial.augment import Augmentation, augmented
from gentrain.adversarial.criterion import AdversarialCriterion
from gentrain.config.types import Count, NonNegative, Positive, Whole
from gentrain.errors import UserError
from gentrain.layers.activation import LeakyReLU
from gentrain.layers.normalization import Norm, norm1d
from gentrain.layers.precision import at_least_single
from gentrain.models.base import Batch, Clusters, HasCodes, eval_mode
from gentrain.models.gan.base import SingleCriticModel
from gentrain.models.objective import Objective
from gentrain.networks import base
from gentrain.networks.classifier import ClassifierCritic

Categories = Annotated[int, Field(ge=2)]
# H of one number of the noise, in nats
ENTROPY = {"normal": math.log(2 * math.pi * math.e) / 2, "uniform": math.log(2)}


# --- the bound, which BiGAN has as well -----------------------------------------------------------


class CodePart(NamedTuple):
    """Codes of one kind, as Q reads them from images."""

    entropy: float  # H(c), nats
    log_q: Tensor  # (B,) log q(c | x) of the codes that the images were made of, nats
    weight: float = 1.0  # lambda

    @property
    def bound(self) -> Tensor:
        """H(c) + E[log q(c | x)], nats: a lower bound of I(c; x) for any q."""
        return self.entropy + self.log_q.mean()


def information_terms(**parts: CodePart) -> Objective:
    """The loss `information`, -lambda L, and the curve `mutual_information`, L in nats.

    Where there are several kinds of codes, each has a curve, such as `categorical_information`.
    """
    bounds = {name: part.bound for name, part in parts.items()}
    loss = -torch.stack([parts[name].weight * bound for name, bound in bounds.items()]).sum()
    metrics = {"mutual_information": torch.stack(list(bounds.values())).sum()}
    if len(bounds) > 1:
        metrics |= {f"{name}_information": bound for name, bound in bounds.items()}
    return Objective({"information": loss}, metrics)


def normal_log_density(c: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """log N(c; mean, exp(log_variance)), (B,) nats of codes (B, L)."""
    squares = (c - mean).square() * (-log_variance).exp()
    return -(squares + log_variance + math.log(2 * math.pi)).sum(1) / 2


def view_entropies(p: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """H(c) and H(c | c') in nats of the categories of two views of each image.

    Args:
        p: (B, K) probabilities of one view.
        other: (B, K) of the other.
    """
    joint = (p[:, :, None] * other[:, None]).mean(0)
    joint = ((joint + joint.T) / 2).clamp(min=torch.finfo(joint.dtype).tiny)
    of_both, of_one = (-(q * q.log()).sum() for q in (joint, joint.sum(0)))
    return of_one, of_both - of_one


# --- the codes ------------------------------------------------------------------------------------


class Codes:
    """Categorical codes, as one-hot vectors, and then continuous codes in [-1, 1].

    Args:
        categories: K of each categorical code.
        continuous: how many continuous codes.
        deviation: standard deviation of q(c | x) for continuous codes; None where Q says it.

    Raises:
        UserError: for no codes at all.
    """

    def __init__(self, categories: list[int], continuous: int, deviation: float | None) -> None:
        self.categories, self.continuous, self.deviation = categories, continuous, deviation
        if not categories and not continuous:
            raise UserError(
                "there are no codes to read (model.categories, model.continuous); give "
                "model.categories=[10], or model=dcgan"
            )

    @property
    def size(self) -> int:
        """Length of the codes of an image."""
        return sum(self.categories) + self.continuous

    @property
    def outputs(self) -> int:
        """How many numbers Q gives: logits, means, and log-variances where it says them."""
        return self.size + (self.continuous if self.deviation is None else 0)

    def draw(self, n: int, device: torch.device | str) -> Tensor:
        """(n, size) codes from their prior."""
        hot = [F.one_hot(torch.randint(k, (n,), device=device), k).float() for k in self.categories]
        return torch.cat([*hot, torch.rand(n, self.continuous, device=device) * 2 - 1], 1)

    def nearest(self, c: Tensor) -> Tensor:
        """The codes nearest to c (B, size): a whole category each, and numbers in [-1, 1]."""
        *hot, values = c.split([*self.categories, self.continuous], 1)
        whole = [F.one_hot(h.argmax(1), h.shape[1]).to(c) for h in hot]
        return torch.cat([*whole, values.clamp(-1, 1)], 1)

    def log_q(self, outputs: Tensor, c: Tensor) -> dict[str, tuple[float, Tensor]]:
        """H(c) and log q(c | x), (B,) nats, of the kinds of codes that there are.

        Args:
            outputs: (B, outputs) of Q.
            c: (B, size).
        """
        *logits, of_continuous = outputs.split([*self.categories, outputs.shape[1] - self.hot], 1)
        *hot, values = c.split([*self.categories, self.continuous], 1)
        found = {}
        if self.categories:
            each = [(h * x.log_softmax(1)).sum(1) for h, x in zip(hot, logits, strict=True)]
            entropy = sum(math.log(k) for k in self.categories)
            found["categorical"] = entropy, torch.stack(each).sum(0)
        if self.continuous:
            mean, log_variance = self.moments(of_continuous)
            entropy = self.continuous * ENTROPY["uniform"]
            found["continuous"] = entropy, normal_log_density(values, mean, log_variance)
        return found

    def probabilities(self, outputs: Tensor) -> list[Tensor]:
        """q(. | x) of each categorical code, (B, K), in float32 or more, of `outputs` of Q."""
        logits = at_least_single(outputs[:, : self.hot]).split(self.categories, 1)
        return [x.softmax(1) for x in logits]

    def moments(self, of_continuous: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of q for the continuous codes, (B, continuous) each."""
        if self.deviation is None:
            mean, log_variance = of_continuous.chunk(2, 1)
            return mean, log_variance
        return of_continuous, torch.full_like(of_continuous, 2 * math.log(self.deviation))

    @property
    def hot(self) -> int:
        """Length of the one-hot vectors of the categorical codes."""
        return sum(self.categories)


class CodedGenerator(nn.Module):
    """G(z, c): the codes join the noise.

    Args:
        backbone: a generator. It is built for the longer vector, latent + size of the codes.
        codes: what joins.
    """

    prior = "mixed"

    def __init__(self, backbone: base.Backbone[Any], codes: Codes) -> None:
        super().__init__()
        self.rest, self.codes = backbone.keywords["latent"], codes
        self.latent = self.rest + codes.size
        self.generator = base.with_options(backbone, latent=self.latent)()

    def backbones(self) -> list[nn.Module]:
        """The networks with a body."""
        return self.generator.backbones()

    def noise(self, n: int, device: torch.device | str) -> Tensor:
        """Draw (n, latent): z from the backbone's prior, then the codes."""
        z = self.generator.noise(n, device)[:, : self.rest]
        return torch.cat([z, self.codes.draw(n, device)], 1)

    def nearest_noise(self, z: Tensor) -> Tensor:
        """The noise nearest to z (B, latent) that the prior can draw."""
        rest, c = z.split([self.rest, self.codes.size], 1)
        return torch.cat([self.generator.nearest_noise(rest), self.codes.nearest(c)], 1)

    def forward(self, z: Tensor) -> Tensor:
        """(B, latent) -> (B, *shape)."""
        return self.generator(z)


class RecognitionCritic(ClassifierCritic):
    """A critic, and Q on the same body: a hidden layer of its own, then the outputs.

    Args:
        backbone: a critic.
        outputs: of Q.
        hidden: units of Q's own layer.
        norm: of that layer.
    """

    def __init__(
        self, backbone: base.Backbone[Any], outputs: int, hidden: Count, norm: Norm
    ) -> None:
        super().__init__(backbone, outputs)
        first, last = nn.Linear(self.critic.size, hidden), nn.Linear(hidden, outputs)
        self.classifier = nn.Sequential(first, norm1d(norm, hidden), LeakyReLU(0.2), last)


# --- the model ------------------------------------------------------------------------------------


class InfoGAN(SingleCriticModel, HasCodes, Clusters):
    """A generator whose codes a network on the critic's body reads back. Batches are (images, ...).

    Args:
        generator: a backbone from noise to images; its `latent` is that of z, without codes.
        critic: a backbone from images to scores.
        criterion: loss, Lipschitz method and tricks.
        categories: K of each categorical code; `cluster` reads the first.
        continuous: how many continuous codes.
        information: lambda of the categorical codes.
        continuous_information: lambda of the continuous codes; None for the same.
        deviation: standard deviation of q(c | x) for continuous codes: 1 in the authors' code. None
            lets Q say it for each image.
        hidden: units of Q's own layer.
        hidden_norm: norm of that layer.
        consistency: weight of I(c; c') of the categories of real images; 0 is InfoGAN.
        balance: weight of H(c) in that information, against categories of few images.
        augment: how the second view of a real image is made.
    """

    critic_heads = ("linear",)
    critic_reads_codes = True

    def __init__(
        self,
        generator: base.Backbone[base.Generator | base.Translator],
        critic: base.Backbone[base.Critic],
        criterion: AdversarialCriterion,
        categories: list[Categories],
        continuous: Whole = 2,
        information: Positive = 1.0,
        continuous_information: NonNegative | None = None,
        deviation: Positive | None = 1.0,
        hidden: Count = 128,
        hidden_norm: Norm = "none",
        consistency: NonNegative = 0.0,
        balance: Positive = 1.0,
        augment: list[Augmentation] | None = None,
    ) -> None:
        self.check_backbones(generator, critic, criterion)
        codes = Codes(list(categories), continuous, deviation)
        if not continuous and continuous_information is not None:
            raise UserError(
                "there are no continuous codes to weigh (model.continuous_information); "
                "leave it null, or give model.continuous=2"
            )
        super().__init__(
            CodedGenerator(generator, codes),
            RecognitionCritic(critic, codes.outputs, hidden, hidden_norm),
            criterion,
        )
        self.codes = codes
        weight = information if continuous_information is None else continuous_information
        self.weights = {"categorical": information, "continuous": weight}
        self.consistency, self.balance, self.augment = consistency, balance, augment or []
        self.check_views(image=len(critic.keywords["shape"]) > 1)

    def check_views(self, image: bool) -> None:
        """Refuse views without use, and categories of views without either."""
        if self.augment and not self.consistency:
            raise UserError(
                "images are augmented for a second view, and no views are compared "
                "(model.augment); add model.consistency=1"
            )
        if self.consistency and not self.augment:
            raise UserError(
                "two equal views of an image say nothing of each other (model.consistency); "
                "add model.augment=[affine]"
            )
        if self.balance != 1 and not self.consistency:
            raise UserError(
                "no views are compared whose categories could be balanced (model.balance); "
                "add model.consistency=1"
            )
        if self.consistency and not self.codes.categories:
            raise UserError(
                "there are no categories of two views to compare (model.consistency, "
                "model.categories); give model.categories=[10]"
            )
        if self.augment and not image:
            raise UserError("points cannot be rotated or cut out (model.augment); leave it empty")

    # --- what each player minimises ---------------------------------------------------------------

    def critic_loss(self, batch: Batch) -> Objective:
        z = self.generator.noise(len(batch[0]), batch[0].device)
        with torch.no_grad():
            fake = self.generator(z)
        real, fake = self.transform_batch(batch[0], fake, critics_turn=True)
        of_real, of_fake = self.scores(self.critic.features, real, fake)  # both heads share them
        objective = self.adversarial_terms(self.critic.score(of_real), self.critic.score(of_fake))
        self.add_information(objective, of_fake, z)
        if self.consistency:
            self.add_consistency(objective, of_real, batch[0])
        objective.losses |= self.critic_regularizer_terms(self.critic, real, fake)
        return objective

    def generator_loss(self, batch: Batch) -> Objective:
        z = self.generator.noise(len(batch[0]), batch[0].device)
        real, fake = self.transform_batch(batch[0], self.generator(z), critics_turn=False)
        of_real, of_fake = self.generator_scores(self.critic.features, real, fake)
        on_real, on_fake = self.critic.score(of_real), self.critic.score(of_fake)
        objective = Objective(self.generator_adversarial(on_real, on_fake))
        self.add_information(objective, of_fake, z)
        objective.losses |= self.generator_regularizer_terms(self.critic, real, fake)
        return objective

    def add_information(self, objective: Objective, h: Tensor, z: Tensor) -> None:
        """Add -lambda L to a player's losses, and L to its metrics.

        Args:
            objective: of the player.
            h: (B, F) features of fakes.
            z: (B, latent) the noise that the fakes are of.
        """
        outputs = self.critic.classify(h)
        found = self.codes.log_q(outputs, z[:, self.generator.rest :])
        parts = {kind: CodePart(*each, self.weights[kind]) for kind, each in found.items()}
        terms = information_terms(**parts)
        objective.losses |= terms.losses
        objective.metrics |= terms.metrics

    def add_consistency(self, objective: Objective, h: Tensor, x: Tensor) -> None:
        """Add -w I(c; c') of the categorical codes to the critic's losses, and I to its metrics.

        Args:
            objective: of the critic.
            h: (B, F) features of real images as the critic sees them: one view.
            x: (B, *shape) these images, of which the other view is made.
        """
        views = h, self.critic.features(augmented(x, self.augment))
        codes = [self.codes.probabilities(self.critic.classify(view)) for view in views]
        each = [view_entropies(p, other) for p, other in zip(*codes, strict=True)]
        of_one, given_other = (
            torch.stack(entropies).sum() for entropies in zip(*each, strict=True)
        )
        gain = self.balance * of_one - given_other
        objective.losses["consistency"] = -self.consistency * gain
        objective.metrics["view_information"] = of_one - given_other

    # --- what the codes say -----------------------------------------------------------------------

    @property
    def categories(self) -> int:
        return self.codes.categories[0] if self.codes.categories else 0

    @property
    def continuous(self) -> int:
        return self.codes.continuous

    @property
    def noise_parts(self) -> list[tuple[str, int]]:
        rest = self.generator.generator.prior, self.generator.rest
        parts = [rest, *(("one-hot", k) for k in self.codes.categories)]
        return [*parts, ("uniform", self.codes.continuous)]

    def with_codes(self, z: Tensor, category: int | None, values: dict[int, Tensor]) -> Tensor:
        z = z.clone()
        start = self.generator.rest
        if category is not None:
            z[:, start : start + self.categories] = 0
            z[:, start + category] = 1
        for number, value in values.items():
            z[:, start + self.codes.hot + number] = value
        return z

    def cluster(self, x: Tensor) -> Tensor:
        with eval_mode(self.critic):
            return self.critic.classify(self.critic.features(x))[:, : self.categories]
