"""What a run is: its records, its data, and pictures of them."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gentrain.api.arguments import checked
from gentrain.errors import UserError
from gentrain.protocols import lines

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from gentrain.api.types import Count, Images, Seed, Word
    from gentrain.data.base import Data
    from gentrain.models.base import GenerativeModel
    from gentrain.runs.reopen import OpenedRun


class Examples(NamedTuple):
    """Some samples of the data, as a model sees them."""

    images: Tensor  # (n, C, H, W) in [-1, 1], or points (n, D)
    labels: Tensor | None  # (n,), where the data have labels
    sources: Tensor | None  # (n, C', H', W') in [-1, 1], where the data are of two domains


class Records:
    """A finished run: its model, its data and its curves."""

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
            UserError: where there is none, as beside a saved model, and where it is damaged.
        """
        try:
            content: dict[str, Any] = json.loads(self.text_of("summary.json"))
        except json.JSONDecodeError as error:
            raise UserError(
                f"{self.path / 'summary.json'} is damaged: {error} (path); load another run"
            ) from error
        return content

    @property
    def protocols(self) -> dict[str, str]:
        """How each score was measured: a line with a short hash, by the key of its metric.

        Scores are to be compared where the hashes are equal. The keys are such as "quality", and
        "test/quality" for the scores of the test split.

        Raises:
            UserError: where there is no summary.json, or a damaged one.
        """
        return lines(self.summary.get("protocols", {}))

    @property
    def metrics(self) -> dict[str, list[float | None]]:
        """The curves as a table: a dictionary of columns of equal length, a row a logged step.

        The first column is "step", the others have the names of metrics.csv. A value that was not
        logged at a step is None. `pandas.DataFrame(run.metrics)` takes it as it is.

        Raises:
            UserError: where there is none, as beside a saved model, and where it is damaged.
        """
        text = self.text_of("metrics.csv")
        # without a row that is being written
        rows = list(csv.reader(io.StringIO(text[: text.rfind("\n") + 1])))
        if not rows:
            return {}
        try:
            columns = zip(*rows[1:], strict=True) if rows[1:] else ((),) * len(rows[0])
            return {
                name: [float(word) if word else None for word in column]
                for name, column in zip(rows[0], columns, strict=True)
            }
        except ValueError as error:
            raise UserError(
                f"{self.path / 'metrics.csv'} is damaged: {error} (path); load another run"
            ) from error

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

    @checked
    def curve(self, name: Word) -> tuple[list[float], list[float]]:
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

    @checked
    def examples(self, n: Count = 64, split: Word = "test", seed: Seed = 0) -> Examples:
        """Draw n samples of the data set.

        Args:
            n: how many; those of a larger n begin with those of a smaller one.
            split: "train", "validation" or "test".
            seed: seed for the choice.

        Raises:
            UserError: where the split has fewer, or where the data have no such split.
        """
        import torch

        from gentrain.data.arrays import random_rows
        from gentrain.data.base import SPLITS
        from gentrain.data.batches import as_batch

        if split not in SPLITS:
            raise UserError(f"no split {split!r} (split); give one of {', '.join(SPLITS)}")
        found = self.data.load(split)
        if n > found.rows:
            raise UserError(f"{n} of {found.rows} images of the split {split} (n); give fewer")
        rows = random_rows(found.rows, n, seed)
        images, *others = as_batch(found, rows, torch.device("cpu"))
        sources = others.pop(0) if found.sources is not None else None
        labels = others.pop(0) if found.labels is not None else None
        return Examples(self.data.in_units(images), labels, sources)

    @checked
    def grid(self, images: Images, columns: Count | None = None, zoom: Count = 1) -> Image:
        """A picture of images side by side, or of the density of points; notebooks display it.

        Args:
            images: (B, C, H, W) in [-1, 1], sounds (B, C, L), or points (B, D) in the units of
                their file.
            columns: images in a row; None for a picture that is as square as it can be.
            zoom: the side of a pixel in the picture.
        """
        import math

        from gentrain.data.grids import as_image, as_picture, scatter, tile, unit

        if images.ndim and not len(images):
            raise UserError("no images (images); give one or more")
        if images.ndim == 4:
            columns = min(columns or math.ceil(math.sqrt(len(images))), len(images))
            picture = as_image(tile(unit(as_picture(images)), columns))
        elif images.ndim == 3 and tuple(images.shape[1:]) == tuple(self.data.shape):
            return self.grid(self.data.as_images(images), columns, zoom)
        elif images.ndim == 2 and tuple(images.shape[1:]) == tuple(self.data.shape):
            picture = as_image(scatter(self.data.from_units(images), self.data.frame))
        else:
            raise UserError(
                f"a tensor of shape {tuple(images.shape)} is neither images (B, C, H, W) nor "
                f"points (B, D) of the data (images); give one of these"
            )
        return picture.resize((zoom * picture.width, zoom * picture.height), resample=0)
