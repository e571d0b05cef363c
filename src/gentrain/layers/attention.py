"""Self-attention of maps (Zhang, Goodfellow, Metaxas & Odena, "Self-Attention Generative
Adversarial Networks", 2019).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SelfAttention(nn.Module):
    """Each place j of a map attends to all places i, (B, C, H, W) -> the same.

        x_j + gamma W_o sum_i beta_ji W_v x_i,    beta_ji = softmax over i of (W_k x_i) . (W_q x_j)

    As in the authors' code, queries and keys have C/8 channels and values C/2, and keys and values
    are max-pooled by 2, to a quarter of the places. gamma starts at 0, so that the layer starts as
    the identity.

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        few, half = max(1, channels // 8), max(1, channels // 2)
        self.query = nn.Conv2d(channels, few, 1, bias=False)
        self.key = nn.Conv2d(channels, few, 1, bias=False)
        self.value = nn.Conv2d(channels, half, 1, bias=False)
        self.out = nn.Conv2d(half, channels, 1, bias=False)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        q = self.query(x).flatten(2)  # (B, C/8, N)
        k = F.max_pool2d(self.key(x), 2).flatten(2)  # (B, C/8, N/4)
        v = F.max_pool2d(self.value(x), 2).flatten(2)  # (B, C/2, N/4)
        beta = (q.transpose(1, 2) @ k).softmax(2)  # (B, N, N/4)
        attended = (v @ beta.transpose(1, 2)).unflatten(2, x.shape[2:])
        return x + self.gamma * self.out(attended)


def nearest(wanted: int, sides: list[int]) -> int | None:
    """The index of the map to attend to: the first whose side is nearest in ratio to `wanted`.

    None where `wanted` is 0.

    >>> nearest(32, [4, 8, 16, 64])
    2
    """
    if not wanted:
        return None
    return min(range(len(sides)), key=lambda i: max(wanted / sides[i], sides[i] / wanted))
