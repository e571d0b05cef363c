"""Models of log p(x): named loss terms in nats an image, log-likelihoods with their protocol, samples."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

from torch import Tensor

from gentrain.errors import UserError
from gentrain.models.base import Batch, HasLikelihood, SingleObjectiveModel
from gentrain.models.objective import Objective
from gentrain.models.pixels import Pixels


class Density(SingleObjectiveModel, HasLikelihood):
    """log p(x) of images, or a lower bound of it.

    With `labelled`, of log p(x | y). `pixels` says what of an image is modelled (black or white, 256 levels, real numbers), so in which
    unit a number of nats is.
    """

    prior: ClassVar[str] = "normal"  # of the noise that samples are a function of
    sequential: bool = (
        False  # a sample is no single pass: its values are made in their order, or searched for
    )

    def __init__(self, pixels: Pixels) -> None:
        super().__init__()
        self.pixels = pixels

    @abstractmethod
    def objective(self, batch: Batch) -> Objective:
        """Terms in nats, summed over an image's pixels and averaged over the batch."""

    @abstractmethod
    def log_likelihood(self, batch: Batch, samples: int) -> Tensor:
        """(B,) nats of each image, with the Jacobian of `pixels`; of a bound, the one with `samples` importance samples."""

    @abstractmethod
    def protocol(self, samples: int) -> dict[str, Any]:
        """What a number of nats means: exact or a bound, binarisation or dequantisation."""

    def complete(self, batch: Batch, known: Tensor, noise: Tensor | None = None) -> Tensor:
        """The batch's images in [-1, 1] with what is not known drawn anew. `known` is a bool tensor that broadcasts to (B, 1, H, W); known
        pixels are kept exactly. `noise` as `sample` has it. A capability: raises UserError where a model has it not.
        """
        raise UserError(
            f"{type(self).__name__} does not complete images (mode); choose a run of model=gated_pixelcnn or vae_inpainting"
        )
