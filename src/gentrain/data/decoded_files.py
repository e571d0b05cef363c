"""Files decoded once into an .npy of the cache, on all cores, whole or not at all."""

import json
import logging
import multiprocessing
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from gentrain.data.checks import cores, ensure
from gentrain.data.files import writable, written
from gentrain.errors import Unavailable
from gentrain.patience import counted

if TYPE_CHECKING:
    from gentrain.data.pictures import Source

log = logging.getLogger("gentrain")

PORTION = 256  # pictures that are worth a process

Bad = tuple[str, str]  # a picture, and what is wrong with it


class FileForm(Protocol):
    """What every file becomes. Its `repr` names what is kept in the cache."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of an array."""

    @property
    def dtype(self) -> type[np.generic]:
        """Of an array."""

    @property
    def things(self) -> str:
        """What files hold, in messages: images or sounds."""

    def decode(self, content: bytes) -> np.ndarray:
        """The bytes of a file as an array; it may raise anything for a broken one."""


@dataclass(frozen=True)
class Decoder:
    """Decodes files of a folder, a zip, or another source.

    Args:
        open: opens the source, in every process that decodes.
        root: the folder or .zip, for messages.
        key: the key that names it, in messages.
        form: what every picture becomes.
        on_bad: what an unreadable picture does: stop or skip.
        workers: 0 decodes in this process.
    """

    open: Callable[[], "Source"]
    root: Path
    key: str
    form: FileForm
    on_bad: str
    workers: int

    def decode(self, names: list[str], target: Path, skipped: Path) -> None:
        """Write the pictures to `target`, and the names of those left out to `skipped`.

        Raises:
            UserError: for unreadable pictures, unless `on_bad` is skip.
        """
        # files of a process that was killed; under the lock nobody else writes
        for left in target.parent.glob(f".{target.name}.*"):
            left.unlink()
        form, all_of_them = self.form, f"{len(names)} {self.form.things} of {self.root}"
        log.info("decoding %s into %s", all_of_them, target.parent)
        with written(target) as file:
            allocate(file, (len(names), *form.shape), form.dtype)
            bad = self.fill(file, names)
            ensure(
                self.on_bad == "skip" or not bad,
                f"{len(bad)} of {all_of_them} are unreadable: {listed(bad)} "
                "(data.on_bad); fix them, or write skip",
            )
            ensure(
                len(bad) < len(names),
                f"all {len(bad)} {form.things} of {self.root} are unreadable: {listed(bad)} "
                f"(data.{self.key}); fix them",
            )
            if bad:
                leave_out(file, names, bad)
                with written(skipped) as list_file:
                    list_file.write_text(json.dumps(bad), "utf-8")

    def fill(self, file: Path, names: list[str]) -> list[Bad]:
        """Decode every picture into its row, on all cores where there are many pictures.

        Returns:
            The unreadable ones.
        """

        def shown(results: Iterable[list[Bad]]) -> list[Bad]:
            done = counted(results, len(names), "decoding", size=lambda bad: portion)
            return [bad for some in done for bad in some]

        # few portions, since each opens the zip again
        portion = max(PORTION, -(-len(names) // (4 * cores())))
        jobs = [
            (self.open, file, names[start : start + portion], start, self.form)
            for start in range(0, len(names), portion)
        ]
        if self.workers == 0 or len(jobs) == 1:
            return shown(decode_rows(*job) for job in jobs)
        try:
            with ProcessPoolExecutor(
                min(cores(), len(jobs)), multiprocessing.get_context("fork")
            ) as pool:
                return shown(pool.map(decode_rows, *zip(*jobs, strict=True)))
        except BrokenProcessPool as error:
            raise Unavailable(
                f"a process that decoded {self.root} was killed (data.{self.key}); "
                "is there enough memory?"
            ) from error


def decode_rows(
    open_source: Callable[[], "Source"], file: Path, names: list[str], start: int, form: FileForm
) -> list[Bad]:
    """Decode pictures into the rows of `file` from `start` on; returns the unreadable ones."""
    pictures, rows, bad = open_source(), np.load(file, mmap_mode="r+"), []
    for row, name in enumerate(names, start):
        try:
            rows[row] = form.decode(pictures.read(name))
        except Exception as error:  # a broken file makes Pillow raise almost anything
            bad.append((name, " ".join(str(error).split()) or type(error).__name__))
    return bad


def allocate(file: Path, shape: tuple[int, ...], dtype: type[np.generic] = np.uint8) -> None:
    """Make an .npy file whose blocks exist on the disk.

    So a full disk is reported here, and not by a signal in the middle of the work.
    """
    np.lib.format.open_memmap(file, mode="w+", dtype=dtype, shape=shape).flush()
    if "posix_fallocate" not in vars(os):  # macOS
        return
    with writable(file.parent), file.open("r+b") as handle:
        os.posix_fallocate(handle.fileno(), 0, os.path.getsize(file))


def leave_out(file: Path, names: list[str], bad: list[Bad]) -> None:
    """Rewrite a file without the rows of the bad pictures."""
    out = {name for name, _ in bad}
    keep = [row for row, name in enumerate(names) if name not in out]
    rows = np.load(file, mmap_mode="r")
    with written(file.with_suffix(".kept")) as kept:
        packed = np.lib.format.open_memmap(
            kept, mode="w+", dtype=rows.dtype, shape=(len(keep), *rows.shape[1:])
        )
        for to, row in enumerate(keep):
            packed[to] = rows[row]
        packed.flush()
    os.replace(file.with_suffix(".kept"), file)


def listed(bad: list[Bad]) -> str:
    """The first ten, with what is wrong."""
    more = f" and {len(bad) - 10} more" if len(bad) > 10 else ""
    return "; ".join(f"{name!r} ({why[:100]})" for name, why in bad[:10]) + more
