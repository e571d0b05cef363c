"""What an adversarial model is trained with: a loss, a Lipschitz method and tricks."""

from __future__ import annotations

from gentrain.adversarial.losses import AdversarialLoss
from gentrain.adversarial.regularizer import Regularizer, snake


class AdversarialCriterion:
    """The adversarial loss, the Lipschitz method and the tricks of a GAN, as one object.

    Args:
        loss: loss of both players.
        lipschitz: how the critic is kept Lipschitz.
        tricks: by name; the names are those of their curves.
    """

    def __init__(
        self,
        loss: AdversarialLoss,
        lipschitz: Regularizer,
        tricks: dict[str, Regularizer] | None = None,
    ) -> None:
        self.loss, self.lipschitz, self.tricks = loss, lipschitz, tricks or {}

    def with_tricks(self, **tricks: Regularizer) -> AdversarialCriterion:
        """The same criterion with more tricks, which a model brings itself."""
        return AdversarialCriterion(self.loss, self.lipschitz, self.tricks | tricks)

    def regularizers(self) -> dict[str, Regularizer]:
        """The Lipschitz method and the tricks, in the order in which they act."""
        named = {**self.tricks, snake(type(self.lipschitz).__name__): self.lipschitz}
        return {name: named[name] for name in sorted(named, key=lambda n: (named[n].order, n))}
