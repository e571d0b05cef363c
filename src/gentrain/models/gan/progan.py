"""Progressive growing of GANs (Karras, Aila, Laine & Lehtinen, 2018): both players begin at 4 x 4 pixels and grow, layer by layer.

A level is a resolution: 7, 14, 28 px for images of 28 px, 4, 8, 16, 32 for 32, and so on. Levels fade in: with alpha rising from 0 to 1
    G(z) = (1 - alpha) up(rgb_old(h)) + alpha rgb_new(block(h)),   D mirrors it,   and real images lose their detail in the same way.
The generator always gives images of the full size, by nearest up-sampling, and the critic takes any larger image by averaging: data,
scores and samples know nothing of levels. What a critic is trained on, though, is of the level's own size (`Growth.view`), so that a
gradient penalty is about the pixels that there are.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from gentrain.adversarial.losses import AdversarialLoss
from gentrain.adversarial.regularizer import Regularizer
from gentrain.config.types import Count
from gentrain.errors import UserError
from gentrain.layers.activation import LeakyReLU
from gentrain.layers.equalized import equalized
from gentrain.layers.minibatch import MinibatchStddev
from gentrain.layers.normalization import PixelNorm
from gentrain.models.gan.base import AdversarialModel, Batch
from gentrain.models.gan.gan import GAN
from gentrain.models.objective import Objective
from gentrain.networks import base
from gentrain.networks.dcgan import halvings


class Growing(nn.Module):
    """A network with levels, grown to `level`, of which the last has faded in by `alpha`. Full-grown unless told otherwise."""

    alpha: Tensor

    def __init__(self, shape: list[int]) -> None:
        super().__init__()
        smallest, doublings = halvings(shape)
        self.sides = [smallest * 2**i for i in range(doublings + 1)]
        self.level = doublings
        self.register_buffer("alpha", torch.ones(()))

    def grow(self, level: int, alpha: float) -> None:
        self.level = level
        self.alpha.fill_(alpha)

    @property
    def side(self) -> int:
        return self.sides[self.level]

    def blend(self, old: Tensor, new: Tensor) -> Tensor:
        return torch.lerp(old, new, self.alpha.to(new.dtype))

    def get_extra_state(self) -> int:
        return self.level

    def set_extra_state(self, state: int) -> None:
        self.level = state


class Generator(base.Generator):
    """(B, latent) -> (B, *shape), without a tanh. `width` is the channels up to 32 px; they halve with every doubling above."""

    def __init__(
        self,
        shape: list[int],
        latent: Count = 512,
        width: Count = 512,
        prior: base.Prior = "normal",
    ) -> None:
        super().__init__(Up(shape, latent, width), latent, prior)


class Critic(base.Critic):
    """(B, *shape), or any smaller level of it, -> score. The last block sees the standard deviation in groups of `group` samples."""

    def __init__(self, shape: list[int], width: Count = 512, group: Count = 4) -> None:
        super().__init__(Down(shape, width, group), width)
        self.head = equalized(self.head, gain=1.0)

    def widen(self, m: int) -> None:
        layer: Any
        for layer in self.body.from_image:  # type: ignore[union-attr]
            layer[0] = equalized(nn.Conv2d(m * layer[0].in_channels, layer[0].out_channels, 1))


class Up(Growing):
    """The generator's body: normalised noise -> the smallest map -> blocks of (up, 3x3, 3x3), each 3x3 with LeakyReLU and pixel norm."""

    def __init__(self, shape: list[int], latent: int, width: int) -> None:
        super().__init__(shape)
        channels, side = widths(self.sides, width), self.sides[0]
        self.full = shape[1]
        self.first = nn.Sequential(
            PixelNorm(), equalized(nn.Linear(latent, channels[0] * side * side)), nn.Unflatten(1, (channels[0], side, side)),
            LeakyReLU(0.2), PixelNorm(), *conv(channels[0], channels[0]), PixelNorm(),
        )  # fmt: skip
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Upsample(scale_factor=2), *conv(c, d), PixelNorm(), *conv(d, d), PixelNorm()
            )
            for c, d in pairwise(channels)
        )
        self.to_image = nn.ModuleList(
            equalized(nn.Conv2d(c, shape[0], 1), gain=1.0) for c in channels
        )

    def forward(self, z: Tensor) -> Tensor:
        h, level = self.first(z), self.level
        for block in self.blocks[: max(level - 1, 0)]:
            h = block(h)
        if level:
            old = doubled(self.to_image[level - 1](h))
            image = self.blend(old, self.to_image[level](self.blocks[level - 1](h)))
        else:
            image = self.to_image[0](h)
        return F.interpolate(image, size=self.full)


