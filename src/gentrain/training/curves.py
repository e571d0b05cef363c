"""The scalars between two logged steps, and the time that training takes."""

from __future__ import annotations

import time
from collections import defaultdict

import torch
from torch import Tensor


class Curves:
    """The scalars of each player since the last logged step. They stay on the device."""

    def __init__(self) -> None:
        self.window: dict[str, list[Tensor]] = defaultdict(list)

    def add(self, player: str, scalars: dict[str, Tensor]) -> None:
        """Keep the scalars of one update, under names like "critic/adversarial"."""
        for name, value in scalars.items():
            self.window[f"{player}/{name}"].append(value)

    def means(self, device: torch.device) -> dict[str, float]:
        """The mean of each scalar, in one transfer from the device; then begin anew."""
        names = list(self.window)
        if not names:
            return {}
        # a checkpoint may have brought some of the values to the CPU
        values = [torch.stack([value.to(device) for value in self.window[name]]) for name in names]
        means = torch.stack([value.float().mean() for value in values]).tolist()
        self.window.clear()
        return dict(zip(names, means, strict=True))

    def state_dict(self) -> dict[str, list[float]]:
        """What a checkpoint between two logged steps must bring along."""
        return {name: [float(value) for value in values] for name, values in self.window.items()}

    def load_state_dict(self, state: dict[str, list[float]]) -> None:
        """Go on from a checkpoint."""
        for name, values in state.items():
            self.window[name] = [torch.tensor(value) for value in values]


class Clock:
    """Real images and seconds since the start of this process, and the time of the whole run.

    It runs while batches are fetched and training steps are made, and stands while callbacks draw,
    score and save.

    Attributes:
        earlier: wall seconds of the run before this process, up to the checkpoint that it resumes.
    """

    def __init__(self) -> None:
        self.images, self.seconds, self.steps = 0, 0.0, 0
        self.earlier, self._began = 0.0, time.time()
        self._since: float | None = None
        self._reported = (0, 0.0)  # images and seconds at the last `throughput`

    @property
    def wall_seconds(self) -> float:
        """Seconds of the run, with those of the processes that it was resumed from."""
        return self.earlier + time.time() - self._began

    def start(self) -> None:
        """Run from now on."""
        self._since = time.perf_counter()

    def stop(self) -> None:
        """Stand from now on."""
        if self._since is not None:
            self.seconds += time.perf_counter() - self._since
            self._since = None

    def count(self, images: int, stepped: bool) -> None:
        """Count the images of a training step."""
        self.images += images
        self.steps += stepped

    def throughput(self) -> dict[str, float]:
        """Images per second since the last call."""
        images, seconds = self.images - self._reported[0], self.seconds - self._reported[1]
        self._reported = (self.images, self.seconds)
        return {"images_per_second": images / seconds} if seconds else {}
