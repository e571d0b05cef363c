"""Distributions p(v | parameters) of an image's values, which a decoder gives the parameters of.

Values are (B, *shape) and independent given their parameters (B, parameters, *shape).
Log-probabilities are summed over an image: (B,) nats.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gentrain.config.types import Positive
from gentrain.models.pixels import Binary, Levels, Pixels, real_values
from gentrain.streams import bernoulli, normal, uniform


class Likelihood(nn.Module, ABC):
    """A distribution of values, and the pixels that it is a distribution of."""

    parameters_per_value: ClassVar[int]

    @abstractmethod
    def pixels(self, shape: list[int]) -> Pixels:
        """What it is a distribution of, for images or points of a shape."""

    @abstractmethod
    def log_prob(self, v: Tensor, parameters: Tensor) -> Tensor:
        """(B,) nats of values (B, *shape)."""

    @abstractmethod
    def mean(self, parameters: Tensor) -> Tensor:
        """The mean values, (B, *shape)."""

    @abstractmethod
    def draw(self, parameters: Tensor) -> Tensor:
        """Random values, (B, *shape)."""


class Bernoulli(Likelihood):
    """Black and white pixels: log p(v) = v l - softplus(l) with a logit l.

    Args:
        threshold: see `Binary`.
    """

    parameters_per_value = 1

    def __init__(self, threshold: bool = False) -> None:
        super().__init__()
        self.threshold = threshold

    def pixels(self, shape: list[int]) -> Pixels:
        return Binary(self.threshold)

    def log_prob(self, v: Tensor, parameters: Tensor) -> Tensor:
        logits = parameters.squeeze(1)
        return (v * logits - F.softplus(logits)).flatten(1).sum(1)

    def mean(self, parameters: Tensor) -> Tensor:
        return torch.sigmoid(parameters.squeeze(1))

    def draw(self, parameters: Tensor) -> Tensor:
        return bernoulli(self.mean(parameters))


class Gaussian(Likelihood):
    """Real values, N(v; mean, sd^2), with one standard deviation for all of them.

    Images are dequantised; see `Dequantised`.

    Args:
        sd: the standard deviation, of pixels in [-1, 1]; its start where it is learned.
        learned: learn it.
    """

    parameters_per_value = 1

    def __init__(self, sd: Positive = 0.1, learned: bool = True) -> None:
        super().__init__()
        self.log_sd = nn.Parameter(torch.tensor(math.log(sd)), requires_grad=learned)

    def pixels(self, shape: list[int]) -> Pixels:
        return real_values(shape)

    def log_prob(self, v: Tensor, parameters: Tensor) -> Tensor:
        off = (v - parameters.squeeze(1)) * torch.exp(-self.log_sd)
        return (-0.5 * off.square() - self.log_sd - 0.5 * math.log(2 * math.pi)).flatten(1).sum(1)

    def mean(self, parameters: Tensor) -> Tensor:
        return parameters.squeeze(1)

    def draw(self, parameters: Tensor) -> Tensor:
        mean = self.mean(parameters)
        return mean + torch.exp(self.log_sd) * normal(mean)


class DiscretisedLogistic(Likelihood):
    """The 256 levels of 8-bit pixels (Kingma et al., 2016).

    Level k has the mass of a logistic distribution between k - 1/2 and k + 1/2, with levels scaled
    to [-1, 1]. The tails belong to 0 and 255. Parameters are the mean and the log-scale.
    """

    parameters_per_value = 2

    def pixels(self, shape: list[int]) -> Pixels:
        return Levels()

    def log_prob(self, v: Tensor, parameters: Tensor) -> Tensor:
        mean, log_scale = parameters[:, 0], parameters[:, 1].clamp(min=-7)
        off, half = v / 127.5 - 1 - mean, 1 / 255
        above, below = (off + half) * torch.exp(-log_scale), (off - half) * torch.exp(-log_scale)
        # With s the sigmoid, log(s(a) - s(b)) = log s(a) + log s(-b) + log(1 - exp(b - a)). This
        # keeps its digits far in the tails. b - a is written as -2 half / scale, which also holds
        # for a scale so large that a and b round to one number.
        inside = (
            F.logsigmoid(above)
            + F.logsigmoid(-below)
            + torch.log(-torch.expm1(-2 * half * torch.exp(-log_scale)))
        )
        not_lowest = torch.where(v > 254.5, F.logsigmoid(-below), inside)
        return torch.where(v < 0.5, F.logsigmoid(above), not_lowest).flatten(1).sum(1)

    def mean(self, parameters: Tensor) -> Tensor:
        return ((parameters[:, 0] + 1) * 127.5).clamp(0, 255)

    def draw(self, parameters: Tensor) -> Tensor:
        u = uniform(parameters[:, 0]).clamp(1e-6, 1 - 1e-6)
        drawn = parameters[:, 0] + torch.exp(parameters[:, 1].clamp(min=-7)) * torch.logit(u)
        return ((drawn + 1) * 127.5).round().clamp(0, 255)
