"""Generative adversarial networks (Goodfellow et al., 2014): noise in, images out.

The same class with another loss, Lipschitz method and network is LSGAN, WGAN, WGAN-GP, SN-GAN,
DCGAN, EBGAN or R3GAN: see the presets in `conf/model`.
"""

from __future__ import annotations

from gentrain.adversarial.criterion import AdversarialCriterion
from gentrain.models.gan.base import SingleCriticModel
from gentrain.networks.base import Backbone, Critic, Generator, Translator


class GAN(SingleCriticModel):
    """G(z) against D(x), without labels.

    Args:
        generator: a backbone from noise to images.
        critic: a backbone from images to scores.
        criterion: loss, Lipschitz method and tricks.
    """

    def __init__(
        self,
        generator: Backbone[Generator | Translator],
        critic: Backbone[Critic],
        criterion: AdversarialCriterion,
    ) -> None:
        self.check_backbones(generator, critic, criterion)
        super().__init__(generator(), critic(), criterion)
