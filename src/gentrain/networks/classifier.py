"""Wrappers that let any critic network name classes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from gentrain.config.types import Count
from gentrain.layers.lipschitz_bound import LipschitzBounded, WeightLimits, lipschitz_bound
from gentrain.networks import base


class ClassifierCritic(nn.Module, LipschitzBounded):
    """A critic with two heads on the same features: the score, and the logits of classes.

    The score sees no label (Odena, Olah & Shlens, 2017).

    Args:
        backbone: a critic.
        classes: K.
    """

    def __init__(self, backbone: base.Backbone[Any], classes: Count) -> None:
        super().__init__()
        self.critic = backbone()
        classifier = nn.Linear(self.critic.size, classes)
        self.classifier: nn.Module = base.init_like(classifier, self.critic.head)

    def backbones(self) -> list[nn.Module]:
        """The networks with a body."""
        return self.critic.backbones()

    def features(self, x: Tensor) -> Tensor:
        """(B, *shape) -> (B, F)."""
        return self.critic.features(x)

    def score(self, h: Tensor) -> Tensor:
        """Features (B, F) -> scores (B,), or (B * P,) of a critic of patches."""
        return self.critic.score(h)

    def classify(self, h: Tensor) -> Tensor:
        """Features (B, F) -> logits (B, K)."""
        return self.classifier(self.critic.neck(h))

    def forward(self, x: Tensor) -> Tensor:
        """(B, *shape) -> scores (B,)."""
        return self.critic(x)

    def lipschitz_bound(self, limits: WeightLimits) -> float:
        return lipschitz_bound(self.critic, limits)


class LogitCritic(nn.Module, LipschitzBounded):
    """A critic with K logits l in the place of a score (Salimans et al., 2016, section 5).

    The score is that of "any class at all" against "generated", whose logit is held at zero:

        D(x) = log sum_k exp l_k(x),   so sigmoid(D) = Z / (Z + 1) with Z = sum_k exp l_k.

    Args:
        backbone: a critic; its head is replaced.
        classes: K.
    """

    def __init__(self, backbone: base.Backbone[Any], classes: Count) -> None:
        super().__init__()
        self.critic = backbone()
        head = nn.Linear(self.critic.head.in_features, classes)
        self.critic.head = base.init_like(head, self.critic.head)

    def backbones(self) -> list[nn.Module]:
        """The networks with a body."""
        return self.critic.backbones()

    def features(self, x: Tensor) -> Tensor:
        """(B, *shape) -> (B, F)."""
        return self.critic.features(x)

    def logits(self, x: Tensor) -> Tensor:
        """(B, *shape) -> logits (B, K)."""
        return self.critic.head(self.critic.neck(self.critic.features(x)))

    def forward(self, x: Tensor) -> Tensor:
        """(B, *shape) -> scores (B,)."""
        return self.logits(x).logsumexp(1)

    def lipschitz_bound(self, limits: WeightLimits) -> float:
        """That of the logits: the gradient of log sum exp is a softmax."""
        return lipschitz_bound(self.critic, limits)


class Classifier(nn.Module):
    """The features of any critic network and K logits of them: (B, *shape) -> (B, K).

    Args:
        network: makes a critic of a shape.
        shape: (C, H, W) of an image, or (D,) of a point.
        classes: K.
    """

    def __init__(
        self, network: Callable[..., base.Critic], shape: list[int], classes: Count
    ) -> None:
        super().__init__()
        critic = network(shape=shape)
        self.body, self.neck = critic.body, critic.neck
        self.head = nn.Linear(critic.head.in_features, classes)
        base.divide_weights(self.head, critic.summed)

    def forward(self, x: Tensor) -> Tensor:
        """(B, *shape) -> logits (B, K)."""
        return self.head(self.neck(self.body(x)))


def accuracy(logits: Tensor, y: Tensor) -> Tensor:
    """The share of samples whose largest logit is the label's."""
    return (logits.argmax(1) == y).float().mean()
