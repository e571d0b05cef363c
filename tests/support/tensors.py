"""Tensors in nested containers."""

from __future__ import annotations

from typing import Any

import torch


def tensors(value: Any, name: str = "") -> dict[str, torch.Tensor]:
    """Every tensor in nested containers, by its path."""
    if isinstance(value, torch.Tensor):
        return {name: value}
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list | tuple)
        else ()
    )
    return {
        path: tensor
        for key, item in items
        for path, tensor in tensors(item, f"{name}.{key}").items()
    }


def assert_equal(one: Any, other: Any) -> None:
    """The same tensors under the same names, bit for bit."""
    one, other = tensors(one), tensors(other)
    assert one and one.keys() == other.keys()
    different = [name for name, tensor in one.items() if not torch.equal(tensor, other[name])]
    assert not different
