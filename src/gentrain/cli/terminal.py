"""stdout and stderr as they may be: closed, full, or in an encoding that lacks characters."""

from __future__ import annotations

import codecs
import os
import sys
from io import TextIOWrapper

from gentrain.files import messages_to

ESCAPED = "gentrain.escaped"  # the name of our way to write what an encoding lacks


def prepare() -> None:
    """Make both streams take every text, and stderr also where it cannot be written."""
    open_closed_streams()
    codecs.register_error(ESCAPED, escaped)
    for stream in (sys.stdout, sys.stderr):
        match stream:
            case TextIOWrapper():
                stream.reconfigure(errors=ESCAPED)
    if sys.__stderr__ is not None and sys.stderr is sys.__stderr__:
        sys.stderr = messages_to(2, sys.stderr.encoding, ESCAPED)


def open_closed_streams() -> None:
    """Give a process whose stdout or stderr is closed (`2>&-`) a place to write to.

    Without it, the next file that is opened would take the number of the closed stream.
    """
    for number, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            nothing = os.open(os.devnull, os.O_WRONLY)
            if nothing != number:
                os.dup2(nothing, number)
                os.close(nothing)
            setattr(sys, name, os.fdopen(number, "w", encoding="utf-8", closefd=False))


def escaped(error: UnicodeError) -> tuple[str | bytes, int]:
    r"""Bytes of file names as they are, and any other character as its number.

    >>> codecs.register_error(ESCAPED, escaped)
    >>> "\udce9 ± é".encode("ascii", ESCAPED)
    b'\xe9 \\xb1 \\xe9'
    """
    if not isinstance(error, UnicodeEncodeError):
        raise error
    character = error.object[error.start]
    if "\udc80" <= character <= "\udcff":
        return bytes([ord(character) - 0xDC00]), error.start + 1
    return character.encode("ascii", "backslashreplace"), error.start + 1
