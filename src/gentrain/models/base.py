"""The base class of every model, and the capabilities that some models have.

A model is a plain `nn.Module` that knows its mathematics. What every model offers is in
`GenerativeModel`. What only some offer is a `Capability`: a small abstract class that a model
inherits from, and that a sample mode or a metric names in `requires`.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from gentrain.capability import Capability, supports
from gentrain.data.base import Data
from gentrain.data.labels import Exclusive, LabelKind
from gentrain.models.objective import Objective
from gentrain.models.pixels import Pixels
from gentrain.samplers.importance import Estimate

log = logging.getLogger("gentrain")

Batch = tuple[Tensor, ...]


@dataclass(frozen=True)
class InitialWeights:
    """Another run, from whose weights a model wants to start.

    The training job opens the run and hands its configuration and weights to
    `GenerativeModel.load_initial_weights`, before the first step of a new run.
    """

    run: Path
    key: str  # the option that names the run, such as "model.start"


class GenerativeModel(nn.Module, ABC):
    """A model that can be trained and sampled.

    A batch is `(images,)`, or `(images, labels)` for labelled data. It is `(images, sources)` for
    a model that translates, and `(images, labelled images, labels)` for a semi-supervised one.
    Images are float (B, C, H, W) in [-1, 1], sounds (B, C, L); points are float (B, D).
    """

    labelled: bool = False  # samples are made for given labels
    label_kinds: ClassVar[tuple[type[LabelKind], ...]] = (Exclusive,)  # that it learns from
    translates: ClassVar[bool] = False  # samples are made from source images
    paired: ClassVar[bool] = False  # it learns from pairs of a source and its target
    semi_supervised: ClassVar[bool] = False  # it learns from few labels
    memory_format: ClassVar[torch.memory_format] = torch.preserve_format  # of its weights
    sequential: bool = False  # a sample takes many passes: pixel by pixel, or by iteration
    generator: Any  # the network that makes samples
    ema_generator: Any  # the averaged generator, where a trick keeps one, or None
    initial_weights: InitialWeights | None = None  # a run whose weights a new run starts with

    @abstractmethod
    def sample(self, batch: Batch, noise: Tensor | None = None) -> Tensor:
        """Draw as many images as the batch has, of its labels or from its sources.

        Args:
            batch: what is asked for; only its size, labels and sources are read.
            noise: (B, ...), as `noise` draws it; None draws new noise.

        Returns:
            Float images (B, C, H, W) in [-1, 1], or points (B, D). No gradient is kept.
        """

    @property
    def prior(self) -> str | None:
        """The distribution of the noise that a sample is a function of: "normal" or "uniform".

        "mixed" where codes join it (`HasCodes`).
        None where a sample is no function of noise alone: a translation, or a Markov chain.
        """
        return None

    def noise(self, n: int, device: torch.device | str) -> Tensor:
        """Draw (n, ...) noise, of which a sample is a function or from which its chain starts."""
        raise NotImplementedError(f"{type(self).__name__} has no noise")

    def sample_protocol(self) -> dict[str, Any]:
        """What must be equal before scores of samples are compared, beside the weights."""
        return {}

    def load_initial_weights(self, config: dict[str, Any], state_dict: dict[str, Tensor]) -> None:
        """Take weights of the run that `initial_weights` names.

        Args:
            config: the other run's configuration.
            state_dict: the other run's weights; names start with "model.".

        Raises:
            UserError: when the other run does not fit.
        """
        raise NotImplementedError(f"{type(self).__name__} takes no weights from another run")

    def check_data(self, data: Data) -> None:
        """Refuse a data set that this model does not fit, before anything is read.

        Raises:
            UserError: with the reason and what to choose instead.
        """

    def init_from_data(self, batch: Batch) -> None:
        """Look at many training images once, before the first update."""

    def init_from_batch(self, batch: Batch) -> None:
        """Look at the first batch, before the first update."""


class SingleObjectiveModel(GenerativeModel):
    """A model that minimises one objective: a likelihood, a bound, an energy or a regression."""

    compilable: ClassVar[bool] = True  # `objective` can be compiled as one graph
    ignores_batches: bool = False  # `objective` is the same for every batch, and not random
    init_images: int = 0  # at most so many training images go to `init_from_data`
    ema_generator: Any = None

    @property
    def generator(self) -> Any:  # type: ignore[override]
        """The model itself, which has no separate generator."""
        return self

    def generate(self, generator: Any, batch: Batch, noise: Tensor | None = None) -> Tensor:
        """Let `generator`, which is the model, draw as many images as the batch has."""
        return generator.sample(batch, noise)

    @abstractmethod
    def objective(self, batch: Batch) -> Objective:
        """Named losses whose sum is minimised."""

    def after_step(self) -> None:
        """Called after each update."""


# --- capabilities ---------------------------------------------------------------------------------


class HasLikelihood(Capability):
    """It gives log p(x) or log p(x | y), or a lower bound of it."""

    what, examples = "gives a likelihood", "model=vae, maf or gated_pixelcnn"
    pixels: Pixels  # what the likelihood is of, and so its unit
    is_bound: ClassVar[bool] = False  # a lower bound, which more importance samples tighten

    @property
    @abstractmethod
    def given_labels(self) -> bool:
        """Whether the likelihood is log p(x | y), given the label y of an image."""

    @abstractmethod
    def log_likelihood(self, batch: Batch, samples: int) -> Tensor:
        """(B,) nats of each image; a bound uses `samples` importance samples."""

    @abstractmethod
    def log_likelihood_of_values(self, v: Tensor, y: Tensor | None, samples: int) -> Tensor:
        """(B,) nats of modelled values, without the Jacobian of `pixels`.

        Args:
            v: (B, ...), as `pixels` makes them of images.
            y: (B,) labels of a likelihood that is `given_labels`, else None.
            samples: importance samples of a bound.
        """

    @abstractmethod
    def protocol(self, samples: int) -> dict[str, Any]:
        """What the number of nats means: exact or a bound, binarised or dequantised pixels."""


class HasLogProb(Capability):
    """It gives the exact log-density of modelled values."""

    what, examples = "gives an exact density", "model=realnvp or maf"

    @abstractmethod
    def log_prob(self, v: Tensor) -> Tensor:
        """(B,) nats of modelled values (B, ...), images or points."""


class HasLogPartition(Capability):
    """It can estimate, or enumerate, the logarithm of its normalising constant Z."""

    what, examples = "gives log Z, the logarithm of its normalising constant", "model=rbm"
    pixels: Pixels  # what the likelihood is of, and so its unit

    @property
    @abstractmethod
    def binary(self) -> bool:
        """Whether its visible units are binary, so that `pseudo_log_likelihood` is defined."""

    @abstractmethod
    def log_partition(self, chains: int, temperatures: int) -> Estimate:
        """log Z and its standard error, by annealing `chains` chains if it cannot be summed."""

    @abstractmethod
    def log_likelihood_of_values(self, v: Tensor, log_z: Tensor) -> Tensor:
        """(B,) nats of visible values v (B, D), given log Z."""

    @abstractmethod
    def pseudo_log_likelihood(self, v: Tensor) -> Tensor:
        """(B,) sums over all units of log p(v_i | all others), of visible values v (B, D)."""

    @abstractmethod
    def protocol(self, chains: int, temperatures: int) -> dict[str, Any]:
        """What the number of nats means: how log Z was found, and which pixels are modelled."""


class HasEnergy(Capability):
    """It gives an energy E(x) of states: an unnormalised density, p(x) = exp(-E(x)) / Z."""

    what, examples = "gives an energy", "model=ebm"

    @property
    @abstractmethod
    def units(self) -> int:
        """The number of values of a state: those of an image, and hidden ones."""

    @property
    def energy_units(self) -> int:
        """The first values of a state of which the energy is a function; all by default."""
        return self.units

    @abstractmethod
    def values(self, images: Tensor) -> Tensor:
        """The visible values (B, D) of images (B, C, H, W) in [-1, 1], or of points (B, D)."""

    @property
    def box(self) -> tuple[float, float] | None:
        """The ends of the box to which values are confined; None for none."""
        return None

    @abstractmethod
    def energy(self, x: Tensor) -> Tensor:
        """(B,) energies of states (B, units)."""


class HasChains(Capability):
    """It draws samples by Markov chains."""

    what, examples = "draws by Markov chains", "model=rbm, boltzmann, hopfield or ebm"

    @abstractmethod
    def run_chain(self, x: Tensor, steps: int) -> Tensor:
        """States (n, units) after `steps` transitions from states x (n, units)."""

    @abstractmethod
    def images(self, v: Tensor) -> Tensor:
        """Visible values (n, D) as images in [-1, 1]."""

    @abstractmethod
    def show(self, x: Tensor) -> Tensor:
        """States (n, units) as images in [-1, 1]; see `DrawsPixels` for what may be means."""

    @property
    @abstractmethod
    def starts(self) -> int | None:
        """How many samples start from chains of their own; None for any number."""


class Trace(NamedTuple):
    """Markov chains after T transitions, and what was seen on the way."""

    x: Tensor  # (C, units), the last states
    energies: Tensor  # (T, C)
    accepted: Tensor | None  # (T, C) whether a proposal was accepted; None if none is ever rejected


class HasTrace(HasChains):
    """Its chains have a distribution to which they converge, and it says how they move."""

    what, examples = "draws by Markov chains that converge", "model=ebm, rbm or boltzmann"

    @abstractmethod
    def start(self, n: int, device: torch.device | str) -> Tensor:
        """States (n, units) from which samples start."""

    @abstractmethod
    def trace(self, x: Tensor, steps: int) -> Trace:
        """Chains from states x (C, units), `steps` transitions long."""


class DrawsPixels(Capability):
    """Its pixels have a distribution given what else it draws, p(x | z) or p(v | h).

    A sample is a draw of it by default. The mean of the distribution is no sample: it has less
    noise than the data. Reconstructions are means.
    """

    what = "draws its pixels at random around means"
    examples = "model=vae, rbm or boltzmann"
    pixel_distribution: ClassVar[str] = "p(x|z)"
    mean: bool = False  # samples show the means of that distribution

    @property
    def shows(self) -> str:
        """What a sample shows: draws or means, and of which distribution."""
        return f"{'means' if self.mean else 'draws'} of {self.pixel_distribution}"


class HasTemperature(Capability):
    """Its samples are sharper or more various at another temperature than 1.

    At 1 they are of the model's own distribution; towards 0 they go to one mode of it.
    """

    what, examples = "can be sampled at a temperature", "model=gated_pixelcnn, realnvp or vae"
    temperature: float = 1.0


class HasFilters(Capability):
    """Its weights can be shown as images, one for each hidden unit."""

    what, examples = "has filters to show", "model=rbm"

    @abstractmethod
    def filters(self) -> Tensor:
        """(hidden, C, H, W) weights, not scaled."""


class HasCritic(Capability):
    """It has a critic whose scores can be looked at."""

    what, examples = "has a critic", "model=gan or wgan_gp"

    @abstractmethod
    def critic_scores(self, batch: Batch, fake: bool = False) -> Tensor:
        """(B,) scores of a batch of real images, or of `fake` ones. Nothing is updated."""


class MakesImagesOfNoise(Capability):
    """Its images are a function of the noise, differentiable unless its codes are exact."""

    what, examples = "makes images of noise", "model=dcgan, vae or realnvp"

    @abstractmethod
    def images_of(self, z: Tensor, batch: Batch) -> Tensor:
        """The images of noise (B, ...), with gradients: means where pixels are drawn.

        Args:
            z: as `noise` draws it.
            batch: its size and labels count.
        """

    def nearest_noise(self, z: Tensor) -> Tensor:
        """The noise nearest to z (B, ...) that the prior can draw."""
        return z


class Encodes(Capability):
    """It maps images to codes."""

    what, examples = "encodes images", "model=vae or bigan"
    exact: ClassVar[bool] = False  # the image of a code is the image again

    @abstractmethod
    def encode(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> codes (B, latent)."""

    def features(self, x: Tensor) -> Tensor | None:
        """(B, F), what the layer before the codes gives; None where there is no such vector."""
        return None


