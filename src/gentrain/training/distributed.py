"""Helpers for runs of several processes."""

from __future__ import annotations

from typing import Any

import torch


def gathered(kept: dict[str, Any], world_size: int) -> list[dict[str, Any]]:
    """The states of all processes, by rank."""
    if world_size == 1:
        return [kept]
    everyone: list[Any] = [None] * world_size
    torch.distributed.all_gather_object(everyone, kept)
    return everyone
