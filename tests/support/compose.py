"""Configurations as the command line composes them, and models built from them."""

from __future__ import annotations

from functools import cache
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf, open_dict

from gentrain.cli.compose import register
from gentrain.config import paths, schema, validate

OUTSIDE = ("logger", "callbacks", "samples", "checkpoint", "quality", "trainer")


@cache
def unresolved(*overrides: str) -> dict[str, Any]:
    """The configuration of a command without what is outside of the training; not to be changed.

    Hydra takes a sixth of a second, so each is composed once.
    """
    register()
    with initialize_config_dir(str(paths.conf_dir()), version_base="1.3"):
        cfg = compose("train", overrides=list(overrides))
    with open_dict(cfg):
        for key in OUTSIDE:
            cfg.pop(key)
    return OmegaConf.to_container(cfg)  # type: ignore[return-value]


def resolve(raw: dict[str, Any]) -> dict[str, Any]:
    return schema.resolved(OmegaConf.create(raw))


def composed(*overrides: str) -> dict[str, Any]:
    """The plain, resolved configuration of a command."""
    return resolve(unresolved(*overrides))


@cache
def options(group: str) -> tuple[str, ...]:
    return tuple(paths.option_files(group))


def build_model(*overrides: str) -> Any:
    """A built model; raises UserError where the combination is refused."""
    from gentrain.config.build import build

    checked = validate.check(composed(*overrides))
    return build(checked["model"], "model")


def batch(
    model: Any, n: int = 8, shape: tuple[int, ...] = (1, 28, 28), classes: int = 10
) -> tuple[Any, ...]:
    import torch

    return torch.rand(n, *shape) * 2 - 1, torch.randint(classes, (n,))
