"""Context encoders (Pathak, Krähenbühl, Donahue, Darrell & Efros, "Feature learning by
inpainting", 2016).

A network sees an image with holes, and where they are. Known pixels stay exactly as they are; the
network fills in the others,

    x^ = m x + (1 - m) G(m x, m)

and minimises 0.999 E[w (G - x)^2] + 0.001 adversarial. The first is a mean over the pixels that
the network is asked for: those of the holes, with w = 1, and known ones, with w = `known_weight`.
The critic sees what the network makes of the pixels that it is asked for, as in the authors' code:
in x^ the edges of the holes would give a fake away. It does not see where the holes were.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gentrain.adversarial.criterion import AdversarialCriterion
from gentrain.config.types import Count, NonNegative, Positive
from gentrain.data.degrade import holed
from gentrain.errors import UserError
from gentrain.models.base import Batch, Completes
from gentrain.models.content_loss import Content
from gentrain.models.gan.pix2pix import Pix2Pix
from gentrain.networks.base import Backbone, Critic, Generator, Translator


class Inpainting(Pix2Pix, Completes):
    """Pix2pix whose sources are images with holes (data.degrade=mask, or mask_centre).

    The last channel of a source is the mask: 1 where a pixel is known, -1 where it is not.

    Args:
        known_weight: weight of known pixels in the content loss, where a pixel of a hole has 1.
            With 0, the paper's formula, the network is not asked for them. The authors' code has 1
            for random holes, 10 for the overlap of a hole in the centre.
        overlap: the network is asked for the known pixels that are at most so many pixels from a
            hole; null for all of them.
        The other arguments are those of `Pix2Pix`.
    """

    def __init__(
        self,
        generator: Backbone[Generator | Translator],
        critic: Backbone[Critic],
        criterion: AdversarialCriterion,
        *,
        content: Content,
        content_weight: NonNegative = 0.999,
        adversarial: Positive = 1e-3,
        critic_weight: Positive = 1.0,
        start: str | None = None,
        known_weight: NonNegative = 1.0,
        overlap: Count | None = None,
    ) -> None:
        super().__init__(
            generator,
            critic,
            criterion,
            content=content,
            content_weight=content_weight,
            adversarial=adversarial,
            critic_weight=critic_weight,
            start=start,
        )
        if overlap is not None and not known_weight:
            raise UserError(
                "an overlap of known pixels without weight has no effect (model.overlap, "
                "model.known_weight); write model.overlap=null"
            )
        self.known_weight, self.overlap = known_weight, overlap

    def translate(self, x: Tensor, domains: Tensor | None = None) -> Tensor:
        """Images with holes and their masks to whole images."""
        return self.sample((x[:, :-1], x))

    def sample(self, batch: Batch, noise: Tensor | None = None) -> Tensor:
        images, known = split_mask(batch)
        return torch.where(known, images, super().sample(batch, noise))

    def generate(self, generator: Any, batch: Batch, noise: Tensor | None = None) -> Tensor:
        """What the critic sees: the network's pixels where it is asked, else the known ones."""
        images, known = split_mask(batch)
        return torch.where(self.asked(~known), generator(batch[1]), images)

    def asked(self, holes: Tensor) -> Tensor:
        """The pixels that the network is asked for, bool (B, 1, H, W), given the holes."""
        if not self.known_weight:
            return holes
        if self.overlap is None:
            return torch.ones_like(holes)
        return F.max_pool2d(holes.float(), 2 * self.overlap + 1, 1, self.overlap) > 0

    def distance(self, fake: Tensor, batch: Batch) -> Tensor:
        """The mean over the pixels that are asked for: that over all, by their share."""
        target, holes = batch[0], ~split_mask(batch)[1]
        asked = self.asked(holes)
        found = self.content(torch.where(holes, fake, target), target)
        if self.known_weight:
            of_known = self.content(torch.where(asked & ~holes, fake, target), target)
            found = found + self.known_weight * of_known
        return found / asked.float().mean().clamp(min=1e-6)

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
