"""Tricks that change the networks of a player."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gentrain.adversarial.regularizer import Player, RegularizedModel, Regularizer
from gentrain.config.types import Count
from gentrain.errors import UserError
from gentrain.layers.conditional import ConditionalBatchNorm
from gentrain.layers.coupling import CouplesSamples
from gentrain.layers.normalization import Referenced, VirtualBatchNorm


class MinibatchDiscrimination(Regularizer):
    """Let the critic's last layer see how near each sample lies to the rest of its batch.

    Memory is O(B^2 * kernels * dim): 64 images, 50 kernels of dimension 5 are 4 MB, 512 images 262 MB.
    """

    order = Regularizer.NETWORKS + 5

    def __init__(self, kernels: Count = 50, dim: Count = 5) -> None:
        super().__init__()
        self.kernels, self.dim = kernels, dim

    def attach(self, model: RegularizedModel) -> None:
        for critic in model.critics():
            head = critic.head
            if not isinstance(head, nn.Linear):
                raise UserError(
                    "minibatch discrimination comes before a critic's last linear layer, and this one has none "
                    "(tricks=[minibatch_discrimination]); leave the trick out"
                )
            closeness = MinibatchSimilarity(head.in_features, self.kernels, self.dim)
            wider = nn.Linear(head.in_features + self.kernels, head.out_features)
            with torch.no_grad():
                wider.weight[:, : head.in_features] = head.weight
            critic.head = nn.Sequential(closeness, wider)


class MinibatchSimilarity(CouplesSamples):
    """M_i = f(x_i) T;  o(x_i)_b = sum over j != i of exp(-||M_ib - M_jb||_1).   (B, A) -> (B, A + kernels)"""

    def __init__(self, features: int, kernels: int, dim: int) -> None:
        super().__init__()
        self.kernels, self.dim = kernels, dim
        self.T = nn.Linear(features, kernels * dim, bias=False)

    def forward(self, h: Tensor) -> Tensor:
        M = self.T(h).view(-1, self.kernels, self.dim)
        apart = (M[:, None] - M[None]).abs().sum(-1)
        return torch.cat(
            [h, (-apart).exp().sum(1) - 1], 1
        )  # - 1: sample i is at distance zero from itself


class VirtualBatchNormalization(Regularizer):
    """Every batch norm of the chosen players becomes a virtual one, whose reference is the player's first batch.

    The generator alone by default, as in the paper: it doubles the player's cost.
    """

    order = Regularizer.NETWORKS + 2

    def __init__(self, players: list[Player] | None = None) -> None:
        super().__init__()
        self.players = players or ["generator"]

    def attach(self, model: RegularizedModel) -> None:
        found = 0
        if any(
            isinstance(m, ConditionalBatchNorm)
            for player in self.players
            for m in model.player(player).modules()
        ):
            raise UserError(
                "conditional batch norm has no virtual form (tricks=[virtual_batch_norm]); choose another network=, or leave the trick out"
            )
        for player in self.players:
            for network in model.generators() if player == "generator" else model.critics():
                found += virtualize(network.body)
                network.body = Referenced(network.body)
        if not found:
            raise UserError(
                f"no batch norm in the {' or the '.join(self.players)} for virtual batch norm to replace (tricks=[virtual_batch_norm]); "
                "set model.generator.norm=batch, or choose tricks.virtual_batch_norm.players"
            )


def virtualize(network: nn.Module) -> int:
    """Replace every batch norm inside; return how many."""
    found = 0
    for module in network.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.modules.batchnorm._BatchNorm):
                setattr(module, name, VirtualBatchNorm.like(child))
                found += 1
    return found
