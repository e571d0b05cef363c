"""What the configuration files compute: `${minutes:...}`, `${unique:}`, and shapes of data."""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable
from typing import Any

from hydra.core.utils import setup_globals
from omegaconf import DictConfig, ListConfig, OmegaConf

from gentrain.config.schema import SHARE
from gentrain.patience import announce_torch

# callbacks of this package are scores; `quality` may be of a plugin
SCORES, NO_SCORES = "gentrain.quality.", "gentrain.quality.base.no_metric"


def register() -> None:
    """Make the resolvers known to OmegaConf, and those of Hydra, such as `${now:...}`."""
    setup_globals()
    OmegaConf.register_new_resolver("minutes", minutes, replace=True)
    # the cache gives one value a configuration; two runs of the same second get two directories
    OmegaConf.register_new_resolver("unique", unique, use_cache=True, replace=True)
    OmegaConf.register_new_resolver("held_out_share", held_out_share, replace=True)
    shapes: dict[str, Callable[..., Any]] = {
        "degraded": degraded_shape,
        "points_shape": points_shape,
        "image_shape": image_shape,
        "tensors_shape": tensors_shape,
    }
    for name, shape in shapes.items():
        OmegaConf.register_new_resolver(name, as_node(shape), replace=True)


def as_node(shape: Callable[..., Any]) -> Callable[..., ListConfig | None]:
    """A resolver whose lists are nodes, which `gentrain --cfg job --resolve` needs."""

    def node(*args: Any) -> ListConfig | None:
        found = shape(*args)
        return None if found is None else ListConfig(list(found))

    return node


def minutes(hours: float) -> int:
    """Whole minutes, rounded up."""
    return math.ceil(60 * hours)


def unique() -> str:
    """Four random hexadecimal digits."""
    return secrets.token_hex(2)


def held_out_share(*, _root_: DictConfig) -> float:
    """The share of the training split that scores need: 0.1, or 0 for a run without scores."""
    quality = target_of(_root_.get("quality"))
    callbacks = map(target_of, (_root_.get("callbacks") or {}).values())
    chooses = quality not in ("", NO_SCORES) or any(each.startswith(SCORES) for each in callbacks)
    return SHARE if chooses else 0.0


def target_of(node: Any) -> str:
    """The class that a node builds; "" where there is none."""
    match node:
        case DictConfig():
            return str(node.get("_target_", ""))
    return ""


def degraded_shape(shape: list[int], degrade: str | None) -> list[int] | None:
    """The shape (C, H, W) of what `data.degrade` leaves of an image; None without a degradation."""
    if degrade is None:
        return None
    # here and not above, because it imports torch, which --help and refusals do without
    announce_torch()
    from gentrain.data.degrade import source_shape

    return source_shape(tuple(shape), degrade)


def points_shape(file: str | None, key: str | None) -> list[int]:
    """The shape [D] of points in a file."""
    announce_torch()
    from gentrain.data import points

    return points.points_shape(file, key)


def image_shape(channels: int, size: Any) -> list[Any]:
    """[C, H, W] of images of a size, which is a side or [HEIGHT, WIDTH].

    A wrong size makes a wrong shape, which the data set refuses.
    """
    match size:
        case [*sides]:
            return [channels, *sides]
    return [channels, size, size]


def tensors_shape(file: str | None, *options: Any) -> list[int]:
    """The shape [C, H, W] of images in a file of arrays; the options are key, layout and size."""
    announce_torch()
    from gentrain.data import tensors

    return tensors.tensors_shape(file, *options)
