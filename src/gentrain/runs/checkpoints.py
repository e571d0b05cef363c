"""Checkpoint files: whole or not at all, with a checksum of every byte, several of them, and never code.

A file is what torch.save writes and 24 bytes more: the words `gentrain crc-32` and the sum of all bytes before them, which finds every
flipped bit. torch.load reads it as it is; `verified` looks at the sum first.
"""

from __future__ import annotations

import errno
import io
import logging
import os
import re
import shutil
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import torch
from packaging.version import Version

from gentrain.errors import Unavailable, UserError
from gentrain.runs import directory

log = logging.getLogger("gentrain")

MARK = b"gentrain crc-32 "
TRAILER = len(MARK) + 8  # bytes


class Damaged(Exception):
    """A file that is not, byte for byte, what was saved."""


def save(checkpoint: dict[str, Any], path: Path, keep: int = 2) -> None:
    """Replace `path` at the moment when all bytes of the new checkpoint are on disk.

    Args:
        checkpoint: tensors and plain values.
        path: the file; the last `keep` of a `last.ckpt` stay.
        keep: how many.

    Raises:
        Unavailable: when the disk is full or read-only; the old file is then as it was.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(checkpoint, unfinished)
        rotate(path, keep)
        os.replace(unfinished, path)
        sync_directory(path.parent)
    except BaseException as error:
        reason = why(error, path, size(checkpoint))
        with suppress(OSError):  # the disk may have become read-only since
            unfinished.unlink(missing_ok=True)
        if reason is None:
            raise
        raise Unavailable(reason) from error


def write(checkpoint: dict[str, Any], path: Path) -> None:
    """All bytes and their checksum, and not before the disk has them."""
    with open(path, "wb") as file:
        summing = Summing(file)
        with written_through(file.fileno()), without_torchs_sums():
            try:
                torch.save(checkpoint, cast(Any, summing))
            except RuntimeError:
                if summing.failed is None:
                    raise
        if summing.failed is not None:
            raise summing.failed
        file.write(MARK + b"%08x" % summing.crc)
        file.flush()
        os.fsync(file.fileno())


class Summing(io.RawIOBase):
    """Passes bytes on to a file and sums them up on the way."""

    def __init__(self, file: io.BufferedWriter) -> None:
        super().__init__()
        self.file, self.crc = file, 0
        self.failed: OSError | None = None  # torch's writer would bury the reason

    def writable(self) -> bool:
        return True

    def write(self, chunk: Any) -> int:
        self.crc = zlib.crc32(chunk, self.crc)
        try:
            return self.file.write(chunk)
        except OSError as error:
            self.failed = error
            raise


@contextmanager
def written_through(file: int) -> Iterator[None]:
    """Let the disk work while the rest is still being written: waiting for it at the end alone takes three times as long."""
    done = threading.Event()

    def run() -> None:
        with suppress(OSError):  # a full disk is told by who writes
            while not done.wait(0.005):
                os.fdatasync(file)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@contextmanager
def without_torchs_sums() -> Iterator[None]:
    """torch sums up each record, and never looks at the sums: ours take their time."""
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        yield
    finally:
        torch.serialization.set_crc32_options(before)


def size(value: Any) -> int:
    """Bytes of the tensors in nested containers."""
    if isinstance(value, torch.Tensor):
        return value.numel() * value.element_size()
    items = (
        value.values()
        if isinstance(value, dict)
        else value
        if isinstance(value, list | tuple)
        else ()
    )
    return sum(map(size, items))


def why(error: BaseException, path: Path, needed: int) -> str | None:
    """A full or read-only disk in one line; None for anything else."""
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    if error is None:
        return None
    text = f"cannot save {path}: {error.strerror or error} (checkpoint)"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        free = shutil.disk_usage(path.parent).free
        return f"{text}; {needed / 1e6:.1f} MB and more are needed, {free / 1e6:.1f} MB are free, make room and resume"
    return f"{text}; mend the directory and resume"


def rotate(path: Path, keep: int) -> None:
    """last.ckpt stays and is also last-1.ckpt, the one before last-2.ckpt ...; whenever this is interrupted, `path` is whole."""
    if keep < 2 or not path.exists() or path.stem != "last":
        return
    for number in range(keep - 1, 1, -1):
        older = numbered(path, number - 1)
        if older.exists():
            os.replace(older, numbered(path, number))
    link = path.with_name(f".{path.name}.{os.getpid()}.link.tmp")
    link.unlink(missing_ok=True)
    os.link(path, link)
    os.replace(link, numbered(path, 1))


def numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.stem}-{number}{path.suffix}")


def verified(path: Path) -> None:
    """Raises Damaged unless every byte is the one that was saved."""
    size = path.stat().st_size
    if size <= TRAILER:
        raise Damaged(f"{path} has {size} bytes")
    crc, left = 0, size - TRAILER
    with open(path, "rb") as file:
        while left:
            chunk = file.read(min(left, 1 << 20))
            crc = zlib.crc32(chunk, crc)
            left -= len(chunk)
        trailer = file.read()
    if not trailer.startswith(MARK):
        raise Damaged(f"{path} does not end as a checkpoint of gentrain does")
    if trailer[len(MARK) :] != b"%08x" % crc:
        raise Damaged(f"{path} is not what was saved, its checksum differs")


def load(path: Path, map_location: Any = None, mmap: bool = False) -> dict[str, Any]:
    """With `mmap`, tensors are read when they are used. Raises UserError for a file that brings code instead of numbers."""
    import pickle

    try:
        return torch.load(path, map_location=map_location or "cpu", weights_only=True, mmap=mmap)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path} holds more than tensors and plain values, and was not loaded (resume); give a checkpoint of gentrain"
        ) from error


def refuse_foreign(path: Path, scheme: Any) -> None:
    """Raises UserError for the checkpoint of a newer gentrain, of another configuration, or of a model whose weights are not `scheme`'s."""
    saved = load(path, mmap=True)
    theirs, ours = saved["origin"], scheme.origin
    if Version(theirs["version"]) > Version(ours["version"]):
        raise UserError(
            f"{path} was saved by gentrain {theirs['version']}, and this is {ours['version']} (resume); install that"
        )
    directory.refuse_changes(
        path, (theirs["config"], theirs["choices"]), (ours["config"], ours["choices"])
    )
    names = [
        " ".join(f"{group}={origin['choices'].get(group)}" for group in ("model", "network"))
        for origin in (theirs, ours)
    ]
    fill(
        scheme,
        saved,
        f"{path} holds {names[0]}, and this is {names[1]}",
        "(resume); resume it as what it is",
    )


