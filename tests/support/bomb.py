"""A malicious pickle."""

from __future__ import annotations

import os
from pathlib import Path


class Bomb:
    """Whoever unpickles it runs its code, which leaves a file."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[object, ...]:
        return (os.system, (f"touch {self.canary}",))
