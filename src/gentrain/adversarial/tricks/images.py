"""Tricks that change the images that the critic sees."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from gentrain.adversarial.augment import Augmentation, augmented
from gentrain.adversarial.regularizer import RegularizedModel, Regularizer
from gentrain.config.types import Count, Positive, Share
from gentrain.errors import UserError
from gentrain.layers.lazy_buffers import HasRankLocalBuffers, LazyBuffers


class Replay(Regularizer):
    """The critic sees old fakes among the new ones.

    Shrivastava et al., "Learning from simulated and unsupervised images through adversarial
    training", 2017. A pool fills first. Then each fake changes places with a random image of the
    pool, with probability p. Each domain of a model has a pool of its own (CycleGAN).

    Args:
        size: images of a pool.
        p: probability of an exchange.
    """

    order = Regularizer.IMAGES
    compiles = False  # which images are exchanged depends on how full the pool is

    def __init__(self, size: Count = 50, p: Share = 0.5) -> None:
        super().__init__()
        self.size, self.p = size, p
        self.pools = nn.ModuleDict({"all": Pool(size, p)})

    def attach(self, model: RegularizedModel) -> None:
        if model.critic_is_conditional:
            raise UserError(
                "replayed images would meet labels, sources or codes of other images "
                "(tricks=[replay] in a conditional model); leave it out"
            )
        pools = {domain or "all": Pool(self.size, self.p) for domain in model.domains}
        self.pools = nn.ModuleDict(pools)

    @torch.no_grad()
    def transform_batch(
        self, real: Tensor, fake: Tensor, critics_turn: bool, domain: str = ""
    ) -> tuple[Tensor, Tensor]:
        return (real, self.pool(domain).exchange(fake.detach())) if critics_turn else (real, fake)

    def pool(self, domain: str = "") -> Pool:
        """The pool of a domain."""
        return self.pools[domain or "all"]  # type: ignore[return-value]


class Pool(LazyBuffers, HasRankLocalBuffers):
    """Images of the past. The pool of each process is its own.

    Args:
        size: the largest number of images.
        p: probability that an image is exchanged.
    """

    rank_local_buffers = ("images",)
    images: Tensor | None

    def __init__(self, size: int, p: float) -> None:
        super().__init__()
        self.size, self.p, self.filled = size, p, 0
        self.register_lazy_buffers("images")

    def exchange(self, fake: Tensor) -> Tensor:
        """Put images (B, ...) into the pool and return as many, some of them from the pool."""
        if self.images is None:
            self.images = fake.new_zeros(self.size, *fake.shape[1:])
        fake = fake.clone()
        new = min(self.size - self.filled, len(fake))
        self.images[self.filled : self.filled + new] = fake[:new]
        self.filled += new
        if new < len(fake):
            self.swap(fake[new:], self.images)
        return fake

    def swap(self, fake: Tensor, images: Tensor) -> None:
        """Exchange fakes with images of the pool, each with probability p, in place."""
        swapped = torch.rand(len(fake), device=fake.device) < self.p
        # No place occurs twice within `size` fakes, so an image that is handed out is not also
        # overwritten by a second one.
        places = torch.rand(self.size, device=fake.device).argsort()
        places = places.repeat(math.ceil(len(fake) / self.size))[: len(fake)]
        for start in range(0, len(fake), self.size):
            part = slice(start, min(start + self.size, len(fake)))
            new, old = fake[part], images[places[part]]
            chosen = swapped[part].view(-1, *[1] * (fake.ndim - 1))
            fake[part], images[places[part]] = (
                torch.where(chosen, old, new),
                torch.where(chosen, new, old),
            )

    def get_extra_state(self) -> int:
        return self.filled

    def set_extra_state(self, state: int) -> None:
        self.filled = state


class InstanceNoise(Regularizer):
    """Gaussian noise on everything that the critic sees, annealed to zero.

    Sonderby et al., "Amortised MAP inference for image super-resolution", 2017.

    Args:
        sd: standard deviation at the start. It falls linearly.
        steps: generator updates until it is 0.
    """

    order = Regularizer.IMAGES + 3
    initial: Tensor
    done: Tensor

    def __init__(self, sd: Positive = 0.1, steps: Count = 10_000) -> None:
        super().__init__()
        self.steps = steps
        self.register_buffer("initial", torch.tensor(sd))
        self.register_buffer("done", torch.zeros((), dtype=torch.int64))

    def transform_batch(
        self, real: Tensor, fake: Tensor, critics_turn: bool, domain: str = ""
    ) -> tuple[Tensor, Tensor]:
        sd = self.initial * (1 - self.done / self.steps).clamp_min(0)
        return real + sd * torch.randn_like(real), fake + sd * torch.randn_like(fake)

    def after_generator_step(self, model: RegularizedModel) -> None:
        self.done += 1


class DiffAugment(Regularizer):
    """Differentiable augmentation of real and fake images alike; see `adversarial.augment`.

    Zhao et al., "Differentiable augmentation for data-efficient GAN training", 2020.

    Args:
        policy: augmentations, in the order in which they apply; None is colour, translation and
            cutout.
    """

    order = Regularizer.IMAGES + 2

    def __init__(self, policy: list[Augmentation] | None = None) -> None:
        super().__init__()
        default: list[Augmentation] = ["color", "translation", "cutout"]
        self.policy = default if policy is None else policy

    def attach(self, model: RegularizedModel) -> None:
        if any(critic.points for critic in model.critics()):
            raise UserError(
                "points, sounds, and pairs with a code have no colours to augment "
                "(tricks=[diff_augment]); use it on images"
            )

    def transform_batch(
        self, real: Tensor, fake: Tensor, critics_turn: bool, domain: str = ""
    ) -> tuple[Tensor, Tensor]:
        return augmented(real, self.policy), augmented(fake, self.policy)


class Packing(Regularizer):
    """The critic scores m samples at once, joined on channels.

    Lin, Khetan, Fanti & Oh, "PacGAN", 2018. Every layer of the critic that sees samples is made
    anew, with m times the inputs.

    Args:
        m: samples of a pack. It must divide the batch size.
    """

    order = Regularizer.NETWORKS

    def __init__(self, m: Count = 2) -> None:
        super().__init__()
        self.m = m

    def attach(self, model: RegularizedModel) -> None:
        if model.critic_is_conditional or model.critic_classifies:
            raise UserError(
                "a pack of samples has several labels, sources or codes "
                "(tricks=[packing] in a conditional model or a classifier); leave it out"
            )
        for critic in model.critics():
            critic.widen(self.m)

    def transform_batch(
        self, real: Tensor, fake: Tensor, critics_turn: bool, domain: str = ""
    ) -> tuple[Tensor, Tensor]:
        return self.pack(real), self.pack(fake)

    def pack(self, x: Tensor) -> Tensor:
        """(B, C, ...) -> (B / m, m C, ...)."""
        if len(x) % self.m:
            raise UserError(
                f"a batch of {len(x)} makes no packs of {self.m} "
                "(data.batch_size, tricks.packing.m); choose a multiple"
            )
        return x.reshape(len(x) // self.m, self.m * x.shape[1], *x.shape[2:])
