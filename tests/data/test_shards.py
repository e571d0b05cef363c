"""data=shards: pictures in tar files, which may be more than the memory holds."""

from __future__ import annotations

import io
import itertools
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gentrain.errors import UserError
from tests.support.shell import plain, python

Make = Callable[..., Any]
PIXELS = np.random.default_rng(0).integers(0, 256, (60, 6, 8, 3), dtype=np.uint8)
PIXELS[:, 0, 0] = 255
WORDS = ("size=[6,8]", "workers=0")


def encoded(pixels: np.ndarray, kind: str = "png") -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind)
    return out.getvalue()


def packed(path: Path, files: dict[str, bytes], mode: str = "w") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            about = tarfile.TarInfo(name)
            about.size = len(content)
            archive.addfile(about, io.BytesIO(content))
    return path


def shard(path: Path, rows: range, **more: bytes) -> Path:
    files = {}
    for row in rows:
        files[f"{row:06d}.png"] = encoded(PIXELS[row])
        files[f"{row:06d}.cls"] = f"{row % 3}\n".encode()
        files |= {f"{row:06d}.{ending}": content for ending, content in more.items()}
    return packed(path, files)


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Three shards of 20 samples."""
    for i in range(3):
        shard(tmp_path / "set" / f"{i:04d}.tar", range(20 * i, 20 * (i + 1)), txt=b"words")
    return tmp_path / "set"


def rows_of(images: torch.Tensor) -> list[int]:
    """Which of the pictures they are."""
    known = {pixels.transpose(2, 0, 1).tobytes(): row for row, pixels in enumerate(PIXELS)}
    return [known[image.contiguous().numpy().tobytes()] for image in images]


@pytest.mark.parametrize(
    "pattern", ["{}", "{}/*.tar", "{}/{{0000..0002}}.tar", "{}/000{{0,1,2}}.tar"]
)
def test_pictures_and_labels(shards: Path, make: Make, pattern: str) -> None:
    data = make("shards", f"root='{pattern.format(shards)}'", "classes=3", "validation=0.1", *WORDS)
    parts = {split: data.load(split) for split in ("train", "validation", "test")}
    rows = {split: rows_of(part.images) for split, part in parts.items()}
    assert sorted(itertools.chain(*rows.values())) == list(range(60))
    assert [len(part) for part in rows.values()] == [49, 5, 6]
    for split, part in parts.items():
        assert part.labels.tolist() == [row % 3 for row in rows[split]]
    assert list(data.class_names) == ["0", "1", "2"]


def test_splits_and_moved_shards(tmp_path: Path, make: Make) -> None:
    """By the names of the shards, or of their folders."""
    shard(tmp_path / "a" / "train-0.tar", range(30))
    shard(tmp_path / "a" / "train-1.tar", range(30, 40))
    shard(tmp_path / "a" / "test-0.tar", range(40, 60))
    for name, rows in (("train", range(40)), ("test", range(40, 60))):
        shard(tmp_path / "b" / name / "0.tar", rows)
    for place in ("a", "b"):
        data = make("shards", f"root={tmp_path / place}", *WORDS)
        assert rows_of(data.load("train").images) == list(range(40))
        assert rows_of(data.load("test").images) == list(range(40, 60))
    before = data.identity()
    (tmp_path / "b").rename(tmp_path / "c")
    assert make("shards", f"root={tmp_path / 'c'}", *WORDS).identity() == before
    shard(tmp_path / "c" / "train" / "0.tar", range(1, 41))  # other pictures, the same names
    assert make("shards", f"root={tmp_path / 'c'}", *WORDS).identity() != before


def test_ranks_and_workers_share_an_epoch_and_a_resume_goes_on(shards: Path, make: Make) -> None:
    """By files that are mapped, in other processes: nothing is seen twice in an epoch, and a
    stream that starts at a position is the rest of the whole.
    """
    words = ("resident=false", "batch_size=6", f"root={shards}", "validation=0", "size=[6,8]")
    seen = []
    for rank in range(2):
        data = make("shards", "workers=2", *words)
        batches = list(itertools.islice(data.batches(rank=rank, world=2), 8))
        seen.append([((images + 1) * 127.5).round().byte() for (images,) in batches])
        later = itertools.islice(data.batches(rank=rank, world=2, position=lambda: 3), 5)
        assert all(torch.equal(a, b) for (a,), (b,) in zip(batches[3:], later, strict=True))
    for epoch in (slice(0, 4), slice(4, 8)):
        rows = rows_of(torch.cat([*seen[0][epoch], *seen[1][epoch]]))
        assert len(set(rows)) == len(rows) == 48  # of 54: one global batch is not full
    resident = make("shards", *words, "workers=0", "resident=true")
    (images,) = next(iter(resident.batches(rank=1, world=2)))
    assert torch.equal(((images + 1) * 127.5).round().byte(), seen[1][0])


def test_samples_of_two_pictures_and_other_labels(tmp_path: Path, make: Make) -> None:
    files = {}
    for row in range(20):
        files[f"./d.x/{row}.left.png"] = encoded(PIXELS[row])
        files[f"./d.x/{row}.right.PNG"] = encoded(PIXELS[row + 20])
        files[f"./d.x/{row}.word"] = (b"dog", b"cat")[row % 2]
    packed(tmp_path / "x.tar", files)
    (tmp_path / "t.csv").write_text(
        "file,class\n" + "".join(f"{row}.left.png,c{row % 4}\n" for row in range(20))
    )
    base = ("shards", f"root={tmp_path / 'x.tar'}", *WORDS)
    with pytest.raises(UserError, match=r"pictures of one sample \(data\.image\)"):
        make(*base).load("train")
    data = make(*base, "image=right.png", "label=word", "classes=2")
    images, labels, _ = data.load("train")
    assert list(data.class_names) == ["cat", "dog"]
    assert labels.tolist() == [1 - (row - 20) % 2 for row in rows_of(images)]
    data = make(*base, "image=left.png", f"labels={tmp_path / 't.csv'}", "classes=4")
    images, labels, _ = data.load("train")
    assert labels.tolist() == [row % 4 for row in rows_of(images)]


def test_refusals(shards: Path, tmp_path: Path, make: Make) -> None:
    whole = (shards / "0000.tar").read_bytes()
    (tmp_path / "cut.tar").write_bytes(whole[: len(whole) // 3])
    (tmp_path / "edge.tar").write_bytes(whole[: 512 * 4])  # between two files
    (tmp_path / "head.tar").write_bytes(whole[:600])
    (tmp_path / "text.tar").write_text("no tar at all" * 99)
    packed(tmp_path / "z.tar", {"1.png": encoded(PIXELS[0])}, "w:gz")
    packed(tmp_path / "words.tar", {"1.txt": b"a"})
    packed(tmp_path / "bare.tar", {f"{row}.png": encoded(PIXELS[row]) for row in range(20)})
    (tmp_path / "none").mkdir()
    for root, more, message in (
        (tmp_path / "none", (), r"no \.tar files in .*none \(data\.root\)"),
        (tmp_path / "no.tar", (), r"no shard .*no\.tar \(data\.root\)"),
        (f"{shards}/{{0002..0003}}.tar", (), r"no shard .*0003\.tar \(data\.root\)"),
        (tmp_path / "text.tar", (), r"no whole, uncompressed \.tar: .* \(data\.root\)"),
        (tmp_path / "z.tar", (), r"no whole, uncompressed \.tar: .* \(data\.root\)"),
        (tmp_path / "cut.tar", (), r"cut\.tar is cut off|no whole"),
        (tmp_path / "edge.tar", (), r"edge\.tar is cut off"),
        (tmp_path / "head.tar", (), r"head\.tar is cut off|no whole"),
        (tmp_path / "words.tar", (), r"0 images in .*words\.tar \(data\.root\)"),
        ("s3://bucket/{0..9}.tar", (), r"not on the disk \(data\.root\)"),
        (tmp_path / "bare.tar", ("classes=2",), r"0\.png of .* has no 0\.cls .* \(data\.label\)"),
        (shards, ("classes=2",), r"have 3 classes, not 2 \(data\.classes\); give 3"),
        (shards, ("classes=2", "labels=no.csv"), r"no file no\.csv \(data\.labels\)"),
        (shards, ("image=jpg",), r"0 images in"),
    ):
        with pytest.raises(UserError, match=message) as refusal:
            make("shards", f"root='{root}'", *WORDS, *more).load("train")
        assert "\n" not in str(refusal.value)
    with pytest.raises(UserError, match=r"give data\.root=DIR"):
        make("shards")


def test_as_webdataset_reads_and_writes_them(tmp_path: Path, make: Make) -> None:
    wds = pytest.importorskip("webdataset", reason="webdataset is not installed")
    with wds.TarWriter(str(tmp_path / "0.tar")) as writer:
        for row in range(20):
            writer.write({"__key__": f"{row:04d}", "png": PIXELS[row], "cls": row % 3})
    data = make("shards", f"root={tmp_path / '0.tar'}", "classes=3", *WORDS)
    train, test = data.load("train"), data.load("test")
    stream: Iterator[Any] = wds.WebDataset(str(tmp_path / "0.tar"), shardshuffle=False)
    theirs = {
        image.transpose(2, 0, 1).tobytes(): label
        for image, label in stream.decode("rgb8").to_tuple("png", "cls")
    }
    for part in (train, test):
        for image, label in zip(part.images, part.labels, strict=True):
            assert theirs[image.numpy().tobytes()] == label
    assert len(theirs) == len(train.images) + len(test.images) == 20


FLAT = """
import gc, sys, itertools, torch
from gentrain.data.shards import Shards
torch.set_num_threads(1)

