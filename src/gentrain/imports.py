"""Imports of large packages: torch, Lightning and W&B are most of the time before the first step.

Two things make them cheaper. Python's garbage collector looks through a million new objects again
and again, and finds nothing, since modules stay: a fifth of the time goes there. And W&B's classes
search all loaded modules for their own source, which takes 1.1 s after torch and 0.2 s before it.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any


@contextmanager
def without_collection(keep: bool) -> Iterator[None]:
    """Collect no garbage while large packages are imported.

    Args:
        keep: leave what there is out of later collections, until the process ends. It is for a
            process of our own: nothing of a user's objects is freed then that refers to itself.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        if keep:
            gc.freeze()
            atexit.unregister(gc.unfreeze)
            atexit.register(gc.unfreeze)  # libraries complain of objects that outlive them
        gc.enable()


def import_wandb() -> Any:
    """The package of W&B.

    A server that refuses error reports costs 7 s of retries, so there are none, unless the user
    wants them. What `wandb.init` imports is imported here.
    """
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    wandb = importlib.import_module("wandb")
    with suppress(Exception):  # where it is needed, its error is said
        importlib.import_module("wandb.apis.public")
        importlib.import_module("wandb.sdk.launch")
    return wandb


def wandb_is_wanted(logger: dict[str, Any]) -> bool:
    """Whether a run starts W&B, for all that is known before its loggers are built.

    Args:
        logger: the configuration of the run's loggers.
    """
    off = ("off", "disabled")
    asked = os.environ.get("WANDB_MODE", "").lower()
    return logger.get("mode", "off") not in off and asked not in off
