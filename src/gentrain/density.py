"""Models of log p(x): named loss terms in nats an image, log-likelihoods with their protocol, samples."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from .errors import UserError
from .objective import Objective
from .pixels import Pixels

Batch = tuple[Tensor, ...]


class Density(nn.Module, ABC):
    """log p(x) of images, or a lower bound of it.

    `pixels` says what of an image is modelled (black or white, 256 levels, real numbers), so in which unit a number of nats is.
    """

    labelled: ClassVar[bool] = False  # log p(x | y)
    prior: ClassVar[str] = "normal"  # of the noise that samples are a function of
    one_by_one: ClassVar[bool] = False  # a sample is no single pass, but its values in their order
    averaged: Any = None

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

    @abstractmethod
    def sample(self, batch: Batch, noise: Tensor | None = None) -> Tensor:
        """As many images as the batch has, of its labels; float in [-1, 1]."""

    @abstractmethod
    def noise(self, n: int, device: torch.device | str) -> Tensor:
        """(n, ...) numbers that a sample is a function of."""

    def complete(self, batch: Batch, known: Tensor, noise: Tensor | None = None) -> Tensor:
        """The batch's images in [-1, 1] with what is not known drawn anew. `known` is a bool tensor that broadcasts to (B, 1, H, W); known
        pixels are kept exactly. `noise` as `sample` has it. A capability: raises UserError where a model has it not.
        """
        raise UserError(f"{type(self).__name__} does not complete images (mode); choose a run of model=gated_pixelcnn or vae_inpainting")

    # what draws from a game draws from a density too

    @property
    def generator(self) -> Density:
        return self

    def generate(self, generator: Density, batch: Batch, noise: Tensor | None = None) -> Tensor:
        return generator.sample(batch, noise)

    def begin(self, batch: Batch) -> None:
        """Before the first step."""

    def after_step(self) -> None:
        """After each update."""


@contextmanager
def judged(model: nn.Module) -> Iterator[None]:
    """As it is at test time: no dropout, no gradient kept."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)
