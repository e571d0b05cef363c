"""The base of adversarial models: a generator against a critic.

A GAN is two networks and what each minimises on a batch. The adversarial loss, the Lipschitz
method and the tricks are one object, the `AdversarialCriterion`; they act through the hooks of a
`Regularizer`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from gentrain.adversarial.criterion import AdversarialCriterion
from gentrain.adversarial.regularizer import (
    CriticFunction,
    Player,
    Regularizer,
)
from gentrain.capability import supports
from gentrain.errors import UserError
from gentrain.layers.coupling import batch_coupled_layers
from gentrain.models.base import (
    Batch,
    Classifies,
    GenerativeModel,
    HasCritic,
    MakesImagesOfNoise,
    eval_mode,
)
from gentrain.models.objective import Objective
from gentrain.networks.base import Backbone, HeadKind


class AdversarialModel(GenerativeModel, HasCritic, MakesImagesOfNoise, ABC):
    """A generator against a critic.

    Each player is a module, which one optimizer updates; it may hold several networks.
    `ema_generator` is the averaged generator, where a trick keeps one; samples are drawn from it.

    Args:
        generator: makes images. It lists its networks in `backbones()`.
        critic: scores images. It lists its networks in `backbones()`.
        criterion: the adversarial loss, the Lipschitz method and the tricks.

    Raises:
        UserError: when a network, the loss, the Lipschitz method or a trick does not fit.
    """

    memory_format: ClassVar[torch.memory_format] = torch.channels_last
    domains: ClassVar[tuple[str, ...]] = ("",)  # kinds of images with a critic each
    generator_input: ClassVar[str] = "noise"  # what the generator makes images of
    critic_is_labelled: ClassVar[bool] = False  # the critic sees the label beside each image
    single_label: ClassVar[bool] = False  # networks that take labels fit, with one for all images
    critic_reads_codes: ClassVar[bool] = False  # the critic reads codes from single fakes
    critic_heads: ClassVar[tuple[HeadKind, ...]] = ("linear", "patches", "decoder")
    grows: ClassVar[bool] = False  # both networks must grow level by level

    def __init__(
        self, generator: nn.Module, critic: nn.Module, criterion: AdversarialCriterion
    ) -> None:
        super().__init__()
        self.generator: Any = generator
        self.critic: Any = critic
        self.loss = criterion.loss
        self.generator_is_adversarial = True
        sources = any(network.source_shape for network in self.critics())
        self.critic_is_conditional = self.labelled or sources or self.critic_reads_codes
        self.ema_generator: Any = None
        self.regularizers = nn.ModuleDict(criterion.regularizers())
        for regularizer in self.each_regularizer():
            regularizer.attach(self)
        self.couples_samples = bool(batch_coupled_layers(self.critic))

    # --- the players ------------------------------------------------------------------------------

    def player(self, name: Player) -> nn.Module:
        """The generator or the critic."""
        return self.generator if name == "generator" else self.critic

    def critics(self) -> list[Any]:
        """Every critic network, inside whatever wrapper."""
        return self.critic.backbones()

    def generators(self) -> list[Any]:
        """Every network of the generator, inside whatever wrapper."""
        return self.generator.backbones()

    def each_regularizer(self) -> Iterable[Regularizer]:
        """The Lipschitz method and the tricks, in the order in which they act."""
        return self.regularizers.values()  # type: ignore[return-value]

    def named_regularizers(self) -> Iterable[tuple[str, Regularizer]]:
        """The same, with the names of their losses."""
        return self.regularizers.items()  # type: ignore[return-value]

    @property
    def critic_classifies(self) -> bool:
        """Whether the critic names the class of single images as well."""
        return supports(self, Classifies)

    @classmethod
    def check_backbones(
        cls, generator: Backbone[Any], critic: Backbone[Any], criterion: AdversarialCriterion
    ) -> None:
        """Refuse networks that were made for another kind of model, before any is built.

        Every constructor that takes backbones calls it first.

        Raises:
            UserError: naming the network, what does not fit, and networks that do.
        """
        kinds = {"generator": generator.func, "critic": critic.func}
        energy = criterion.loss.of_energy
        fitting = FITTING["growth" if cls.grows else "energy" if energy else cls.generator_input]
        for player, misfit in cls.misfits(kinds["generator"], kinds["critic"], energy):
            raise incompatible_network(kinds[player], player, misfit, fitting)

    @classmethod
    def misfits(cls, generator: Any, critic: Any, energy: bool) -> Iterable[tuple[Player, str]]:
        """What does not fit of two classes of networks, by player.

        Args:
            generator: class of the generator.
            critic: class of the critic.
            energy: the loss needs an energy.
        """
        if generator.input_kind != cls.generator_input:
            given, needed = INPUTS[generator.input_kind], INPUTS[cls.generator_input]
            yield "generator", f"{given}, and this model {needed}"
        if generator.conditional and not (cls.labelled or cls.single_label):
            yield "generator", "takes labels, and this model has none"
        if critic.conditional and not (cls.critic_is_labelled or cls.single_label):
            yield "critic", "takes labels, and this model's critic sees none"
        if energy and not critic.is_energy:
            yield "critic", "is no energy, as this loss needs"
        if critic.head_kind not in cls.critic_heads:
            given, needed = HEADS[critic.head_kind], HEADS[cls.critic_heads[0]]
            yield "critic", f"gives {given}, and this model needs {needed}"
        if cls.grows and not generator.grows:
            yield "generator", "does not grow, as this model does"
        if cls.grows and not critic.grows:
            yield "critic", "does not grow, as this model does"

    def generator_parts(self) -> dict[str, nn.Module]:
        """Parts of the generator's player that may learn at a rate of their own, by name."""
        return {}

    # --- samples ----------------------------------------------------------------------------------

    @property
    def prior(self) -> str | None:
        """The distribution of the generator's noise."""
        return self.generator.prior

    def noise(self, n: int, device: torch.device | str) -> Tensor:
        """(n, latent) from the generator's prior."""
        return self.generator.noise(n, device)

    def generate(self, generator: Any, batch: Batch, noise: Tensor | None = None) -> Tensor:
        """Let `generator` make as many images as the batch has, of its labels or sources.

        Args:
            generator: the generator, or its average.
            batch: real images, with labels or sources.
            noise: (B, latent); None draws new noise.
        """
        z = generator.noise(len(batch[0]), batch[0].device) if noise is None else noise
        return generator(z, batch[1]) if self.labelled else generator(z)

    def sample(self, batch: Batch, noise: Tensor | None = None) -> Tensor:
        """Images of the averaged generator, where there is one, with running batch statistics."""
        generator = self.ema_generator or self.generator
        with eval_mode(generator):
            return self.generate(generator, batch, noise)

    def images_of(self, z: Tensor, batch: Batch) -> Tensor:
        return self.generate(self.ema_generator or self.generator, batch, z)

    def nearest_noise(self, z: Tensor) -> Tensor:
        return self.generator.nearest_noise(z)

    # --- what each player minimises ---------------------------------------------------------------

    @abstractmethod
    def critic_loss(self, batch: Batch) -> Objective:
        """The critic's named losses on a batch."""

    @abstractmethod
    def generator_loss(self, batch: Batch) -> Objective:
        """The generator's named losses on a batch."""

    def critic_terms(
        self,
        critic: CriticFunction,
        real: Tensor,
        fake: Tensor,
        mismatched: CriticFunction | None = None,
        domain: str = "",
    ) -> Objective:
        """What one critic minimises to tell `real` from `fake`.

        Args:
            critic: scores images.
            real: (B, ...) images of the data.
            fake: (B, ...) generated images.
            mismatched: the critic with wrong labels. Real images with wrong labels are further
                fakes, averaged equally with the generated fakes.
            domain: the model's domain; a model of several domains calls once for each.
        """
        real, fake = self.transform_batch(real, fake, critics_turn=True, domain=domain)
        on_real, on_fake = self.scores(critic, real, fake)
        objective = self.adversarial_terms(on_real, on_fake)
        if mismatched is not None:
            wrong = self.adversarial_terms(on_real, mismatched(real))
            both = objective.losses["adversarial"] + wrong.losses["adversarial"]
            objective.losses["adversarial"] = both / 2
            objective.metrics["mismatched_score"] = wrong.metrics["fake_score"]
        objective.losses |= self.critic_regularizer_terms(critic, real, fake)
        return objective

    def adversarial_terms(self, on_real: Tensor, on_fake: Tensor) -> Objective:
        """The critic's adversarial loss of scores (B,), and the metrics of these scores."""
        metrics = {"real_score": on_real.mean(), "fake_score": on_fake.mean()}
        estimates = self.loss.estimates.items()
        metrics |= {name: estimate(on_real, on_fake) for name, estimate in estimates}
        on_real, on_fake = self.transform_scores(on_real, on_fake, critics_turn=True)
        return Objective({"adversarial": self.loss.critic(on_real, on_fake)}, metrics)

    def generator_terms(
        self, critic: CriticFunction, real: Tensor, fake: Tensor, domain: str = ""
    ) -> Objective:
        """What a generator minimises to make `critic` take `fake` for real."""
        real, fake = self.transform_batch(real, fake, critics_turn=False, domain=domain)
        losses: dict[str, Tensor] = {}
        if self.generator_is_adversarial:
            losses |= self.generator_adversarial(*self.generator_scores(critic, real, fake))
        return Objective(losses | self.generator_regularizer_terms(critic, real, fake))

    def generator_adversarial(self, on_real: Tensor, on_fake: Tensor) -> dict[str, Tensor]:
        """The generator's adversarial loss of scores; nothing where a trick replaces it."""
        if not self.generator_is_adversarial:
            return {}
        on_real, on_fake = self.transform_scores(on_real, on_fake, critics_turn=False)
        return {"adversarial": self.loss.generator(on_real, on_fake)}

    def critic_objective(self, critic: CriticFunction, real: Tensor, fake: Tensor) -> Tensor:
        """What a critic minimises of batches that it sees as they are: adversarial loss, penalty.

        Args:
            critic: scores images.
            real, fake: (B, ...), after `transform_batch`.
        """
        terms = self.adversarial_terms(*self.scores(critic, real, fake)).losses
        terms |= self.critic_regularizer_terms(critic, real, fake)
        return torch.stack(list(terms.values())).sum()

    def generator_objective(self, critic: CriticFunction, real: Tensor, fake: Tensor) -> Tensor:
        """The generator's adversarial loss of batches that the critic sees as they are."""
        on_real, on_fake = self.generator_scores(critic, real, fake)
        return self.loss.generator(*self.transform_scores(on_real, on_fake, critics_turn=False))

    def weigh(self, objective: Objective, weight: float) -> None:
        """Weigh a player's adversarial loss, where it has one, as a paper that writes no 1/2.

        So a weight of the paper holds for any loss, with or without a 1/2. It is of the term of a
        trick, too, that is an adversarial loss in place of the model's.
        """
        in_place = {name for name, r in self.named_regularizers() if r.is_adversarial}
        for name in objective.losses.keys() & ({"adversarial"} | in_place):
            objective.losses[name] = weight * self.loss.unhalved * objective.losses[name]

    def generator_scores(
        self, critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The scores that the generator's loss needs.

        They are those of both batches where the loss compares them, else those of the fakes alone,
        in either place.
        """
        if self.loss.relative:
            return self.scores(critic, real, fake)
        on_fake = critic(fake)
        return on_fake, on_fake

    def scores(
        self, critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Score both batches in one forward, so spectral norm's power iteration advances once.

        A critic that couples samples sees each batch alone: the statistics of real and fake images
        must not mix.
        """
        if self.couples_samples:
            return critic(real), critic(fake)
        on_real, on_fake = critic(torch.cat([real, fake])).chunk(2)
        return on_real, on_fake

    def merge_domains(self, objectives: dict[str, Objective]) -> Objective:
        """One player's objective of several domains.

        Every name gets its domain's name in front. A regularizer of weights counts once.
        """
        once = {name for name, r in self.named_regularizers() if r.of_weights}

        def named(domain: str, scalars: dict[str, Tensor]) -> dict[str, Tensor]:
            return {n if n in once else f"{domain}_{n}": value for n, value in scalars.items()}

        merged = Objective({})
        for domain, objective in objectives.items():
            merged.losses |= named(domain, objective.losses)
            merged.metrics |= named(domain, objective.metrics)
        return merged

    # --- the hooks of the regularizers ------------------------------------------------------------

    def transform_batch(
        self, real: Tensor, fake: Tensor, critics_turn: bool, domain: str = ""
    ) -> tuple[Tensor, Tensor]:
        """What the critic sees of both batches, after every regularizer."""
        for regularizer in self.each_regularizer():
            real, fake = regularizer.transform_batch(real, fake, critics_turn, domain)
        return real, fake

    def transform_scores(
        self, on_real: Tensor, on_fake: Tensor, critics_turn: bool
    ) -> tuple[Tensor, Tensor]:
        """What the adversarial loss sees of the scores, after every regularizer."""
        for regularizer in self.each_regularizer():
            on_real, on_fake = regularizer.transform_scores(on_real, on_fake, critics_turn)
        return on_real, on_fake

    def critic_regularizer_terms(
        self, critic: CriticFunction, real: Tensor, fake: Tensor
    ) -> dict[str, Tensor]:
        """The critic's extra losses, by the name of their regularizer."""
        named = self.named_regularizers()
        return drop_none({name: r.critic_term(critic, real, fake) for name, r in named})

    def generator_regularizer_terms(
        self, critic: CriticFunction, real: Tensor, fake: Tensor
    ) -> dict[str, Tensor]:
        """The generator's extra losses, by the name of their regularizer."""
        named = self.named_regularizers()
        return drop_none({name: r.generator_term(critic, real, fake) for name, r in named})

    @torch.no_grad()
    def init_from_batch(self, batch: Batch) -> None:
        """Data-dependent initialisation: run every network that needs it on a first batch."""
        self.generate(self.generator, batch)
        if self.couples_samples:
            self.critic_loss(batch)
        for regularizer in self.each_regularizer():
            regularizer.on_train_start(self)

    def pretraining_loss(self, batch: Batch) -> Objective:
        """What a critic that is an energy minimises before adversarial training: E(x) of data."""
        raise NotImplementedError(f"{type(self).__name__} has no critic to pre-train")

    def after_pretraining_step(self) -> None:
        """Called after each update of `pretraining_loss`."""
        for regularizer in self.each_regularizer():
            regularizer.after_critic_step(self)

    def after_critic_step(self, scalars: dict[str, Tensor]) -> None:
        """Called after each critic update with the critic's named losses and metrics."""
        self.loss.update(scalars)
        for regularizer in self.each_regularizer():
            regularizer.after_critic_step(self)

    def after_generator_step(self) -> None:
        """Called after each generator update."""
        for regularizer in self.each_regularizer():
            regularizer.after_generator_step(self)

    # --- scores for evaluation --------------------------------------------------------------------

    def eval_scores(self, critic: CriticFunction, x: Tensor, fake: bool) -> Tensor:
        """One score for each image or pack: the mean over patches, where the critic has patches."""
        with eval_mode(self.critic):
            shown = self.transform_batch(x, x, critics_turn=False)[fake]
            return critic(shown).view(len(shown), -1).mean(1)


class SingleCriticModel(AdversarialModel, ABC):
    """A model with one critic, which scores one image at a time."""

    def critic_function(self, batch: Batch) -> CriticFunction:
        """The critic as a function of images alone."""
        return self.critic

    def critic_loss(self, batch: Batch) -> Objective:
        with torch.no_grad():
            fake = self.generate(self.generator, batch)
        return self.critic_terms(self.critic_function(batch), batch[0], fake)

    def generator_loss(self, batch: Batch) -> Objective:
        fake = self.generate(self.generator, batch)
        return self.generator_terms(self.critic_function(batch), batch[0], fake)

    def pretraining_loss(self, batch: Batch) -> Objective:
        return Objective({"energy": -self.critic_function(batch)(batch[0]).mean()})

    def critic_scores(self, batch: Batch, fake: bool = False) -> Tensor:
        return self.eval_scores(self.critic_function(batch), batch[0], fake)


class ConditionedCritic:
    """A conditional critic with its condition fixed: a function of images alone.

    Images may come as several batches of the same conditions, one after the other, such as real
    and fake ones in one forward.

    Args:
        critic: D(x, y).
        y: (B, ...) labels, or the sources that images were made of.
    """

    def __init__(self, critic: Any, y: Tensor) -> None:
        self.critic, self.y = critic, y

    def __call__(self, x: Tensor) -> Tensor:
        return self.critic(x, self.conditions(x))

    def features(self, x: Tensor) -> Tensor:
        """The input of the critic's last layer, (B, F)."""
        return self.critic.features(x, self.conditions(x))

    def conditions(self, x: Tensor) -> Tensor:
        """The condition of each image of x."""
        return self.y.repeat(len(x) // len(self.y), *[1] * (self.y.ndim - 1))


def drop_none(terms: dict[str, Tensor | None]) -> dict[str, Tensor]:
    """The terms that are not None."""
    return {name: term for name, term in terms.items() if term is not None}


FITTING = {
    "noise": "network=dcgan, resnet or mlp",
    "images": "network=resnet_translator, unet or stargan",
    "energy": "network=autoencoder_mlp or autoencoder_dcgan",
    "growth": "network=progan",
}
INPUTS = {"noise": "starts from noise", "images": "translates images"}
HEADS: dict[HeadKind, str] = {
    "linear": "one score for each image",
    "patches": "a score for each patch",
    "decoder": "the error of a reconstruction",
    "parts": "a score for each part of a sample",
}


def incompatible_network(kind: Any, player: str, what: str, fitting: str) -> UserError:
    """The refusal of a network that was made for another kind of model.

    Args:
        kind: class of the network.
        player: "generator" or "critic".
        what: what does not fit.
        fitting: choices that do.
    """
    name = f"{kind.__module__.removeprefix('gentrain.')}.{kind.__name__}"
    return UserError(f"{name} as the {player} {what} (model.{player}, network); choose {fitting}")