class Down(Growing):
    """The critic's body, the generator's mirror: 1x1 from the image, blocks of (3x3, 3x3, mean of 2 x 2), and one that ends in features."""

    def __init__(self, shape: list[int], width: int, group: int) -> None:
        super().__init__(shape)
        channels, side = widths(self.sides, width), self.sides[0]
        self.from_image = nn.ModuleList(
            nn.Sequential(equalized(nn.Conv2d(shape[0], c, 1)), LeakyReLU(0.2)) for c in channels
        )
        self.blocks = nn.ModuleList(
            nn.Sequential(*conv(d, d), *conv(d, c), nn.AvgPool2d(2)) for c, d in pairwise(channels)
        )
        self.last = nn.Sequential(
            MinibatchStddev(group), *conv(channels[0] + 1, channels[0]), nn.Flatten(),
            equalized(nn.Linear(channels[0] * side * side, width)), LeakyReLU(0.2),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        x, level = averaged(x, self.side), self.level
        h = self.from_image[level](x)
        if level:
            h = self.blend(self.from_image[level - 1](halved(x)), self.blocks[level - 1](h))
        for i in reversed(range(level - 1)):
            h = self.blocks[i](h)
        return self.last(h)


def widths(sides: list[int], width: int) -> list[int]:
    """512 up to 32 px, then 256, 128 ... in the paper."""
    return [max(1, min(width, width * 32 // side)) for side in sides]


def conv(inputs: int, outputs: int) -> tuple[nn.Module, nn.Module]:
    return equalized(nn.Conv2d(inputs, outputs, 3, padding=1)), LeakyReLU(0.2)


def doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2)


def halved(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 2)


def averaged(x: Tensor, side: int) -> Tensor:
    """To a smaller side, by means of squares; the inverse of nearest up-sampling."""
    return F.avg_pool2d(x, x.shape[-1] // side) if x.shape[-1] != side else x


class Growth(Regularizer):
    """When the players grow: a level trains alone for `stable` images, the next fades in over `fade` images, and so on to the last.

    Images are the real ones that the critic has seen, in all processes; the count is a buffer, and so in the checkpoint. At a new level
    both optimizers forget their moments.
    """

    order = Regularizer.IMAGES + 3  # after what works on images of the full size
    images: Tensor

    def __init__(self, fade: Count = 800_000, stable: Count = 800_000) -> None:
        super().__init__()
        self.fade, self.stable = fade, stable
        self.register_buffer("images", torch.zeros((), dtype=torch.int64))
        self.optimizers: list[Optimizer] = []

    def attach(self, game: AdversarialModel) -> None:
        for player in (game.generator, game.critic):
            if not grown(player):
                raise UserError(
                    f"{type(player).__module__}.{type(player).__name__} does not grow (model=progan); use network=progan"
                )
        self.critic = grown(game.critic)[:]  # in a list: the game's module, not one of mine
        self.settle(game, 0, 1.0)

    def check_optimizer(self, player: str, optimizer: Optimizer) -> None:
        self.optimizers.append(optimizer)

    def begin(self, game: AdversarialModel) -> None:
        self.images.zero_()

    def phase(self, images: int) -> tuple[int, float]:
        """(level, alpha) after so many images."""
        if images < self.stable:
            return 0, 1.0
        levels, within = divmod(images - self.stable, self.fade + self.stable)
        last = len(self.critic[0].sides) - 1
        return (1 + levels, min(1.0, within / self.fade)) if levels < last else (last, 1.0)

    def transform_batch(
        self, real: Tensor, fake: Tensor, critics_turn: bool, domain: str = ""
    ) -> tuple[Tensor, Tensor]:
        """Both at the level's size; of real images as much of the new detail as the players have faded in."""
        if critics_turn:
            self.images += len(real)
        (critic,) = self.critic
        real, fake = averaged(real, critic.side), averaged(fake, critic.side)
        return (critic.blend(doubled(halved(real)), real) if critic.level else real), fake

    def after_generator_step(self, game: AdversarialModel) -> None:
        level, alpha = self.phase(int(self.images) * processes())
        if level != self.critic[0].level:
            for optimizer in self.optimizers:
                optimizer.state.clear()
        self.settle(game, level, alpha)

    def settle(self, game: AdversarialModel, level: int, alpha: float) -> None:
        for network in (game.generator, game.critic, game.ema_generator):
            for growing in grown(network):
                growing.grow(level, alpha)


def grown(network: nn.Module | None) -> list[Growing]:
    return (
        [module for module in network.modules() if isinstance(module, Growing)]
        if network is not None
        else []
    )


def processes() -> int:
    return torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1


class Progressive(GAN):
    """Noise in, images out, of players that grow. The curve `levels_grown` is the level: 1.3 is the third, faded in by 0.3."""

    def __init__(
        self,
        generator: nn.Module,
        critic: nn.Module,
        loss: AdversarialLoss,
        lipschitz: Regularizer,
        growth: Growth,
        tricks: dict[str, Regularizer] | None = None,
    ) -> None:
        super().__init__(generator, critic, loss, lipschitz, {**(tricks or {}), "growth": growth})

    def critic_loss(self, batch: Batch) -> Objective:
        objective = super().critic_loss(batch)
        (critic,) = grown(self.critic)
        objective.metrics["levels_grown"] = max(critic.level - 1, 0) + critic.alpha * bool(
            critic.level
        )
        return objective