def fill(scheme: Any, saved: dict[str, Any], what: str, remedy: str) -> None:
    """Give a model the weights of a checkpoint. Raises UserError with the first keys that differ where they are not its own."""
    try:
        scheme.load_state_dict(saved["state_dict"])
    except RuntimeError as error:
        keys = ", ".join(misfits(saved["state_dict"], scheme.state_dict())[:3])
        raise UserError(f"{what}: {keys} differ {remedy}") from error


def misfits(saved: dict[str, torch.Tensor], own: dict[str, torch.Tensor]) -> list[str]:
    """Keys that only one of them has, or whose tensors are of two shapes."""
    theirs, ours = (
        {key: getattr(value, "shape", ()) for key, value in state.items()} for state in (saved, own)
    )
    return sorted(key for key in theirs.keys() | ours.keys() if theirs.get(key) != ours.get(key))


def newest_valid(
    path: Path,
    remedy: str = "(resume); no whole checkpoint is left, start a new run without resume",
) -> Path:
    """`path`, or the newest older one beside it that is whole, with a warning that names both. Raises Unavailable when none is."""
    tried = []
    for candidate in [path, *sorted(path.parent.glob(f"{path.stem}-*{path.suffix}"), key=age)]:
        try:
            verified(candidate)
        except (Damaged, OSError) as error:
            tried.append(str(error))
            continue
        if tried:
            log.warning("%s; %s is used instead", "; ".join(tried), candidate)
        return candidate
    raise Unavailable(f"{'; '.join(tried)} {remedy}")


def age(path: Path) -> int:
    """last-1 before last-2."""
    number = re.search(r"-(\d+)$", path.stem)
    return int(number[1]) if number else 0


def step_of(path: Path) -> int:
    """The generator step at which a checkpoint was saved; reads the file's head, not its weights."""
    return load(path, mmap=True)["global_step"]


def sync_directory(path: Path) -> None:
    """Make a rename in it last through a power cut."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def remove_unfinished(path: Path) -> None:
    """What dead processes left half-written."""
    for file in path.glob(".*.tmp"):
        writer = re.fullmatch(r"\..+?\.(\d+)(\.link|\.former)?\.tmp", file.name)
        if writer and not alive(int(writer[1])):
            shutil.rmtree(file) if file.is_dir() else file.unlink(missing_ok=True)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
