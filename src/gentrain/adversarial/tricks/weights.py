"""Tricks that act on weights: averages and penalties."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from gentrain.adversarial.regularizer import CriticFunction, RegularizedModel, Regularizer
from gentrain.config.types import Positive, Share


class HistoricalAveraging(Regularizer):
    """weight * || theta - (1/t) sum of theta_i ||^2 in both players' objectives; the gradient goes through theta only.

    The running average is of the weights after each of the player's updates; it is a buffer and lives in the checkpoint.
    """

    order = Regularizer.WEIGHTS
    of_weights = True

    def __init__(self, weight: Positive = 1e-3) -> None:
        super().__init__()
        self.weight = weight

    def attach(self, model: RegularizedModel) -> None:
        self.weights = {
            "critic": list(model.critic.parameters()),
            "generator": list(model.generator.parameters()),
        }
        for player, params in self.weights.items():
            self.register_buffer(f"{player}_steps", torch.zeros(()))
            for i, p in enumerate(params):
                self.register_buffer(f"{player}_{i}", p.detach().clone())

    def mean(self, player: str) -> list[Tensor]:
        return [self.get_buffer(f"{player}_{i}") for i in range(len(self.weights[player]))]

    def distance(self, player: str) -> Tensor:
        pairs = zip(self.weights[player], self.mean(player), strict=True)
        return self.weight * torch.stack([(p - mean).square().sum() for p, mean in pairs]).sum()

    @torch.no_grad()
    def follow(self, player: str) -> None:
        steps = self.get_buffer(f"{player}_steps").add_(1)
        for mean, p in zip(self.mean(player), self.weights[player], strict=True):
            mean.lerp_(p, (1 / steps).to(p.dtype))

    def critic_term(self, critic: CriticFunction, real: Tensor, fake: Tensor) -> Tensor:
        return self.distance("critic")

    def generator_term(self, critic: CriticFunction, real: Tensor, fake: Tensor) -> Tensor:
        return self.distance("generator")

    def after_critic_step(self, model: RegularizedModel) -> None:
        self.follow("critic")

    def after_generator_step(self, model: RegularizedModel) -> None:
        self.follow("generator")


class Orthogonal(Regularizer):
    """weight * sum over W of || W W^T * (1 - I) ||_F^2 in the generator's objective (Brock et al., 2019): rows of a weight, its filters
    as vectors, are kept at right angles and their lengths left free.

    Of every weight with two dimensions or more but embeddings; under spectral norm of what is learned, not of what it is divided to.
    """

    order = (
        Regularizer.WEIGHTS
    )  # after spectral norm, which hands the weight to be learned on under another name
    of_weights = True

    def __init__(self, weight: Positive = 1e-4) -> None:
        super().__init__()
        self.weight = weight

    def attach(self, model: RegularizedModel) -> None:
        embeddings = {
            id(p)
            for m in model.generator.modules()
            if isinstance(m, nn.Embedding)
            for p in m.parameters()
        }
        self.weights = [
            p for p in model.generator.parameters() if p.ndim >= 2 and id(p) not in embeddings
        ]

    def generator_term(self, critic: CriticFunction, real: Tensor, fake: Tensor) -> Tensor:
        return self.weight * torch.stack([off_diagonal(w.flatten(1)) for w in self.weights]).sum()


def off_diagonal(W: Tensor) -> Tensor:
    """|| W W^T * (1 - I) ||_F^2"""
    products = W @ W.T
    return (products - torch.diag_embed(products.diagonal())).square().sum()


class EMA(Regularizer):
    """The generator that samples is the running mean of the one that learns: mean <- decay * mean + (1 - decay) * theta.

    Buffers (running statistics of batch norm, the reference of virtual batch norm) are copied. With `warm_up` the decay grows as
    min(decay, (1 + t) / (10 + t)), so that a short run is not an average with its own beginning.
    """

    order = Regularizer.WEIGHTS + 5

    def __init__(self, decay: Share = 0.999, warm_up: bool = True) -> None:
        super().__init__()
        self.decay, self.warm_up, self.steps = decay, warm_up, 0

    def attach(self, model: RegularizedModel) -> None:
        model.ema_generator = copy.deepcopy(model.generator).requires_grad_(False)

    def on_train_start(self, model: RegularizedModel) -> None:
        assert model.ema_generator is not None
        model.ema_generator.load_state_dict(model.generator.state_dict())

    @torch.no_grad()
    def after_generator_step(self, model: RegularizedModel) -> None:
        assert model.ema_generator is not None
        decay = (
            min(self.decay, (1 + self.steps) / (10 + self.steps)) if self.warm_up else self.decay
        )
        self.steps += 1
        torch._foreach_lerp_(
            list(model.ema_generator.parameters()), list(model.generator.parameters()), 1 - decay
        )
        for mine, theirs in zip(
            model.ema_generator.buffers(), model.generator.buffers(), strict=True
        ):
            mine.copy_(theirs)

    def get_extra_state(self) -> int:
        return self.steps

    def set_extra_state(self, state: int) -> None:
        self.steps = state
