"""Wrappers that give a label to any generator, critic or translator."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from gentrain.config.types import Count
from gentrain.data.labels import LabelKind
from gentrain.errors import UserError
from gentrain.layers.lipschitz_bound import LipschitzBounded, WeightLimits, lipschitz_bound
from gentrain.networks.base import Backbone, divide_weights, with_options

Conditioning = Literal["concat", "projection"]


EMBEDDING = 50  # of a label beside the noise


def conditional_generator(
    backbone: Backbone[Any], classes: Count, embedding: Count | None
) -> nn.Module:
    """G(z, y): the backbone itself where it takes labels, else a `LabelledGenerator` of it.

    Args:
        backbone: a generator.
        classes: number of labels.
        embedding: length of a label's embedding beside the noise; None for 50.

    Raises:
        UserError: for the length of an embedding that the backbone does not have.
    """
    if not backbone.func.conditional:  # type: ignore[attr-defined]
        return LabelledGenerator(backbone, classes, embedding or EMBEDDING)
    if embedding is not None:
        raise UserError(
            "this network takes labels itself, and none is embedded beside the noise "
            "(model.embedding, network); write model.embedding=null"
        )
    return backbone(classes=classes)


def conditional_critic(
    backbone: Backbone[Any], classes: Count, conditioning: Conditioning
) -> nn.Module:
    """D(x, y): the backbone itself where it takes labels, else a wrapper of it.

    Raises:
        UserError: when the backbone cannot be conditioned in this way.
    """
    if backbone.func.conditional:  # type: ignore[attr-defined]
        if conditioning != "projection":
            raise UserError(
                "this network projects labels itself (model.conditioning, network); "
                "write model.conditioning=projection"
            )
        return backbone(classes=classes)
    if conditioning == "concat":
        return ConcatCritic(backbone, classes)
    if backbone.func.head_kind != "linear":  # type: ignore[attr-defined]
        raise UserError(
            "labels are projected on the features before a linear layer of one score, and this "
            "critic has none (model.conditioning, network); write model.conditioning=concat"
        )
    return ProjectionCritic(backbone, classes)


def unconditional_generator(backbone: Backbone[Any]) -> nn.Module:
    """G(z): the backbone itself, or a `SingleLabelGenerator` of one that takes labels."""
    kind: Any = backbone.func
    return SingleLabelGenerator(backbone) if kind.conditional else backbone()


def without_labels(backbone: Backbone[Any]) -> Backbone[Any]:
    """A critic's backbone that can be built without labels, for its layers before them."""
    kind: Any = backbone.func
    return with_options(backbone, classes=1) if kind.conditional else backbone


class SingleLabelGenerator(nn.Module):
    """G(z, 0): a generator of labels that always gets the same one.

    Lucic, Tschannen, Ritter, Zhai, Bachem & Gelly, "High-fidelity image generation with fewer
    labels", 2019 (their baseline "single label").

    Args:
        backbone: a generator that takes labels.
    """

    def __init__(self, backbone: Backbone[Any]) -> None:
        super().__init__()
        self.generator = backbone(classes=1)
        self.latent, self.prior = self.generator.latent, self.generator.prior

    def backbones(self) -> list[nn.Module]:
        """The networks with a body."""
        return self.generator.backbones()

    def noise(self, n: int, device: torch.device | str) -> Tensor:
        """Draw (n, latent) from the prior."""
        return self.generator.noise(n, device)

    def nearest_noise(self, z: Tensor) -> Tensor:
        """The noise nearest to z (B, latent) that the prior can draw."""
        return self.generator.nearest_noise(z)

    def init_from_images(self, x: Tensor) -> None:
        """Data-dependent initialisation by a first batch of real images (B, *shape)."""
        self.generator.init_from_images(x)

    def forward(self, z: Tensor) -> Tensor:
        """(B, latent) -> (B, *shape)."""
        return self.generator(z, torch.zeros_like(z[:, 0], dtype=torch.int64))


class JoinedGenerator(nn.Module):
    """A generator whose noise something else joins.

    Args:
        backbone: a generator. It is built for the longer vector, latent + joined.
        joined: the length of what joins.
    """

    def __init__(self, backbone: Backbone[Any], joined: Count) -> None:
        super().__init__()
        self.latent = backbone.keywords["latent"]
        self.generator = with_options(backbone, latent=self.latent + joined)()
        self.prior = self.generator.prior

    def backbones(self) -> list[nn.Module]:
        """The networks with a body."""
        return self.generator.backbones()

    def noise(self, n: int, device: torch.device | str) -> Tensor:
        """Draw (n, latent) from the prior."""
        return self.generator.noise(n, device)[:, : self.latent]

    def nearest_noise(self, z: Tensor) -> Tensor:
        """The noise nearest to z (B, latent) that the prior can draw."""
        return self.generator.nearest_noise(z)


