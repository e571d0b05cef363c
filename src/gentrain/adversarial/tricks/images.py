"""Tricks that change the images that the critic sees."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from gentrain.adversarial.augment import Change, augmented
from gentrain.adversarial.regularizer import RegularizedModel, Regularizer
from gentrain.config.types import Count, Positive, Share
from gentrain.errors import UserError
from gentrain.layers.lazy_buffers import HasRankLocalBuffers, LazyBuffers


class Replay(Regularizer):
    """A history of generated images (Shrivastava et al., 2017): the critic is shown old fakes among the new.

    A pool of `size` images fills first; then each fake, with probability p, changes places with a random one of the pool.
    Each domain of a model that has several has a pool of its own (CycleGAN).
    """

    order = Regularizer.IMAGES
    compiles = False  # how full a pool is decides which images are swapped

    def __init__(self, size: Count = 50, p: Share = 0.5) -> None:
        super().__init__()
        self.size, self.p = size, p
        self.pools = nn.ModuleDict({"all": Pool(size, p)})

    def attach(self, model: RegularizedModel) -> None:
        if model.critic_is_conditional:
            raise UserError(
                "replayed images would meet labels or sources that are not theirs (tricks=[replay] in a conditional model); leave it out"
            )
        self.pools = nn.ModuleDict(
            {domain or "all": Pool(self.size, self.p) for domain in model.domains}
        )

    @torch.no_grad()
    def transform_batch(
        self, real: Tensor, fake: Tensor, critics_turn: bool, domain: str = ""
    ) -> tuple[Tensor, Tensor]:
        return (real, self.pool(domain).exchange(fake.detach())) if critics_turn else (real, fake)

    def pool(self, domain: str = "") -> Pool:
        return self.pools[domain or "all"]  # type: ignore[return-value]


class Pool(LazyBuffers, HasRankLocalBuffers):
    """Images that were, at most `size` of them."""

    rank_local_buffers = ("images",)
    images: Tensor | None

    def __init__(self, size: int, p: float) -> None:
        super().__init__()
        self.size, self.p, self.filled = size, p, 0
        self.register_lazy_buffers("images")

    def exchange(self, fake: Tensor) -> Tensor:
        """What goes in, what comes out: as many images."""
        if self.images is None:
            self.images = fake.new_zeros(self.size, *fake.shape[1:])
        fake = fake.clone()
        new = min(self.size - self.filled, len(fake))
        self.images[self.filled : self.filled + new] = fake[:new]
        self.filled += new
        rest = len(fake) - new
        if rest:
            swap = torch.rand(rest, device=fake.device) < self.p
            # distinct places, so that an image handed out is never also overwritten by a second one
            place = (
                torch.rand(self.size, device=fake.device)
                .argsort()
                .repeat(math.ceil(rest / self.size))[:rest]
            )
            for chunk in range(0, rest, self.size):
                here = slice(chunk, min(chunk + self.size, rest))
                mine, theirs = fake[new:][here], self.images[place[here]]
                chosen = swap[here].view(-1, *[1] * (fake.ndim - 1))
                fake[new:][here], self.images[place[here]] = (
                    torch.where(chosen, theirs, mine),
                    torch.where(chosen, mine, theirs),
                )
        return fake

    def get_extra_state(self) -> int:
        return self.filled

    def set_extra_state(self, state: int) -> None:
        self.filled = state


class InstanceNoise(Regularizer):
    """Gaussian noise on everything the critic is shown (Sonderby et al., 2017), sd falling linearly to 0 in `steps` generator steps."""

    order = Regularizer.IMAGES + 2
    initial: Tensor
    done: Tensor

    def __init__(self, sd: Positive = 0.1, steps: Count = 10_000) -> None:
        super().__init__()
        self.steps = steps
        self.register_buffer("initial", torch.tensor(sd))
        self.register_buffer("done", torch.zeros(()))

    def transform_batch(
        self, real: Tensor, fake: Tensor, critics_turn: bool, domain: str = ""
    ) -> tuple[Tensor, Tensor]:
        sd = self.initial * (1 - self.done / self.steps).clamp_min(0)
        return real + sd * torch.randn_like(real), fake + sd * torch.randn_like(fake)

    def after_generator_step(self, model: RegularizedModel) -> None:
        self.done += 1


class DiffAugment(Regularizer):
    """Differentiable augmentation of real and fake images alike (Zhao et al., 2020): colour, translation, cutout; see `augment`."""

    order = Regularizer.IMAGES + 1

    def __init__(self, policy: list[Change] | None = None) -> None:
        super().__init__()
        self.policy: list[Change] = (
            policy if policy is not None else ["color", "translation", "cutout"]
        )

    def attach(self, model: RegularizedModel) -> None:
        if any(critic.points for critic in model.critics()):
            raise UserError(
                "points in the plane, and pairs with a code, have no colours to augment (tricks=[diff_augment]); use it on images"
            )

    def transform_batch(
        self, real: Tensor, fake: Tensor, critics_turn: bool, domain: str = ""
    ) -> tuple[Tensor, Tensor]:
        return augmented(real, self.policy), augmented(fake, self.policy)


class Packing(Regularizer):
    """PacGAN (Lin et al., 2018): the critic judges m samples at once, concatenated on channels.

    Its input layer is made anew, m times as wide.
    """

    order = Regularizer.NETWORKS

    def __init__(self, m: Count = 2) -> None:
        super().__init__()
        self.m = m

    def attach(self, model: RegularizedModel) -> None:
        if model.critic_is_conditional or model.critic_classifies:
            raise UserError(
                "a pack of samples has no one label or source (tricks=[packing] in a conditional model or a classifier); leave it out"
            )
        for critic in model.critics():
            critic.widen(self.m)

    def transform_batch(
        self, real: Tensor, fake: Tensor, critics_turn: bool, domain: str = ""
    ) -> tuple[Tensor, Tensor]:
        return self.pack(real), self.pack(fake)

    def pack(self, x: Tensor) -> Tensor:
        if len(x) % self.m:
            raise UserError(
                f"a batch of {len(x)} makes no packs of {self.m} (data.batch_size, tricks.packing.m); choose a multiple"
            )
        return x.reshape(len(x) // self.m, self.m * x.shape[1], *x.shape[2:])
