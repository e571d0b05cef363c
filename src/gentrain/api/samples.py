"""What a run draws."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from gentrain.api.arguments import checked
from gentrain.api.records import Records
from gentrain.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from gentrain.api.types import (
        Classes,
        Count,
        Domain,
        Flag,
        Images,
        Seed,
        Several,
        Temperature,
        Truncation,
    )
    from gentrain.commands.sample.session import SampleSession


class Samples(Records):
    """A finished run, and samples of its model."""

    @checked
    def sample(
        self,
        n: Count = 64,
        *,
        seed: Seed = 0,
        labels: Classes | None = None,
        domain: Domain | None = None,
        truncation: Truncation | None = None,
        temperature: Temperature | None = None,
        mean: Flag | None = None,
    ) -> Tensor:
        """Draw n images; image i of a seed is the same for every n.

        Args:
            n: how many.
            seed: seed for all noise.
            labels: at most n classes that take turns, by name or number; None for all, where the
                model has labels.
            domain: the target of a translation between several domains.
            truncation: draw normal noise again where |z| is above this (Brock et al., 2019).
            temperature: of an autoregressive model, a flow or a VAE.
            mean: means of p(x | z) in place of draws of it.

        Returns:
            (n, C, H, W) in [-1, 1], or points (n, D) in the units of their file.
        """
        import torch

        with self.session(seed, labels, domain, mean, temperature) as session:
            if truncation is None:
                images = torch.cat([images for images, _ in session.stream(n)])
                return self.data.in_units(images)
            from gentrain.commands.sample.truncation import truncated

            if session.prior != "normal":
                raise UserError(
                    f"truncation needs normal noise, and this model's is {session.prior or 'none'} "
                    "(truncation); leave it out"
                )
            session.take_turns(n)
            noise = truncated(session.noise(n), truncation)
            return self.data.in_units(session.images(noise, session.labels(n)))

    @checked
    def noise(self, n: Count = 64, seed: Seed = 0) -> Tensor:
        """The noise (n, ...) of which `sample(n, seed=seed)` makes its images.

        Raises:
            UserError: where a sample is no function of noise: a translation, or a Markov chain.
        """
        with self.session(seed) as session:
            return self.with_prior(session, "noise").noise(n)

    @checked
    def decode(
        self,
        z: Images,
        labels: Classes | None = None,
        *,
        mean: Flag | None = None,
        seed: Seed = 0,
    ) -> Tensor:
        """Images (B, C, H, W) of noise or codes (B, ...), such as those of `noise` and `encode`.

        Args:
            z: noise, of the shape that `noise` gives.
            labels: classes that take turns; None for all, where the model has labels.
            mean: means of p(x | z) in place of draws of it, as in a VAE.
            seed: seed for what is drawn beside.
        """
        with self.session(seed, labels, mean=mean) as session:
            expected = tuple(self.with_prior(session, "decode").noise(1).shape[1:])
            if tuple(z.shape[1:]) != expected:
                shape = ", ".join(map(str, expected))
                raise UserError(
                    f"noise of shape {tuple(z.shape)}, not (B, {shape}) (z); see run.noise"
                )
            return self.data.in_units(session.images(z.float().cpu(), session.labels(len(z))))

    @checked
    def interpolate(
        self,
        n: Count = 8,
        steps: Several = 9,
        *,
        seed: Seed = 0,
        labels: Classes | None = None,
        mean: Flag | None = None,
    ) -> Tensor:
        """Images on the way from one noise to another: `steps` of each of n strips.

        Normal noise goes along a great circle (White, "Sampling Generative Networks", 2016), and
        uniform noise along a line. A strip is of one class.

        Returns:
            (n * steps, C, H, W), strip by strip: `run.grid(images, columns=steps)` shows them.
        """
        import torch

        from gentrain.commands.sample.latent import linear, slerp
        from gentrain.commands.sample.mode import repeat_labels

        with self.session(seed, labels, mean=mean) as session:
            ends = self.with_prior(session, "interpolate").noise(2 * n).unflatten(0, (n, 2))
            path = slerp if session.prior == "normal" else linear
            t = torch.linspace(0, 1, steps)
            z = torch.cat([path(z0, z1, t) for z0, z1 in ends.flatten(2)])
            z = z.unflatten(1, ends.shape[2:])
            made = session.images(z, repeat_labels(session.labels(n), steps))
            return self.data.in_units(made)

    def with_prior(self, session: SampleSession, method: str) -> SampleSession:
        """A session whose model draws images as functions of noise.

        Raises:
            UserError: for another model.
        """
        if session.prior is None:
            raise UserError(
                f"a sample of {type(self.model).__name__} is no function of noise alone "
                f"({method}); choose a GAN, a VAE or a flow"
            )
        return session

    @contextmanager
    def session(
        self,
        seed: int = 0,
        labels: Any = None,
        domain: str | int | None = None,
        mean: bool | None = None,
        temperature: float | None = None,
    ) -> Iterator[SampleSession]:
        """A session of `gentrain sample`; what it sets on the model lasts until the end."""
        from gentrain.capability import supports
        from gentrain.commands.sample.session import SampleSession, choose_draws
        from gentrain.models.base import DrawsPixels, HasTemperature, fork_rng

        model: Any = self.model
        before = {
            "mean": model.mean if supports(model, DrawsPixels) else None,
            "temperature": model.temperature if supports(model, HasTemperature) else None,
        }
        with fork_rng(seed, self.opened.device):
            try:
                chosen = self.as_names(labels)
                yield SampleSession(self.opened, None, seed, chosen, domain, mean, temperature)
            finally:
                choose_draws(model, **before)

    @property
    def class_names(self) -> list[str]:
        """Names of the classes as the run recorded them; empty where they have none."""
        return self.opened.class_names or list(self.data.class_names)

    def as_names(self, labels: Any) -> Any:
        """Classes whose numbers a tensor has given, by their names, if they have any."""
        from gentrain.api.types import OfTensor

        names = self.class_names
        match labels:
            case OfTensor() if names:
                known = dict(enumerate(names))
                return [known.get(each, f"number {each}") for each in labels]
        return labels
