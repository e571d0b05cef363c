"""BiGAN (Donahue, Krähenbühl & Darrell, "Adversarial feature learning", 2017) and ALI (Dumoulin et
al., "Adversarially learned inference", 2017).

An encoder E maps images back to noise. The critic sees pairs of an image and a code: (x, E(x))
as real and (G(z), z) as fake. Where it cannot tell them apart, E inverts G. G and E are one player
with one objective, the critic's with the roles exchanged:

    softplus(-D(G(z), z)) + softplus(D(x, E(x)))        for the original non-saturating loss.

The two terms are logged as `adversarial`, which trains G, and `inference`, which trains E. A
relative loss compares both pairs itself, and is `adversarial` alone.

E is a function in BiGAN. In ALI it is a normal distribution, E(x) = mu(x) + sigma(x) eps. Codes lie
inside the prior: for uniform noise the encoder ends with 2 sigmoid(.) - 1, as that of BiGAN's
authors does. A critic could otherwise tell pairs apart by codes outside of the cube alone.

E inverts G at the optimum, but hardly on the way there. `information` adds what InfoGAN (Chen et
al., 2016) and ALICE (Li et al., 2017) ask for as well, that codes can be read from their images:
InfoGAN's bound of the information that G(z) has of z, in nats (`models.gan.infogan`), with

    q(z | x) = N(mu(x), sigma(x)^2), in BiGAN N(E(x), 1).

With `augment` codes must also be read from augmented
images, as IMSAT asks of its codes (Hu et al., "Learning discrete representations via information
maximizing self-augmented training", 2017). Codes then tell what an image shows, and less of its
pose.

A pair is one flat vector, the pixels of the image and then the code, so losses, penalties and
tricks act on it as on any sample.
"""

from __future__ import annotations

import math
from abc import ABC
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from gentrain.adversarial.augment import Augmentation, augmented
from gentrain.adversarial.criterion import AdversarialCriterion
from gentrain.config.types import Count, NonNegative
from gentrain.errors import UserError
from gentrain.layers.activation import LeakyReLU
from gentrain.layers.lipschitz_bound import LipschitzBounded, WeightLimits, lipschitz_bound
from gentrain.layers.normalization import Norm
from gentrain.models.base import Batch, Encodes, Reconstructs, eval_mode
from gentrain.models.gan.base import AdversarialModel
from gentrain.models.gan.infogan import ENTROPY, CodePart, information_terms, normal_log_density
from gentrain.models.objective import Objective
from gentrain.networks import base
from gentrain.networks.conditional import unconditional_generator

JOINT_WIDTH = 512


def join(x: Tensor, z: Tensor) -> Tensor:
    """Images (B, ...) and codes (B, L) -> pairs (B, pixels + L)."""
    return torch.cat([x.flatten(1), z], 1)


