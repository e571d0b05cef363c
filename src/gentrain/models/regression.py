"""A translation network trained on a content loss alone, without a critic.

SRResNet (Ledig et al., 2017), and the U-Net that pix2pix is compared with (Isola et al., 2017).
Where a source has several possible images, the answer lies between them: it is their mean with L2,
and their median with L1, which is sharp only where there is no choice.
"""

from __future__ import annotations

from torch import Tensor

from gentrain.models.base import Batch, SingleObjectiveModel, Translates, eval_mode
from gentrain.models.content_loss import Content
from gentrain.models.objective import Objective
from gentrain.networks import base


class Regression(SingleObjectiveModel, Translates):
    """Minimise content(G(x), y) over pairs of a source x and its target y.

    A batch is (targets, sources). There is no noise.

    Args:
        network: G, from sources to images.
        content: a loss of `content_loss`.
    """

    translates = paired = True

    def __init__(self, network: base.Translator, content: Content) -> None:
        super().__init__()
        self.network, self.content = network, content

    def objective(self, batch: Batch) -> Objective:
        return Objective({"content": self.content(self.network(batch[1]), batch[0])})

    def sample(self, batch: Batch, noise: Tensor | None = None) -> Tensor:
        with eval_mode(self):
            return self.network(batch[1])

    def translate(self, x: Tensor, domains: Tensor | None = None) -> Tensor:
        return self.sample((x, x))
