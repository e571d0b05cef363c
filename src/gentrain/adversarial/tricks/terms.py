"""Tricks of the trade, most of them from "Improved Techniques for Training GANs" (Salimans et al., 2016)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from gentrain.adversarial.regularizer import CriticFunction, RegularizedModel, Regularizer
from gentrain.config.types import Positive, Share
from gentrain.errors import UserError


class LabelSmoothing(Regularizer):
    """One-sided: the critic's target for real images is 0.9 instead of 1; the target for fakes stays."""

    def __init__(self, target: Share = 0.9) -> None:
        super().__init__()
        self.target = target

    def attach(self, model: RegularizedModel) -> None:
        if model.loss.smoothed is None:
            raise UserError(
                "label smoothing needs a loss with targets (tricks=[label_smoothing]); use loss=js or loss=ls, or leave the trick out"
            )
        model.loss = model.loss.smoothed(self.target)


class FeatureMatching(Regularizer):
    """weight * || mean f(x) - mean f(G(z)) ||^2, the batch means of the features before the critic's last layer.

    It takes the place of the generator's adversarial term, as in the paper; `adversarial` keeps that beside it.
    """

    def __init__(self, weight: Positive = 1.0, adversarial: bool = False) -> None:
        super().__init__()
        self.weight, self.adversarial = weight, adversarial

    def attach(self, model: RegularizedModel) -> None:
        if not self.adversarial:
            model.generator_is_adversarial = False

    def generator_term(self, critic: CriticFunction, real: Tensor, fake: Tensor) -> Tensor:
        with torch.no_grad():
            wanted = critic.features(real).mean(0)
        return self.weight * (wanted - critic.features(fake).mean(0)).square().sum()


class PullingAway(Regularizer):
    """weight * 1/(B (B - 1)) sum over i and j != i of cos(S_i, S_j)^2, S the features of B fakes (EBGAN: Zhao, Mathieu & LeCun, 2017).

    In the generator's objective: fakes are to be as orthogonal as they can. In EBGAN the features are the autoencoder's codes.
    """

    def __init__(self, weight: Positive = 0.1) -> None:
        super().__init__()
        self.weight = weight

    def generator_term(self, critic: CriticFunction, real: Tensor, fake: Tensor) -> Tensor:
        B = len(fake)
        if B < 2:
            raise UserError(
                "one fake has no other to be pulled away from (tricks=[pulling_away], data.batch_size); give 2 or more"
            )
        S = F.normalize(critic.features(fake), dim=1)
        squares = (S @ S.T).square()
        return self.weight * (squares.sum() - squares.diagonal().sum()) / (B * (B - 1))
