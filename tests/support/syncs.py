"""Where a training step waits for its device: a GPU does nothing while Python looks at a number."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils._python_dispatch import TorchDispatchMode

from tests.support.paths import ROOT

# operations whose result, or its size, goes to Python
READ = {"aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::_unique2",
        "aten::unique_dim", "aten::equal"}  # fmt: skip
OURS = str(ROOT / "src" / "gentrain")
OPTIMIZERS = str(Path("torch", "optim"))  # their step counts are on the CPU on any device


class Syncs(TorchDispatchMode):
    """Counts the reads of each function of gentrain inside of training steps."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()
        self.updates = 0

    def __enter__(self) -> Syncs:
        self.hook = register_optimizer_step_post_hook(self.updated)
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        self.hook.remove()
        super().__exit__(*error)

    def updated(self, *_: Any) -> None:
        """After each step of an optimizer."""
        self.updates += 1

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func.name().partition(".")[0] in READ and (place := reader()):
            self.found[place] += 1
        return func(*args, **(kwargs or {}))


def reader() -> str | None:
    """The function of gentrain that reads; None outside of training steps, and for optimizers."""
    frame, place = sys._getframe(2), None
    while frame is not None:
        code = frame.f_code
        if place is None and OPTIMIZERS in code.co_filename:
            return None
        if place is None and code.co_filename.startswith(OURS):
            place = f"{Path(code.co_filename).stem}.{code.co_name}"
        if code.co_name == "training_step" and code.co_filename.startswith(OURS):
            return place
        frame = frame.f_back  # type: ignore[assignment]
    return None