class LabelledGenerator(JoinedGenerator):
    """G(z, y): the label's embedding joins the noise (Mirza & Osindero, 2014).

    Args:
        backbone: a generator.
        classes: number of labels.
        embedding: length of a label's embedding.
    """

    def __init__(self, backbone: Backbone[Any], classes: Count, embedding: Count) -> None:
        super().__init__(backbone, embedding)
        self.classes = classes
        self.embed = nn.Embedding(classes, embedding)

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        """(B, latent), (B,) -> (B, *shape)."""
        return self.generator(torch.cat([z, self.embed(y)], 1))


class ConcatCritic(nn.Module, LipschitzBounded):
    """D(x, y): one more input channel for each class; the label's is full of ones.

    For points each class is one more coordinate.

    Args:
        backbone: a critic. It is built for the larger shape.
        classes: number of labels.
    """

    def __init__(self, backbone: Backbone[Any], classes: Count) -> None:
        super().__init__()
        shape = backbone.keywords["shape"]
        self.classes = classes
        self.critic = with_options(backbone, shape=[shape[0] + classes, *shape[1:]])()

    def backbones(self) -> list[nn.Module]:
        """The networks with a body."""
        return self.critic.backbones()

    def features(self, x: Tensor, y: Tensor) -> Tensor:
        """(B, *shape), (B,) -> (B, F)."""
        return self.critic.features(append_planes(x, y, self.classes))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """(B, *shape), (B,) -> scores (B,)."""
        return self.critic(append_planes(x, y, self.classes))

    def lipschitz_bound(self, limits: WeightLimits) -> float:
        return lipschitz_bound(self.critic, limits)


class ProjectionCritic(nn.Module, LipschitzBounded):
    """D(x, y) = head(h) + <h, V y>, h = features(x) (Miyato & Koyama, 2018).

    V starts with Glorot's uniform weights, as in the authors' code, divided by the number of pixels
    that each of the features is the sum of.

    Args:
        backbone: a critic.
        classes: number of labels.
    """

    def __init__(self, backbone: Backbone[Any], classes: Count) -> None:
        super().__init__()
        self.critic = backbone()
        self.embed = nn.Embedding(classes, self.critic.head.in_features)
        nn.init.xavier_uniform_(self.embed.weight)
        divide_weights(self.embed, self.critic.summed)

    def backbones(self) -> list[nn.Module]:
        """The networks with a body."""
        return self.critic.backbones()

    def features(self, x: Tensor, y: Tensor) -> Tensor:
        """(B, *shape), (B,) -> (B, F)."""
        return self.critic.features(x)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """(B, *shape), (B,) -> scores (B,)."""
        h = self.critic.features(x)
        return self.critic.score(h) + (h * self.embed(y)).sum(1)

    def lipschitz_bound(self, limits: WeightLimits) -> float:
        embedding = limits.matrix(1, self.embed.embedding_dim)
        head = lipschitz_bound(self.critic.head, limits) + embedding
        return lipschitz_bound(self.critic.body, limits) * head


class LabelledTranslator(nn.Module):
    """G(x, y): an image to the domain y (Choi et al., 2018).

    The domain joins the image as one more channel for each domain, as in `ConcatCritic`, or for
    each attribute.

    Args:
        backbone: a translator. It is built for the larger source.
        classes: number of domains, or of attributes.
        label_kind: what y says.
    """

    prior: str | None = None

    def __init__(self, backbone: Backbone[Any], classes: Count, label_kind: LabelKind) -> None:
        super().__init__()
        shape = backbone.keywords["shape"]
        self.classes, self.label_kind = classes, label_kind
        self.translator = with_options(backbone, source_shape=[shape[0] + classes, *shape[1:]])()

    def backbones(self) -> list[nn.Module]:
        """The networks with a body."""
        return self.translator.backbones()

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """(B, *shape), labels -> (B, *shape)."""
        return self.translator(append_vectors(x, self.label_kind.vectors(y, self.classes)))


def append_planes(x: Tensor, y: Tensor, classes: int) -> Tensor:
    """Append a channel for each class; the label's is full of ones, the others of zeros.

    Args:
        x: (B, C, ...).
        y: (B,) labels.
        classes: K.

    Returns:
        (B, C + K, ...).
    """
    return append_vectors(x, nn.functional.one_hot(y, classes))


def append_vectors(x: Tensor, vectors: Tensor) -> Tensor:
    """Append a channel for each value of a vector, full of that value.

    Args:
        x: (B, C, ...).
        vectors: (B, K).

    Returns:
        (B, C + K, ...).
    """
    planes = vectors.to(x.dtype)
    planes = planes.view(*planes.shape, *[1] * (x.ndim - 2)).expand(-1, -1, *x.shape[2:])
    return torch.cat([x, planes], 1)
