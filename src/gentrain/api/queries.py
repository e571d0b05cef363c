"""What a run makes of given images: codes, translations, likelihoods, chains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gentrain.api.arguments import checked
from gentrain.api.samples import Samples
from gentrain.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from gentrain.api.types import (
        Classes,
        Count,
        Domain,
        Images,
        Mask,
        Number,
        Seed,
        Several,
        Transitions,
    )
    from gentrain.capability import Capability
    from gentrain.samplers.importance import Estimate

BRIGHTEST = 20.0  # no noise on images in [-1, 1] is larger, and bytes are


class Queries(Samples):
    """A finished run, and what its model says of images."""

    @checked
    def encode(self, x: Images, labels: Classes | None = None) -> Tensor:
        """Codes (B, latent) of images (B, C, H, W).

        Args:
            x: images in [-1, 1].
            labels: (B,) classes, for a model of p(x | y).
        """
        from gentrain.models.base import Encodes

        model = self.ask(Encodes, "encode")
        with self.session():
            return model.encode(*self.batch(x, labels)).cpu()

    @checked
    def reconstruct(self, x: Images, labels: Classes | None = None) -> Tensor:
        """Images (B, C, H, W) through the code and back.

        Args:
            x: images in [-1, 1].
            labels: (B,) classes, for a model of p(x | y).
        """
        from gentrain.models.base import Reconstructs

        model = self.ask(Reconstructs, "reconstruct")
        with self.session():
            return self.data.in_units(model.reconstruct(*self.batch(x, labels)).cpu())

    @checked
    def classify(self, x: Images) -> Tensor:
        """Logits (B, K) of images (B, C, H, W)."""
        from gentrain.models.base import Classifies

        model = self.ask(Classifies, "classify")
        with self.session():
            return model.classify(self.image(x)).cpu()

    @checked
    def translate(self, x: Images, domain: Domain | None = None) -> Tensor:
        """Images (B, C, H, W) of the other domain, from sources (B, C', H', W').

        Args:
            x: sources in [-1, 1].
            domain: the target, where the model has several; names of attributes with + between
                them, where an image has several at once.
        """
        from gentrain.models.base import Translates

        model = self.ask(Translates, "translate")
        x = self.image(x, self.data.source_shape)
        with self.session(domain=domain) as session:
            if session.domain is not None:
                domain_of_each = session.domain.expand(len(x), *session.domain.shape)
                return model.translate(x, domain_of_each.to(self.opened.device)).cpu()
            if session.is_multi_domain:
                names = ", ".join(session.label_names)
                raise UserError(
                    f"this model translates to several domains (domain); give one of {names}"
                )
            return model.translate(x).cpu()

    @checked
    def complete(
        self,
        x: Images,
        known: Mask,
        labels: Classes | None = None,
        seed: Seed = 0,
    ) -> Tensor:
        """Images whose unknown pixels are drawn anew; known pixels stay.

        Args:
            x: (B, C, H, W) in [-1, 1].
            known: bool, broadcast over x; true where a pixel is known.
            labels: (B,) classes, for a model of p(x | y).
            seed: seed for the draws.
        """
        from gentrain.models.base import Completes

        model = self.ask(Completes, "complete")
        batch = self.batch(x, labels)
        shape = batch[0].shape
        if not fits(known.shape, shape):
            raise UserError(
                f"a mask of shape {tuple(known.shape)}, which is not broadcast over images of "
                f"{tuple(shape)} (known); give one of {tuple(shape[1:])}"
            )
        with self.session(seed) as session, session.streams(range(len(x))):
            return model.complete(batch, known.to(self.opened.device)).cpu()

    @checked
    def denoise(self, x: Images, steps: Count = 2, draws: Count = 10, seed: Seed = 0) -> Tensor:
        """Images without their noise: means of chains that start from them.

        Args:
            x: noisy images (B, C, H, W) in [-1, 1].
            steps: transitions of each chain.
            draws: chains from each image.
            seed: seed for the chains.
        """
        from gentrain.models.base import Denoises

        model = self.ask(Denoises, "denoise")
        x = self.image(x)
        with self.session(seed) as session, session.streams(range(len(x))):
            return model.denoise(x, steps, draws).cpu()

    # --- energies ---------------------------------------------------------------------------------

    @checked
    def chains(
        self, n: Count = 8, transitions: Transitions = (0, 1, 10, 100), seed: Seed = 0
    ) -> Tensor:
        """Markov chains from noise, as they are after some numbers of transitions.

        Args:
            n: chains.
            transitions: when they are looked at; they increase.
            seed: seed for the chains.

        Returns:
            (n * len(transitions), C, H, W), chain by chain:
            `run.grid(images, columns=len(transitions))` shows them.
        """
        from itertools import pairwise

        import torch

        from gentrain.models.base import HasChains

        model = self.ask(HasChains, "chains")
        times = [0, *transitions]
        if times != sorted(times):
            raise UserError(f"{list(transitions)} do not increase (transitions); e.g. (0, 1, 10)")
        seen = []
        with self.session(seed) as session, session.streams(range(n)), torch.no_grad():
            x = model.noise(n, self.opened.device)
            for before, time in pairwise(times):
                x = model.run_chain(x, time - before) if time > before else x
                seen.append(model.show(x) if time else model.images(x[:, : model.size]))
        return torch.stack([images.float().cpu() for images in seen], 1).flatten(0, 1)

    @checked
    def filters(self, n: Count = 64) -> Tensor:
        """The weights to the first n hidden units as images (n, C, H, W).

        Each is divided by its largest weight: white is what a unit looks for, black what it avoids.
        """
        from gentrain.models.base import HasFilters

        weights = self.ask(HasFilters, "filters").filters()[:n].float().cpu()
        return weights / weights.abs().flatten(1).amax(1).clamp_min(1e-12).view(-1, 1, 1, 1)

    @checked
    def log_partition(
        self, chains: Several = 100, temperatures: Count = 1000, seed: Seed = 0
    ) -> Estimate:
        """log Z with its standard error, by annealed importance sampling (Neal, 2001).

        It is exact for up to 15 hidden units. The error does not see what no chain has found.

        Args:
            chains: independent chains, 2 or more.
            temperatures: distributions between an easy one and the model's.
            seed: seed for the chains.

        Returns:
            `value` and `error`, in nats.
        """
        from gentrain.models.base import HasLogPartition

        model = self.ask(HasLogPartition, "log_partition")
        with self.session(seed):
            found: Estimate = model.log_partition(chains, temperatures)
            return found

    # --- likelihood -------------------------------------------------------------------------------

    @checked
    def log_prob(
        self,
        x: Images,
        labels: Classes | None = None,
        samples: Count = 100,
        seed: Seed = 0,
        log_z: Number | None = None,
    ) -> Tensor:
        """log p(x) in nats (B,) of images (B, C, H, W), or of points (B, D).

        Args:
            x: images in [-1, 1], or points in the units of their file, of which it is the density.
            labels: (B,) classes of a conditional model, which gives log p(x | y).
            samples: importance samples, where log p is bounded.
            seed: seed for them, and for the noise of dequantisation.
            log_z: of an energy; None estimates it as `log_partition` does.
        """
        from gentrain.capability import supports
        from gentrain.models.base import HasLikelihood, HasLogPartition

        if supports(self.model, HasLogPartition):
            log_z = self.log_partition(seed=seed).value if log_z is None else log_z
            return self.log_prob_of_energy(x, labels, log_z, seed)
        model = self.ask(HasLikelihood, "log_prob")
        if log_z is not None:
            raise UserError("the density of this model is normalised (log_z); leave it out")
        batch = self.batch(x, labels, takes=model.given_labels, needs=model.given_labels)
        with self.session(seed):
            return model.log_likelihood(batch, samples).cpu() + self.data.log_det

    def log_prob_of_energy(
        self,
        x: Tensor,
        labels: Classes | None,
        log_z: Tensor | float,
        seed: int,
    ) -> Tensor:
        """log p(x) = -F(x) - log Z of a model with energies, given log Z."""
        import torch

        model: Any = self.model
        (images,) = self.batch(x, labels)
        with self.session(seed), torch.no_grad():
            v, log_det = model.pixels(images)
            nats = model.log_likelihood_of_values(v.flatten(1), torch.as_tensor(log_z).to(v.device))
            return (nats + log_det).cpu() + self.data.log_det

    # --- what the methods share -------------------------------------------------------------------

    def ask(self, capability: type[Capability], method: str) -> Any:
        """The model, if it has a capability.

        Raises:
            UserError: naming models that have it.
        """
        from gentrain.capability import require

        require(self.model, capability, method)
        return self.model

    def batch(
        self,
        x: Tensor,
        labels: Classes | None,
        takes: bool | None = None,
        needs: bool | None = None,
    ) -> tuple[Tensor, ...]:
        """Images and their labels, if any, on the device of the model.

        Args:
            x: images.
            labels: (B,) classes, or None.
            takes: whether labels are read; None: as the model is labelled.
            needs: whether labels must be given; None: as above, unless it can name them itself.

        Raises:
            UserError: for labels that are missing, of no use, or no labels of the data.
        """
        import torch

        takes = self.model.labelled if takes is None else takes
        needs = takes and not self.model.semi_supervised if needs is None else needs
        images = self.image(x)
        if labels is None:
            if needs:
                raise UserError("this model is given labels (labels); give one for each image")
            return (images,)
        if not takes:
            raise UserError("this model is not given labels (labels); leave them out")
        numbers, classes = self.numbers(labels), self.data.classes or 0
        if len(numbers) != len(images) or not all(each in range(classes) for each in numbers):
            raise UserError(
                f"labels are no {len(images)} whole numbers from 0 to {classes - 1} (labels); "
                "give one for each image"
            )
        return images, torch.tensor(numbers, device=self.opened.device)

    def numbers(self, labels: Any) -> Any:
        """Numbers of classes, of which some or all may be given by their names."""
        from gentrain.data.labels import number_of

        names, labels = self.class_names, self.as_names(labels)
        if not names:
            return labels
        words = {each: number_of(str(each), names, "class", "labels") for each in set(labels)}
        return [words[each] for each in labels]

    def image(self, x: Tensor, shape: Any = None) -> Tensor:
        """Images on the device of the model, after a look at their shape and type.

        Raises:
            UserError: for images of another shape than the model's, or of whole numbers.
        """

        expected = tuple(shape or self.data.shape)
        if tuple(x.shape[1:]) != expected:
            raise UserError(
                f"images of shape {tuple(x.shape)}, not (B, {', '.join(map(str, expected))}) (x); "
                "give one or more of that size"
            )
        if not x.is_floating_point():
            raise UserError(
                f"images of {x.dtype} (x); give floats in [-1, 1], such as x / 127.5 - 1"
            )
        if len(expected) == 3 and len(x) and x.abs().max() > BRIGHTEST:
            raise UserError(
                f"images of values up to {x.abs().max():g} (x); give floats in [-1, 1], such as "
                "x / 127.5 - 1"
            )
        return self.data.from_units(x.to(self.opened.device)).float()


def fits(small: Sequence[int], large: Sequence[int]) -> bool:
    """Whether a tensor of one shape is broadcast over another.

    >>> fits((28, 28), (2, 1, 28, 28)), fits((2,), (2, 1, 28, 28))
    (True, False)
    """
    pairs = zip(reversed(small), reversed(large), strict=False)
    return len(small) <= len(large) and all(one in (1, other) for one, other in pairs)
