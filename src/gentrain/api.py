"""The Python API: train, open and use runs from a script or a notebook.

    import gentrain

    run = gentrain.train("model=wgan_gp", "data=mnist_5k", "steps=1000")
    images = run.sample(64, seed=0)          # (64, 1, 28, 28) in [-1, 1]
    run = gentrain.load("outputs/wgan_gp-mnist_5k/...")

The words of `train` are those of the command line. A mistake raises `gentrain.UserError`, whose
text is the line that the command would print.
"""

from __future__ import annotations

import csv
import io
import json
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gentrain.config import plugins as plugin_modules
from gentrain.errors import AlreadyFinished, Interrupted, UserError
from gentrain.files import report_disk_errors, write_text

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from gentrain.capability import Capability
    from gentrain.commands.sample.session import SampleSession
    from gentrain.data.base import Data
    from gentrain.models.base import GenerativeModel
    from gentrain.runs.reopen import OpenedRun
    from gentrain.samplers.importance import Estimate

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
FORMAT = "gentrain model 1"


def train(*words: str) -> Run:
    """Train a model in this process.

    Args:
        words: those of the command line, such as "model=wgan_gp" and "steps=1000".

    Returns:
        The finished run; with "resume=" also one that has no steps left to make.

    Raises:
        UserError: for a mistake in the words.
        Diverged: when the training diverges.
        KeyboardInterrupt: after Ctrl-C, or the stop button of a notebook. The run is saved at the
            end of its step, and the same words with "resume=auto" go on. A second one stops it at
            once, without saving.
        Interrupted: after another signal, such as SIGTERM; the run is saved as well.

    It leaves the process as it was: random numbers, loggers, warnings, handlers of signals, the
    environment, settings of torch and of Hydra. A sweep (`-m`) and `trainer=ddp` start processes of
    their own: use the command for them.
    """
    from gentrain.cli import compose, embedded, main

    args = embedded.parse(words)
    with embedded.restored():
        compose.refuse_other_config(args)
        compose.register()
        try:
            run_dir = main.train(args)
        except UserError:
            raise
        except AlreadyFinished as finished:
            run_dir = Path(str(finished))
        except Interrupted as stop:
            if stop.signal != signal.SIGINT:
                raise
            raise KeyboardInterrupt(f"{stop}; the same words and resume=auto go on") from None
        except Exception as error:
            if (explained := main.explain(error, list(words))) is None:
                raise
            raise UserError(explained[0]) from error
    return load(run_dir, plugins=plugin_modules.active)


def load(
    path: str | Path,
    checkpoint: str = "last",
    averaged: bool | None = None,
    device: str = "cpu",
    plugins: list[str] | dict[str, str] | None = None,
) -> Run:
    """Open a finished run.

    Args:
        path: a run directory.
        checkpoint: "last" or "best".
        averaged: use the moving average of the weights (true) or the last ones (false); None for
            the average where the run keeps one.
        device: "cpu" or "cuda"; "auto" is the GPU where there is one.
        plugins: the modules of your own code that the run needs, such as ["my_module"].

    Raises:
        UserError: where there is no run, or code of plugins that are not named.
    """
    import torch

    from gentrain.cli import compose
    from gentrain.runs.reopen import reopen

    if checkpoint not in ("last", "best"):
        raise UserError(f"no checkpoint {checkpoint!r} (checkpoint); give last or best")
    plugin_modules.activate(plugin_modules.requested(plugins or ()))
    compose.register()
    device = usable(device)
    with torch.random.fork_rng(devices=[device] if device != "cpu" else []):
        return Run(reopen(Path(path), checkpoint, device), averaged)


def usable(device: str) -> str:
    """A device that this machine has.

    Raises:
        UserError: for another one.
    """
    from gentrain.commands import sample

    if device not in ("cpu", "cuda", "auto"):
        raise UserError(f"no device {device!r} (device); give cpu, cuda or auto")
    return sample.device(device)


