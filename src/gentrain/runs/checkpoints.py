"""Checkpoint files: whole or absent, several of them, each with a checksum, and never code.

A file is what `torch.save` writes and 24 bytes more: the text `gentrain crc-32 ` and the CRC-32 of
all bytes before it in hexadecimal. It finds every flipped bit. `torch.load` reads the file as it
is; `verify` compares the checksum first.
"""

from __future__ import annotations

import errno
import io
import logging
import os
import pickle
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
from torch import Tensor

from gentrain.errors import Unavailable, UserError
from gentrain.files import atomic_write, sync_directory, temporary
from gentrain.runs import directory
from gentrain.version import __version__

log = logging.getLogger("gentrain")

MARK = b"gentrain crc-32 "
TRAILER = len(MARK) + 8  # bytes


class Damaged(Exception):
    """A file that is not, byte for byte, what was saved."""


# --- saving -----------------------------------------------------------------------------------


def save(checkpoint: dict[str, Any], path: Path, keep: int = 2) -> None:
    """Replace `path` at the moment when all bytes of the new checkpoint are on disk.

    Args:
        checkpoint: tensors and plain values.
        path: the file; the last `keep` of a `last.ckpt` stay.
        keep: how many, the new one included; see `rotate`.

    Raises:
        Unavailable: when the disk is full or read-only; the old file is then as it was.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as part:
            write(checkpoint, part)
            rotate(path, keep)
        sync_directory(path.parent)
    except BaseException as error:
        if (reason := disk_error(error, path, checkpoint)) is None:
            raise
        raise Unavailable(reason) from error


def write(checkpoint: dict[str, Any], path: Path) -> None:
    """Write a checkpoint and its checksum, and return when the disk has all of it."""
    with open(path, "wb") as file:
        summing = Summing(file)
        with flushing(file.fileno()), without_torch_checksums():
            try:
                torch.save(checkpoint, cast(Any, summing))
            except RuntimeError:
                if summing.error is None:
                    raise
        if summing.error is not None:
            raise summing.error
        file.write(MARK + b"%08x" % summing.crc)
        file.flush()
        os.fsync(file.fileno())


class Summing(io.RawIOBase):
    """A stream that passes bytes on to a file and computes their CRC-32."""

    def __init__(self, file: io.BufferedWriter) -> None:
        super().__init__()
        self.file, self.crc = file, 0
        self.error: OSError | None = None  # torch's writer reports an error without its reason

    def writable(self) -> bool:
        return True

    def write(self, chunk: Any) -> int:
        self.crc = zlib.crc32(chunk, self.crc)
        try:
            return self.file.write(chunk)
        except OSError as error:
            self.error = error
            raise


@contextmanager
def flushing(file: int) -> Iterator[None]:
    """Flush a file to disk while it is being written; one flush at the end takes thrice as long.

    Args:
        file: the number of the open file.
    """
    done = threading.Event()
    sync = vars(os).get("fdatasync", os.fsync)  # macOS has the second one only

    def flush() -> None:
        with suppress(OSError):  # the thread that writes reports a full disk
            while not done.wait(0.005):
                sync(file)

    thread = threading.Thread(target=flush, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@contextmanager
def without_torch_checksums() -> Iterator[None]:
    """Save time: torch computes a checksum of each record, and never compares it."""
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        yield
    finally:
        torch.serialization.set_crc32_options(before)


def disk_error(error: BaseException | None, path: Path, checkpoint: Any) -> str | None:
    """The message for a disk that is full or read-only; None for any other error."""
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__ or error.__context__
    if error is None:
        return None
    text = f"cannot save {path}: {error.strerror or error} (checkpoint)"
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return f"{text}; fix the directory and resume"
    needed, free = tensor_bytes(checkpoint) / 1e6, shutil.disk_usage(path.parent).free / 1e6
    return (
        f"{text}; {needed:.1f} MB and more are needed, {free:.1f} MB are free, make room and resume"
    )


def tensor_bytes(value: Any) -> int:
    """Bytes of the tensors in nested containers."""
    match value:
        case Tensor():
            return value.numel() * value.element_size()
        case dict():
            return sum(map(tensor_bytes, value.values()))
        case list() | tuple():
            return sum(map(tensor_bytes, value))
    return 0


def rotate(path: Path, keep: int) -> None:
    """Keep last.ckpt as last-1.ckpt as well, the one before as last-2.ckpt, and so on.

    `path` is a whole file at every moment.

    Args:
        path: the checkpoint that is about to be replaced; only last.ckpt is kept.
        keep: how many checkpoints stay, the new one included.
    """
    if keep < 2 or not path.exists() or path.stem != "last":
        return
    for number in range(keep - 1, 1, -1):
        older = numbered(path, number - 1)
        if older.exists():
            os.replace(older, numbered(path, number))
    link = temporary(path, ".link")
    link.unlink(missing_ok=True)
    os.link(path, link)
    os.replace(link, numbered(path, 1))


def numbered(path: Path, number: int) -> Path:
    """last.ckpt -> last-1.ckpt"""
    return path.with_name(f"{path.stem}-{number}{path.suffix}")


# --- loading ----------------------------------------------------------------------------------


def verify(path: Path) -> None:
    """Compare a checkpoint with its checksum.

    Raises:
        Damaged: unless every byte is the one that was saved.
    """
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
    """Load a checkpoint, onto the CPU by default.

    Args:
        path: the file.
        map_location: the device, as in `torch.load`.
        mmap: read tensors only when they are used.

    Raises:
        UserError: for a file that holds more than tensors and plain values: it could run code.
    """
    try:
        return torch.load(path, map_location=map_location or "cpu", weights_only=True, mmap=mmap)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path} holds more than tensors and plain values, and was not loaded (resume); "
            "give a checkpoint of gentrain"
        ) from error


def newest_valid(
    path: Path,
    remedy: str = "(resume); no whole checkpoint is left, start a new run without resume",
) -> Path:
    """`path`, or where it is damaged the newest older one, with a warning that names both.

    Args:
        path: a checkpoint; the older ones beside it are numbered, see `rotate`.
        remedy: the key and what to do, the end of the error's message.

    Raises:
        Unavailable: when none is whole.
    """
    older = sorted(path.parent.glob(f"{path.stem}-*{path.suffix}"), key=age)
    problems = []
    for candidate in [path, *older]:
        try:
            verify(candidate)
        except (Damaged, OSError) as error:
            problems.append(str(error))
            continue
        if problems:
            log.warning("%s; %s is used instead", "; ".join(problems), candidate)
        return candidate
    raise Unavailable(f"{'; '.join(problems)} {remedy}")


def age(path: Path) -> int:
    """The number of an older checkpoint: 1 for last-1.ckpt."""
    number = re.search(r"-(\d+)$", path.stem)
    return int(number[1]) if number else 0


def step_of(path: Path) -> int:
    """The step (generator updates) at which a checkpoint was saved; reads no weights."""
    return load(path, mmap=True)["global_step"]


def threads_of(path: Path) -> int | None:
    """The number of threads of the run that saved a checkpoint; None in older ones."""
    return load(path, mmap=True).get("threads")


# --- whose it is ------------------------------------------------------------------------------


def refuse_version(path: Path, checkpoint: dict[str, Any], key: str = "resume") -> None:
    """Refuse a checkpoint that this version of gentrain cannot read.

    Args:
        path: where the checkpoint is.
        checkpoint: its content.
        key: the key that named it.

    Raises:
        UserError: for one of a newer version, or one from before 0.2.
    """
    match checkpoint:
        case {"origin": {"version": str(made_by)}}:
            pass
        case _:
            raise UserError(f"{path} is no checkpoint of a run ({key}); give one of gentrain's")
    directory.refuse_old_version(path, made_by, key)
    if Version(made_by) > Version(__version__):
        raise UserError(
            f"{path} was made by gentrain {made_by}, and this is {__version__} ({key}); "
            f"install {made_by}"
        )


def refuse_foreign(path: Path, module: Any) -> None:
    """Refuse a checkpoint that a run cannot be continued from.

    Args:
        path: the checkpoint.
        module: the training module that is to have its weights; `origin` says what it is.

    Raises:
        UserError: for the checkpoint of another version, configuration or network.
    """
    saved = load(path, mmap=True)
    refuse_version(path, saved)
    theirs, ours = saved["origin"], module.origin
    before, now = (
        (directory.in_todays_terms(origin["config"]), origin["choices"])
        for origin in (theirs, ours)
    )
    directory.refuse_changes(path, before, now)
    old, new = before[1], now[1]
    other = [
        group
        for group in sorted(old.keys() | new.keys())
        if old.get(group) != new.get(group) and not directory.is_operational(group)
    ]
    groups = dict.fromkeys(["model", "network", *other])
    names = [
        " ".join(f"{group}={choices.get(group) or 'none'}" for group in groups)
        for choices in (old, new)
    ]
    what = f"{path} holds {names[0]}, and this is {names[1]}"
    fill(module, saved, what, "(resume); resume it as what it is")


def refuse_other_data(path: Path, found: dict[str, Any], force: bool) -> None:
    """Refuse to go on with other training samples, or with other classes, unless that is forced.

    Args:
        path: the checkpoint.
        found: `Data.identity` of what the command would go on with.
        force: only warn.

    Raises:
        UserError: naming the classes that differ, or the digests.
    """
    match load(path, mmap=True)["origin"]:
        case {"data": {"digest": str() | None as digest, "classes": list(names)}}:
            pass
        case _:
            return  # of a run that did not record its data
    if names != found["classes"]:
        shown = (", ".join(map(str, some[:10])) or "no names" for some in (names, found["classes"]))
        what = "the classes were {}, and now are {}".format(*shown)
    elif digest and found["digest"] and digest != found["digest"]:
        what = f"the training samples have digest {found['digest'][:12]}, and had {digest[:12]}"
    else:
        return
    text = f"{path} was trained on other data: {what} (data, resume)"
    if not force:
        raise UserError(f"{text}; give the same data, start a new run, or add force=true")
    log.warning("%s; it goes on, as force=true says", text)


def fill(module: Any, saved: dict[str, Any], what: str, remedy: str) -> None:
    """Give a training module the weights of a checkpoint.

    Args:
        module: the training module.
        saved: the content of the checkpoint.
        what: the beginning of the error's message.
        remedy: its end, the key and what to do.

    Raises:
        UserError: with the first keys that differ.
    """
    try:
        module.load_state_dict(saved["state_dict"])
    except RuntimeError as error:
        keys = ", ".join(mismatched_keys(saved["state_dict"], module.state_dict())[:3])
        raise UserError(f"{what}: {keys} differ {remedy}") from error


def mismatched_keys(saved: dict[str, Any], own: dict[str, Any]) -> list[str]:
    """Keys that only one state has, or whose tensors differ in shape."""
    theirs, ours = ({key: shape(value) for key, value in state.items()} for state in (saved, own))
    return sorted(key for key in theirs.keys() | ours.keys() if theirs.get(key) != ours.get(key))


def shape(value: Any) -> tuple[int, ...]:
    """The shape of a tensor; () of anything else in a state."""
    match value:
        case Tensor():
            return tuple(value.shape)
    return ()