def apart(pair: Tensor, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Pairs (B, pixels + L) -> images (B, *shape) and codes (B, L)."""
    pixels = math.prod(shape)
    return pair[:, :pixels].unflatten(1, shape), pair[:, pixels:]


class Encoder(nn.Module):
    """Images (B, *shape) to codes (B, latent): the body of a critic network, then a linear layer.

    Args:
        backbone: a critic.
        latent: length of a code.
        prior: the distribution of the noise; codes lie in its support.
        stochastic: ALI's encoder: mean and log-variance, and a draw from that distribution.

    Raises:
        UserError: for normal codes and uniform noise.
    """

    def __init__(
        self,
        backbone: base.Backbone[Any],
        latent: Count,
        prior: base.Prior = "normal",
        stochastic: bool = False,
    ) -> None:
        super().__init__()
        critic = backbone()
        self.body, self.stochastic, self.bounded = critic.body, stochastic, prior == "uniform"
        self.shape: list[int] = backbone.keywords["shape"]
        self.head = nn.Linear(critic.head.in_features, latent * (2 if stochastic else 1))
        base.divide_weights(self.head, critic.summed)
        if stochastic and self.bounded:
            raise UserError(
                "normal codes leave the cube of uniform noise (model.stochastic, "
                "model.generator.prior); write model.generator.prior=normal"
            )

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of q(z | x), (B, latent) each.

        BiGAN's encoder has no variance. Its q has variance 1, for `log_q` alone.
        """
        out = self.head(self.body(x))
        if self.stochastic:
            mean, spread = out.chunk(2, 1)
            return mean, self.log_variance(spread)
        codes = 2 * torch.sigmoid(out) - 1 if self.bounded else out
        return codes, torch.zeros_like(out)

    def log_variance(self, spread: Tensor) -> Tensor:
        """The log-variance that the last layer's output (B, latent) stands for: itself."""
        return spread

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the codes of x, (B, latent) each."""
        mean, log_variance = self.moments(x)
        if not self.stochastic:
            return mean, torch.zeros_like(mean)  # the codes are a function of x
        return mean, (log_variance / 2).exp()

    def log_q(self, x: Tensor, z: Tensor) -> Tensor:
        """log q(z | x), (B,) nats."""
        return normal_log_density(z, *self.moments(x))

    def forward(self, x: Tensor) -> Tensor:
        """(B, *shape) -> codes (B, latent)."""
        mean, sd = self.posterior(x)
        return mean + sd * torch.randn_like(mean) if self.stochastic else mean


class BidirectionalGenerator(nn.Module):
    """One player that goes both ways: `generator`, z to x, and `encoder`, x to z.

    Args:
        generator: a backbone from noise to images.
        encoder: makes the encoder for a length of codes and their prior.
    """

    def __init__(
        self, generator: base.Backbone[Any], encoder: Callable[[int, base.Prior], Encoder]
    ) -> None:
        super().__init__()
        made: Any = unconditional_generator(generator)
        self.latent: int = made.latent
        self.prior: base.Prior = made.prior
        self.generator = made
        self.encoder = encoder(self.latent, self.prior)

    def backbones(self) -> list[nn.Module]:
        """The networks that make images."""
        return self.generator.backbones()

    def noise(self, n: int, device: torch.device | str) -> Tensor:
        """Draw (n, latent) from the prior."""
        return self.generator.noise(n, device)

    def nearest_noise(self, z: Tensor) -> Tensor:
        """The noise nearest to z (B, latent) that the prior can draw."""
        return self.generator.nearest_noise(z)

    def forward(self, z: Tensor) -> Tensor:
        """(B, latent) -> (B, *shape)."""
        return self.generator(z)


def encoder_backbone(backbone: base.Backbone[Any], norm: Norm | None) -> base.Backbone[Any]:
    """A critic's backbone as the encoder's, with a norm of its own; None keeps the critic's.

    Raises:
        UserError: for a network without this norm.
    """
    if norm is None:
        return backbone
    kind: Any = backbone.func
    if norm not in kind.norms:
        name = f"{kind.__module__.removeprefix('gentrain.')}.{kind.__name__}"
        raise UserError(
            f"{name} as the encoder has no {norm} norm (model.encoder_norm, network); "
            "write model.encoder_norm=null, or choose network=mlp_1024 or dcgan"
        )
    return base.with_options(backbone, norm=norm)


def pair_critic(backbone: base.Backbone[Any], latent: int, width: int | None) -> base.Critic:
    """D(x, z): (B, pixels + latent) -> scores (B,).

    A network may have its own: a perceptron sees the code from its second layer on, as in the
    paper. Any other network is the image's part of a `JointCritic`.
    """
    own = backbone.func.with_codes(backbone, latent, width)  # type: ignore[attr-defined]
    return own or JointCritic(backbone, latent, width or JOINT_WIDTH)


class JointCritic(base.Critic):
    """D(x, z) by a network's features of the image, then two layers on these and the code.

    Args:
        backbone: a critic of images.
        latent: length of a code.
        width: units of the two layers.
    """

    def __init__(self, backbone: base.Backbone[Any], latent: int, width: int = JOINT_WIDTH) -> None:
        image, shape = backbone(), backbone.keywords["shape"]
        joint = Joint(image.body, shape, image.head.in_features + latent, width)
        super().__init__(joint, width, points=True)

    def widen(self, m: int) -> None:
        raise UserError(
            "pairs of an image and a code cannot be packed (tricks=[packing] with this network); "
            "use network=mlp_1024"
        )


class Joint(nn.Module, LipschitzBounded):
    """A flat pair (B, pixels + latent) -> features of both (B, width)."""

    def __init__(self, body: nn.Module, shape: list[int], inputs: int, width: int) -> None:
        super().__init__()
        self.body, self.shape = body, tuple(shape)
        self.layers = nn.Sequential(
            nn.Linear(inputs, width), LeakyReLU(0.2), nn.Linear(width, width), LeakyReLU(0.2)
        )

    def forward(self, pair: Tensor) -> Tensor:
        x, z = apart(pair, self.shape)
        return self.layers(torch.cat([self.body(x), z], 1))

    def lipschitz_bound(self, limits: WeightLimits) -> float:
        body = max(lipschitz_bound(self.body, limits), 1.0)
        return body * lipschitz_bound(self.layers, limits)


class BidirectionalModel(AdversarialModel, Encodes, Reconstructs, ABC):
    """A generator with an encoder against a critic of flat pairs (x, E(x)) and (G(z), z).

    Args:
        both_ways: the generator and the encoder, one player.
        critic: scores pairs.
        criterion: loss, Lipschitz method and tricks.

    Raises:
        UserError: where no adversarial loss is left for the encoder.
    """

    critic_heads = ("linear",)

    def __init__(
        self,
        both_ways: BidirectionalGenerator,
        critic: base.Critic,
        criterion: AdversarialCriterion,
    ) -> None:
        super().__init__(both_ways, critic, criterion)
        if not self.generator_is_adversarial:
            raise UserError(
                "where a trick replaces the adversarial loss, the encoder has nothing to learn "
                "from (tricks=[feature_matching] or [unrolled]); use feature_matching_added, or "
                "leave it out"
            )

    def generators(self) -> list[Any]:
        """Every network with a body, the encoder as well."""
        return [*super().generators(), self.generator.encoder]

    def generator_parts(self) -> dict[str, nn.Module]:
        return {"encoder": self.generator.encoder}

    @torch.no_grad()
    def init_from_batch(self, batch: Batch) -> None:
        self.generator.encoder(batch[0])
        self.generator.generator.init_from_images(batch[0])
        super().init_from_batch(batch)

    def pairs(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(x, E(x)) and (G(z), z), with new noise."""
        x, generator = batch[0], self.generator
        z = generator.noise(len(x), x.device)
        return join(x, generator.encoder(x)), join(generator(z), z)

    def both_adversarial(self, on_real: Tensor, on_fake: Tensor) -> dict[str, Tensor]:
        """The loss of the scores (B,) of both kinds of pairs, the critic's with exchanged roles.

        `adversarial` trains the generator, `inference` the encoder. A relative loss has the scores
        of real pairs in it already, and is `adversarial` alone.
        """
        losses = self.generator_adversarial(on_real, on_fake)
        if not self.loss.relative:
            exchanged = self.loss.swap_roles(on_fake), self.loss.swap_roles(on_real)
            losses["inference"] = self.generator_adversarial(*exchanged)["adversarial"]
        return losses

    def encode(self, x: Tensor) -> Tensor:
        """Images to codes (B, latent), in ALI to their means, by the averaged encoder if any."""
        generator = self.ema_generator or self.generator
        with eval_mode(generator):
            return generator.encoder.posterior(x)[0]

    def features(self, x: Tensor) -> Tensor:
        """(B, F), the input of the encoder's last layer: the papers' features for other tasks."""
        generator = self.ema_generator or self.generator
        with eval_mode(generator):
            return generator.encoder.body(x)

    def reconstruct(self, x: Tensor) -> Tensor:
        """G(E(x))."""
        return self.sample((x,), self.encode(x))

    def critic_scores(self, batch: Batch, fake: bool = False) -> Tensor:
        """Scores of images with the codes that the encoder gives them."""
        return self.eval_scores(self.critic, join(batch[0], self.encode(batch[0])), fake)


class BiGAN(BidirectionalModel):
    """A generator with an encoder against a critic of pairs. Batches are (images, ...).

    Args:
        generator: a backbone from noise to images.
        critic: a backbone from images to scores.
        criterion: loss, Lipschitz method and tricks.
        encoder_norm: the norm of the encoder, which has the critic's other options. Null keeps
            the norm that its network has.
        encoder: a network of its own for the encoder: a critic's backbone, whose body encodes.
            None takes the critic's.
        stochastic: the encoder is ALI's normal distribution.
        joint_width: units of the layers that see an image's features and its code. None takes the
            network's own number, or 512; a perceptron has no such layers.
        information: weight of the loss that reads codes back from images; 0 is BiGAN.
        augment: how images are augmented before codes are read from them.
    """

    def __init__(
        self,
        generator: base.Backbone[base.Generator | base.Translator],
        critic: base.Backbone[base.Critic],
        criterion: AdversarialCriterion,
        encoder_norm: Norm | None = "batch",
        encoder: base.Backbone[base.Critic] | None = None,
        stochastic: bool = False,
        joint_width: Count | None = None,
        information: NonNegative = 0.0,
        augment: list[Augmentation] | None = None,
    ) -> None:
        self.check_backbones(generator, critic, criterion)
        encodes = encoder_backbone(encoder or critic, encoder_norm)
        both_ways = BidirectionalGenerator(
            generator, partial(Encoder, encodes, stochastic=stochastic)
        )
        super().__init__(both_ways, pair_critic(critic, both_ways.latent, joint_width), criterion)
        self.information, self.augment = information, augment or []
        if self.augment and not information:
            raise UserError(
                "images are augmented before codes are read from them, and no codes are read "
                "(model.augment); add model.information=1"
            )
        if self.augment and len(both_ways.encoder.shape) == 1:
            raise UserError("points cannot be rotated or cut out (model.augment); leave it empty")

    def critic_loss(self, batch: Batch) -> Objective:
        with torch.no_grad():
            real, fake = self.pairs(batch)
        return self.critic_terms(self.critic, real, fake)

    def generator_loss(self, batch: Batch) -> Objective:
        pairs = self.pairs(batch)
        real, fake = self.transform_batch(*pairs, critics_turn=False)
        objective = Objective(self.both_adversarial(*self.scores(self.critic, real, fake)))
        if self.information:
            pixels = math.prod(batch[0].shape[1:])
            made, z = pairs[1].split([pixels, self.generator.latent], 1)
            images = augmented(made.view_as(batch[0]), self.augment)
            entropy = z.shape[1] * ENTROPY[self.generator.prior]
            log_q = self.generator.encoder.log_q(images, z)
            terms = information_terms(codes=CodePart(entropy, log_q, self.information))
            objective.losses |= terms.losses
            objective.metrics |= terms.metrics
        objective.losses |= self.generator_regularizer_terms(self.critic, real, fake)
        return objective
