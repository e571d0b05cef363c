"""Tricks that change a loss, or add a term to it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from gentrain.adversarial.regularizer import CriticFunction, RegularizedModel, Regularizer
from gentrain.config.types import Positive, Share
from gentrain.errors import UserError


class FeatureMatching(Regularizer):
    """weight * || mean f(x) - mean f(G(z)) ||^2, of features f before the critic's last layer.

    Salimans et al., "Improved techniques for training GANs", 2016. The means are over a batch. As
    in the paper, the term replaces the generator's adversarial loss: the model's attribute
    `generator_is_adversarial` becomes False.

    Args:
        weight: weight of the term.
        adversarial: keep the adversarial loss beside the term.

    Raises:
        UserError: for an option of the generator's adversarial loss that is replaced.
    """

    order = Regularizer.TERMS

    @classmethod
    def slot(cls) -> str:
        return "feature matching"

    def __init__(self, weight: Positive = 1.0, adversarial: bool = False) -> None:
        super().__init__()
        self.weight, self.adversarial = weight, adversarial

    def attach(self, model: RegularizedModel) -> None:
        if self.adversarial:
            return
        if model.loss.of_generator:
            raise UserError(
                f"{model.loss.of_generator} is of the generator's adversarial loss, which feature "
                "matching replaces (loss, tricks=[feature_matching]); leave it out, or choose "
                "feature_matching_added"
            )
        model.generator_is_adversarial = False

    def generator_term(self, critic: CriticFunction, real: Tensor, fake: Tensor) -> Tensor:
        with torch.no_grad():
            target = critic.features(real).mean(0)
        return self.weight * (target - critic.features(fake).mean(0)).square().sum()


class LabelSmoothing(Regularizer):
    """One-sided label smoothing: the critic's target for real images is 0.9 instead of 1.

    Salimans et al., "Improved techniques for training GANs", 2016. The target for fakes stays. The
    generator's loss does not change, and stays adversarial.

    Args:
        target: for real images.

    Raises:
        UserError: for a loss without targets, or with another target for real images.
    """

    order = Regularizer.TERMS + 1

    def __init__(self, target: Share = 0.9) -> None:
        super().__init__()
        self.target = target

    def attach(self, model: RegularizedModel) -> None:
        if model.loss.smoothed is None:
            raise UserError(
                "label smoothing needs a loss with targets (tricks=[label_smoothing]); "
                "use loss=js or loss=ls, or leave the trick out"
            )
        if model.loss.real_target:
            raise UserError(
                f"{model.loss.real_target} is a target for real images already, which label "
                "smoothing would replace (loss, tricks=[label_smoothing]); leave one of them out"
            )
        model.loss = model.loss.smoothed(self.target)


class PullingAway(Regularizer):
    """weight * 1/(B (B - 1)) sum over i and j != i of cos(S_i, S_j)^2, S the features of fakes.

    Zhao, Mathieu & LeCun, "Energy-based generative adversarial networks", 2017. It makes the
    features of B fakes as orthogonal as possible. In EBGAN they are the autoencoder's codes.

    Args:
        weight: weight of the term.
    """

    order = Regularizer.TERMS + 2

    def __init__(self, weight: Positive = 0.1) -> None:
        super().__init__()
        self.weight = weight

    def generator_term(self, critic: CriticFunction, real: Tensor, fake: Tensor) -> Tensor:
        B = len(fake)
        if B < 2:
            raise UserError(
                "the angle between fakes needs two of them "
                "(tricks=[pulling_away], data.batch_size); give 2 or more"
            )
        S = F.normalize(critic.features(fake), dim=1)
        squares = (S @ S.T).square()
        return self.weight * (squares.sum() - squares.diagonal().sum()) / (B * (B - 1))
