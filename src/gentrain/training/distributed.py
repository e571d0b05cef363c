"""Helpers for runs of several processes."""

from __future__ import annotations

from typing import Any

import torch


def gathered(state: dict[str, Any], world_size: int) -> list[dict[str, Any]]:
    """The states of all processes, by rank; every process calls this with its own."""
    if world_size == 1:
        return [state]
    states: list[Any] = [None] * world_size
    torch.distributed.all_gather_object(states, state)
    return states
