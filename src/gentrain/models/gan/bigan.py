"""BiGAN, adversarial feature learning (Donahue, Krähenbühl & Darrell, 2017); ALI, adversarially learned inference (Dumoulin et al., 2017).

An encoder E goes the generator's way back. The critic is shown pairs of an image and a code, (x, E(x)) as real and (G(z), z) as fake;
where it cannot tell them apart, E inverts G. G and E are one player, with one objective: the critic's with the roles exchanged,

    softplus(-D(G(z), z)) + softplus(D(x, E(x)))        for the original game in its non-saturating form.

E is a function in BiGAN, and in ALI a normal distribution, E(x) = mu(x) + sigma(x) eps.

That E inverts G is true of the game's solution, and of little that is found on the way. `information` adds what InfoGAN (Chen et al., 2016)
and ALICE (Li et al., 2017) ask for beside the game, that codes can be read from what they became,

    - E_z log q(z | G(z)),      q = N(mu(x), sigma(x)^2), in BiGAN N(E(x), 1),

which bounds the entropy of z given G(z). With `augment` codes must be read from what they became after a turn, a slant, a shift as well, as
IMSAT asks of its codes (Hu et al., "Learning Discrete Representations via Information Maximizing Self-Augmented Training", 2017): then
they tell what a picture shows, and less of how it lies.

A pair is one flat vector, the image's pixels and then the code, so that losses, penalties and tricks act on it as on any sample.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from gentrain.adversarial.augment import Change, augmented
from gentrain.adversarial.losses import AdversarialLoss
from gentrain.adversarial.regularizer import Regularizer
from gentrain.config.types import Count, NonNegative, Share
from gentrain.errors import UserError
from gentrain.layers.activation import LeakyReLU
from gentrain.layers.normalization import Norm
from gentrain.models.base import eval_mode
from gentrain.models.gan.base import AdversarialModel, Batch
from gentrain.models.objective import Objective
from gentrain.networks import base, mlp


def paired(x: Tensor, z: Tensor) -> Tensor:
    """Images (B, ...) and codes (B, L) -> (B, pixels + L)."""
    return torch.cat([x.flatten(1), z], 1)


class Encoder(nn.Module):
    """Images to codes: the body of any critic network, then a linear layer.

    (B, *shape) -> (B, latent). `stochastic` makes it ALI's: mean and log-variance, and a draw from that normal distribution.
    """

    def __init__(
        self,
        network: Callable[..., base.Critic],
        shape: list[int],
        latent: Count,
        stochastic: bool = False,
    ) -> None:
        super().__init__()
        critic = network(shape=shape)
        self.body, self.shape, self.stochastic = critic.body, shape, stochastic
        self.head = nn.Linear(critic.head.in_features, latent * (2 if stochastic else 1))

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of q(z | x), (B, latent) each; a variance of 1 where the encoder is a function."""
        out = self.head(self.body(x))
        return out.chunk(2, 1) if self.stochastic else (out, torch.zeros_like(out))

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the codes of x, (B, latent) each; zero deviation where the encoder is a function."""
        mean, log_variance = self.moments(x)
        return mean, (log_variance / 2).exp() if self.stochastic else log_variance

    def surprise(self, x: Tensor, z: Tensor) -> Tensor:
        """-log q(z | x) (B,), but for the normal's constants."""
        mean, log_variance = self.moments(x)
        return ((z - mean).square() * (-log_variance).exp() + log_variance).sum(1) / 2

    def forward(self, x: Tensor) -> Tensor:
        mean, sd = self.posterior(x)
        return mean + sd * torch.randn_like(mean) if self.stochastic else mean


class Bidirectional(nn.Module):
    """One player that goes both ways: `generator`, z to x, and `encoder`, x to z. `encoder` makes a network for codes of that length."""

    def __init__(self, generator: base.Generator, encoder: Callable[..., Encoder]) -> None:
        super().__init__()
        self.generator, self.latent = generator, generator.latent
        self.encoder = encoder(latent=generator.latent)

    def noise(self, n: int, device: torch.device | str) -> Tensor:
        return self.generator.noise(n, device)

    def forward(self, z: Tensor) -> Tensor:
        return self.generator(z)


class PairCritic(mlp.Critic):
    """D(x, z) by one perceptron on the whole pair, as in the paper's experiments on MNIST: (B, pixels + latent) -> (B,)."""

    critic_input = "pairs"

    def __init__(
        self,
        shape: list[int],
        latent: Count,
        width: Count = 1024,
        depth: Count = 2,
        norm: Norm = "none",
        dropout: Share = 0.0,
    ) -> None:
        super().__init__([math.prod(shape) + latent], width, depth, norm, dropout)


