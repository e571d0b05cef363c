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
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gentrain.config import plugins as plugin_modules
from gentrain.errors import UserError
from gentrain.files import report_disk_errors, write_text

if TYPE_CHECKING:
    from torch import Tensor

    from gentrain.capability import Capability
    from gentrain.commands.sample.session import SampleSession
    from gentrain.data.base import Data
    from gentrain.models.base import GenerativeModel
    from gentrain.runs.reopen import OpenedRun

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
FORMAT = "gentrain model 1"


def train(*words: str) -> Run:
    """Train a model in this process.

    Args:
        words: those of the command line, such as "model=wgan_gp" and "steps=1000".

    Returns:
        The finished run.

    Raises:
        UserError: for a mistake in the words.
        Diverged: when the training diverges.

    A sweep (`-m`) and `trainer=ddp` start processes of their own: use the command for them.
    """
    from hydra._internal.utils import get_args_parser

    from gentrain.cli import compose, main
    from gentrain.cli.overrides import normalize_overrides

    args = get_args_parser().parse_intermixed_args(normalize_overrides("train", list(words)))
    if args.multirun or any(word.startswith(("seeds=", "trainer=ddp")) for word in words):
        raise UserError(
            "gentrain.train trains one model in this process (words); use the command gentrain "
            "for a sweep, seeds= or trainer=ddp"
        )
    with clean_globals():
        compose.refuse_other_config(args)
        compose.register()
        try:
            run_dir = main.train(args)
        except UserError:
            raise
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
        device: "cpu" or "cuda".
        plugins: the modules of your own code that the run needs, such as ["my_module"].

    Raises:
        UserError: where there is no run, or code of plugins that are not named.
    """
    from gentrain.cli import compose
    from gentrain.runs.reopen import reopen

    plugin_modules.activate(plugin_modules.requested(plugins or ()))
    compose.register()
    return Run(reopen(Path(path), checkpoint, device), averaged)


def from_pretrained(path: str | Path, device: str = "cpu", plugins: list[str] | None = None) -> Run:
    """Open a model that `Run.save_pretrained` has saved.

    Args:
        path: a directory, or the name of a repository on the Hugging Face Hub, "user/model", with
            the extra `hub`.
        device: "cpu" or "cuda".
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
    data = build(checked(about["data"], "data"), "data", Data)
    model = build(checked(about["model"], "model"), "model", GenerativeModel)
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


class Run:
    """A finished run: its model, and what can be asked of it.

    Images are float tensors (B, C, H, W) in [-1, 1] on the CPU. A method that the model has not
    raises `UserError`, which names models that have it.
    """

    def __init__(self, opened: OpenedRun, averaged: bool | None = None) -> None:
        from gentrain.commands.sample.session import SampleSession

        self.opened = opened
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

        if n < 1:
            raise UserError(f"{n} images (n); give 1 or more")
        given = labels.tolist() if isinstance(labels, torch.Tensor) else labels
        with self.session(seed, given, domain, mean, temperature) as session:
            if truncation is None:
                images = torch.cat([images for images, _ in session.stream(n)])
                return self.data.in_units(images)
            from gentrain.commands.sample.truncation import truncated

            if session.prior != "normal":
                raise UserError(
                    f"truncation needs normal noise, and this model's is {session.prior} "
                    "(truncation); leave it out"
                )
            session.take_turns(n)
            noise = truncated(session.noise(n), truncation)
            return self.data.in_units(session.images(noise, session.labels(n)))

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
        from gentrain.models.base import DrawsPixels, HasTemperature, fork_rng

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

    def encode(self, x: Tensor) -> Tensor:
        """Codes (B, latent) of images (B, C, H, W)."""
        from gentrain.models.base import Encodes

        return self.ask(Encodes, "encode").encode(self.image(x)).cpu()

    def reconstruct(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) through the code and back."""
        from gentrain.models.base import Reconstructs

        made = self.ask(Reconstructs, "reconstruct").reconstruct(self.image(x)).cpu()
        return self.data.in_units(made)

    def classify(self, x: Tensor) -> Tensor:
        """Logits (B, K) of images (B, C, H, W)."""
        from gentrain.models.base import Classifies

        return self.ask(Classifies, "classify").classify(self.image(x)).cpu()

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
            if session.domain is None:
                return model.translate(x).cpu()
            domain_of_each = session.domain.expand(len(x), *session.domain.shape)
            return model.translate(x, domain_of_each.to(self.opened.device)).cpu()

    def complete(
        self, x: Tensor, known: Tensor, labels: Tensor | None = None, seed: int = 0
    ) -> Tensor:
        """Images whose unknown pixels are drawn anew; known pixels stay.

        Args:
            x: (B, C, H, W) in [-1, 1].
            known: bool, broadcast over x; true where a pixel is known.
            labels: (B,) classes, for a model with labels.
            seed: seed for the draws.
        """
        from gentrain.models.base import Completes

        model = self.ask(Completes, "complete")
        with self.session(seed):
            return model.complete(self.batch(x, labels), known.to(self.opened.device)).cpu()

    def log_prob(
        self, x: Tensor, labels: Tensor | None = None, samples: int = 100, seed: int = 0
    ) -> Tensor:
        """log p(x) in nats (B,) of images (B, C, H, W), or of points (B, D).

        Args:
            x: images in [-1, 1], or points in the units of their file, of which it is the density.
            labels: (B,) classes of a conditional model, which gives log p(x | y).
            samples: importance samples, where log p is bounded.
            seed: seed for them, and for the noise of dequantisation.
        """
        from gentrain.models.base import HasLikelihood

        model = self.ask(HasLikelihood, "log_prob")
        with self.session(seed):
            nats = model.log_likelihood(self.batch(x, labels), samples).cpu()
            return nats + self.data.log_det

    def ask(self, capability: type[Capability], method: str) -> Any:
        """The model, if it has a capability.

        Raises:
            UserError: naming models that have it.
        """
        from gentrain.capability import require

        require(self.model, capability, method)
        return self.model

    def batch(self, x: Tensor, labels: Tensor | None) -> tuple[Tensor, ...]:
        """Images and their labels, if any, on the device of the model."""
        return (self.image(x), *(() if labels is None else (labels.to(self.opened.device),)))

    def image(self, x: Tensor, shape: Any = None) -> Tensor:
        """Images on the device of the model, after a look at their shape.

        Raises:
            UserError: for images of another shape than the model's.
        """
        expected = tuple(shape or self.data.shape)
        if tuple(x.shape[1:]) != expected:
            raise UserError(
                f"images of shape {tuple(x.shape)}, not (B, {', '.join(map(str, expected))}) (x); "
                "resize them"
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


@contextmanager
def clean_globals() -> Iterator[None]:
    """Restore what a command changes in its process: Hydra's state, sys.argv and logging."""
    import logging

    from hydra.core.global_hydra import GlobalHydra

    root, argv = logging.getLogger(), sys.argv[:]
    handlers, level = root.handlers[:], root.level
    GlobalHydra.instance().clear()
    try:
        yield
    finally:
        GlobalHydra.instance().clear()
        sys.argv[:] = argv
        for handler in [each for each in root.handlers if each not in handlers]:
            handler.close()
        root.handlers[:], root.level = handlers, level
