"""Any generator and any critic, given a label as well."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from gentrain.config.types import Count
from gentrain.networks import base


class LabelledGenerator(nn.Module):
    """G(z, y): the label's embedding joins the noise (Mirza & Osindero, 2014). `generator` makes a network for the longer vector."""

    def __init__(
        self,
        generator: Callable[..., base.Generator],
        classes: Count,
        latent: Count = 100,
        embedding: Count = 50,
    ) -> None:
        super().__init__()
        self.latent, self.classes = latent, classes
        self.generator = generator(latent=latent + embedding)
        self.embed = nn.Embedding(classes, embedding)

    def noise(self, n: int, device: torch.device | str) -> Tensor:
        return self.generator.noise(n, device)[:, : self.latent]

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        return self.generator(torch.cat([z, self.embed(y)], 1))


class ConcatCritic(nn.Module):
    """D(x, y): one more input channel per class, the label's full of ones (for points, one more coordinate)."""

    def __init__(
        self, critic: Callable[..., base.Critic], shape: list[int], classes: Count
    ) -> None:
        super().__init__()
        self.classes = classes
        self.critic = critic(shape=[shape[0] + classes, *shape[1:]])

    def features(self, x: Tensor, y: Tensor) -> Tensor:
        return self.critic.features(with_planes(x, y, self.classes))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.critic.score(self.features(x, y))


class ProjectionCritic(nn.Module):
    """D(x, y) = head(h) + <h, V y>, h = features(x) (Miyato & Koyama, 2018)."""

    def __init__(
        self, critic: Callable[..., base.Critic], shape: list[int], classes: Count
    ) -> None:
        super().__init__()
        self.critic = critic(shape=shape)
        self.embed = nn.Embedding(classes, self.critic.head.in_features)

    def features(self, x: Tensor, y: Tensor) -> Tensor:
        return self.critic.features(x)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        h = self.critic.features(x)
        return self.critic.score(h) + (h * self.embed(y)).sum(1)


class LabelledTranslator(nn.Module):
    """G(x, y): an image to the domain y (Choi et al., 2018), which joins it as one more channel a domain, as in `ConcatCritic`."""

    def __init__(
        self, translator: Callable[..., base.Translator], shape: list[int], classes: Count
    ) -> None:
        super().__init__()
        self.classes = classes
        self.translator = translator(shape=shape, source_shape=[shape[0] + classes, *shape[1:]])

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.translator(with_planes(x, y, self.classes))


def with_planes(x: Tensor, y: Tensor, classes: int) -> Tensor:
    """(B, C, ...), (B,) -> (B, C + classes, ...): the channel of the label is full of ones, the others' of zeros."""
    planes = nn.functional.one_hot(y, classes).to(x.dtype)
    return torch.cat(
        [x, planes.view(*planes.shape, *[1] * (x.ndim - 2)).expand(-1, -1, *x.shape[2:])], 1
    )
