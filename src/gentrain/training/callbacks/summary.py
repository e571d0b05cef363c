"""What a callback adds to the summary of a run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import lightning as L


class SummaryCallback(L.Callback, ABC):
    """A callback that adds to summary.json."""

    @abstractmethod
    def summary(self) -> dict[str, Any]:
        """Keys of the summary, and what they hold at the end of the run."""
