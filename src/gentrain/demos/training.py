"""Runs of demonstrations: trained in this process, in a directory that goes afterwards."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from gentrain import api


def train(place: Path, words: Iterable[str], seed: int = 0) -> api.Run:
    """Train a model as `gentrain` does, without scores and pictures.

    Args:
        place: for the run directory.
        words: those of the command line; they win over the ones that are set here.
        seed: of the run.
    """
    number = len(list(place.iterdir()))
    quiet = ("quality=none", "logger=csv", "trainer=cpu", "samples.every=0", "checkpoint.every=0")
    return api.train(*quiet, f"seed={seed}", f"hydra.run.dir={place / str(number)}", *words)
