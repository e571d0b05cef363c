"""Self-attention of SAGAN (Zhang, Goodfellow, Metaxas & Odena, 2019): every place of a map may look at every other."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SelfAttention(nn.Module):
    """x_j + gamma W_o sum_i beta_ji W_v x_i,   beta_ji = softmax over i of (W_k x_i) . (W_q x_j).   (B, C, H, W) -> the same

    The softmax is over the keys i, which are what is summed. As in the authors' code queries and keys have C/8 channels, values C/2,
    and keys and values are max-pooled by 2 (a quarter of the places). gamma starts at 0: the layer begins as the identity.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        few, half = max(1, channels // 8), max(1, channels // 2)
        self.query, self.key = (
            nn.Conv2d(channels, few, 1, bias=False),
            nn.Conv2d(channels, few, 1, bias=False),
        )
        self.value, self.out = (
            nn.Conv2d(channels, half, 1, bias=False),
            nn.Conv2d(half, channels, 1, bias=False),
        )
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        q = self.query(x).flatten(2)  # (B, C/8, N)
        k = F.max_pool2d(self.key(x), 2).flatten(2)  # (B, C/8, N/4)
        v = F.max_pool2d(self.value(x), 2).flatten(2)  # (B, C/2, N/4)
        beta = (q.transpose(1, 2) @ k).softmax(2)  # (B, N, N/4)
        attended = (v @ beta.transpose(1, 2)).unflatten(2, x.shape[2:])
        return x + self.gamma * self.out(attended)


def nearest(wanted: int, sides: list[int]) -> int | None:
    """Which of a network's maps gets the attention: the index of the first whose side is nearest to `wanted` in ratio; None for 0."""
    if not wanted:
        return None
    return min(range(len(sides)), key=lambda i: max(wanted / sides[i], sides[i] / wanted))
