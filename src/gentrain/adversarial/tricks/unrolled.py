"""Unrolled GANs (Metz, Poole, Pfau & Sohl-Dickstein, "Unrolled generative adversarial networks",
2017): the generator looks at the critic that K more updates would make of today's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.instancenorm import _InstanceNorm

from gentrain.adversarial.regularizer import CriticFunction, RegularizedModel, Regularizer
from gentrain.config.types import Count, Positive
from gentrain.errors import UserError

CriticLoss = Callable[[CriticFunction, Tensor, Tensor], Tensor]  # of real and fake images


class Unrolled(Regularizer):
    """The generator's loss of the critic after K imagined updates, through which it learns, too.

        w_{k+1} = w_k - rate dL_D(w_k) / dw,    the term is L_G(w_K),

    from the critic's weights w_0 on. The gradient of w_K is that of all K steps: the generator
    foresees how the critic will answer it. The term replaces the adversarial loss, which is that of
    K = 0. All steps see the batches of the generator's update. L_D is the adversarial loss with the
    penalty of the Lipschitz method; other terms of a model's critic are left out. The steps are
    plain descent, without clipping. The critic's weights, norms' statistics and spectral norms stay
    as they are.

    Args:
        inner_steps: K; the paper has 5 and 10. Each takes a few times as long as a critic update.
        rate: of the imagined updates.

    Raises:
        UserError: where another term replaces the adversarial loss already, and for a gradient
            penalty of a critic with instance norm.
    """

    order = Regularizer.TERMS + 4
    compiles = False  # a gradient inside of the objective
    is_adversarial = True

    def __init__(self, inner_steps: Count = 5, rate: Positive = 1e-2) -> None:
        super().__init__()
        self.inner_steps, self.rate = inner_steps, rate

    def attach(self, model: RegularizedModel) -> None:
        if not model.generator_is_adversarial:
            raise UserError(
                "feature matching and unrolled both replace the generator's adversarial loss "
                "(tricks=[unrolled]); leave one of them out, or choose feature_matching_added"
            )
        penalised = any(regularizer.of_gradients for regularizer in model.each_regularizer())
        if penalised and any(isinstance(m, _InstanceNorm) for m in model.critic.modules()):
            raise UserError(
                "the slope of a penalty of slopes after an imagined update is a third derivative, "
                "which torch's instance norm lacks (tricks=[unrolled], lipschitz, "
                "model.critic.norm); write lipschitz=spectral_norm, or leave the trick out"
            )
        model.generator_is_adversarial = False
        self.model = (model,)  # in a tuple, since it is no part of the trick

    def generator_term(self, critic: CriticFunction, real: Tensor, fake: Tensor) -> Tensor:
        (model,) = self.model
        later = unrolled(
            model.critic, critic, model.critic_objective, real, fake, self.inner_steps, self.rate
        )
        return model.generator_objective(later, real, fake)


class OtherWeights:
    """A critic as a function of images, with other weights than its own.

    Args:
        network: has the weights.
        critic: calls the network.
        weights: of the network, by name.
        buffers: of the network, by name; they may be changed.
    """

    def __init__(
        self,
        network: nn.Module,
        critic: CriticFunction,
        weights: dict[str, Tensor],
        buffers: dict[str, Tensor],
    ) -> None:
        self.network, self.critic = network, critic
        self.weights, self.buffers = weights, buffers

    def __call__(self, x: Tensor) -> Tensor:
        return self.called(self.critic, x)

    def features(self, x: Tensor) -> Tensor:
        """The input of the critic's last layer, (B, F)."""
        return self.called(self.critic.features, x)

    def called(self, function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """A function that calls the network, while it has the other weights."""
        given = {f"network.{name}": t for name, t in (self.weights | self.buffers).items()}
        return torch.func.functional_call(Holder(self.network, function), given, (x,))


class Holder(nn.Module):
    """A function of a network, as a module."""

    def __init__(self, network: nn.Module, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.network, self.functions = network, (function,)  # the network counts once

    def forward(self, x: Tensor) -> Tensor:
        return self.functions[0](x)


def unrolled(
    network: nn.Module,
    critic: CriticFunction,
    loss: CriticLoss,
    real: Tensor,
    fake: Tensor,
    steps: int,
    rate: float,
) -> CriticFunction:
    """The critic after some steps of descent on its loss, as a function of the fakes, too.

    Args:
        network: whose weights are stepped.
        critic: calls it.
        loss: what is descended.
        real, fake: (B, ...) what the critic sees.
        steps: K.
        rate: of each step.
    """
    buffers = {name: b.detach().clone() for name, b in network.named_buffers()}
    weights: dict[str, Any] = {
        name: p.detach().requires_grad_() for name, p in network.named_parameters()
    }
    with torch.enable_grad():
        for _ in range(steps):
            value = loss(OtherWeights(network, critic, weights, buffers), real, fake)
            grads = torch.autograd.grad(
                value, list(weights.values()), create_graph=True, allow_unused=True
            )
            weights = {
                name: w if grad is None else w - rate * grad
                for (name, w), grad in zip(weights.items(), grads, strict=True)
            }
    return OtherWeights(network, critic, weights, buffers)