class Reconstructs(Capability):
    """It maps images to codes and back."""

    what, examples = "reconstructs images", "model=vae or bigan"

    @abstractmethod
    def reconstruct(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W) in [-1, 1]."""


class Completes(Capability):
    """It fills in the unknown part of an image."""

    what, examples = "completes images", "model=gated_pixelcnn, vae_inpainting or rbm"

    @abstractmethod
    def complete(self, batch: Batch, known: Tensor, noise: Tensor | None = None) -> Tensor:
        """The batch's images with the unknown pixels drawn anew; known pixels stay exactly.

        Args:
            batch: images in [-1, 1], with labels for a labelled model.
            known: bool, broadcast over (B, C, H, W); True where a pixel is known.
            noise: as `sample` takes it.
        """


class Denoises(Capability):
    """It removes noise from images."""

    what, examples = "denoises images", "model=rbm, hopfield or ebm"
    deterministic: ClassVar[bool] = False  # all chains from an image end in the same state

    @abstractmethod
    def denoise(self, images: Tensor, steps: int = 1, draws: int = 10) -> Tensor:
        """The mean of `draws` chains after `steps` transitions from noisy images (B, C, H, W)."""


class Memorises(Capability):
    """It stores images and recalls them."""

    what, examples = "stores images", "model=hopfield"

    memories: Tensor


class Classifies(Capability):
    """It names the class of an image."""

    what, examples = "classifies images", "model=semi_supervised_gan, semi_supervised_vae or acgan"

    @abstractmethod
    def classify(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> logits (B, K)."""