def from_pretrained(path: str | Path, device: str = "cpu", plugins: list[str] | None = None) -> Run:
    """Open a model that `Run.save_pretrained` has saved.

    Args:
        path: a directory, or the name of a repository on the Hugging Face Hub, "user/model", with
            the extra `hub`.
        device: "cpu" or "cuda"; "auto" is the GPU where there is one.
        plugins: the modules of your own code that the model needs.

    Raises:
        UserError: where there is no such model, and without the package safetensors.
    """
    import torch

    from gentrain.config.build import build
    from gentrain.config.validate import checked
    from gentrain.data.base import Data
    from gentrain.models.base import GenerativeModel
    from gentrain.runs.reopen import OpenedRun
    from gentrain.runs.tensors import read_tensors, refuse_missing_safetensors

    refuse_missing_safetensors("path")

    folder = Path(path) if Path(path).is_dir() else downloaded(str(path))
    if not (folder / CONFIG).is_file():
        raise UserError(f"no {CONFIG} in {folder} (path); give a directory made by save_pretrained")
    about = json.loads((folder / CONFIG).read_text("utf-8"))
    if about.get("format") != FORMAT:
        raise UserError(f"{folder / CONFIG} is not of the format {FORMAT!r} (path); save it again")
    plugin_modules.activate(plugin_modules.requested(plugins or ()))
    plugin_modules.refuse_missing(about.get("plugins", []), str(folder))
    device = usable(device)
    data = build(checked(about["data"], "data"), "data", Data)
    with torch.random.fork_rng(devices=[]):
        model = build(checked(about["model"], "model"), "model", GenerativeModel)
    model.to(memory_format=model.memory_format)  # another one rounds in another way
    model.load_state_dict(read_tensors(folder / WEIGHTS) | about["numbers"])
    opened = OpenedRun(
        run_dir=folder,
        config=about,
        choices=about["choices"],
        model=model.to(device),
        data=data,
        device=torch.device(device),
        step=about["step"],
        version=about["version"],
        latest={},
        protocols={},
        class_names=about.get("class_names", []),
    )
    return Run(opened)


def downloaded(name: str) -> Path:
    """The local copy of a repository on the Hugging Face Hub."""
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise UserError(
            f"no directory {name} (path); to download it from the Hugging Face Hub, "
            "pip install 'gentrain[hub]'"
        ) from error
    return Path(snapshot_download(name))


class Examples(NamedTuple):
    """Some samples of the data, as a model sees them."""

    images: Tensor  # (n, C, H, W) in [-1, 1], or points (n, D)
    labels: Tensor | None  # (n,), where the data have labels
    sources: Tensor | None  # (n, C', H', W') in [-1, 1], where the data are of two domains


