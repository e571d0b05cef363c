"""Buffers whose shape is known only at the first batch, and buffers that each process has alone."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn


class HasRankLocalBuffers(nn.Module):
    """A module some of whose buffers differ from process to process: Markov chains, pools of fakes.

    A subclass lists their names in `rank_local_buffers`; a buffer may be None. A checkpoint of
    several processes holds those of all.
    """

    rank_local_buffers: ClassVar[tuple[str, ...]]

    def rank_local(self) -> dict[str, Tensor]:
        """This process's own buffers, by name; without those that are None."""
        buffers = dict(self.named_buffers(recurse=False))
        return {name: buffers[name] for name in self.rank_local_buffers if name in buffers}


class LazyBuffers(nn.Module):
    """A module with buffers whose shape is known only at the first batch.

    They are None until then. Loading a checkpoint makes them in the shapes that it has.
    """

    def register_lazy_buffers(self, *names: str) -> None:
        """Register buffers that are None for now; call it once, in the constructor."""
        self._lazy = names
        for name in names:
            self.register_buffer(name, None)

    def _load_from_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, *args: object
    ) -> None:
        for name in self._lazy:
            if (saved := state_dict.get(prefix + name)) is not None:
                self.register_buffer(name, torch.empty_like(saved, device=self._device()))
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _device(self) -> torch.device | None:
        return next((t.device for t in [*self.parameters(), *self.buffers()]), None)
