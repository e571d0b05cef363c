"""What an adversarial model is trained with: a loss, a Lipschitz method and tricks."""

from __future__ import annotations

from gentrain.adversarial.losses import AdversarialLoss
from gentrain.adversarial.regularizer import Regularizer, snake
from gentrain.errors import UserError


class AdversarialCriterion:
    """The adversarial loss, the Lipschitz method and the tricks of a GAN, as one object.

    Args:
        loss: loss of both players.
        lipschitz: how the critic is kept Lipschitz.
        tricks: by name; the names are those of their curves. They act in their own order,
            whatever the order of the names.

    Raises:
        UserError: for two regularizers of one slot, or one name for two.
    """

    def __init__(
        self,
        loss: AdversarialLoss,
        lipschitz: Regularizer,
        tricks: dict[str, Regularizer] | None = None,
    ) -> None:
        self.loss, self.lipschitz, self.tricks = loss, lipschitz, tricks or {}
        refuse_one_slot_twice(self.regularizers())

    def with_tricks(self, **tricks: Regularizer) -> AdversarialCriterion:
        """The same criterion with more tricks, which a model brings itself."""
        if taken := sorted(tricks.keys() & self.tricks.keys()):
            raise UserError(
                f"this model has a trick {taken[0]} itself (tricks.{taken[0]}); give yours another "
                "name"
            )
        return AdversarialCriterion(self.loss, self.lipschitz, self.tricks | tricks)

    def regularizers(self) -> dict[str, Regularizer]:
        """The Lipschitz method and the tricks, in the order in which they act."""
        method = snake(type(self.lipschitz).__name__)
        if method in self.tricks:
            raise UserError(
                f"{method} is the name of the Lipschitz method (tricks.{method}); give the trick "
                "another name"
            )
        named = {**self.tricks, method: self.lipschitz}
        return {name: named[name] for name in sorted(named, key=lambda n: (named[n].order, n))}


def refuse_one_slot_twice(regularizers: dict[str, Regularizer]) -> None:
    """Refuse two regularizers of one slot: the later one would undo the other, or count twice."""
    filled: dict[str, str] = {}
    for name, regularizer in regularizers.items():
        slot = regularizer.slot()
        if slot in filled:
            raise UserError(
                f"{filled[slot]} and {name} are both {slot}, of which a model has one "
                f"(tricks, lipschitz); leave one of them out"
            )
        filled[slot] = name
