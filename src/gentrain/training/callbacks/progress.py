"""Progress: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ProgressBar, TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from gentrain.config.types import NonNegative
from gentrain.patience import patience

log = logging.getLogger("gentrain")


def progress(seconds: NonNegative = 10.0, refresh: NonNegative = 0.5) -> ProgressBar:
    """A bar where stderr is a terminal, and lines elsewhere.

    Args:
        seconds: at least so many between two lines.
        refresh: seconds between two looks of the bar.
    """
    return Bar(refresh, seconds) if sys.stderr.isatty() else Lines(seconds)


class Bar(TQDMProgressBar):
    """Lightning's bar, counting steps of the whole training instead of batches of an epoch.

    The log file has lines all the same.

    Args:
        refresh: seconds between two looks of the bar.
        seconds: at least so many between two lines of the log file.
    """

    BAR_FORMAT = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"

    def __init__(self, refresh: float = 0.5, seconds: float = 10.0) -> None:
        super().__init__()
        self.refresh, self.meter, self.lines = refresh, Meter(), FileLines(seconds)

    def disable(self) -> None:
        super().disable()
        self.lines.disable()

    def init_train_tqdm(self) -> Tqdm:
        return Tqdm(
            total=self.trainer.max_steps,
            initial=self.trainer.global_step,
            mininterval=self.refresh,
            unit="step",
            smoothing=0,
            dynamic_ncols=True,
            disable=self.is_disabled,
            file=sys.stderr,
            bar_format=self.BAR_FORMAT,
        )

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        super().on_train_start()
        self.lines.on_train_start(trainer, pl_module)
        self.redirected = logging_redirect_tqdm()  # a line that is logged stands above the bar
        self.redirected.__enter__()

    def on_train_epoch_start(self, *_: Any) -> None:
        """Training is one stream without epochs."""

    def on_train_epoch_end(self, *_: Any) -> None: ...

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if pl_module.stepped and self.train_progress_bar.update(1):  # True when it was redrawn
            rate = f"{self.meter.images_per_second(pl_module):,.0f} images/s"
            postfix = "  ".join([rate, *headlines(pl_module)])
            self.train_progress_bar.set_postfix_str(postfix, refresh=False)
        self.lines.on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_train_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        self.lines.on_train_end(trainer, pl_module)
        self.close()

    def on_exception(self, *_: Any) -> None:
        if self._train_progress_bar is not None:
            self.close()

    def close(self) -> None:
        self.train_progress_bar.close()
        self.redirected.__exit__(None, None, None)


class Lines(ProgressBar):
    """Logs a line when there are new scalars and some seconds have passed, and at the end.

        step 500/3000  critic/adversarial -3.21  2,345 images/s  03:20 left

    The first line comes sooner, and none waits long for new scalars.

    Args:
        seconds: at least so many between two lines.
    """

    def __init__(self, seconds: float = 10.0) -> None:
        super().__init__()
        self.seconds, self.meter, self.enabled = seconds, Meter(), True
        self.logged_at: int | None = None  # the step of the last line

    def enable(self) -> None:
        self.enabled = True

    def disable(self) -> None:
        self.enabled = False

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        self.first, self.began = trainer.global_step, time.monotonic()
        self.next = self.began + min(self.seconds, patience())

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        late = time.monotonic() - self.next
        if late >= 0 and (pl_module.due(pl_module.log_every) or late > patience()):
            self.line(trainer, pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        if self.logged_at != trainer.global_step:
            self.line(trainer, pl_module)

    def line(self, trainer: L.Trainer, pl_module: Any) -> None:
        if not self.enabled:
            return
        step, now = trainer.global_step, time.monotonic()
        self.logged_at, self.next = step, now + self.seconds
        rate = self.meter.images_per_second(pl_module)
        left = (trainer.max_steps - step) * (now - self.began) / max(1, step - self.first)
        parts = [
            f"step {step}/{trainer.max_steps}",
            *headlines(pl_module),
            f"{rate:,.0f} images/s",
            f"{Tqdm.format_interval(left)} left",
        ]
        self.write("  ".join(parts))

    def write(self, text: str) -> None:
        log.info("%s", text)


class FileLines(Lines):
    """The same lines in the log file alone, where a terminal has a bar."""

    def write(self, text: str) -> None:
        record = log.makeRecord(log.name, logging.INFO, __file__, 0, text, (), None)
        for handler in logging.getLogger().handlers:
            match handler:
                case logging.FileHandler():
                    handler.handle(record)


class Meter:
    """Images per second since the last call; the time of callbacks is not counted."""

    def __init__(self) -> None:
        self.images, self.seconds, self.rate = 0, 0.0, 0.0

    def images_per_second(self, pl_module: Any) -> float:
        clock = pl_module.clock
        images, seconds = clock.images - self.images, clock.seconds - self.seconds
        if seconds > 0:
            self.images, self.seconds, self.rate = clock.images, clock.seconds, images / seconds
        return self.rate


def headlines(pl_module: Any) -> list[str]:
    """The first scalar of each player and of the metrics: "critic/adversarial -3.21".

    A value that is older than the curves has its step beside it: "quality/fid 12 (step 500)".
    """
    first: dict[str, str] = {}
    oldest = pl_module.global_step - pl_module.log_every
    for name, value in pl_module.latest.items():
        group, _, rest = name.partition("/")
        if rest and rest != "n":  # the number of samples never changes
            at = pl_module.logged_at.get(name)  # None for what a checkpoint brought
            age = " (earlier)" if at is None else f" (step {at})" if at < oldest else ""
            first.setdefault(group, f"{name} {value:.3g}{age}")
    return list(first.values())
