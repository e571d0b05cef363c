"""A finished run that draws: its generator, its noise by a seed, its labels in turn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gentrain.data.batches import as_batch
from gentrain.errors import Diverged, UserError
from gentrain.models.base import fork_rng

if TYPE_CHECKING:
    from gentrain.data.arrays import ArrayDataset
    from gentrain.runs.reopen import OpenedRun

BLOCK = (
    100  # images drawn at a time, and rows of noise: whatever n is, image i of a seed is the same
)


class SampleSession:
    """What a mode works with.

    Args:
        run: the run, its weights loaded.
        averaged: draw with the averaged generator where the run keeps one.
        seed: of noise; noise is drawn on the CPU, so that every device draws the same images.
        labels: classes that take turns, where the model has labels; None takes all.
        domain: that to which images are translated, by its name or number, where there are several.
    """

    def __init__(
        self,
        run: OpenedRun,
        averaged: bool = True,
        seed: int = 0,
        labels: list[int] | None = None,
        domain: str | int | None = None,
    ) -> None:
        self.run, self.game, self.data, self.seed = run, run.model, run.data, seed
        if not averaged:
            self.game.ema_generator = None
        self.game.eval().requires_grad_(False)
        self.device: torch.device = run.device
        self.classes = self.chosen(labels)
        self.domain = None if domain is None else self.numbered(domain)
        torch.manual_seed(seed)  # for a model that draws more than its noise

    def chosen(self, labels: list[int] | None) -> list[int] | None:
        if not self.game.labelled:
            if labels is not None:
                raise UserError("this model knows no labels (labels); leave them out")
            return None
        count = int(self.data.classes or 0)
        if unknown := [label for label in labels or [] if not 0 <= label < count]:
            raise UserError(f"no class {unknown[0]} among {count} (labels); give 0 to {count - 1}")
        if labels == []:
            raise UserError("an empty list of classes (labels); give some, or null for all")
        return labels or list(range(count))

    def numbered(self, domain: str | int) -> int:
        """The number of a domain."""
        if not self.several:
            raise UserError(
                "this model does not translate between several domains (domain); leave it out"
            )
        names = getattr(self.data, "domains", [])
        known = {str(i): i for i in range(int(self.data.classes or 0))} | {
            name: i for i, name in enumerate(names)
        }
        if str(domain) not in known:
            raise UserError(
                f"no domain {domain} (domain); give one of {', '.join(names) or f'0 to {int(self.data.classes or 0) - 1}'}"
            )
        return known[str(domain)]

    @property
    def several(self) -> bool:
        """It translates images between several domains, which are the labels."""
        return self.game.labelled and hasattr(self.game, "translate")

    @property
    def generator(self) -> Any:
        return self.game.ema_generator or self.game.generator

    @property
    def averaged(self) -> bool:
        return self.game.ema_generator is not None

    @property
    def points(self) -> bool:
        return len(self.data.shape) != 3

    @property
    def prior(self) -> str | None:
        """normal | uniform; None where the model has no noise of its own."""
        if not hasattr(self.generator, "noise"):
            return None
        return next(
            (module.prior for module in self.generator.modules() if hasattr(module, "prior")), None
        )

    def blocks(self) -> Iterator[Tensor]:
        """Noise without end, BLOCK rows at a time."""
        cpu, state = torch.device("cpu"), None
        while True:
            with fork_rng(self.seed, cpu):
                if state is not None:
                    torch.set_rng_state(state)
                block = self.generator.noise(BLOCK, cpu)
                state = torch.get_rng_state()
            yield block

    def noise(self, n: int) -> Tensor:
        """The first n rows."""
        blocks = self.blocks()
        return torch.cat([next(blocks) for _ in range(-(-n // BLOCK))])[:n]

    def labels(self, n: int, start: int = 0) -> Tensor | None:
        """Labels of images start ... start + n - 1: the classes in turn."""
        return (
            None
            if self.classes is None
            else torch.tensor(self.classes)[torch.arange(start, start + n) % len(self.classes)]
        )

    def stream(self, n: int) -> Iterator[tuple[Tensor, Tensor | None]]:
        """n images, on the CPU, with their labels; one block is in memory."""
        blocks = self.blocks() if self.prior else None
        for start in range(0, n, BLOCK):
            count = min(BLOCK, n - start)
            labels = self.labels(count, start)
            yield (
                self.generate(
                    count, None if blocks is None else next(blocks)[:count], labels, start
                ),
                labels,
            )

    def images(self, z: Tensor, labels: Tensor | None) -> Tensor:
        """Images of given noise (and labels), on the CPU."""
        chunks = zip(
            z.split(BLOCK),
            labels.split(BLOCK) if labels is not None else [None] * len(z),
            strict=False,
        )
        return torch.cat([self.generate(len(part), part, y) for part, y in chunks])

    def generate(self, n: int, z: Tensor | None, labels: Tensor | None, start: int = 0) -> Tensor:
        batch = self.batch(n, labels, start)
        made = (
            self.game.translate(*batch)
            if self.several
            else self.game.sample(batch, None if z is None else z.to(self.device))
        )
        images = made.float().cpu()
        if not images.isfinite().all():
            raise Diverged(
                "the generator gives values that are not finite numbers; take another checkpoint"
            )
        return images

    def held_out(self, n: int, start: int = 0) -> tuple[ArrayDataset, Tensor]:
        """Samples that the model was not trained on (those of the training where there are none), and n rows in an order by the seed."""
        from gentrain.quality.diagnostics import held_out_split

        samples = held_out_split(self.data) or self.data.load("train")
        order = torch.randperm(samples.rows, generator=torch.Generator().manual_seed(self.seed))
        return samples, order[torch.arange(start, start + n) % len(order)]

    def batch(self, n: int, labels: Tensor | None, start: int = 0) -> tuple[Tensor, ...]:
        """What a game is asked with: as many images (blank ones, only counted), and labels; what a translation starts from, held-out."""
        if self.data.source_shape is not None:
            return as_batch(*self.held_out(n, start), self.device)[:2]
        if self.several:
            assert labels is not None
            return as_batch(*self.held_out(n, start), self.device)[0], labels.to(self.device)
        blank = torch.zeros(1, device=self.device).expand(n, *self.data.shape)
        return (blank,) if labels is None else (blank, labels.to(self.device))
