"""A dictionary of tensors that is made once and kept on disk, whoever asks first and however many ask at once."""

import logging
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from gentrain.files import atomic_write, exclusive

log = logging.getLogger(__name__)


def cached(path: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The dictionary at `path`; made and written there first if there is none.

    One process makes it while the others wait for its lock, which the system frees if that process dies.
    A directory that cannot be written costs the work again, never the run.
    """
    if not _writable(path.parent):
        log.warning(
            "%s cannot be written (GENTRAIN_CACHE, quality.cache): %s is made again at every run",
            path.parent,
            path.stem,
        )
        return _read(path) or make()
    with exclusive(path.with_name(f"{path.name}.lock")):
        kept = _read(path)
        if kept is None:
            kept = make()
            _write(path, kept)
        return kept


def _writable(directory: Path) -> bool:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(directory, os.W_OK | os.X_OK)


def _read(path: Path) -> dict[str, Any] | None:
    """What is kept at `path`; None if nothing is, or if it is damaged."""
    if not path.is_file():
        return None
    try:
        with zipfile.ZipFile(
            path
        ) as archive:  # torch.load does not look at the checksums that it writes
            if archive.testzip() is None:
                return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, zipfile.BadZipFile, pickle.UnpicklingError):
        pass
    log.warning("%s is damaged and is made again", path)
    return None


def _write(path: Path, value: dict[str, Any]) -> None:
    """A reader finds the whole file or none: write beside it, then rename."""
    try:
        with atomic_write(path) as part:
            torch.save(value, part)
    except (OSError, RuntimeError) as problem:  # torch.save tells a full disk as a RuntimeError
        log.warning("%s could not be written (%s) and is made again at the next run", path, problem)
