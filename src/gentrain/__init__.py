"""gentrain trains, compares and samples the classic deep generative models.

    gentrain model=wgan_gp data=mnist            in a shell

    >>> import gentrain                          # in Python; see `gentrain.api`
    >>> gentrain.load("no/such/run")             # doctest: +IGNORE_EXCEPTION_DETAIL
    Traceback (most recent call last):
    gentrain.errors.UserError: no run in no/such/run (run); give a run directory ...

torch is imported when a function is called, and not before.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from gentrain.errors import WINDOWS, Diverged, Interrupted, UserError
from gentrain.version import __version__

if TYPE_CHECKING:
    from gentrain.api import Run, demo, from_pretrained, load, train

__all__ = [
    "Diverged", "Interrupted", "Run", "UserError", "__version__", "demo", "from_pretrained",
    "load", "train",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in ("Run", "demo", "from_pretrained", "load", "train"):
        if sys.platform == "win32":
            raise UserError(WINDOWS)
        from gentrain import api

        return vars(api)[name]
    raise AttributeError(f"module 'gentrain' has no attribute {name!r}")
