"""Top-k training (Sinha, Zhao, Goyal, Raffel & Odena, "Top-k training of GANs: improving GAN
performance by throwing away bad samples", 2020): the generator learns from its best fakes alone.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from gentrain.adversarial.regularizer import RegularizedModel, Regularizer
from gentrain.config.types import Count
from gentrain.errors import UserError

Below1 = Annotated[float, Field(gt=0, lt=1)]


class TopK(Regularizer):
    """The generator's loss is of the k fakes that the critic scores highest.

        k = max(gamma^n, nu) B,  rounded, and at least 1,

    after n decays, one for every so many generator updates. B is the number of scores of one
    forward: fakes of a batch, or packs. So k is of each of the batches of an accumulated update, of
    the joined batch of `scheme.generator_batch`, and of each process's own batch. The critic learns
    from all fakes. In a model of pairs with codes (BiGAN) the k real pairs from which the encoder
    learns are chosen in the same way: those that the critic takes most for generated ones.

    Args:
        gamma: the factor of one decay.
        nu: the share of a batch below which k does not fall.
        every: generator updates from one decay to the next. In the paper it is an epoch.

    Raises:
        UserError: for a loss of pairs, for scores of patches, and where another term replaces the
            generator's adversarial loss.
    """

    order = Regularizer.TERMS + 3
    compiles = False  # the number of scores changes

    def __init__(self, gamma: Below1 = 0.99, nu: Below1 = 0.5, every: Count = 500) -> None:
        super().__init__()
        self.gamma, self.nu, self.every, self.updates = gamma, nu, every, 0

    def attach(self, model: RegularizedModel) -> None:
        if not model.generator_is_adversarial:
            raise UserError(
                "feature matching replaces the generator's adversarial loss, from which top-k "
                "leaves out fakes (tricks=[top_k]); leave one of them out, or choose "
                "feature_matching_added"
            )
        if model.loss.relative:
            raise UserError(
                "top-k leaves out fakes, and loss=relativistic compares each with real images "
                "(tricks=[top_k]); choose another loss, or leave the trick out"
            )
        if any(critic.head_kind == "patches" for critic in model.critics()):
            raise UserError(
                "top-k chooses whole fakes, and this critic scores patches "
                "(tricks=[top_k], network); leave the trick out"
            )

    @property
    def share(self) -> float:
        """k / B, before rounding."""
        return max(self.gamma ** (self.updates // self.every), self.nu)

    def transform_scores(
        self, real: Tensor, fake: Tensor, critics_turn: bool
    ) -> tuple[Tensor, Tensor]:
        if critics_turn:
            return real, fake
        return real, fake.topk(max(1, round(self.share * len(fake)))).values

    def after_generator_step(self, model: RegularizedModel) -> None:
        self.updates += 1

    def get_extra_state(self) -> int:
        return self.updates

    def set_extra_state(self, state: int) -> None:
        self.updates = state
