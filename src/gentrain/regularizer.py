"""The one extension point of an adversarial game: the moments in which a Lipschitz method or a trick may act."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

if TYPE_CHECKING:
    from .game import Game


Player = Literal["generator", "critic"]


class Critic(Protocol):
    """A function of images alone: scores (B,) of (B, ...), and the features (B, F) that they are a function of."""

    def __call__(self, x: Tensor) -> Tensor: ...

    def features(self, x: Tensor) -> Tensor: ...


class Regularizer(nn.Module):
    """A small change to the game. Override the moments you need; state lives in buffers, so it is in the checkpoint.

    `order` sorts the regularizers of a game, whatever the order in which they were typed:
    what changes the images comes first, then what reshapes networks, then the Lipschitz method (so that it sees every
    layer), and last what follows finished weights.
    """

    order: ClassVar[int] = 40
    of_weights: ClassVar[bool] = False  # its terms are of weights alone: the same in each domain of a game that has several
    compiles: ClassVar[bool] = True  # its moments inside an objective keep their state in buffers, or in a bool: nothing that counts
    IMAGES, RESHAPE, LIPSCHITZ, WEIGHTS = 10, 20, 30, 50

    def attach(self, game: Game) -> None:
        """Once, when the game is built: reshape networks or the loss, or refuse them with the reason."""

    def optimized(self, player: str, optimizer: Optimizer) -> None:
        """Once for each player, when its optimizer is made: warn of one that does not fit, or refuse it."""

    def begin(self, game: Game) -> None:
        """Once, when training starts and every network has seen a first batch."""

    def view(self, real: Tensor, fake: Tensor, critics_turn: bool, domain: str = "") -> tuple[Tensor, Tensor]:
        """What the critic is shown of both batches; differentiable. `domain` is one of the game's, where it has several."""
        return real, fake

    def critic_term(self, critic: Critic, real: Tensor, fake: Tensor) -> Tensor | None:
        """An extra term in the critic's objective."""

    def generator_term(self, critic: Critic, real: Tensor, fake: Tensor) -> Tensor | None:
        """An extra term in the generator's objective."""

    def after_critic_step(self, game: Game) -> None:
        """After each critic update."""

    def after_generator_step(self, game: Game) -> None:
        """After each generator update."""


class Late(nn.Module):
    """A module with buffers whose shape is known only at the first batch; a checkpoint brings its own."""

    def late_buffers(self, *names: str) -> None:
        self._late = names
        for name in names:
            self.register_buffer(name, None)

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args: object) -> None:
        for name in self._late:
            if (saved := state_dict.get(prefix + name)) is not None:
                self.register_buffer(name, torch.empty_like(saved, device=self._device()))
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _device(self) -> torch.device | None:
        return next((t.device for t in [*self.parameters(), *self.buffers()]), None)


def coupling(critic: nn.Module, within_groups: bool = True) -> list[str]:
    """Names of the layers through which one sample's score depends on the others in its batch.

    Without `within_groups`, less those that say of themselves that they reach no further than a small group of samples.
    """
    return [
        name or type(module).__name__
        for name, module in critic.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
        or (getattr(module, "couples_samples", False) and (within_groups or not getattr(module, "within_groups", False)))
    ]
