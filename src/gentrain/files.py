"""Files that are whole or absent, locks between processes, and errors of the disk in one line.

Every part of the program that writes a file which somebody else may read uses these functions.
"""

from __future__ import annotations

import fcntl
import io
import json
import math
import os
import platform
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from gentrain.errors import Unavailable, UserError
from gentrain.patience import say_if_slow

# --- writing ----------------------------------------------------------------------------------


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`, which takes its name when the block ends.

    The block makes a file or a folder there. A reader finds the old content or the new one, never
    half of it. When the block fails, the temporary path is removed and `path` stays as it was.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     with atomic_write(Path(folder, "a.txt")) as part:
    ...         _ = part.write_text("whole")
    ...     Path(folder, "a.txt").read_text()
    'whole'
    """
    part = temporary(path)
    try:
        yield part
        replace(part, path)
    except BaseException:
        with suppress(OSError):  # the disk may have become read-only since
            remove(part)
        raise


def temporary(path: Path, suffix: str = "") -> Path:
    """The name of a temporary file beside `path`; it holds this process's number.

    See `remove_unfinished`.
    """
    return path.with_name(f".{path.name}.{os.getpid()}{suffix}.tmp")


def replace(part: Path, path: Path) -> None:
    """Put a file or a folder in the place of another. A folder needs two renames."""
    if part.is_dir() and path.is_dir():
        former = temporary(path, ".former")
        os.replace(path, former)
        os.replace(part, path)
        shutil.rmtree(former)
    else:
        os.replace(part, path)


def remove(path: Path) -> None:
    """Remove a file or a folder, where there is one."""
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def write_text(path: Path, content: str) -> None:
    """Replace a file by a text in UTF-8, in one go."""
    with atomic_write(path) as part:
        part.write_text(content, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Replace a file by a JSON object, in one go.

    See `to_json` for what JSON has no form for.
    """
    write_text(path, to_json(content, indent=2) + "\n")


def to_json(content: Any, **options: Any) -> str:
    """A value as JSON that every parser takes.

    Numbers that are not finite become null, and what JSON has no form for becomes text.

    Args:
        content: any value.
        options: of `json.dumps`.

    >>> to_json({"nats": math.nan, "where": Path("a"), "steps": (1, math.inf)})
    '{"nats": null, "where": "a", "steps": [1, null]}'
    """
    try:
        return json.dumps(content, allow_nan=False, default=str, **options)
    except ValueError:  # a number that is not finite, which few have
        return json.dumps(finite(content), allow_nan=False, default=str, **options)


def finite(content: Any) -> Any:
    """The same value, with None in the place of every number that is not finite."""
    match content:
        case dict():
            return {key: finite(value) for key, value in content.items()}
        case list() | tuple():
            return [finite(value) for value in content]
        case float():
            return content if math.isfinite(content) else None
        case _:
            return content


def sync_directory(path: Path) -> None:
    """Make the renames in a directory last through a power cut."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def remove_unfinished(path: Path) -> None:
    """Remove the temporary files that dead processes left in a directory."""
    for file in path.glob(".*.tmp"):
        writer = re.fullmatch(r"\..+?\.(\d+)(\.link|\.former)?\.tmp", file.name)
        if writer and not process_exists(int(writer[1])):
            remove(file)


def process_exists(pid: int) -> bool:
    """Whether a process of this number runs on this machine, whoever owns it."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


# --- errors of the disk -----------------------------------------------------------------------


@contextmanager
def report_disk_errors(place: Path, key: str, remedy: str = "") -> Iterator[None]:
    """Turn an OSError (a disk that is full or read-only, say) into one line.

    Args:
        place: what is written; part of the message.
        key: the configuration key that chose the place, such as "data.cache".
        remedy: what to do; by default, to make room or to give another directory.

    Raises:
        Unavailable: in place of any OSError of the block.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None:  # no system call: Hydra's MissingConfigException, say
            raise
        remedy = remedy or f"make room, or give another {key}=DIR"
        reason = error.strerror or error
        raise Unavailable(f"cannot write in {place}: {reason} ({key}); {remedy}") from error


class Lossy(io.FileIO):
    """A file for messages: what cannot be written is lost, and no error of the program.

    Without it, a training whose stderr lies on a full disk would end.
    """

    def write(self, content: Any) -> int:
        try:
            return super().write(content)
        except OSError:
            return len(content)


def messages_to(number: int, encoding: str, errors: str) -> TextIO:
    """A stream of lines to an open file, which stays open; what cannot be written is lost.

    Args:
        number: of the open file.
        encoding: such as "utf-8".
        errors: what is done with characters that the encoding lacks.
    """
    buffer = io.BufferedWriter(Lossy(number, "w", closefd=False))
    return io.TextIOWrapper(buffer, encoding, errors, line_buffering=True)


# --- locks ------------------------------------------------------------------------------------


class Locked(Exception):
    """Another process holds the lock; the message says which."""


def acquire(path: Path, wait: bool) -> TextIO:
    """Lock a file for this process; the lock lasts until the returned file is closed.

    The kernel frees the lock of a process that dies, however it dies, so a lock is never stale.
    The lock is one of `lockf`: unlike one of `flock`, it is not inherited by data workers, which
    may outlive a killed run.

    Args:
        path: the lock file. It is made if needed, and stays when the lock is freed.
        wait: whether to wait for another holder.

    Raises:
        Locked: where another process holds it and `wait` is False.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = open(path, "a+", encoding="utf-8")  # noqa: SIM115 (the caller closes it)
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.seek(0)
        owner = file.read().strip() or "another process"
        if not wait:
            file.close()
            raise Locked(owner) from None
        with say_if_slow(f"waiting for {owner}, which makes what is here needed too ({path})"):
            fcntl.lockf(file, fcntl.LOCK_EX)
    file.truncate(0)
    file.write(f"process {os.getpid()} on {platform.node()}")
    file.flush()
    return file


@contextmanager
def exclusive(path: Path, refusal: str | None = None) -> Iterator[None]:
    """Hold a lock during a block.

    Args:
        path: the lock file.
        refusal: the message when another process holds the lock, in which "{owner}" is replaced
            by that process. Without one, the block waits for the lock.

    Raises:
        UserError: with `refusal`.
    """
    try:
        file = acquire(path, wait=refusal is None)
    except Locked as other:
        raise UserError((refusal or "").format(owner=other)) from None
    with file:
        yield


def is_locked(path: Path) -> bool:
    """Whether another process holds the lock of this file."""
    mode = "a+" if os.access(path, os.W_OK) else "r"
    with suppress(FileNotFoundError), open(path, mode) as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False
