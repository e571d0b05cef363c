"""The minibatch standard deviation of progressive GANs (Karras, Aila, Laine & Lehtinen, 2018)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gentrain.errors import UserError
from gentrain.layers.coupling import CouplesSamples
from gentrain.layers.lipschitz_bound import LipschitzBounded, WeightLimits
from gentrain.layers.precision import at_least_single


class MinibatchStddev(CouplesSamples, LipschitzBounded):
    """Append a channel that says how much the samples of a group differ.

    (B, C, H, W) -> (B, C + 1, H, W). Sample i is in group i mod (B / group). The standard deviation
    over a group is averaged over features and places to one number, which fills the new channel of
    every sample of the group.

    In training B must be a multiple of the group, or no larger than it. In eval mode B may be any
    number: the first samples fill the incomplete groups.

    Args:
        group: samples in a group.
    """

    within_groups = True

    def __init__(self, group: int = 4) -> None:
        super().__init__()
        self.group = group

    def lipschitz_bound(self, limits: WeightLimits) -> float:
        """The new channel changes at most as much as x does, in eval mode in two groups."""
        return math.sqrt(3)

    def forward(self, x: Tensor) -> Tensor:
        group = min(self.group, len(x))
        missing = -len(x) % group
        if missing and self.training:
            raise UserError(
                f"a batch of {len(x)} makes no groups of {group} "
                "(data.batch_size, model.critic.group); choose a multiple"
            )
        # sample i goes to group i mod (number of groups)
        grouped = at_least_single(torch.cat([x, x[:missing]])).unflatten(0, (group, -1))
        sd = (grouped.var(0, unbiased=False) + 1e-8).sqrt()
        number = sd.mean((1, 2, 3)).repeat(group)[: len(x)].to(x.dtype)
        return torch.cat([x, number[:, None, None, None].expand(-1, 1, *x.shape[2:])], 1)
