"""The errors that end a command, and their exit status."""

import signal
from pathlib import Path

WINDOWS = "Windows is not supported (platform); use Linux, macOS, or the Linux subsystem, WSL"


class UserError(Exception):
    """A mistake that the user can fix, printed as one line without a traceback.

    The message says what is wrong, then the key or the path in brackets, then what to do:
    `no image files in DIR (data.root); give a folder or a zip with .png or .jpg files`.
    """

    status = 2


class Unavailable(UserError):
    """Something outside this program is missing: a network, a disk, a device."""

    status = 4


class Diverged(Exception):
    """A loss or a gradient is no longer a finite number."""

    status = 1


class ChecksFailed(Exception):
    """A check of the user's own code has failed; the lines that say so are printed."""

    status = 1


class Interrupted(Exception):
    """A signal stopped a training between two batches; everything is saved.

    `status` is what a shell makes of the signal: 143 for SIGTERM, 130 for SIGINT.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.signal = signal.Signals(signum)
        self.status = 128 + signum


class AlreadyFinished(Exception):
    """Nothing is left to do, and nothing was changed; `str` is the run directory.

    Args:
        run_dir: the run directory.
        step: the step at which the run stands.
    """

    status = 0

    def __init__(self, run_dir: Path, step: int) -> None:
        super().__init__(run_dir)
        self.step = step


class Stopped(SystemExit):
    """A signal stopped a sweep's launcher or the parent of a cell; `code` is the exit status.

    A SystemExit, so that the job of joblib or submitit around it ends too.
    """
