"""Dictionaries of tensors that are made once and kept on disk, by one of several processes."""

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
    """Read the dictionary at `path`, or make it and write it there.

    One process makes it while the others wait for its lock, which the system frees if that process
    dies. A directory that cannot be written costs the work again, never the run.
    """
    if not _writable(path.parent):
        log.warning(
            "%s cannot be written: %s is made again in every run (GENTRAIN_CACHE, quality.cache); "
            "give a directory that can be written",
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
    """What `path` holds; None if there is no file, or a damaged one."""
    if not path.is_file():
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            # torch.load does not check the checksums that it writes
            if archive.testzip() is None:
                return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, zipfile.BadZipFile, pickle.UnpicklingError):
        pass
    log.warning("%s is damaged and is made again", path)
    return None


def _write(path: Path, value: dict[str, Any]) -> None:
    """Write in one go: a reader finds the whole file or none."""
    try:
        with atomic_write(path) as part:
            torch.save(value, part)
    except (OSError, RuntimeError) as problem:  # torch.save reports a full disk as a RuntimeError
        log.warning("%s could not be written (%s) and is made again in the next run", path, problem)
