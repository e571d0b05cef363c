"""The base class of models of log p(x): VAEs, normalising flows and autoregressive models."""

from __future__ import annotations

from torch import Tensor

from gentrain.data.base import Data
from gentrain.models.base import Batch, HasLikelihood, SingleObjectiveModel
from gentrain.models.pixels import Pixels


class DensityModel(SingleObjectiveModel, HasLikelihood):
    """A model of log p(x) of images, or of a lower bound of it.

    A `labelled` one models log p(x | y). Losses are in nats, summed over the pixels of an image and
    averaged over the batch. Likelihoods include the Jacobian of `pixels`.

    Args:
        pixels: what is modelled of an image (black and white, 256 levels, or real numbers), and so
            the unit of the nats.
    """

    def __init__(self, pixels: Pixels) -> None:
        super().__init__()
        self.pixels = pixels

    @property
    def prior(self) -> str | None:
        """The distribution of the noise that a sample is a function of."""
        return "normal"

    def check_data(self, data: Data) -> None:
        self.pixels.check_data(data)

    def labels(self, batch: Batch) -> Tensor | None:
        """The labels (B,) of a batch; None for a model that does not see them."""
        return batch[1] if self.labelled else None
