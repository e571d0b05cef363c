"""A Lipschitz method: weights that are nearly orthogonal.

Cisse, Bojanowski, Grave, Dauphin & Usunier, "Parseval networks: improving robustness to
adversarial examples", 2017. A matrix with orthonormal rows has the spectral norm 1. After each
step of the critic its weights W take one step towards W W^T = I:

    W <- (1 + rate) W - rate W W^T W

Singular values near 1 are drawn to 1. Those above sqrt(1 + 2 / rate) would grow, so W is scaled to
a norm of at most 1 before the first step.

    gentrain model=gan network=mlp lipschitz=parseval plugins=parseval --config-dir conf
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gentrain.adversarial.lipschitz import Lipschitz
from gentrain.adversarial.regularizer import RegularizedModel
from gentrain.config.types import Share


class Parseval(Lipschitz):
    """W <- (1 + rate) W - rate W W^T W after each step, for every layer of the critic.

    Args:
        rate: of the step.
    """

    def __init__(self, rate: Share = 0.01) -> None:
        super().__init__()
        self.rate = rate

    @torch.no_grad()
    def on_train_start(self, model: RegularizedModel) -> None:
        for weight in matrices(model.critic):
            weight.div_(torch.linalg.matrix_norm(weight.flatten(1), 2).clamp(min=1))

    @torch.no_grad()
    def after_critic_step(self, model: RegularizedModel) -> None:
        for weight in matrices(model.critic):
            w = weight.flatten(1)
            # the smaller of W W^T W and W (W^T W), which are equal
            cubed = w @ w.T @ w if len(w) <= w.shape[1] else w @ (w.T @ w)
            weight.add_(self.rate * (w - cubed).view_as(weight))


def matrices(network: nn.Module) -> list[Tensor]:
    """The weights of linear layers and convolutions; flat, a row is one output."""
    layers = [m for m in network.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    return [layer.weight for layer in layers]
