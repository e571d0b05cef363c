"""Colorization by a conditional game (Isola et al., 2017): the luma of an image in, red, green and blue out.

What is known stays, exactly: of what the network gives only the differences of colours count,

    x^ = G(y) + y - luma(G(y)),      so luma(x^) = y, as the weights of luma sum to 1,

which is to predict the two channels of chroma. An image that has found no colour yet is the grey one.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from gentrain.data.degrade import grey
from gentrain.errors import UserError
from gentrain.models.gan.base import Batch
from gentrain.models.gan.pix2pix import Paired


class Colorization(Paired):
    """Sources are the luma of the images: data.degrade=grayscale."""

    def translate(self, x: Tensor, domains: Tensor | None = None) -> Tensor:
        """Grey images to coloured ones."""
        return self.sample((x.expand(-1, 3, -1, -1), x))

    def generate(self, generator: Any, batch: Batch, noise: Tensor | None = None) -> Tensor:
        target, source = batch[:2]
        if source.shape[1] != 1 or target.shape[1] != 3:
            raise UserError(
                "colours are found for grey sources of coloured images (data.degrade); write data.degrade=grayscale"
            )
        made = generator(source)
        return made + source - grey(made)
