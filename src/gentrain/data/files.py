"""Files of the cache, which are whole or absent: atomic writes, checked downloads, a lock."""

import hashlib
import http.client
import logging
import os
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from gentrain.errors import Unavailable, UserError
from gentrain.files import acquire, atomic_write, report_disk_errors
from gentrain.patience import say_if_slow

log = logging.getLogger("gentrain")

TIMEOUT = 30  # seconds without a byte before a mirror counts as dead


class Rejected(Exception):
    """Bytes that came whole, but are not the ones that were asked for."""


def writable(folder: Path) -> AbstractContextManager[None]:
    """Report a disk that is full or read-only in one line, as Unavailable."""
    return report_disk_errors(folder, "data.cache")


@contextmanager
def written(target: Path) -> Iterator[Path]:
    """A temporary path that takes the name of a file of the cache when the block ends."""
    with writable(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(target) as part:
            yield part


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let one process at a time into the block; the others wait."""
    with writable(path.parent):
        file = acquire(path, wait=True)
    with file:
        yield


def download(
    urls: Sequence[str], target: Path, decode: Callable[[bytes], bytes], what: str
) -> None:
    """Download a file from the first url that serves good bytes.

    Args:
        urls: tried in turn.
        target: the file to write.
        decode: gives the file's bytes for those that were served; raises Rejected for wrong ones.
        what: the name of the file in a message.

    Raises:
        Unavailable: with every url, and what was wrong with it.
    """
    failures = []
    for url in urls:
        try:
            with say_if_slow(f"downloading {url}"):
                content = decode(fetched(url, target.parent))
        except (Rejected, OSError, EOFError, http.client.HTTPException, ValueError) as error:
            failures.append(f"{url}: {reason(error)}")
            log.warning("download failed: %s", failures[-1])
            continue
        with written(target) as file:
            file.write_bytes(content)
        return
    raise Unavailable(f"cannot download {what} ({'; '.join(failures) or 'no mirrors'})")


def fetched(url: str, folder: Path) -> bytes:
    """The bytes behind a url, by way of a temporary file in the cache.

    Raises what urllib raises, and Rejected when the bytes are cut off.
    """
    with writable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed below
    with file, urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
        while block := answer.read(1 << 20):
            with writable(folder):
                file.write(block)
        expected, found = answer.headers.get("Content-Length"), file.tell()
        if expected is not None and int(expected) != found:
            raise Rejected(f"cut off after {found:,} of {int(expected):,} bytes")
        file.seek(0)
        return file.read()


def reason(error: BaseException) -> str:
    """One line on what went wrong, without the wrapping of urllib."""
    match error:
        case urllib.error.URLError(reason=inner) if inner not in (None, ""):
            text = str(inner)
        case _:
            text = str(error)
    return " ".join((text or type(error).__name__).split())


def sha256(content: bytes) -> str:
    """In hex."""
    return hashlib.sha256(content).hexdigest()


def root_folder(root: str | Path) -> Path:
    """The folder that data.root names.

    Raises:
        UserError: when it is missing, a file, or not readable.
    """
    path = Path(root).expanduser()
    try:
        if not path.exists():
            raise UserError(
                f"no such folder {path} (data.root); give the folder that holds the data"
            )
        if not path.is_dir():
            raise UserError(
                f"{path} is a file, not a folder (data.root); give the folder that holds the data"
            )
        os.listdir(path)
    except OSError as error:  # not readable, or a name that is too long
        raise UserError(
            f"cannot read {path}: {error.strerror} (data.root); give a folder that you may read"
        ) from error
    return path