class Run:
    """A finished run: its model, and what can be asked of it.

    Images are float tensors (B, C, H, W) in [-1, 1] on the CPU. A method that the model has not
    raises `UserError`, which names models that have it. The random numbers of the caller are not
    touched.
    """

    def __init__(self, opened: OpenedRun, averaged: bool | None = None) -> None:
        from gentrain.commands.sample.session import SampleSession
        from gentrain.models.base import fork_rng

        self.opened = opened
        with fork_rng(0, opened.device):
            SampleSession(opened, averaged)  # chooses the weights, and puts the model in eval mode

    def __repr__(self) -> str:
        name = type(self.model).__name__
        return f"Run({name} on {self.data.name}, step {self.step}, {self.path})"

    # --- what it is -------------------------------------------------------------------------------

    @property
    def path(self) -> Path:
        """The run directory."""
        return self.opened.run_dir

    @property
    def model(self) -> GenerativeModel:
        """The model with the weights of the checkpoint, in eval mode."""
        model: GenerativeModel = self.opened.model
        return model

    @property
    def data(self) -> Data:
        """The data set that it was trained on."""
        return self.opened.data

    @property
    def config(self) -> dict[str, Any]:
        """The configuration of the training, resolved."""
        return self.opened.config

    @property
    def step(self) -> int:
        """Generator steps that were made."""
        return self.opened.step

    @property
    def summary(self) -> dict[str, Any]:
        """The content of summary.json: status, best score, protocols, speed.

        Raises:
            UserError: where there is none, as beside a saved model.
        """
        content: dict[str, Any] = json.loads(self.text_of("summary.json"))
        return content

    @property
    def metrics(self) -> dict[str, list[float | None]]:
        """The curves as a table: a dictionary of columns of equal length, a row a logged step.

        The first column is "step", the others have the names of metrics.csv. A value that was not
        logged at a step is None. `pandas.DataFrame(run.metrics)` takes it as it is.

        Raises:
            UserError: where there is none, as beside a saved model.
        """
        text = self.text_of("metrics.csv")
        # without a row that is being written
        rows = list(csv.reader(io.StringIO(text[: text.rfind("\n") + 1])))
        if not rows:
            return {}
        columns = zip(*rows[1:], strict=True) if rows[1:] else ((),) * len(rows[0])
        return {
            name: [float(word) if word else None for word in column]
            for name, column in zip(rows[0], columns, strict=True)
        }

    def text_of(self, name: str) -> str:
        """A record of the run.

        Raises:
            UserError: where there is none.
        """
        try:
            return (self.path / name).read_text("utf-8")
        except FileNotFoundError as error:
            raise UserError(
                f"no {name} in {self.path}, which is no run directory or a run that is not over "
                "(path); load a finished run"
            ) from error

    def curve(self, name: str) -> tuple[list[float], list[float]]:
        """Steps and values of one column of `metrics`, as `plt.plot(*run.curve(name))` takes them.

        Args:
            name: such as "critic/adversarial" or "quality/nats".

        Raises:
            UserError: for a name that the run has not, with those that it has.
        """
        table = self.metrics
        if name not in table:
            names = ", ".join(each for each in table if each != "step")
            raise UserError(f"the run has no curve {name!r} (name); it has {names or 'none'}")
        rows = zip(table["step"], table[name], strict=True)
        pairs = [(step, value) for step, value in rows if step is not None and value is not None]
        return [step for step, _ in pairs], [value for _, value in pairs]

    def examples(self, n: int = 64, split: str = "test", seed: int = 0) -> Examples:
        """Draw n samples of the data set.

        Args:
            n: how many; those of a larger n begin with those of a smaller one.
            split: "train", "validation" or "test".
            seed: seed for the choice.

        Raises:
            UserError: where the split has fewer, or where the data have no such split.
        """
        import torch

        from gentrain.config.types import Count
        from gentrain.data.arrays import random_rows
        from gentrain.data.base import SPLITS
        from gentrain.data.batches import as_batch

        if split not in SPLITS:
            raise UserError(f"no split {split!r} (split); give one of {', '.join(SPLITS)}")
        given(n, Count, "n")
        found = self.data.load(split)
        if n > found.rows:
            raise UserError(f"{n} of {found.rows} images of the split {split} (n); give fewer")
        rows = random_rows(found.rows, n, seed)
        images, *others = as_batch(found, rows, torch.device("cpu"))
        sources = others.pop(0) if found.sources is not None else None
        labels = others.pop(0) if found.labels is not None else None
        return Examples(self.data.in_units(images), labels, sources)

    def grid(self, images: Tensor, columns: int | None = None, zoom: int = 1) -> Image:
        """A picture of images side by side, or of the density of points; notebooks display it.

        Args:
            images: (B, C, H, W) in [-1, 1], or points (B, D) in the units of their file.
            columns: images in a row; None for a picture that is as square as it can be.
            zoom: the side of a pixel in the picture.
        """
        import math

        from gentrain.config.types import Count
        from gentrain.data.grids import as_image, as_picture, scatter, tile, unit

        given(zoom, Count, "zoom")
        if not len(images):
            raise UserError("no images (images); give one or more")
        if images.ndim == 4:
            columns = given(columns or math.ceil(math.sqrt(len(images))), Count, "columns")
            picture = as_image(tile(unit(as_picture(images)), columns))
        elif images.ndim == 2 and tuple(images.shape[1:]) == tuple(self.data.shape):
            picture = as_image(scatter(self.data.from_units(images), self.data.frame))
        else:
            raise UserError(
                f"a tensor of shape {tuple(images.shape)} is neither images (B, C, H, W) nor "
                f"points (B, D) of the data (images); give one of these"
            )
        return picture.resize((zoom * picture.width, zoom * picture.height), resample=0)

    # --- what it draws ----------------------------------------------------------------------------

    def sample(
        self,
        n: int = 64,
        *,
        seed: int = 0,
        labels: Sequence[int | str] | Tensor | None = None,
        domain: str | int | None = None,
        truncation: float | None = None,
        temperature: float | None = None,
        mean: bool | None = None,
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

        from gentrain.config.types import Count

        given(n, Count, "n")
        chosen = labels.tolist() if isinstance(labels, torch.Tensor) else labels
        with self.session(seed, chosen, domain, mean, temperature) as session:
            if truncation is None:
                images = torch.cat([images for images, _ in session.stream(n)])
                return self.data.in_units(images)
            from gentrain.commands.sample.truncation import Tau, truncated

            given(truncation, Tau, "truncation")
            if session.prior != "normal":
                raise UserError(
                    f"truncation needs normal noise, and this model's is {session.prior or 'none'} "
                    "(truncation); leave it out"
                )
            session.take_turns(n)
            noise = truncated(session.noise(n), truncation)
            return self.data.in_units(session.images(noise, session.labels(n)))

    def noise(self, n: int = 64, seed: int = 0) -> Tensor:
        """The noise (n, ...) of which `sample(n, seed=seed)` makes its images.

        Raises:
            UserError: where a sample is no function of noise: a translation, or a Markov chain.
        """
        from gentrain.config.types import Count

        given(n, Count, "n")
        with self.session(seed) as session:
            return self.with_prior(session, "noise").noise(n)

    def decode(
        self,
        z: Tensor,
        labels: Sequence[int | str] | None = None,
        *,
        mean: bool | None = None,
        seed: int = 0,
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

    def interpolate(
        self,
        n: int = 8,
        steps: int = 9,
        *,
        seed: int = 0,
        labels: Sequence[int | str] | None = None,
        mean: bool | None = None,
    ) -> Tensor:
        """Images on the way from one noise to another: `steps` of each of n strips.

        Normal noise goes along a great circle (White, "Sampling Generative Networks", 2016), and
        uniform noise along a line. A strip is of one class.

        Returns:
            (n * steps, C, H, W), strip by strip: `run.grid(images, columns=steps)` shows them.
        """
        import torch

        from gentrain.commands.sample.latent import linear, slerp
        from gentrain.commands.sample.mode import Steps, repeat_labels
        from gentrain.config.types import Count

        given(n, Count, "n")
        given(steps, Steps, "steps")
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
        labels: Sequence[int | str] | None = None,
        domain: str | int | None = None,
        mean: bool | None = None,
        temperature: float | None = None,
    ) -> Iterator[SampleSession]:
        """A session of `gentrain sample`; what it sets on the model lasts until the end."""
        from gentrain.capability import supports
        from gentrain.commands.sample.session import SampleSession, choose_draws
        from gentrain.config.types import Whole
        from gentrain.models.base import DrawsPixels, HasTemperature, fork_rng

        given(seed, Whole, "seed")
        model: Any = self.model
        before = {
            "mean": model.mean if supports(model, DrawsPixels) else None,
            "temperature": model.temperature if supports(model, HasTemperature) else None,
        }
        with fork_rng(seed, self.opened.device):
            try:
                yield SampleSession(self.opened, None, seed, labels, domain, mean, temperature)
            finally:
                choose_draws(model, **before)

    # --- what it makes of images ------------------------------------------------------------------

    def encode(self, x: Tensor, labels: Sequence[int] | Tensor | None = None) -> Tensor:
        """Codes (B, latent) of images (B, C, H, W).

        Args:
            x: images in [-1, 1].
            labels: (B,) classes, for a model of p(x | y).
        """
        from gentrain.models.base import Encodes

        model = self.ask(Encodes, "encode")
        with self.session():
            return model.encode(*self.batch(x, labels)).cpu()

    def reconstruct(self, x: Tensor, labels: Sequence[int] | Tensor | None = None) -> Tensor:
        """Images (B, C, H, W) through the code and back.

        Args:
            x: images in [-1, 1].
            labels: (B,) classes, for a model of p(x | y).
        """
        from gentrain.models.base import Reconstructs

        model = self.ask(Reconstructs, "reconstruct")
        with self.session():
            return self.data.in_units(model.reconstruct(*self.batch(x, labels)).cpu())

    def classify(self, x: Tensor) -> Tensor:
        """Logits (B, K) of images (B, C, H, W)."""
        from gentrain.models.base import Classifies

        model = self.ask(Classifies, "classify")
        with self.session():
            return model.classify(self.image(x)).cpu()

    def translate(self, x: Tensor, domain: str | int | None = None) -> Tensor:
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
                names = ", ".join(session.domain_names)
                raise UserError(
                    f"this model translates to several domains (domain); give one of {names}"
                )
            return model.translate(x).cpu()

    def complete(
        self,
        x: Tensor,
        known: Tensor,
        labels: Sequence[int] | Tensor | None = None,
        seed: int = 0,
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
        with self.session(seed) as session, session.streams(range(len(x))):
            return model.complete(batch, known.to(self.opened.device)).cpu()

    def denoise(self, x: Tensor, steps: int = 2, draws: int = 10, seed: int = 0) -> Tensor:
        """Images without their noise: means of chains that start from them.

        Args:
            x: noisy images (B, C, H, W) in [-1, 1].
            steps: transitions of each chain.
            draws: chains from each image.
            seed: seed for the chains.
        """
        from gentrain.config.types import Count
        from gentrain.models.base import Denoises

        model = self.ask(Denoises, "denoise")
        given(steps, Count, "steps")
        given(draws, Count, "draws")
        x = self.image(x)
        with self.session(seed) as session, session.streams(range(len(x))):
            return model.denoise(x, steps, draws).cpu()

    # --- energies ---------------------------------------------------------------------------------

    def chains(
        self, n: int = 8, transitions: Sequence[int] = (0, 1, 10, 100), seed: int = 0
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

        from gentrain.config.types import Count, Whole
        from gentrain.models.base import HasChains

        model = self.ask(HasChains, "chains")
        given(n, Count, "n")
        times = [0, *(given(time, Whole, "transitions") for time in transitions)]
        if times != sorted(times) or not len(transitions):
            raise UserError(f"{list(transitions)} do not increase (transitions); e.g. (0, 1, 10)")
        seen = []
        with self.session(seed) as session, session.streams(range(n)), torch.no_grad():
            x = model.noise(n, self.opened.device)
            for before, time in pairwise(times):
                x = model.run_chain(x, time - before) if time > before else x
                seen.append(model.show(x) if time else model.images(x[:, : model.size]))
        return torch.stack([images.float().cpu() for images in seen], 1).flatten(0, 1)

    def filters(self, n: int = 64) -> Tensor:
        """The weights to the first n hidden units as images (n, C, H, W).

        Each is divided by its largest weight: white is what a unit looks for, black what it avoids.
        """
        from gentrain.config.types import Count
        from gentrain.models.base import HasFilters

        weights = self.ask(HasFilters, "filters").filters()[: given(n, Count, "n")].float().cpu()
        return weights / weights.abs().flatten(1).amax(1).clamp_min(1e-12).view(-1, 1, 1, 1)

    def log_partition(self, chains: int = 100, temperatures: int = 1000, seed: int = 0) -> Estimate:
        """log Z with its standard error, by annealed importance sampling (Neal, 2001).

        It is exact for up to 15 hidden units. The error does not see what no chain has found.

        Args:
            chains: independent chains, 2 or more.
            temperatures: distributions between an easy one and the model's.
            seed: seed for the chains.

        Returns:
            `value` and `error`, in nats.
        """
        from gentrain.config.types import Count
        from gentrain.models.base import HasLogPartition

        model = self.ask(HasLogPartition, "log_partition")
        given(temperatures, Count, "temperatures")
        if given(chains, Count, "chains") < 2:
            raise UserError("the error of log Z needs 2 chains or more (chains); 100 are usual")
        with self.session(seed):
            found: Estimate = model.log_partition(chains, temperatures)
            return found

    # --- likelihood -------------------------------------------------------------------------------

    def log_prob(
        self,
        x: Tensor,
        labels: Sequence[int] | Tensor | None = None,
        samples: int = 100,
        seed: int = 0,
        log_z: Tensor | float | None = None,
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
        from gentrain.config.types import Count
        from gentrain.models.base import HasLikelihood, HasLogPartition

        given(samples, Count, "samples")
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
        labels: Sequence[int] | Tensor | None,
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
        labels: Sequence[int] | Tensor | None,
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
        y, classes = torch.as_tensor(labels), self.data.classes or 0
        if len(y) != len(images) or y.dtype != torch.int64 or not ((y >= 0) & (y < classes)).all():
            raise UserError(
                f"labels are no {len(images)} whole numbers from 0 to {classes - 1} (labels); "
                "give one for each image"
            )
        return images, y.to(self.opened.device)

    def image(self, x: Tensor, shape: Any = None) -> Tensor:
        """Images on the device of the model, after a look at their shape and type.

        Raises:
            UserError: for images of another shape than the model's, or of whole numbers.
        """
        import torch

        x, expected = torch.as_tensor(x), tuple(shape or self.data.shape)
        if tuple(x.shape[1:]) != expected:
            raise UserError(
                f"images of shape {tuple(x.shape)}, not (B, {', '.join(map(str, expected))}) (x); "
                "resize them"
            )
        if not x.is_floating_point():
            raise UserError(
                f"images of {x.dtype} (x); give floats in [-1, 1], such as x / 127.5 - 1"
            )
        return self.data.from_units(x.to(self.opened.device)).float()

    # --- saving -----------------------------------------------------------------------------------

    def save_pretrained(self, folder: str | Path) -> Path:
        """Write the model as model.safetensors, config.json and a model card README.md.

        `gentrain.from_pretrained` opens it again, without the run and without its data.

        Raises:
            UserError: without the package safetensors.
        """
        from gentrain.files import to_json
        from gentrain.runs.tensors import (
            refuse_missing_safetensors,
            tensors_of,
            write_tensors,
        )
        from gentrain.version import __version__

        refuse_missing_safetensors("folder")
        folder = Path(folder)
        state = self.opened.model.state_dict()
        about = {
            "format": FORMAT,
            "model": self.config["model"],
            "data": self.config["data"],
            "choices": self.opened.choices,
            "class_names": self.opened.class_names,
            "plugins": self.config.get("plugins", []),
            "numbers": {name: state[name] for name in state.keys() - tensors_of(state).keys()},
            "step": self.step,
            "seed": self.config["seed"],
            "version": __version__,
        }
        with report_disk_errors(folder, "folder", "choose another folder"):
            folder.mkdir(parents=True, exist_ok=True)
            write_tensors(folder / WEIGHTS, state)
            write_text(folder / CONFIG, to_json(about, indent=2) + "\n")
            write_text(folder / CARD, self.card(about))
        return folder

    def card(self, about: dict[str, Any]) -> str:
        """The model card: what it is, how it was trained, and how it is used."""
        model, data = about["choices"].get("model"), self.data.name
        scores = "\n".join(
            f"| {name} | {value:.5g} |"
            for name, value in self.opened.latest.items()
            if name.startswith("quality/")
        )
        return (
            f"---\nlibrary_name: gentrain\ntags: [gentrain, {model}]\n---\n\n"
            f"# {model} on {data}\n\n"
            f"Trained with gentrain {about['version']} for {self.step} steps, seed "
            f"{about['seed']}.\n\n"
            f"    import gentrain\n    run = gentrain.from_pretrained(PATH)\n"
            f"    images = run.sample(64, seed=0)\n\n"
            f"| score | value |\n|---|---|\n{scores}\n"
        )


def given(value: Any, hint: Any, name: str) -> Any:
    """An argument, after a look at its type and its range.

    >>> from gentrain.config.types import Count
    >>> given(0, Count, "n")
    Traceback (most recent call last):
    gentrain.errors.UserError: expected greater than or equal to 1, not 0 (n); mend the value
    """
    from gentrain.config.validate import coerced

    return coerced(value, hint, name)
