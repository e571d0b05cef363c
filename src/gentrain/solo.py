"""What a model of one player offers, besides what its kind does: what draws from a game draws from it too."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from .objective import Objective

Batch = tuple[Tensor, ...]


class Solo(nn.Module, ABC):
    """A model that is its own generator."""

    labelled: ClassVar[bool] = False  # it is given the label
    translates: ClassVar[bool] = False  # it makes images of other images: batches are (images, sources)
    paired: ClassVar[bool] = False  # and of each it must be told which
    averaged: Any = None

    @abstractmethod
    def objective(self, batch: Batch) -> Objective:
        """Named terms, of which the sum is descended."""

    @abstractmethod
    def sample(self, batch: Batch, noise: Tensor | None = None) -> Tensor:
        """As many images as the batch has, of its labels; float in [-1, 1]."""

    @abstractmethod
    def noise(self, n: int, device: torch.device | str) -> Tensor:
        """(n, ...) numbers that a sample is a function of, or that its chain starts from."""

    @property
    def generator(self) -> Solo:
        return self

    def generate(self, generator: Solo, batch: Batch, noise: Tensor | None = None) -> Tensor:
        return generator.sample(batch, noise)

    def begin(self, batch: Batch) -> None:
        """Before the first step."""

    def after_step(self) -> None:
        """After each update."""
