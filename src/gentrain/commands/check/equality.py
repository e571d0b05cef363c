"""Whether two runs are the same, bit for bit, and where they are not."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

OF_MODULES = frozenset(vars(nn.Module())) | {"training"}  # what every module has


def difference(one: Any, other: Any, path: str = "") -> str | None:
    """The path of the first value that differs in nested containers; None for equal ones.

    Tensors are compared bit for bit; a NaN equals a NaN.
    """
    match one, other:
        case Tensor(), Tensor():
            same = one.shape == other.shape and torch.equal(one.nan_to_num(), other.nan_to_num())
            return None if same else path
        case dict(), dict():
            if one.keys() != other.keys():
                return f"{path}.{sorted(map(str, one.keys() ^ other.keys()))[0]}".lstrip(".")
            parts = ((key, one[key], other[key]) for key in one)
        case ((list() | tuple()), (list() | tuple())) if len(one) == len(other):
            parts = ((i, a, b) for i, (a, b) in enumerate(zip(one, other, strict=True)))
        case ((Tensor() | list() | tuple() | dict()), _) | (
            _,
            (Tensor() | list() | tuple() | dict()),
        ):
            return path  # of another kind, or of another length
        case _:
            same = bool(one == other) or (one != one and other != other)
            return None if same else path
    found = (difference(a, b, f"{path}.{key}".lstrip(".")) for key, a, b in parts)
    return next((each for each in found if each is not None), None)


def plain_state(model: nn.Module) -> dict[str, Any]:
    """The numbers and tensors of a model that are plain attributes, and so in no checkpoint."""
    return {
        f"{path}.{name}".lstrip("."): value
        for path, module in model.named_modules()
        for name, value in vars(module).items()
        if name not in OF_MODULES and is_plain(value)
    }


def is_plain(value: Any) -> bool:
    """Whether a value is made of numbers, words and tensors alone."""
    match value:
        case Tensor() | int() | float() | str() | None:
            return True
        case list() | tuple():
            return all(map(is_plain, value))
        case dict():
            return all(map(is_plain, value.values()))
    return False
