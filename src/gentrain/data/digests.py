"""What files contain, as one digest: it names what is made of them in the cache.

Names, sizes and times do not tell two folders apart: files out of a zip have the times of the zip.
The digest is remembered for exactly these files in exactly this state, so that a folder is read
once.
"""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from gentrain.data.checks import cores
from gentrain.data.files import sha256, written
from gentrain.errors import Unavailable

log = logging.getLogger("gentrain")

SETTLED = 2 * 10**9  # nanoseconds; a younger file could change once more at the same time stamp
MANY = 5000  # files whose reading takes long enough for a line in the log


def digest_of_files(
    root: Path,
    stamps: Mapping[str, tuple[int, ...]],
    read: Callable[[str], bytes],
    memory: Path,
) -> str:
    """sha256 of the names and the contents of files, in hex.

    Args:
        root: where they are.
        stamps: for each name numbers that change when the file does, its last change in ns first.
        read: gives the content of a file.
        memory: a directory where digests are remembered.
    """
    state = json.dumps([str(root.resolve()), list(stamps.items())])
    note = memory / f"{sha256(state.encode())[:24]}.digest"
    with suppress(OSError):
        return note.read_text("ascii")
    now = time.time_ns()
    if len(stamps) >= MANY:
        log.info("reading %d files of %s once, to know them by their content", len(stamps), root)
    digest = combined(list(stamps), read)
    if all(now - stamp[0] > SETTLED for stamp in stamps.values()):
        with suppress(Unavailable), written(note) as file:  # a full disk costs the time again
            file.write_text(digest, "ascii")
    return digest


def combined(names: Sequence[str], read: Callable[[str], bytes]) -> str:
    """sha256 of names and contents, in hex."""

    def of(name: str) -> str:
        try:
            return sha256(read(name))
        except Exception as error:  # a broken zip raises almost anything; decoding reports it
            return f"unreadable: {type(error).__name__}"

    whole = hashlib.sha256()
    with ThreadPoolExecutor(cores()) as pool:
        for start in range(0, len(names), MANY):  # what waits for a thread takes memory
            some = names[start : start + MANY]
            for name, digest in zip(some, pool.map(of, some), strict=True):
                whole.update(json.dumps([name, digest]).encode())
    return whole.hexdigest()
