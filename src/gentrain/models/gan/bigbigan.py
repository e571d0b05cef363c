"""BigBiGAN (Donahue & Simonyan, "Large scale adversarial representation learning", 2019): BiGAN
with the networks of BigGAN, and a critic that scores images and codes alone as well.

The critic has three networks: F of the image, H of the code, and J of both their features. Each
pair has three scores,

    s_x = <theta_x, F(x)>,    s_z = <theta_z, H(z)>,    s_xz = <theta_xz, J(F(x), H(z))>.

With y = 1 for pairs (x, E(x)) and y = -1 for pairs (G(z), z), and h(t) = max(0, 1 - t),

    critic                   E[h(y s_x) + h(y s_z) + h(y s_xz)]
    generator and encoder    E[y (s_x + s_z + s_xz)]

are minimised: one hinge loss for each score, and for the other player their plain sum. With another
loss each score has that loss. The terms and means of the three are logged as `image_`, `code_` and
`joint_`.

E(x) is a normal distribution as in ALI, with sigma = log(1 + exp(.)) of the last layer.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gentrain.adversarial.criterion import AdversarialCriterion
from gentrain.config.types import Count
from gentrain.errors import UserError
from gentrain.layers.activation import ReLU
from gentrain.layers.lipschitz_bound import LipschitzBounded, WeightLimits, lipschitz_bound
from gentrain.layers.normalization import Norm
from gentrain.models.base import Batch
from gentrain.models.gan.bigan import (
    BidirectionalGenerator,
    BidirectionalModel,
    Encoder,
    apart,
    encoder_backbone,
)
from gentrain.models.objective import Objective
from gentrain.networks import base
from gentrain.networks.conditional import without_labels

SCORES = ("image", "code", "joint")  # s_x, s_z, s_xz


class SoftplusEncoder(Encoder):
    """An encoder whose standard deviation is softplus of its last layer's second half."""

    def log_variance(self, spread: Tensor) -> Tensor:
        """2 log(log(1 + exp(spread))), which nears 2 spread far below zero."""
        near = F.softplus(spread.clamp_min(-20)).log()
        return 2 * torch.where(spread > -20, near, spread)


class ResidualPerceptron(nn.Module, LipschitzBounded):
    """A linear layer, blocks h + W2 ReLU(W1 ReLU(h)), and ReLU: (B, inputs) -> (B, width)."""

    def __init__(self, inputs: int, width: int, blocks: int) -> None:
        super().__init__()
        self.first = nn.Linear(inputs, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(ReLU(), nn.Linear(width, width), ReLU(), nn.Linear(width, width))
            for _ in range(blocks)
        )

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        for block in self.blocks:
            h = h + block(h)
        return h.relu()

    def lipschitz_bound(self, limits: WeightLimits) -> float:
        each = (1 + lipschitz_bound(block, limits) for block in self.blocks)
        return lipschitz_bound(self.first, limits) * math.prod(each)


class PairFeatures(nn.Module, LipschitzBounded):
    """A flat pair (B, pixels + latent) -> F(x), H(z) and J(F(x), H(z)), next to each other.

    Args:
        image: F, images to features (B, f).
        shape: of an image.
        features: f.
        latent: length of a code.
        width: units of the layers of H and J.
        blocks: residual blocks of H, and of J.
    """

    def __init__(
        self,
        image: nn.Module,
        shape: list[int],
        features: int,
        latent: int,
        width: int,
        blocks: int,
    ) -> None:
        super().__init__()
        self.shape, self.image = tuple(shape), image
        self.code = ResidualPerceptron(latent, width, blocks)
        self.joint = ResidualPerceptron(features + width, width, blocks)

    def forward(self, pair: Tensor) -> Tensor:
        x, z = apart(pair, self.shape)
        both = torch.cat([self.image(x), self.code(z)], 1)
        return torch.cat([both, self.joint(both)], 1)

    def lipschitz_bound(self, limits: WeightLimits) -> float:
        both = max(lipschitz_bound(self.image, limits), lipschitz_bound(self.code, limits))
        return both * math.hypot(1.0, lipschitz_bound(self.joint, limits))


