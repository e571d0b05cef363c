"""The base class of models of log p(x): VAEs, normalising flows and autoregressive models."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, ClassVar

from torch import Tensor

from gentrain.models.base import (
    Batch,
    HasLikelihood,
    HasTemperature,
    SingleObjectiveModel,
    eval_mode,
)
from gentrain.models.pixels import Pixels, Values, check_values


class DensityModel(SingleObjectiveModel, HasLikelihood):
    """A model of log p(x) of images, or of a lower bound of it.

    A `labelled` one models log p(x | y). Losses are in nats, summed over the pixels of an image and
    averaged over the batch. Likelihoods include the Jacobian of `pixels`.

    Args:
        pixels: what is modelled of an image (black and white, 256 levels, or real numbers), and so
            the unit of the nats.
        shape: (C, H, W) of images, or (D,) of points.
        remedy: what to choose where `pixels` do not fit, if they are no choice of their own.

    Raises:
        UserError: where `pixels` are not defined for the data, or not `taken` by the model.
    """

    takes: ClassVar[Collection[Values]]  # what may be modelled; see `Pixels.gives`

    def __init__(self, pixels: Pixels, shape: Collection[int], remedy: str | None = None) -> None:
        super().__init__()
        check_values(pixels, shape, self.takes, remedy)
        self.pixels, self.shape = pixels, list(shape)

    @property
    def prior(self) -> str | None:
        """The distribution of the noise that a sample is a function of."""
        return "normal"

    def labels(self, batch: Batch) -> Tensor | None:
        """The labels (B,) of a batch; None for a model that does not see them."""
        return batch[1] if self.labelled else None

    @property
    def given_labels(self) -> bool:
        return self.labelled

    def log_likelihood(self, batch: Batch, samples: int) -> Tensor:
        with eval_mode(self):
            v, log_det = self.pixels(batch[0])
            y = batch[1] if self.given_labels else None
            return self.log_likelihood_of_values(v, y, samples) + log_det


def temperature_protocol(model: HasTemperature) -> dict[str, Any]:
    """What a protocol says of a temperature; nothing of 1, the model's own distribution."""
    return {} if model.temperature == 1 else {"temperature": model.temperature}
