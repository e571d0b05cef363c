"""Any critic, with the logits of classes as well."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from ..schema import Count
from . import base


class ClassifierCritic(nn.Module):
    """Two heads on the same features h: the score, and the logits of `classes` (Odena, Olah & Shlens, 2017). The score sees no label."""

    def __init__(self, critic: Callable[..., base.Critic], shape: list[int], classes: Count) -> None:
        super().__init__()
        self.critic = critic(shape=shape)
        self.classifier = nn.Linear(self.critic.head.in_features, classes)
        base.like(self.classifier, self.critic.head)

    def features(self, x: Tensor) -> Tensor:
        return self.critic.features(x)

    def score(self, h: Tensor) -> Tensor:
        return self.critic.score(h)

    def classify(self, h: Tensor) -> Tensor:
        """Features (B, F) -> logits (B, K)."""
        return self.classifier(h)

    def forward(self, x: Tensor) -> Tensor:
        return self.critic(x)