class JointCritic(base.Critic):
    """D(x, z) by any critic network's features of the image, then two layers on these and the code: (B, pixels + latent) -> (B,)."""

    critic_input = "pairs"

    def __init__(
        self,
        critic: Callable[..., base.Critic],
        shape: list[int],
        latent: Count,
        width: Count = 512,
    ) -> None:
        image = critic(shape=shape)
        super().__init__(
            Joint(image.body, shape, image.head.in_features + latent, width), width, points=True
        )

    def widen(self, m: int) -> None:
        raise UserError(
            "pairs of an image and a code cannot be packed (tricks=[packing] with this network); use network=bidirectional_mlp"
        )


class Joint(nn.Module):
    """A flat pair -> features of both."""

    def __init__(self, body: nn.Module, shape: list[int], inputs: int, width: int) -> None:
        super().__init__()
        self.body, self.shape = body, tuple(shape)
        self.layers = nn.Sequential(
            nn.Linear(inputs, width), LeakyReLU(0.2), nn.Linear(width, width), LeakyReLU(0.2)
        )

    def forward(self, pair: Tensor) -> Tensor:
        pixels = math.prod(self.shape)
        x, z = pair[:, :pixels], pair[:, pixels:]
        return self.layers(torch.cat([self.body(x.unflatten(1, self.shape)), z], 1))


class BidirectionalGame(AdversarialModel):
    """A generator with an encoder against a critic of pairs. Batches are (images, ...); labels are not looked at.

    `information` weighs the term that reads codes back from images, changed before by what `augment` lists; 0 is BiGAN.
    """

    needs: ClassVar[dict[str, str]] = {"generator": "encoder"}
    critic_input = "pairs"

    def __init__(
        self,
        generator: nn.Module,
        critic: nn.Module,
        loss: AdversarialLoss,
        lipschitz: Regularizer,
        tricks: dict[str, Regularizer] | None = None,
        information: NonNegative = 0.0,
        augment: list[Change] | None = None,
    ) -> None:
        super().__init__(generator, critic, loss, lipschitz, tricks)
        self.information, self.augment = information, augment or []
        if self.augment and not information:
            raise UserError(
                "images are changed before codes are read from them, and no codes are (model.augment); add model.information=1"
            )
        if self.augment and len(self.generator.encoder.shape) == 1:
            raise UserError(
                "points in the plane cannot be turned or cut out (model.augment); leave it empty"
            )
        if self.loss.generator is None:
            raise UserError(
                "features to match give the encoder nothing to learn from (tricks=[feature_matching]); use feature_matching_added"
            )

    def generators(self) -> list[Any]:
        return [
            *super().generators(),
            *(module for module in self.generator.modules() if isinstance(module, Encoder)),
        ]

    @torch.no_grad()
    def begin(self, batch: Batch) -> None:
        self.generator.encoder(batch[0])
        super().begin(batch)

    def pairs(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(x, E(x)) and (G(z), z), with new noise."""
        x, player = batch[0], self.generator
        z = player.noise(len(x), x.device)
        return paired(x, player.encoder(x)), paired(player(z), z)

    def critic_loss(self, batch: Batch) -> Objective:
        with torch.no_grad():
            real, fake = self.pairs(batch)
        return self.critic_terms(self.critic, real, fake)

    def generator_loss(self, batch: Batch) -> Objective:
        pairs = self.pairs(batch)
        real, fake = self.transform_batch(*pairs, critics_turn=False)
        on_real, on_fake = self.scores(self.critic, real, fake)
        objective = Objective(self.generator_adversarial(on_real, on_fake))
        if not self.loss.relative:  # else real scores are in it already
            objective.losses["inference"] = self.generator_adversarial(
                self.loss.mirror(on_fake), self.loss.mirror(on_real)
            )["adversarial"]
        if self.information:
            made, z = pairs[1].split([math.prod(batch[0].shape[1:]), self.generator.latent], 1)
            changed = augmented(made.view_as(batch[0]), self.augment)
            objective.losses["information"] = (
                self.information * self.generator.encoder.surprise(changed, z).mean()
            )
        objective.losses |= self.regularizer_terms("generator_term", self.critic, real, fake)
        return objective

    def encode(self, x: Tensor) -> Tensor:
        """Images to codes (B, latent), in ALI to their means; by the averaged encoder where there is one."""
        player = self.ema_generator or self.generator
        with eval_mode(player):
            return player.encoder.posterior(x)[0]

    def features(self, x: Tensor) -> Tensor:
        """(B, F), what the encoder's last layer sees: the paper's own features for other tasks are hidden layers, too."""
        player = self.ema_generator or self.generator
        with eval_mode(player):
            return player.encoder.body(x)

    def reconstruct(self, x: Tensor) -> Tensor:
        """G(E(x))."""
        return self.sample((x,), self.encode(x))

    def critic_scores(self, batch: Batch, made: bool = False) -> Tensor:
        """Scores of images with the codes that the encoder gives them."""
        return self.eval_scores(self.critic, paired(batch[0], self.encode(batch[0])), made)