def anonymous():
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024

data = Shards(name="shards", shape=(3, 64, 64), size=64, root=sys.argv[1], cache=sys.argv[2],
              resident=False, workers=1, batch_size=64)
before = anonymous()
train = data.load("train")
data.digest()
most = anonymous()
for batch in itertools.islice(data.batches(), len(train.images) // 64):
    gc.collect()  # batches that the loader has not let go of are no part of the data
    most = max(most, anonymous())
print(len(train.images), most - before)
"""


def many(folder: Path, count: int) -> Path:
    """Shards of 1,000 pictures, each of another colour and with noise that they share."""
    noise = np.random.default_rng(0).integers(0, 60, (64, 64, 3))
    for start in range(0, count, 1000):
        files = {}
        for row in range(start, start + 1000):
            colour = [row % 190, row // 190 % 190, 100]
            files[f"{row:06d}.jpg"] = encoded((noise + colour).astype(np.uint8), "jpeg")
        packed(folder / f"{start // 1000:04d}.tar", files)
    return folder


@pytest.mark.slow
def test_memory_is_flat(tmp_path: Path) -> None:
    """20,000 pictures, which decoded are 246 MB: memory grows by a small part of that, most of it
    the names; ten times fewer take not much less.
    """
    grown = {}
    for count in (2000, 20_000):
        place = many(tmp_path / str(count), count)
        done = python(tmp_path, plain(), "-c", FLAT, str(place), str(tmp_path / "cache"))
        assert done.returncode == 0, done.stderr
        images, grown[count] = done.stdout.split()
        assert int(images) == count * 81 // 100
    assert float(grown[20_000]) < 80, grown
    assert float(grown[20_000]) - float(grown[2000]) < 50, grown
