"""Buffers whose shape is known only at the first batch."""

from __future__ import annotations

import torch
from torch import Tensor, nn


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
