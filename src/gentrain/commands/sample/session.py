"""A finished run that draws images: its model, its noise by a seed, its labels in turn."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from gentrain.capability import require, supports
from gentrain.config.types import NonNegative
from gentrain.config.validate import coerced
from gentrain.data.arrays import ArrayDataset, random_rows
from gentrain.data.base import Data
from gentrain.data.batches import as_batch
from gentrain.data.labels import FEW, number_of
from gentrain.errors import Diverged, UserError
from gentrain.models.base import (
    DrawsPixels,
    HasTemperature,
    Translates,
    fork_rng,
    warn_of_few_chains,
)
from gentrain.runs.reopen import OpenedRun
from gentrain.streams import image_streams

log = logging.getLogger("gentrain")

# Images are drawn in blocks of this size, and noise too: image i of a seed is the same for every n.
BLOCK = 100


class SampleSession:
    """What a mode works with: a run, and the choices of what to draw from it.

    Args:
        run: a run that was opened.
        averaged: draw with the averaged generator, where the run keeps one.
        seed: seed for the noise. It is drawn on the CPU, so that all devices draw the same images.
        labels: names or numbers of classes, or captions, that take turns, where the model has
            labels; None for all.
        domain: the name or number of the target domain, where the model has several; attributes
            with + between them, where an image has several at once.
        mean: show means of the pixels' distribution (true) or draws of it (false); None as trained.
        temperature: of the samples; None for 1.

    Raises:
        UserError: for what the model or the data do not have of these.
    """

    def __init__(
        self,
        run: OpenedRun,
        averaged: bool | None = None,
        seed: int = 0,
        labels: Sequence[int | str] | None = None,
        domain: str | int | None = None,
        mean: bool | None = None,
        temperature: float | None = None,
    ) -> None:
        self.run = run
        self.model: Any = run.model
        self.data: Data = run.data
        self.device = run.device
        self.seed = seed
        if averaged and self.model.ema_generator is None:
            raise UserError(
                "this run keeps no average of its weights (averaged); leave it out, or train with "
                "tricks=[ema]"
            )
        if averaged is False:
            self.model.ema_generator = None
        self.model.eval().requires_grad_(False)
        self.captions: Tensor | None = None  # that the user wrote
        self.classes = self.choose_classes(labels)
        self.chosen = labels is not None
        self.domain = None if domain is None else self.target(str(domain))
        choose_draws(self.model, mean, temperature)
        # some models draw more random numbers than their noise
        torch.manual_seed(seed)

    # --- what the run is --------------------------------------------------------------------------

    @property
    def is_multi_domain(self) -> bool:
        """Whether the model translates between several domains, which are its labels."""
        return self.model.labelled and supports(self.model, Translates)

    @property
    def generator(self) -> Any:
        """The network that makes images: the averaged one, where there is one."""
        return self.model.ema_generator or self.model.generator

    @property
    def averaged(self) -> bool:
        """Whether the averaged generator makes the images."""
        return self.model.ema_generator is not None

    @property
    def points(self) -> bool:
        """Whether the model makes points, not images or sounds."""
        return self.data.things == "points"

    @property
    def prior(self) -> str | None:
        """The distribution of the noise, "normal" or "uniform"; None without any."""
        return self.model.prior

    @property
    def label_names(self) -> list[str]:
        """Names of the classes, or domains; their numbers where they have no names."""
        return self.class_names or [str(i) for i in range(self.data.classes or 0)]

    @property
    def class_names(self) -> list[str]:
        """Names of the classes as the run recorded them; empty where they have none."""
        return self.run.class_names or list(self.data.class_names)

    def choose_classes(self, labels: Sequence[int | str] | None) -> list[int] | None:
        """The classes to draw. All by default; None for a model that is given none of a list."""
        if not self.model.labelled:
            if labels is not None:
                raise UserError("this model has no labels (labels); leave them out")
            return None
        if not self.data.label_kind.listed:
            self.captions = self.named(labels)
            return None
        count = self.data.classes or 0
        if labels is not None and not len(labels):
            raise UserError("an empty list of classes (labels); give some, or null for all")
        words, numbers = [str(label) for label in labels or ()], [str(i) for i in range(count)]
        if names := self.class_names:
            chosen = [number_of(word, names, "class", "labels") for word in words]
        elif unknown := [word for word in words if word not in numbers]:
            raise UserError(f"no class {unknown[0]} among {count} (labels); give 0 to {count - 1}")
        else:
            chosen = [int(word) for word in words]
        return chosen or list(range(count))

    def named(self, texts: Sequence[int | str] | None) -> Tensor | None:
        """The labels (k, ...) of texts that take turns; None where there are none to choose."""
        if texts is not None and not len(texts):
            raise UserError("an empty list of captions (labels); give some, or null")
        kind, names = self.data.label_kind, self.class_names
        return torch.stack([kind.named(str(t), names, "labels") for t in texts]) if texts else None

    def target(self, domain: str) -> Tensor:
        """The label of a domain that was given by its name or number, or by its attributes."""
        if not self.is_multi_domain:
            raise UserError(
                "this model does not translate between several domains (domain); leave it out"
            )
        return self.data.label_kind.named(domain, self.label_names)

    def turned(self, own: Tensor, domains: Tensor) -> Tensor:
        """Labels of translations, given those of the images and the domains (B,)."""
        return self.data.label_kind.turned(own, domains)

    # --- noise and labels -------------------------------------------------------------------------

    def blocks(self) -> Iterator[Tensor]:
        """Yield blocks of BLOCK noise vectors, forever."""
        cpu, state = torch.device("cpu"), None
        while True:
            with fork_rng(self.seed, cpu):
                if state is not None:
                    torch.set_rng_state(state)
                block = self.model.noise(BLOCK, cpu)
                state = torch.get_rng_state()
            yield block

    def noise(self, n: int) -> Tensor:
        """The first n rows of noise, on the CPU."""
        blocks = self.blocks()
        return torch.cat([next(blocks) for _ in range(-(-n // BLOCK))])[:n]

    def labels(self, n: int, start: int = 0) -> Tensor | None:
        """Labels (n, ...) of the images `start` and after: the classes in turn.

        Labels of no list, such as captions, are those of held-out images, unless the user wrote
        some.
        """
        if not self.model.labelled:
            return None
        if self.captions is not None:
            return self.captions[torch.arange(start, start + n) % len(self.captions)]
        if self.classes is None:
            samples, rows = self.held_out(n, start)
            assert samples.labels is not None
            return samples.labels[rows].cpu()
        return torch.tensor(self.classes)[torch.arange(start, start + n) % len(self.classes)]

    def take_turns(self, n: int) -> None:
        """Say how often each label of the user's list is drawn, where the list is shorter than n.

        Raises:
            UserError: for a list that n images do not reach the end of.
        """
        turns = self.classes if self.captions is None else self.captions
        if not self.chosen or turns is None or len(turns) in (1, n):
            return
        count = len(turns)
        if count > n:
            raise UserError(
                f"{count} labels, and {n} image{'s do' if n > 1 else ' does'} not reach the last "
                f"of them (labels, n); give n={count}, or fewer labels"
            )
        if self.classes is None:
            return
        names = self.label_names
        each = [len(range(i, n, count)) for i in range(count)]
        parts = [f"{k} of {names[y]}" for k, y in zip(each, self.classes, strict=True)]
        log.log(
            logging.WARNING if n % count else logging.INFO,
            "the %d labels take turns: %s",
            count,
            ", ".join(parts[:FEW]) + (", ..." if count > FEW else ""),
        )

    # --- images -----------------------------------------------------------------------------------

    def stream(self, n: int) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Draw n images with their labels, on the CPU; one block at a time is in memory."""
        self.take_turns(n)
        warn_of_few_chains(self.model, n)
        blocks = self.blocks() if self.prior else None
        for start in range(0, n, BLOCK):
            count = min(BLOCK, n - start)
            labels = self.labels(count, start)
            noise = None if blocks is None else next(blocks)[:count]
            yield self.generate(count, noise, labels, start), labels

    def images(self, z: Tensor, labels: Tensor | None) -> Tensor:
        """Draw the images of given noise (n, ...) and labels (n,), on the CPU."""
        return torch.cat(list(self.parts(z, labels)))

    def parts(self, z: Tensor, labels: Tensor | None) -> Iterator[Tensor]:
        """Draw the images of given noise (n, ...) and labels (n,) in blocks."""
        ys = [None] * -(-len(z) // BLOCK) if labels is None else labels.split(BLOCK)
        for i, (part, y) in enumerate(zip(z.split(BLOCK), ys, strict=True)):
            yield self.generate(len(part), part, y, i * BLOCK)

    def generate(self, n: int, z: Tensor | None, labels: Tensor | None, start: int = 0) -> Tensor:
        """Draw one batch of n images, on the CPU.

        Args:
            n: how many images.
            z: (n, ...) noise; None where the model has none.
            labels: (n, ...), or None.
            start: number of the first image, which chooses the sources of a translation.

        Raises:
            Diverged: when an image has a value that is not a finite number.
        """
        batch = self.batch(n, labels, start)
        with self.streams(range(start, start + n)):
            if self.is_multi_domain:
                images = self.model.translate(*batch)
            else:
                images = self.model.sample(batch, None if z is None else z.to(self.device))
        return finite(images.float().cpu())

    def streams(self, images: Iterable[int]) -> AbstractContextManager[None]:
        """Random numbers of each of some images inside, whatever else is drawn."""
        return image_streams(self.seed, images)

    def batch(self, n: int, labels: Tensor | None, start: int = 0) -> tuple[Tensor, ...]:
        """A batch as `GenerativeModel.sample` reads it.

        A translation gets the images of `held_out` as its sources. Any other model gets blank
        images, which are only counted, and labels.
        """
        if self.data.source_shape is not None:
            return as_batch(*self.held_out(n, start), self.device)[:2]
        if self.is_multi_domain:
            assert labels is not None
            x, own = as_batch(*self.held_out(n, start), self.device)
            return x, self.turned(own, labels.to(self.device))
        blank = torch.zeros(1, device=self.device).expand(n, *self.data.shape)
        return (blank,) if labels is None else (blank, labels.to(self.device))

    def held_out(self, n: int, start: int = 0) -> tuple[ArrayDataset, Tensor]:
        """Samples of the test split, and n of their rows in an order by the seed.

        A data set without a test split gives its training data, which the model has seen.
        """
        samples = self.data.held_out() or self.data.load("train")
        order = random_rows(samples.rows, seed=self.seed)
        return samples, order[torch.arange(start, start + n) % len(order)]


def choose_draws(model: Any, mean: bool | None, temperature: float | None) -> None:
    """Set what a model's samples show, where the user says so.

    Args:
        model: the model.
        mean: means of the pixels' distribution, or draws of it; None leaves what it is.
        temperature: of the samples; None leaves 1.

    Raises:
        UserError: for a model without such a distribution, or without a temperature.
    """
    if mean is not None:
        require(model, DrawsPixels, f"mean={str(mean).lower()}")
        model.mean = mean
    if temperature is not None:
        require(model, HasTemperature, f"temperature={temperature:g}")
        model.temperature = coerced(temperature, NonNegative, "temperature")


def finite(images: Tensor) -> Tensor:
    """The images; raises Diverged for a value that is not a finite number."""
    if not images.isfinite().all():
        raise Diverged(
            "the generator gives values that are not finite numbers; take another checkpoint"
        )
    return images
