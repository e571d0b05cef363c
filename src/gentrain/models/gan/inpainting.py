"""Context encoders (Pathak, Krähenbühl, Donahue, Darrell & Efros, "Feature learning by
inpainting", 2016).

A network sees an image with holes, and where they are. Known pixels stay exactly as they are; the
network fills in the others,

    x^ = m x + (1 - m) G(m x, m)

and minimises 0.999 || (1 - m) (x^ - x) ||^2 + 0.001 adversarial. The first is a mean over the
pixels of the holes. The critic sees completed images and not where the holes were, as in the
paper.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gentrain.data.degrade import holed
from gentrain.errors import UserError
from gentrain.models.base import Batch, Completes
from gentrain.models.gan.pix2pix import Pix2Pix


class Inpainting(Pix2Pix, Completes):
    """Pix2pix whose sources are images with holes (data.degrade=mask, or mask_centre).

    The last channel of a source is the mask: 1 where a pixel is known, -1 where it is not.
    """

    def translate(self, x: Tensor, domains: Tensor | None = None) -> Tensor:
        """Images with holes and their masks to whole images."""
        return self.sample((x[:, :-1], x))

    def generate(self, generator: Any, batch: Batch, noise: Tensor | None = None) -> Tensor:
        images, known = split_mask(batch)
        return torch.where(known, images, generator(batch[1]))

    def distance(self, fake: Tensor, batch: Batch) -> Tensor:
        """The mean over the pixels of the holes: the mean over all, by the share of the holes."""
        hidden = (batch[1][:, -1:] < 0).float().mean()
        return super().distance(fake, batch) / hidden.clamp(min=1e-6)

    def complete(self, batch: Batch, known: Tensor, noise: Tensor | None = None) -> Tensor:
        known = known.to(batch[0].device).expand(len(batch[0]), 1, *batch[0].shape[2:])
        return self.sample((batch[0], holed(batch[0], known)))


def split_mask(batch: Batch) -> tuple[Tensor, Tensor]:
    """The known pixels (B, C, H, W), and where they are, bool (B, 1, H, W).

    Raises:
        UserError: when the sources have no mask.
    """
    target, source = batch[:2]
    if source.shape[1] != target.shape[1] + 1:
        raise UserError(
            "these sources do not say where their holes are (data.degrade); "
            "write data.degrade=mask or mask_centre"
        )
    return source[:, :-1], source[:, -1:] > 0
