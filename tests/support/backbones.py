"""Backbones of networks that are already built, and criteria of a few words."""

from __future__ import annotations

from typing import Any

from torch import nn

from gentrain.adversarial.criterion import AdversarialCriterion
from gentrain.adversarial.lipschitz import Unconstrained
from gentrain.adversarial.losses import AdversarialLoss, js
from gentrain.adversarial.regularizer import Regularizer
from gentrain.networks.base import Backbone


class _Ready:
    """Gives a built network, whatever the options, and has the attributes of its class."""

    def __init__(self, *networks: nn.Module) -> None:
        self.networks, self.kind = list(networks), type(networks[0])

    def __getattr__(self, name: str) -> Any:
        return getattr(self.kind, name)

    def __call__(self, **options: Any) -> nn.Module:
        return self.networks.pop(0)


def ready(*networks: nn.Module, **options: Any) -> Backbone[Any]:
    """A backbone that gives these networks, one each time it is built."""
    return Backbone(_Ready(*networks), **options)


def criterion(
    *tricks: Regularizer,
    loss: AdversarialLoss | None = None,
    lipschitz: Regularizer | None = None,
) -> AdversarialCriterion:
    """Of the original loss and a free critic, unless others are given; tricks by their classes."""
    named = {type(trick).__name__: trick for trick in tricks}
    return AdversarialCriterion(loss or js(), lipschitz or Unconstrained(), named)
