"""Build objects from checked configuration nodes."""

from __future__ import annotations

from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import OmegaConf

from gentrain.errors import UserError


def build(node: Any, path: str, **extra: Any) -> Any:
    """The one call of instantiate. A constructor's refusal becomes the user's one line, with the key that it is about."""
    try:
        return instantiate(OmegaConf.create(node), _convert_="all", **extra)
    except InstantiationException as error:
        cause = error.__cause__ or error
        if isinstance(cause, UserError):
            raise cause from None
        if (
            isinstance(cause, ValueError | TypeError | RuntimeError)
            or "Misconfiguration" in type(cause).__name__
        ):
            raise UserError(f"{' '.join(str(cause).split())} ({path})") from error
        raise
