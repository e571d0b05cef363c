"""The system that is verified: a composed training at a small size, in float64."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from gentrain.config.build import build
from gentrain.config.validate import check
from gentrain.data.base import Data
from gentrain.errors import UserError
from gentrain.layers.precision import default_dtype
from gentrain.models.base import GenerativeModel, SingleObjectiveModel
from gentrain.models.gan.base import AdversarialModel

Batch = tuple[Tensor, ...]


class Subject:
    """A system, and batches of its data.

    Args:
        config: the resolved configuration of a training, at the size that is to be verified.
        seed: of everything that is drawn.

    Raises:
        UserError: for a configuration that cannot work.
    """

    def __init__(self, config: dict[str, Any], seed: int = 0) -> None:
        self.config, self.seed = check(config), seed

    @cached_property
    def data(self) -> Data:
        """The data set."""
        return build(self.config["data"], "data", Data)

    @cached_property
    def batch(self) -> Batch:
        """The first training batch, in float64."""
        first: Any = next(iter(self.data.batches()))
        return tuple(each.double() if each.is_floating_point() else each for each in first)

    def model(self, stirred: float = 0.0, shape: list[int] | None = None, **sizes: int) -> Any:
        """The model, built anew and shown a first batch, in float64 and training mode.

        Args:
            stirred: standard deviation of noise that is added to all weights, so that none is
                zero, and no map the identity.
            shape: of other images than those of the data; the model is then shown none.
            sizes: other sizes, wherever the model has an option of that name.
        """
        node = resized(copy.deepcopy(self.config["model"]), shape, sizes)
        with seeded(self.seed), default_dtype(torch.float64):
            model: GenerativeModel = build(node, "model", GenerativeModel)
            if shape is None:
                start(model, self.batch)
            with torch.no_grad():
                for p in model.parameters() if stirred else ():
                    p.add_(stirred * torch.randn_like(p))
        return model

    def option(self, key: str, default: Any = None) -> Any:
        """The value of a dotted key of the configuration; `default` where there is none."""
        value: Any = self.config
        for part in key.split("."):
            value = value.get(part) if value is not None else None
        return default if value is None else value


def resized(node: Any, shape: list[int] | None, sizes: dict[str, int]) -> Any:
    """A model's configuration with other sizes."""
    match node:
        case dict():
            changes: dict[str, Any] = {
                key: value for key, value in sizes.items() if node.get(key) is not None
            }
            if shape is not None and "shape" in node:
                changes["shape"] = list(shape)
            return {key: resized(each, shape, sizes) for key, each in node.items()} | changes
        case list():
            return [resized(each, shape, sizes) for each in node]
    return node


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw random numbers from `seed` inside, and restore the generators afterwards."""
    state = random.getstate()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        random.seed(seed)
        yield
    random.setstate(state)


def start(model: GenerativeModel, batch: tuple[torch.Tensor, ...]) -> None:
    """Show a model what it sees before its first update."""
    torch.manual_seed(0)
    match model:
        case SingleObjectiveModel(init_images=count) if count:
            model.init_from_data(batch)
    model.init_from_batch(batch)


def objectives(model: GenerativeModel) -> dict[str, Any]:
    """What each player minimises, by the player's name."""
    match model:
        case AdversarialModel():
            return {"critic": model.critic_loss, "generator": model.generator_loss}
        case SingleObjectiveModel():
            return {"model": model.objective}
    raise UserError(
        f"{type(model).__name__} has no objective (model); inherit from "
        "gentrain.models.gan.base.AdversarialModel or gentrain.models.base.SingleObjectiveModel"
    )


def players(model: GenerativeModel) -> dict[str, nn.Module]:
    """The module of each player, by its name."""
    match model:
        case AdversarialModel():
            return {"critic": model.critic, "generator": model.generator}
    return {"model": model}
