"""What can go wrong by a user's hand, and the exit status that tells it."""


class UserError(Exception):
    """A mistake that the user can mend: printed as one line, without a traceback.

    The message says what, then which key or path in brackets, then what to do:
    `no image files in DIR (data.root); give a folder or a zip with .png or .jpg files`.
    """

    status = 2


class Unavailable(UserError):
    """Something outside this program is missing: a network, a disk, a device."""

    status = 4


class Diverged(Exception):
    """A loss or a gradient is no longer a finite number."""

    status = 1


class Stopped(SystemExit):
    """A signal stopped the keeper of a cell or the driver of a sweep, and with it the job of the launcher; `code` is the exit status."""