class Clusters(Capability):
    """It sorts images into groups that nobody named."""

    what, examples = "sorts images into groups of its own", "model=infogan"

    @property
    @abstractmethod
    def categories(self) -> int:
        """How many groups; 0 where it was trained without."""

    @abstractmethod
    def cluster(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> logits (B, categories). Nothing is updated."""


class HasCodes(Capability):
    """Its noise has codes that shall mean something: categories, and numbers in [-1, 1]."""

    what, examples = "has codes beside its noise", "model=infogan"

    @property
    @abstractmethod
    def categories(self) -> int:
        """K of its first categorical code; 0 for none."""

    @property
    @abstractmethod
    def continuous(self) -> int:
        """How many continuous codes it has."""

    @property
    @abstractmethod
    def noise_parts(self) -> list[tuple[str, int]]:
        """What the noise consists of, in order: "normal", "uniform" or "one-hot", and a length."""

    @abstractmethod
    def with_codes(self, z: Tensor, category: int | None, values: dict[int, Tensor]) -> Tensor:
        """The same noise (B, latent) with other codes.

        Args:
            z: noise, as `noise` draws it.
            category: of the first categorical code; None leaves it.
            values: (B,) each, of continuous codes, by their numbers.
        """


class ReadsCaptions(Capability):
    """Its labels are captions, and it makes images of any that its vocabulary has words for."""

    what, examples = "makes images of captions", "model=gan_cls"

    @abstractmethod
    def embed(self, y: Tensor) -> Tensor:
        """Captions (B, L), numbers of words and then zeros -> (B, E). Nothing is updated."""


class Translates(Capability):
    """It translates images of one domain to another, also images that are not in the data set."""

    what, examples = "translates images", "model=pix2pix or cyclegan"

    @abstractmethod
    def translate(self, x: Tensor, domains: Tensor | None = None) -> Tensor:
        """Sources to images in [-1, 1]; `domains` (B,) are the targets, where there are several."""


class TranslatesBack(Translates):
    """It translates in both directions, so an image can go to another domain and back."""

    what, examples = "translates to another domain and back", "model=cyclegan or stargan"

    @abstractmethod
    def translate_back(self, x: Tensor, domains: Tensor | None = None) -> Tensor:
        """Translated images back to the domains (B,) of their sources."""


def warn_of_few_chains(model: GenerativeModel, n: int) -> None:
    """Say so where more samples are wanted than there are chains to start from."""
    if supports(model, HasChains):
        starts: Any = model.starts
        if starts is not None and n > starts:
            log.warning(
                "%d samples start from %d chains: those that share a start are not independent",
                n,
                starts,
            )


# --- contexts -------------------------------------------------------------------------------------


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Put a model in eval mode without gradients, and restore its mode afterwards."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)


@contextmanager
def fork_rng(seed: int, device: torch.device) -> Iterator[None]:
    """Draw random numbers from `seed` inside, and restore the generators afterwards."""
    on_gpu = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if on_gpu else []):
        # torch.manual_seed would also reseed devices that are not forked
        torch.default_generator.manual_seed(seed)
        if on_gpu:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield
