"""The extension point of an adversarial model: the hooks of a Lipschitz method or a trick."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Literal, Protocol

from torch import Tensor, nn
from torch.optim import Optimizer

from gentrain.adversarial.losses import AdversarialLoss

Player = Literal["generator", "critic"]


class CriticFunction(Protocol):
    """A critic as a function of images alone.

    A conditional critic becomes one when its labels are fixed.
    """

    def __call__(self, x: Tensor) -> Tensor:
        """(B, ...) -> scores (B,)."""

    def features(self, x: Tensor) -> Tensor:
        """(B, ...) -> (B, F), the input of the critic's last layer."""


class RegularizedModel(Protocol):
    """What a regularizer may read and change of an adversarial model."""

    generator: Any
    critic: Any
    ema_generator: Any
    loss: AdversarialLoss
    generator_is_adversarial: bool  # False: another term replaces the generator's adversarial loss
    domains: ClassVar[tuple[str, ...]]  # kinds of images with a critic each; ("",) for one kind
    critic_is_conditional: bool  # images belong to labels, sources or codes that the critic uses

    def critics(self) -> list[Any]:
        """Every critic network."""

    def generators(self) -> list[Any]:
        """Every network with a body that makes images."""

    def player(self, name: Player) -> nn.Module:
        """The generator or the critic."""

    def each_regularizer(self) -> Iterable[Regularizer]:
        """The Lipschitz method and the tricks, in the order in which they act."""

    def critic_objective(self, critic: CriticFunction, real: Tensor, fake: Tensor) -> Tensor:
        """What a critic minimises: its adversarial loss and the terms of the regularizers."""

    def generator_objective(self, critic: CriticFunction, real: Tensor, fake: Tensor) -> Tensor:
        """The generator's adversarial loss."""

    @property
    def critic_classifies(self) -> bool:
        """Whether the critic names the class of single images as well."""


class Regularizer(nn.Module):
    """A Lipschitz method or a trick: a small change to adversarial training.

    Override the hooks that you need. Keep state in buffers, so that it is in the checkpoint.

    `order` sorts the regularizers of a model, whatever the order in which they were typed. What
    changes images comes first, then what changes networks, then the Lipschitz method (so that it
    sees every layer), then what changes scores or adds a term, and last what needs the finished
    weights. No two of the tricks here share an order; equal orders act by name.
    """

    IMAGES, NETWORKS, LIPSCHITZ, TERMS, WEIGHTS = 10, 20, 30, 40, 50
    order: ClassVar[int] = TERMS + 5
    of_weights: ClassVar[bool] = False  # its losses depend on weights alone, not on a domain
    compiles: ClassVar[bool] = True  # its hooks inside an objective can be compiled
    of_gradients: ClassVar[bool] = False  # its terms are of gradients of the critic
    is_adversarial: ClassVar[bool] = False  # its generator term is an adversarial loss, in place of
    # the model's, and has the weight of that

    @classmethod
    def slot(cls) -> str:
        """The place that it fills: a model has one regularizer in each. By default a class has its
        own; classes that would undo each other share one.
        """
        return cls.__name__

    def attach(self, model: RegularizedModel) -> None:
        """Called once when the model is built: change networks or the loss, or refuse them.

        Raises:
            UserError: when the model does not fit, with the reason and a remedy.
        """

    def check_optimizer(self, player: str, optimizer: Optimizer) -> None:
        """Called once for each player: warn of an optimizer that does not fit, or refuse it."""

    def check_length(self, images: int) -> None:
        """Called once before training: warn of a run that is too short, or refuse it.

        Args:
            images: real images that the critic will see in the rest of the run, in all processes.
        """

    def on_train_start(self, model: RegularizedModel) -> None:
        """Called once, after every network has seen a first batch."""

    def transform_batch(
        self, real: Tensor, fake: Tensor, critics_turn: bool, domain: str = ""
    ) -> tuple[Tensor, Tensor]:
        """Change what the critic sees of both batches. Must be differentiable.

        Args:
            real: (B, ...) real images.
            fake: (B, ...) generated images.
            critics_turn: True in the critic's update, False in the generator's.
            domain: one of the model's domains.
        """
        return real, fake

    def transform_scores(
        self, real: Tensor, fake: Tensor, critics_turn: bool
    ) -> tuple[Tensor, Tensor]:
        """Change or select the scores (B,) that the adversarial loss sees."""
        return real, fake

    def critic_term(self, critic: CriticFunction, real: Tensor, fake: Tensor) -> Tensor | None:
        """An extra loss of the critic, or None."""

    def generator_term(self, critic: CriticFunction, real: Tensor, fake: Tensor) -> Tensor | None:
        """An extra loss of the generator, or None."""

    def after_critic_step(self, model: RegularizedModel) -> None:
        """Called after each critic update."""

    def after_generator_step(self, model: RegularizedModel) -> None:
        """Called after each generator update."""


def snake(name: str) -> str:
    """Turn a class name into a key.

    >>> snake("GradientPenalty")
    'gradient_penalty'
    """
    return "".join("_" + c.lower() if c.isupper() else c for c in name).lstrip("_")
