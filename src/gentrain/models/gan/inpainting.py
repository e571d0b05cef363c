"""Context encoders, feature learning by inpainting (Pathak, Krähenbühl, Donahue, Darrell & Efros, 2016).

A network sees an image with holes, and where they are. Known pixels stay as they are, exactly; the others are the network's,

    x^ = m x + (1 - m) G(m x, m)

and are learned by 0.999 || (1 - m) (x^ - x) ||^2 + 0.001 adversarial, the first a mean over the pixels of the holes. The critic is shown
completed images without being told where the holes were, as in the paper.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gentrain.data.degrade import holed
from gentrain.errors import UserError
from gentrain.models.gan.base import Batch
from gentrain.models.gan.pix2pix import Paired


class Inpainting(Paired):
    """Sources are images with holes and, as the last channel, what is known (1) and what is not (-1): data.degrade=mask, or mask_centre."""

    def translate(self, x: Tensor, domains: Tensor | None = None) -> Tensor:
        """Images with holes, and their masks, to whole images."""
        return self.sample((x[:, :-1], x))

    def generate(self, generator: Any, batch: Batch, noise: Tensor | None = None) -> Tensor:
        images, known = parts(batch)
        return torch.where(known, images, generator(batch[1]))

    def distance(self, made: Tensor, batch: Batch) -> Tensor:
        """Of what was made: the mean over all pixels, less the share of those that are known and so no error."""
        hidden = (batch[1][:, -1:] < 0).float().mean()
        return super().distance(made, batch) / hidden.clamp(min=1e-6)

    def complete(self, batch: Batch, known: Tensor, noise: Tensor | None = None) -> Tensor:
        """The batch's images with what is not known, a bool tensor that broadcasts to (B, 1, H, W), filled in."""
        known = known.to(batch[0].device).expand(len(batch[0]), 1, *batch[0].shape[2:])
        return self.sample((batch[0], holed(batch[0], known)))


def parts(batch: Batch) -> tuple[Tensor, Tensor]:
    """The known pixels (B, C, H, W) and where they are (B, 1, H, W)."""
    target, source = batch[:2]
    if source.shape[1] != target.shape[1] + 1:
        raise UserError(
            "these sources do not say where their holes are (data.degrade); write data.degrade=mask or mask_centre"
        )
    return source[:, :-1], source[:, -1:] > 0
