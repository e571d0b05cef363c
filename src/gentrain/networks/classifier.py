"""Any critic, with the logits of classes as well."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from gentrain.config.types import Count
from gentrain.networks import base


class ClassifierCritic(nn.Module):
    """Two heads on the same features h: the score, and the logits of `classes` (Odena, Olah & Shlens, 2017). The score sees no label."""

    def __init__(
        self, critic: Callable[..., base.Critic], shape: list[int], classes: Count
    ) -> None:
        super().__init__()
        self.critic = critic(shape=shape)
        self.classifier = nn.Linear(self.critic.size, classes)
        base.init_like(self.classifier, self.critic.head)

    def features(self, x: Tensor) -> Tensor:
        return self.critic.features(x)

    def score(self, h: Tensor) -> Tensor:
        return self.critic.score(h)

    def classify(self, h: Tensor) -> Tensor:
        """Features (B, F) -> logits (B, K)."""
        return self.classifier(h)

    def forward(self, x: Tensor) -> Tensor:
        return self.critic(x)


class LogitCritic(nn.Module):
    """K logits l instead of a score; the score is that of "any class at all" against "generated", whose logit is held at zero:

    D(x) = log sum_k exp l_k(x),   so that sigmoid(D) = Z / (Z + 1) with Z = sum_k exp l_k   (Salimans et al., 2016, section 5).
    """

    def __init__(
        self, critic: Callable[..., base.Critic], shape: list[int], classes: Count
    ) -> None:
        super().__init__()
        self.critic = critic(shape=shape)
        head = nn.Linear(self.critic.head.in_features, classes)
        self.critic.head = base.init_like(head, self.critic.head)

    def features(self, x: Tensor) -> Tensor:
        return self.critic.features(x)

    def logits(self, x: Tensor) -> Tensor:
        """Images -> (B, K)."""
        return self.critic.head(self.critic.features(x))

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(x).logsumexp(1)


class Classifier(nn.Module):
    """The features of any critic network and K logits of them: (B, *shape) -> (B, K)."""

    def __init__(
        self, network: Callable[..., base.Critic], shape: list[int], classes: Count
    ) -> None:
        super().__init__()
        critic = network(shape=shape)
        self.body, self.head = critic.body, nn.Linear(critic.head.in_features, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


def accuracy(logits: Tensor, y: Tensor) -> Tensor:
    """The share of samples whose largest logit is the label's."""
    return (logits.argmax(1) == y).float().mean()
