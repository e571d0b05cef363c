"""The two-player game: who plays, and what each player minimises on a batch."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from .density import judged
from .errors import UserError
from .losses import AdversarialLoss
from .networks.base import Critic, Generator, Translator
from .objective import Objective
from .regularizer import Critic as Scorer
from .regularizer import Regularizer, coupling

Batch = tuple[Tensor, ...]

MADE_FOR = {  # an example of a network for each thing that a game may need
    "images": "dcgan",
    "pairs": "bidirectional_mlp",
    "encoder": "bidirectional_mlp",
    "energy": "autoencoder_mlp",
    "logits": "logits_mlp",
    "classify": "classifier_dcgan",
    "back": "cycle_resnet",
    "source": "cycle_resnet",
}


class Game(nn.Module, ABC):
    """A generator against a critic.

    Each player is a module, and may hold several networks: what one optimizer updates.
    `averaged` is the generator that samples, where a trick keeps a better one than the last.
    """

    labelled: ClassVar[bool] = False  # every image that the critic is shown, real or fake, has a label
    classifies: ClassVar[bool] = False  # the critic names the class of single images as well
    sees_labels: ClassVar[dict[str, bool]] = {}  # which players are given labels, where that is the same for all networks
    needs: ClassVar[dict[str, str]] = {}  # what a player must be able to do besides, by name
    judged: ClassVar[str] = "images"  # what the critic is shown
    domains: ClassVar[tuple[str, ...]] = ("",)  # kinds of images that have a contest each, where there are several
    translates: ClassVar[bool] = False  # it makes images of other images: batches are (images, sources)
    paired: ClassVar[bool] = False  # and of each it must be told which
    semi_supervised: ClassVar[bool] = False  # it learns from few labels: batches are (images, labelled images, their labels)

    def __init__(
        self,
        generator: nn.Module,
        critic: nn.Module,
        loss: AdversarialLoss,
        lipschitz: Regularizer,
        tricks: dict[str, Regularizer] | None = None,
    ) -> None:
        super().__init__()
        self.generator: Any = generator
        self.critic: Any = critic
        self.loss = loss
        self.refuse_strangers()
        self.beside = self.labelled or any(network.source_shape for network in self.critics())  # the critic is shown more than images
        self.averaged: Any = None
        named = {**(tricks or {}), snake(type(lipschitz).__name__): lipschitz}
        self.regularizers = nn.ModuleDict({name: named[name] for name in sorted(named, key=lambda name: named[name].order)})
        for regularizer in self.moments():
            regularizer.attach(self)
        self.couples = bool(coupling(self.critic))

    def refuse_strangers(self) -> None:
        """Raises UserError for players that were made for another game."""
        for player, sees in self.sees_labels.items():
            if ("y" in inspect.signature(getattr(self, player).forward).parameters) != sees:
                says = ("sees no label, and this game's must", "conditional_dcgan") if sees else ("wants labels", "dcgan")
                raise self.stranger(player, *says)
        for player, ability in (self.needs | ({"critic": "energy"} if self.loss.of_energy else {})).items():
            if not hasattr(getattr(self, player), ability):
                raise self.stranger(player, f"has no {ability}()", MADE_FOR[ability])
        for critic in self.critics():
            if critic.judges != self.judged:
                raise self.stranger("critic", f"judges {critic.judges}, and this game's {self.judged}", MADE_FOR[self.judged])

    def stranger(self, player: str, says: str, network: str) -> UserError:
        kind = type(getattr(self, player))
        name = f"{kind.__module__.removeprefix('gentrain.')}.{kind.__name__}"
        return UserError(f"{name} as the {player} {says} (model.{player}, network); choose another, such as network={network}")

    def generate(self, generator: Any, batch: Batch, noise: Tensor | None = None) -> Tensor:
        """What `generator` offers in answer to a batch: as many images, of its labels, from its sources, with this noise or new one."""
        z = generator.noise(len(batch[0]), batch[0].device) if noise is None else noise
        return generator(z, batch[1]) if self.labelled else generator(z)

    @abstractmethod
    def critic_loss(self, batch: Batch) -> Objective: ...

    @abstractmethod
    def generator_loss(self, batch: Batch) -> Objective: ...

    def sample(self, batch: Batch, noise: Tensor | None = None) -> Tensor:
        """Images for people and for scores: the averaged generator where there is one, running statistics in batch norm."""
        generator = self.averaged or self.generator
        with judged(generator):
            return self.generate(generator, batch, noise)

    @abstractmethod
    def judge(self, batch: Batch, made: bool = False) -> Tensor:
        """Scores of a batch, of images that were `made` or real ones, for people; nothing in the critic moves."""

    def at_rest(self, critic: Scorer, x: Tensor, made: bool) -> Tensor:
        """One score for each image (or pack), the mean of its patches' where the critic scores patches."""
        with judged(self.critic):
            scores = critic(self.shown(x, x, critics_turn=False)[made])
        return scores.view(len(x), -1).mean(1) if len(scores) > len(x) else scores

    @torch.no_grad()
    def begin(self, batch: Batch) -> None:
        """Before the first step: every network that keeps something of its first batch sees it, the critic real images first."""
        self.generate(self.generator, batch)
        if self.couples:
            self.critic_loss(batch)
        for regularizer in self.moments():
            regularizer.begin(self)

    def moments(self) -> Iterator[Regularizer]:
        yield from self.regularizers.values()  # type: ignore[misc]

    def critics(self) -> list[Critic]:
        """Every critic network of the game, inside whatever wrapper."""
        return [module for module in self.critic.modules() if isinstance(module, Critic)]

    def generators(self) -> list[Any]:
        """Every network of the generator with a body, from noise or from images."""
        return [module for module in self.generator.modules() if isinstance(module, Generator | Translator)]

    def duel(self, critic: Scorer, real: Tensor, fake: Tensor, mismatched: Scorer | None = None, domain: str = "") -> Objective:
        """What one critic minimises to tell `real` from `fake`.

        `mismatched` is the critic with wrong labels: in its eyes real images are fakes as well, and count for half of them.
        A game of several domains has a critic for each, and calls once for each, as it does `fool`.
        """
        real, fake = self.shown(real, fake, critics_turn=True, domain=domain)
        on_real, on_fake = self.scores(critic, real, fake)
        objective = self.contest(on_real, on_fake)
        if mismatched is not None:
            wrong = self.contest(on_real, mismatched(real))
            objective.terms["adversarial"] = (objective.terms["adversarial"] + wrong.terms["adversarial"]) / 2
            objective.watched["mismatched_score"] = wrong.watched["fake_score"]
        objective.terms |= self.extra("critic_term", critic, real, fake)
        return objective

    def contest(self, on_real: Tensor, on_fake: Tensor) -> Objective:
        """The critic's adversarial term of these scores, and what is watched of them."""
        watched = {"real_score": on_real.mean(), "fake_score": on_fake.mean()}
        watched |= {name: estimate(on_real, on_fake) for name, estimate in self.loss.estimates.items()}
        return Objective({"adversarial": self.loss.critic(on_real, on_fake)}, watched)

    def fool(self, critic: Scorer, real: Tensor, fake: Tensor, domain: str = "") -> Objective:
        """What a generator minimises to make `critic` take `fake` for real."""
        real, fake = self.shown(real, fake, critics_turn=False, domain=domain)
        terms = {} if self.loss.generator is None else self.persuasion(*self.compared(critic, real, fake))
        return Objective(terms | self.extra("generator_term", critic, real, fake))

    def persuasion(self, on_real: Tensor, on_fake: Tensor) -> dict[str, Tensor]:
        """The generator's adversarial term of these scores; none where a trick has taken its place."""
        return {} if self.loss.generator is None else {"adversarial": self.loss.generator(on_real, on_fake)}

    def compared(self, critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        """What the generator's side needs: both batches where the loss compares them, else the fakes alone, in either place."""
        return self.scores(critic, real, fake) if self.loss.relative else (on_fake := critic(fake), on_fake)

    def scores(self, critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        """Both batches in one forward, so that the power iteration of spectral norm advances once.

        A critic that couples samples sees each batch alone: statistics of real and fake images must not mix.
        """
        if self.couples:
            return critic(real), critic(fake)
        on_real, on_fake = critic(torch.cat([real, fake])).chunk(2)
        return on_real, on_fake

    def together(self, contests: dict[str, Objective]) -> Objective:
        """One player's objective of several domains: every name begins with its domain's; what is of weights alone counts once."""
        whole = Objective({})
        for domain, contest in contests.items():
            for kind in ("terms", "watched"):
                for name, value in getattr(contest, kind).items():
                    once = name in self.regularizers and self.regularizers[name].of_weights
                    getattr(whole, kind)[name if once else f"{domain}_{name}"] = value
        return whole

    def shown(self, real: Tensor, fake: Tensor, critics_turn: bool, domain: str = "") -> tuple[Tensor, Tensor]:
        for regularizer in self.moments():
            real, fake = regularizer.view(real, fake, critics_turn, domain)
        return real, fake

    def extra(self, moment: str, critic: Scorer, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        terms = {name: getattr(regularizer, moment)(critic, real, fake) for name, regularizer in self.regularizers.items()}
        return {name: term for name, term in terms.items() if term is not None}

    def after_critic_step(self) -> None:
        for regularizer in self.moments():
            regularizer.after_critic_step(self)

    def after_generator_step(self) -> None:
        for regularizer in self.moments():
            regularizer.after_generator_step(self)


class Duel(Game, ABC):
    """One critic, which judges one image at a time."""

    @abstractmethod
    def scorer(self, batch: Batch) -> Scorer:
        """The critic as a function of images alone."""

    def critic_loss(self, batch: Batch) -> Objective:
        with torch.no_grad():
            fake = self.generate(self.generator, batch)
        return self.duel(self.scorer(batch), batch[0], fake)

    def generator_loss(self, batch: Batch) -> Objective:
        return self.fool(self.scorer(batch), batch[0], self.generate(self.generator, batch))

    def judge(self, batch: Batch, made: bool = False) -> Tensor:
        return self.at_rest(self.scorer(batch), batch[0], made)


class Unconditional(Duel):
    """Noise in, images out."""

    sees_labels: ClassVar[dict[str, bool]] = {"generator": False, "critic": False}

    def scorer(self, batch: Batch) -> Scorer:
        return self.critic


class Conditional(Duel):
    """Both players see the label (Mirza & Osindero, 2014).

    `matching_aware` shows the critic a third pair, a real image with a wrong label, as one more fake (GAN-CLS: Reed et al.,
    "Generative Adversarial Text to Image Synthesis", 2016). The loss on fakes is the mean of the two: for the original game

        -log D(x, y) - 1/2 [log(1 - D(G(z, y), y)) + log(1 - D(x, y'))],   y' uniform over the other classes.
    """

    labelled = True
    sees_labels: ClassVar[dict[str, bool]] = {"generator": True, "critic": True}

    def __init__(
        self,
        generator: nn.Module,
        critic: nn.Module,
        loss: AdversarialLoss,
        lipschitz: Regularizer,
        tricks: dict[str, Regularizer] | None = None,
        matching_aware: bool = False,
    ) -> None:
        super().__init__(generator, critic, loss, lipschitz, tricks)
        self.matching_aware = matching_aware
        if matching_aware and self.generator.classes < 2:
            raise UserError("with one class there is no wrong label (model.matching_aware); use data of two classes or more")

    def scorer(self, batch: Batch) -> Scorer:
        return Given(self.critic, batch[1])

    def critic_loss(self, batch: Batch) -> Objective:
        if not self.matching_aware:
            return super().critic_loss(batch)
        real, y = batch
        with torch.no_grad():
            fake = self.generate(self.generator, batch)
        return self.duel(self.scorer(batch), real, fake, mismatched=Given(self.critic, wrong_labels(y, self.generator.classes)))


def wrong_labels(y: Tensor, classes: int) -> Tensor:
    """For each label one of the other classes, each as likely."""
    return (y + torch.randint_like(y, 1, classes)) % classes


class Given:
    """A conditional critic with its labels fixed: a function of images alone.

    Images may come as several batches of the same labels, one after the other (real and fake in one forward). What is fixed may as well
    be the images that others were made of.
    """

    def __init__(self, critic: Any, y: Tensor) -> None:
        self.critic, self.y = critic, y

    def __call__(self, x: Tensor) -> Tensor:
        return self.critic(x, self.labels(x))

    def features(self, x: Tensor) -> Tensor:
        return self.critic.features(x, self.labels(x))

    def labels(self, x: Tensor) -> Tensor:
        return self.y.repeat(len(x) // len(self.y), *[1] * (self.y.ndim - 1))


def snake(name: str) -> str:
    """GradientPenalty -> gradient_penalty"""
    return "".join("_" + c.lower() if c.isupper() else c for c in name).lstrip("_")
