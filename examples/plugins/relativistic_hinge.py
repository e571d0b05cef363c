"""An adversarial loss: the relativistic average hinge loss.

Jolicoeur-Martineau, "The relativistic discriminator: a key element missing from standard GAN",
2019. A score counts by how far it is above the mean score of the other batch:

    a = D(x) - mean D(G),    b = D(G) - mean D(x)
    critic       mean max(0, m - a) + mean max(0, m + b)
    generator    mean max(0, m + a) + mean max(0, m - b)

    gentrain model=dcgan loss=relativistic_hinge plugins=relativistic_hinge --config-dir conf
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from gentrain.adversarial.losses import AdversarialLoss
from gentrain.config.types import Positive


class RelativisticHinge(AdversarialLoss):
    """The hinge loss of scores relative to the mean of the other batch.

    Args:
        margin: m, beyond which a score is far enough.
    """

    def __init__(self, margin: Positive = 1.0) -> None:
        # relative: the generator's loss needs the scores of real images, too
        super().__init__(self.of_critic, self.of_generator, relative=True)
        self.margin = margin

    def of_critic(self, real: Tensor, fake: Tensor) -> Tensor:
        return self.apart(real, fake)

    def of_generator(self, real: Tensor, fake: Tensor) -> Tensor:
        return self.apart(fake, real)

    def apart(self, higher: Tensor, lower: Tensor) -> Tensor:
        """How much is missing until `higher` lies above `lower`, by scores (B,)."""
        above, below = higher - lower.mean(), lower - higher.mean()
        return F.relu(self.margin - above).mean() + F.relu(self.margin + below).mean()
