"""BigGAN: a wide residual network with self-attention, each of whose blocks sees part of the noise.

Brock, Donahue & Simonyan, "Large scale GAN training for high fidelity natural image synthesis",
2019.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from gentrain.config.types import Count, Whole
from gentrain.errors import UserError
from gentrain.layers.lipschitz_bound import WeightLimits, lipschitz_bound
from gentrain.layers.normalization import Norm
from gentrain.networks import base, resnet
from gentrain.networks.conditional_resnet import ConditionalBody
from gentrain.networks.dcgan import halvings


class Generator(base.Generator):
    """G(z, y), for images of 28, 32, 64 and 128 px.

    z is cut into equal chunks, one for the first layer and one for each block. The conditional
    batch norms of block l get (z_l, e(y)), where e is an embedding that all blocks share; their
    gains and shifts are linear in it. Weights are orthogonal at the start.

    Args:
        shape: (C, H, W) of an image.
        classes: number of labels.
        latent: length of the noise, a multiple of the number of chunks.
        embedding: length of e(y).
        width: channels of the last block; see `resnet.generator_channels`.
        attention: longer side of the map that attends to itself; the nearest that the network has
            is taken, and 0 means no attention.
        prior: distribution of the noise.

    Raises:
        UserError: when the noise cannot be cut into equal chunks.
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
                f"noise of {latent} numbers cannot be cut into {chunks} equal chunks, one for the "
                "first layer and one for each block (model.generator.latent); "
                f"choose a multiple of {chunks}"
            )
        chunk = latent // chunks
        condition_map = partial(linear_map, chunk + embedding)
        body = ConditionalBody(shape, chunk, width, condition_map, attention)
        super().__init__(body, latent, prior)
        self.chunks = chunks
        self.embed = nn.Embedding(classes, embedding)
        orthogonal_init(self)

    def forward(self, z: Tensor, y: Tensor) -> Tensor:  # type: ignore[override]
        """(B, latent), (B,) -> (B, *shape)."""
        first, *rest = z.chunk(self.chunks, 1)
        e = self.embed(y)
        return self.body(first, [torch.cat([chunk, e], 1) for chunk in rest])


class Critic(resnet.Critic):
    """D(x, y): a residual critic that projects labels (see `conditional.ProjectionCritic`).

    Its weights are orthogonal at the start, those after the sum over pixels divided by its length.

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
        for layer in (self.head, self.embed):
            base.divide_weights(layer, self.summed)

    def features(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """(B, *shape), labels that it does not use -> (B, F)."""
        return self.body(x)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:  # type: ignore[override]
        """(B, *shape), (B,) -> scores (B,)."""
        h = self.body(x)
        return self.score(h) + (h * self.embed(y)).sum(1)

    def lipschitz_bound(self, limits: WeightLimits) -> float:
        head = lipschitz_bound(self.head, limits) + limits.matrix(1, self.size)
        return lipschitz_bound(self.body, limits) * head


def linear_map(inputs: int, channels: int) -> nn.Module:
    """From a condition (B, inputs) to gains or shifts (B, channels)."""
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
