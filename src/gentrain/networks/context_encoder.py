"""The encoder-decoder of context encoders, through one vector.

Pathak, Krähenbühl, Donahue, Darrell & Efros, "Context encoders: feature learning by inpainting",
2016, as in the authors' code. At 64 pixels

    down  C64-C128-C256-C512, then a 4x4 convolution to the bottleneck    4x4, stride 2
    up    a 4x4 map of 512 channels, C256-C128-C64, and tanh after the last layer

Ck is convolution, norm and (leaky) ReLU; the first layer has no norm. At 128 pixels one more layer
of 64 channels comes first and last. The authors keep the biases of convolutions at zero.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from gentrain.config.types import Count
from gentrain.errors import UserError
from gentrain.layers.normalization import Norm, norm1d, norm2d
from gentrain.networks import base
from gentrain.networks.dcgan import halvings

WIDENING = 4  # stages, the inner ones, whose channels double


class Translator(base.Translator):
    """(B, *source_shape) -> (B, *shape), of one size of images.

    Args:
        shape: (C, H, W) of a target.
        source_shape: (C', H, W) of a source.
        width: channels of the first layer.
        bottleneck: length of the vector in the middle.
        norm: after every layer but the first and the last.

    Raises:
        UserError: when source and target differ in size, or are no squares of 2^k * (4 to 7).
    """

    fixed_size = True

    def __init__(
        self,
        shape: list[int],
        source_shape: list[int] | None,
        width: Count = 64,
        bottleneck: Count = 4000,
        norm: Norm = "batch",
    ) -> None:
        source_shape = base.require_source_shape(source_shape)
        if source_shape[1:] != list(shape[1:]):
            raise UserError(
                f"sources of {source_shape[1:]} and images of {list(shape[1:])} differ in size "
                "(network, data), and a context encoder keeps it; choose network=srresnet"
            )
        smallest, stages = halvings(shape)
        channels = [width * 2 ** max(0, i - max(0, stages - WIDENING)) for i in range(stages)]
        encoder = self.encoder(source_shape[0], channels, norm)
        middle = [
            nn.Conv2d(channels[-1], bottleneck, smallest, bias=False),
            nn.Flatten(),
            norm1d(norm, bottleneck),
            nn.LeakyReLU(0.2),
            nn.Unflatten(1, (bottleneck, 1, 1)),
        ]
        decoder = self.decoder(shape[0], channels[::-1], norm, bottleneck, smallest)
        super().__init__(base.gaussian_init(nn.Sequential(*encoder, *middle, *decoder)))
        self.needs_two = norm == "batch"

    @staticmethod
    def encoder(inputs: int, channels: list[int], norm: Norm) -> list[nn.Module]:
        """Halvings, down to the smallest map."""
        layers = [nn.Conv2d(inputs, channels[0], 4, 2, 1, bias=False), nn.LeakyReLU(0.2)]
        for before, after in pairwise(channels):
            down = nn.Conv2d(before, after, 4, 2, 1, bias=False)
            layers += [down, norm2d(norm, after), nn.LeakyReLU(0.2)]
        return layers

    @staticmethod
    def decoder(
        outputs: int, channels: list[int], norm: Norm, bottleneck: int, sides: tuple[int, int]
    ) -> list[nn.Module]:
        """The smallest map from the vector, and doublings."""
        first = nn.ConvTranspose2d(bottleneck, channels[0], sides, bias=False)
        layers = [first, norm2d(norm, channels[0]), nn.ReLU()]
        for before, after in pairwise(channels):
            up = nn.ConvTranspose2d(before, after, 4, 2, 1, bias=False)
            layers += [up, norm2d(norm, after), nn.ReLU()]
        return [*layers, nn.ConvTranspose2d(channels[-1], outputs, 4, 2, 1, bias=False), nn.Tanh()]

    def forward(self, source: Tensor) -> Tensor:
        """(B, *source_shape) -> (B, *shape)."""
        if self.training and self.needs_two and len(source) < 2:
            raise UserError(
                "batch norm of a bottleneck needs two images (data.batch_size); "
                "give 2 or more, or write model.generator.norm=layer"
            )
        return self.body(source)
