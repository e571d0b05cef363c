"""A network: pictures as functions of a place.

A compositional pattern-producing network (Stanley, "Compositional pattern producing networks: a
novel abstraction of development", 2007) gives the colour at a place (x, y):

    colour(x, y) = f(x, y, r, z),    r = sqrt(x^2 + y^2)

The noise z says which picture it is. All places share the weights of f, so the picture is smooth,
and nothing in f knows how many pixels there are.

    gentrain model=gan network=coordinates plugins=coordinates --config-dir conf
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gentrain.config.types import Count, Positive
from gentrain.networks import base


class Places(nn.Module):
    """f at every pixel: (B, latent) -> (B, C, H, W) in [-1, 1]."""

    places: Tensor

    def __init__(self, shape: list[int], latent: int, width: int, scale: float) -> None:
        super().__init__()
        colours, height, columns = shape
        y, x = torch.meshgrid(
            torch.linspace(-scale, scale, height),
            torch.linspace(-scale, scale, columns),
            indexing="ij",
        )
        r = (x.square() + y.square()).sqrt()
        # a buffer: it moves to the GPU with the network, and is no weight
        self.register_buffer("places", torch.stack([x, y, r], 2).view(-1, 3))
        self.of_place, self.of_noise = nn.Linear(3, width), nn.Linear(latent, width)
        self.f = nn.Sequential(
            nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, colours), nn.Tanh()
        )
        self.picture = nn.Unflatten(2, (height, columns))

    def forward(self, z: Tensor) -> Tensor:
        # (B, 1, width) + (H * W, width): each picture has its own noise, each pixel its own place
        h = self.of_noise(z)[:, None] + self.of_place(self.places)
        return self.picture(self.f(h).transpose(1, 2))


class Generator(base.Generator):
    """A picture as a function of a place.

    Args:
        shape: (C, H, W) of an image.
        latent: length of the noise.
        width: units of each layer.
        scale: the picture is the square [-scale, scale]^2. More gives finer patterns at the start.
    """

    def __init__(
        self, shape: list[int], latent: Count = 32, width: Count = 64, scale: Positive = 4.0
    ) -> None:
        base.require_image(shape)  # refuses points in the plane, in one line
        super().__init__(Places(shape, latent, width, scale), latent)


class Critic(base.Critic):
    """Three convolutions of stride 2, then the mean over places; the linear head is the base's.

    Args:
        shape: (C, H, W) of an image.
        width: channels of the first layer.
    """

    def __init__(self, shape: list[int], width: Count = 16) -> None:
        base.require_image(shape)
        body = nn.Sequential(
            nn.Conv2d(shape[0], width, 4, 2, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 4, 2, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 4 * width, 4, 2, 1),
            nn.LeakyReLU(0.2),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        super().__init__(body, 4 * width)
