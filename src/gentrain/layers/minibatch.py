"""What a critic may see of the batch around a sample."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gentrain.errors import UserError


class MinibatchStddev(nn.Module):
    """One more channel: how much the samples of a group differ (Karras et al., 2018).   (B, C, H, W) -> (B, C + 1, H, W)

    The B samples are dealt out to B / group groups in turn, as cards are. For each feature and place the standard deviation over the
    group; the mean of all of these is one number, which every sample of the group gets at every place. In training B must be a multiple
    of the group, or no larger; in eval, where any number may be looked at, the first samples fill the last groups up.
    """

    couples_samples = True
    within_groups = True  # and with no more samples than the group's

    def __init__(self, group: int = 4) -> None:
        super().__init__()
        self.group = group

    def forward(self, x: Tensor) -> Tensor:
        group = min(self.group, len(x))
        missing = -len(x) % group
        if missing and self.training:
            raise UserError(
                f"a batch of {len(x)} makes no groups of {group} (data.batch_size, model.critic.group); choose a multiple"
            )
        dealt = (
            torch.cat([x, x[:missing]]).float().unflatten(0, (group, -1))
        )  # sample i is in group i mod (number of groups)
        sd = (dealt.var(0, unbiased=False) + 1e-8).sqrt()
        number = sd.mean((1, 2, 3)).repeat(group)[: len(x)].to(x.dtype)
        return torch.cat([x, number[:, None, None, None].expand(-1, 1, *x.shape[2:])], 1)
