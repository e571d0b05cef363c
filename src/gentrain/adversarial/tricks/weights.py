"""Tricks that act on weights: averages and penalties."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from gentrain.adversarial.regularizer import CriticFunction, RegularizedModel, Regularizer
from gentrain.config.types import Positive, Share
from gentrain.layers.equalized import weight_scales


class HistoricalAveraging(Regularizer):
    """weight * || theta - (1/t) sum of theta_i ||^2 in both objectives.

    Salimans et al., "Improved techniques for training GANs", 2016. theta_i are the weights after
    the player's i-th update. The gradient goes through theta alone. The mean is in the checkpoint.
    With an equalised learning rate theta are the scaled weights.

    Args:
        weight: weight of the term.
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
        scales = weight_scales(model.critic) | weight_scales(model.generator)
        self.squared_scales = {
            player: [scales.get(id(p), 1.0) ** 2 for p in params]
            for player, params in self.weights.items()
        }
        for player, params in self.weights.items():
            self.register_buffer(f"{player}_steps", torch.zeros((), dtype=torch.int64))
            for i, p in enumerate(params):
                self.register_buffer(f"{player}_{i}", p.detach().clone())

    def means(self, player: str) -> list[Tensor]:
        """The mean of each of a player's weights."""
        return [self.get_buffer(f"{player}_{i}") for i in range(len(self.weights[player]))]

    def distance(self, player: str) -> Tensor:
        """The term of a player."""
        each = zip(
            self.squared_scales[player], self.weights[player], self.means(player), strict=True
        )
        terms = [scale * (p - mean).square().sum() for scale, p, mean in each]
        return self.weight * torch.stack(terms).sum()

    @torch.no_grad()
    def update_means(self, player: str) -> None:
        """Take a player's new weights into its means."""
        steps = self.get_buffer(f"{player}_steps").add_(1)
        for mean, p in zip(self.means(player), self.weights[player], strict=True):
            mean.lerp_(p, (1 / steps).to(mean.dtype))

    def critic_term(self, critic: CriticFunction, real: Tensor, fake: Tensor) -> Tensor:
        return self.distance("critic")

    def generator_term(self, critic: CriticFunction, real: Tensor, fake: Tensor) -> Tensor:
        return self.distance("generator")

    def after_critic_step(self, model: RegularizedModel) -> None:
        self.update_means("critic")

    def after_generator_step(self, model: RegularizedModel) -> None:
        self.update_means("generator")


class Orthogonal(Regularizer):
    """weight * sum over W of || W W^T * (1 - I) ||_F^2 in the generator's objective.

    Brock, Donahue & Simonyan, "Large scale GAN training for high fidelity natural image synthesis"
    (BigGAN), 2019. It keeps the rows of a weight, its filters as vectors, orthogonal, and leaves
    their lengths free. W are all weights of two dimensions or more except embeddings. Under
    spectral norm they are the learned weights, before the division. With an equalised learning
    rate they are the scaled weights, which the network has.

    Args:
        weight: weight of the term.
    """

    # After spectral norm, which moves the learned weight to another parameter.
    order = Regularizer.WEIGHTS + 1
    of_weights = True

    def __init__(self, weight: Positive = 1e-4) -> None:
        super().__init__()
        self.weight = weight

    def attach(self, model: RegularizedModel) -> None:
        embeddings = {
            id(p)
            for module in model.generator.modules()
            if isinstance(module, nn.Embedding)
            for p in module.parameters()
        }
        parameters, scales = model.generator.parameters(), weight_scales(model.generator)
        self.weights = [
            (p, scales.get(id(p), 1.0))
            for p in parameters
            if p.ndim >= 2 and id(p) not in embeddings
        ]

    def generator_term(self, critic: CriticFunction, real: Tensor, fake: Tensor) -> Tensor:
        terms = [scale**4 * off_diagonal(w.flatten(1)) for w, scale in self.weights]
        return self.weight * torch.stack(terms).sum()


def off_diagonal(W: Tensor) -> Tensor:
    """|| W W^T * (1 - I) ||_F^2 of a matrix."""
    products = W @ W.T
    return (products - torch.diag_embed(products.diagonal())).square().sum()


class EMA(Regularizer):
    """Sample from averaged weights: mean <- decay * mean + (1 - decay) * theta.

    Karras et al., "Progressive growing of GANs", 2018. The average is the model's `ema_generator`.
    Buffers (running statistics of batch norm, the reference of virtual batch norm) are copied.

    Args:
        decay: decay of the mean, at each generator update.
        warm_up: let the decay grow as min(decay, (1 + t) / (10 + t)), so that the first weights do
            not stay in the mean of a short run.
    """

    order = Regularizer.WEIGHTS + 5

    @classmethod
    def slot(cls) -> str:
        return "averages of the generator"

    def __init__(self, decay: Share = 0.999, warm_up: bool = True) -> None:
        super().__init__()
        self.decay, self.warm_up, self.steps = decay, warm_up, 0

    def attach(self, model: RegularizedModel) -> None:
        model.ema_generator = copy.deepcopy(model.generator).requires_grad_(False)

    def on_train_start(self, model: RegularizedModel) -> None:
        model.ema_generator.load_state_dict(model.generator.state_dict())

    @torch.no_grad()
    def after_generator_step(self, model: RegularizedModel) -> None:
        mean, generator, decay = model.ema_generator, model.generator, self.decay
        if self.warm_up:
            decay = min(decay, (1 + self.steps) / (10 + self.steps))
        self.steps += 1
        torch._foreach_lerp_(list(mean.parameters()), list(generator.parameters()), 1 - decay)
        for copied, buffer in zip(mean.buffers(), generator.buffers(), strict=True):
            copied.copy_(buffer)

    def get_extra_state(self) -> int:
        return self.steps

    def set_extra_state(self, state: int) -> None:
        self.steps = state
