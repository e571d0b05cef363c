"""BigGAN (Brock, Donahue & Simonyan, 2019): the residual SAGAN made large, each of whose blocks sees a part of the noise."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from gentrain.config.types import Count, Whole
from gentrain.errors import UserError
from gentrain.layers.normalization import Norm
from gentrain.networks import base, resnet
from gentrain.networks.conditional_resnet import Stack
from gentrain.networks.dcgan import halvings


class Generator(base.Generator):
    """G(z, y): (B, latent), (B,) -> (B, *shape), tanh, for 28, 32, 64 and 128 px.

    z is cut into one chunk for the first layer and one for each block. Block l's conditional batch norm gets (z_l, e(y)), e an embedding
    that all blocks share; its gains and shifts are linear in them. `attention` is the side of the map that attends to itself.
    Weights are orthogonal at the start.
    """

    conditional = True

    def __init__(
        self,
        shape: list[int],
        classes: Count,
        latent: Count = 120,
        embedding: Count = 128,
        width: Count = 64,
        attention: Whole = 64,
        prior: base.Prior = "normal",
    ) -> None:
        chunks = 1 + halvings(shape)[1]
        if latent % chunks:
            raise UserError(
                f"noise of {latent} numbers cannot be cut into {chunks} equal chunks, one for the first layer and one a block "
                f"(model.generator.latent); choose a multiple of {chunks}"
            )
        condition = latent // chunks + embedding
        super().__init__(
            Stack(shape, latent // chunks, width, partial(linear, condition), attention),
            latent,
            prior,
        )
        self.chunks = chunks
        self.embed = nn.Embedding(classes, embedding)
        orthogonal_init(self)

    def forward(self, z: Tensor, y: Tensor) -> Tensor:  # type: ignore[override]
        first, *rest = z.chunk(self.chunks, 1)
        e = self.embed(y)
        return self.body(first, [torch.cat([chunk, e], 1) for chunk in rest])


class Critic(resnet.Critic):
    """D(x, y): a residual critic that projects labels (see `ProjectionCritic`).

    Its weights are orthogonal at the start.

    Args:
        shape, width, norm, attention: as of `resnet.Critic`.
        classes: number of labels.
    """

    conditional = True

    def __init__(
        self,
        shape: list[int],
        classes: Count,
        width: Count = 64,
        norm: Norm = "none",
        attention: Whole = 0,
    ) -> None:
        super().__init__(shape, width, norm, attention)
        self.embed = nn.Embedding(classes, self.size)
        orthogonal_init(self)

    def features(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return self.body(x)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:  # type: ignore[override]
        h = self.body(x)
        return self.score(h) + (h * self.embed(y)).sum(1)


def linear(inputs: int, channels: int) -> nn.Module:
    return nn.Linear(inputs, channels, bias=False)


def orthogonal_init(network: nn.Module) -> None:
    """Weights with orthonormal rows or columns (Saxe et al., 2014), embeddings too; biases 0."""
    for module in network.modules():
        match module:
            case nn.Conv2d() | nn.Linear():
                nn.init.orthogonal_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            case nn.Embedding():
                nn.init.orthogonal_(module.weight)