class PartScores(nn.Module, LipschitzBounded):
    """A linear score of each part of the features, (B, sum of sizes) -> (B, parts).

    Args:
        layers: of each part, in order.
    """

    def __init__(self, layers: list[nn.Linear]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.sizes = [layer.in_features for layer in layers]

    def forward(self, h: Tensor) -> Tensor:
        each = zip(self.layers, h.split(self.sizes, 1), strict=True)
        return torch.cat([layer(part) for layer, part in each], 1)

    def lipschitz_bound(self, limits: WeightLimits) -> float:
        """That of the mean over parts."""
        return math.hypot(*(lipschitz_bound(each, limits) for each in self.layers)) / len(
            self.sizes
        )


class ThreeScoreCritic(base.Critic):
    """D(x, z): s_x, s_z and s_xz of each pair, (B, pixels + latent) -> (3 B,).

    Args:
        backbone: a critic of images, whose layers before the head are F.
        latent: length of a code.
        width: units of the layers of H and J.
        blocks: residual blocks of H, and of J.
    """

    head_kind = "parts"

    def __init__(self, backbone: base.Backbone[Any], latent: int, width: int, blocks: int) -> None:
        image = without_labels(backbone)()
        shape, features = backbone.keywords["shape"], image.head.in_features
        body = PairFeatures(image.body, shape, features, latent, width, blocks)
        heads = PartScores([image.head, nn.Linear(width, 1), nn.Linear(width, 1)])
        super().__init__(body, features + 2 * width, points=True, head=heads)

    def widen(self, m: int) -> None:
        raise UserError(
            "pairs of an image and a code cannot be packed, since codes have scores of their own "
            "(tricks=[packing]); leave it out"
        )


class BigBiGAN(BidirectionalModel):
    """A generator with an encoder against three scores of a pair. Batches are (images, ...).

    Networks that take labels get one label for all images.

    Args:
        generator: a backbone from noise to images.
        critic: a backbone from images to scores: F and s_x.
        criterion: loss, Lipschitz method and tricks. Spectral norm of the generator leaves the
            encoder free.
        encoder_norm: the norm of the encoder, which has the critic's other options. Null keeps
            the norm that its network has.
        encoder: a network of its own for the encoder: a critic's backbone, whose body encodes.
            None takes the critic's.
        stochastic: codes are drawn from a normal distribution. If not, they are a function of the
            image, in the support of the prior.
        joint_width: units of the layers of H and J.
        blocks: residual blocks of two layers in H, and in J.
    """

    single_label = True

    def __init__(
        self,
        generator: base.Backbone[base.Generator | base.Translator],
        critic: base.Backbone[base.Critic],
        criterion: AdversarialCriterion,
        encoder_norm: Norm | None = "batch",
        encoder: base.Backbone[base.Critic] | None = None,
        stochastic: bool = True,
        joint_width: Count = 256,
        blocks: Count = 4,
    ) -> None:
        self.check_backbones(generator, critic, criterion)
        encodes = without_labels(encoder_backbone(encoder or critic, encoder_norm))
        both_ways = BidirectionalGenerator(
            generator, partial(SoftplusEncoder, encodes, stochastic=stochastic)
        )
        scorer = ThreeScoreCritic(critic, both_ways.latent, joint_width, blocks)
        super().__init__(both_ways, scorer, criterion)

    def critic_loss(self, batch: Batch) -> Objective:
        with torch.no_grad():
            pairs = self.pairs(batch)
        real, fake = self.transform_batch(*pairs, critics_turn=True)
        parts = self.part_scores(real, fake)
        objective = self.merge_domains(
            {name: self.adversarial_terms(*scores) for name, scores in parts.items()}
        )
        objective.losses |= self.critic_regularizer_terms(self.critic, real, fake)
        return objective

    def generator_loss(self, batch: Batch) -> Objective:
        real, fake = self.transform_batch(*self.pairs(batch), critics_turn=False)
        parts = self.part_scores(real, fake)
        objective = self.merge_domains(
            {name: Objective(self.both_adversarial(*scores)) for name, scores in parts.items()}
        )
        objective.losses |= self.generator_regularizer_terms(self.critic, real, fake)
        return objective

    def part_scores(self, real: Tensor, fake: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        """Each of the three scores, (B,) of real pairs and (B,) of generated ones."""
        on_real, on_fake = self.scores(self.critic, real, fake)
        each = zip(on_real.view(-1, 3).unbind(1), on_fake.view(-1, 3).unbind(1), strict=True)
        return dict(zip(SCORES, each, strict=True))
