"""Weights as safetensors files, which other programs read, and which hold tensors alone."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gentrain.errors import UserError


def refuse_missing_safetensors(key: str) -> None:
    """Refuse an installation without the package safetensors.

    Args:
        key: the option that asks for it.
    """
    if find_spec("safetensors") is None:
        raise UserError(f"safetensors is not installed ({key}); pip install 'gentrain[export]'")


def tensors_of(state_dict: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of a state_dict, without the other values that modules keep in it."""
    return {name: value for name, value in state_dict.items() if torch.is_tensor(value)}


def write_tensors(path: Path, state_dict: Mapping[str, Any]) -> None:
    """Write the tensors of a state_dict; a weight that has two names is written twice."""
    from safetensors.torch import save

    whole = {
        name: value.detach().cpu().contiguous().clone()
        for name, value in tensors_of(state_dict).items()
    }
    path.write_bytes(save(whole, {"format": "pt"}))


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, on the CPU."""
    from safetensors.torch import load_file

    return load_file(path)
