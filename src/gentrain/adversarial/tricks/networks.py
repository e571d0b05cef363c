"""Tricks that change the networks of a player.

Both are of Salimans et al., "Improved techniques for training GANs", 2016.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from gentrain.adversarial.regularizer import Player, RegularizedModel, Regularizer
from gentrain.config.types import Count
from gentrain.errors import UserError
from gentrain.layers.conditional import ConditionalBatchNorm
from gentrain.layers.coupling import CouplesSamples
from gentrain.layers.lipschitz_bound import LipschitzBounded, WeightLimits, lipschitz_bound
from gentrain.layers.normalization import VirtualBatchNorm, WithReferenceBatch


class MinibatchDiscrimination(Regularizer):
    """The critic's last layer sees how near each sample is to the rest of its batch.

    Memory is O(B^2 * kernels * dim): 4 MB for 64 images and 50 kernels of dimension 5, 262 MB for
    512 images.

    Where all samples of a batch of B are alike, the similarities of one are B - 1 times as steep as
    a single distance. So no bound of the critic's Lipschitz constant holds for every batch size,
    and the scale of a Wasserstein estimate would be that of the batch.

    Args:
        kernels: similarities of a sample.
        dim: length of the vectors whose distance is a similarity.

    Raises:
        UserError: for a critic without a linear head, and for a Wasserstein loss.
    """

    order = Regularizer.NETWORKS + 5

    def __init__(self, kernels: Count = 50, dim: Count = 5) -> None:
        super().__init__()
        self.kernels, self.dim = kernels, dim

    def attach(self, model: RegularizedModel) -> None:
        for critic in model.critics():
            if critic.head_kind != "linear":
                raise UserError(
                    "minibatch discrimination comes before a critic's last linear layer, and this "
                    "one has none (tricks=[minibatch_discrimination]); leave the trick out"
                )
            if not model.loss.bounded:
                raise UserError(
                    "a wasserstein loss needs a Lipschitz critic, and the slope of one with "
                    "minibatch discrimination grows with the batch "
                    "(loss, tricks=[minibatch_discrimination]); leave the trick out, or choose "
                    "another loss"
                )
            similarity = MinibatchSimilarity(critic.head.in_features, self.kernels, self.dim)
            critic.head = nn.Sequential(similarity, critic.widened_head(self.kernels))


class MinibatchSimilarity(CouplesSamples, LipschitzBounded):
    """M_i = f(x_i) T;  o(x_i)_b = sum over j != i of exp(-||M_ib - M_jb||_1).

    Args:
        features: length of f(x_i).
        kernels: number of similarities b.
        dim: length of M_ib.
    """

    def __init__(self, features: int, kernels: int, dim: int) -> None:
        super().__init__()
        self.kernels, self.dim = kernels, dim
        self.T = nn.Linear(features, kernels * dim, bias=False)

    def forward(self, h: Tensor) -> Tensor:
        """Features (B, F) -> features and similarities (B, F + kernels)."""
        M = self.T(h).view(-1, self.kernels, self.dim)
        distance = (M[:, None] - M[None]).abs().sum(-1)
        o = (-distance).exp().sum(1) - 1  # without j = i, whose distance is 0
        return torch.cat([h, o], 1)

    def lipschitz_bound(self, limits: WeightLimits) -> float:
        """Each similarity changes by at most the L1 norms of both vectors' changes.

        It grows with the batch, since a similarity is a sum over all other samples.
        """
        pairs = 2 * (limits.samples - 1) * math.sqrt(self.dim)
        return math.hypot(1.0, pairs * lipschitz_bound(self.T, limits))


class VirtualBatchNormalization(Regularizer):
    """Each batch norm becomes a virtual one, whose reference batch is the first batch.

    See `layers.normalization.VirtualBatchNorm`.

    Args:
        players: whose batch norms are replaced. The generator's alone by default, as in the paper:
            it doubles the cost of a forward.
    """

    order = Regularizer.NETWORKS + 2

    def __init__(self, players: list[Player] | None = None) -> None:
        super().__init__()
        self.players = players or ["generator"]

    def attach(self, model: RegularizedModel) -> None:
        modules = [m for player in self.players for m in model.player(player).modules()]
        if any(isinstance(module, ConditionalBatchNorm) for module in modules):
            raise UserError(
                "conditional batch norm has no virtual form (tricks=[virtual_batch_norm]); "
                "choose another network=, or leave the trick out"
            )
        found = 0
        for player in self.players:
            for network in model.generators() if player == "generator" else model.critics():
                found += replace_batch_norms(network.body)
                network.body = WithReferenceBatch(network.body)
        if not found:
            raise UserError(
                "virtual batch norm finds no batch norm to replace in the "
                f"{' or the '.join(self.players)} (tricks=[virtual_batch_norm]); "
                "set model.generator.norm=batch, or choose tricks.virtual_batch_norm.players"
            )


def replace_batch_norms(network: nn.Module) -> int:
    """Make every batch norm inside a virtual one, and return how many there are."""
    found = 0
    for module in network.modules():
        for name, child in module.named_children():
            match child:
                case nn.modules.batchnorm._BatchNorm():
                    setattr(module, name, VirtualBatchNorm.like(child))
                    found += 1
    return found
