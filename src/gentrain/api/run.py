"""A finished run in Python."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gentrain.api import pretrained
from gentrain.api.arguments import checked
from gentrain.api.queries import Queries

if TYPE_CHECKING:
    from gentrain.api.types import Place


class Run(Queries):
    """A finished run: its model, and what can be asked of it.

    Images are float tensors (B, C, H, W) in [-1, 1] on the CPU. A method that the model has not
    raises `UserError`, which names models that have it. The random numbers of the caller are not
    touched.
    """

    @checked
    def save_pretrained(self, folder: Place) -> Path:
        """Write the model as model.safetensors, config.json and a model card README.md.

        `gentrain.from_pretrained` opens it again, without the run and without its data.

        Raises:
            UserError: without the package safetensors.
        """
        return pretrained.save(self.opened, Path(folder))
