"""Colorization by a conditional GAN (Isola et al., 2017): the luma of an image in, colours out.

What is known stays exactly. Of the network's image only the differences of colours count,

    x^ = G(y) + y - luma(G(y)),      so luma(x^) = y, as the weights of luma sum to 1,

which is to predict the two channels of chroma. An image without any colour yet is the grey one.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from gentrain.data.degrade import grey
from gentrain.errors import UserError
from gentrain.models.base import Batch
from gentrain.models.gan.pix2pix import Pix2Pix


class Colorization(Pix2Pix):
    """Pix2pix whose sources are the luma of the images (data.degrade=grayscale)."""

    def translate(self, x: Tensor, domains: Tensor | None = None) -> Tensor:
        """Grey images (B, 1, H, W) to coloured ones (B, 3, H, W)."""
        return self.sample((x.expand(-1, 3, -1, -1), x))

    def generate(self, generator: Any, batch: Batch, noise: Tensor | None = None) -> Tensor:
        target, source = batch[:2]
        if source.shape[1] != 1 or target.shape[1] != 3:
            raise UserError(
                "colorization needs grey sources of coloured images (data.degrade); "
                "write data.degrade=grayscale"
            )
        fake = generator(source)
        return fake + source - grey(fake)
