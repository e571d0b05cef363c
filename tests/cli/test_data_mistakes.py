"""Data that cannot be read, by the rows of the table of bad inputs; and pictures of every kind, which can."""

from __future__ import annotations

import gzip
import os
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from shell import SMALL, TINY, Done, assert_fine, assert_refused, only_run, summary

Run = Callable[..., Done]
FOLDER = ("data=image_folder", "data.root=pictures", *SMALL)
MNIST = ("data=mnist", "data.root=idx", *SMALL)


def fill(folder: Path, count: int = 12) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    for number in range(count):
        Image.fromarray(random.integers(0, 256, (12, 10, 3), dtype=np.uint8)).save(folder / f"{number}.png")


def missing(here: Path) -> None:
    """Nothing at all."""


def a_file(here: Path) -> None:
    (here / "pictures").write_text("no zip")


def unreadable(here: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    (here / "pictures").mkdir(mode=0)


def empty(here: Path) -> None:
    (here / "pictures").mkdir()


def empty_class(here: Path) -> None:
    fill(here / "pictures" / "cat")
    (here / "pictures" / "dog").mkdir()


def corrupt(here: Path) -> None:
    fill(here / "pictures")
    (here / "pictures" / "cut.png").write_bytes((here / "pictures" / "0.png").read_bytes()[:60])
    (here / "pictures" / "nothing.png").touch()


def bomb(here: Path) -> None:
    fill(here / "pictures")
    Image.new("1", (20_000, 20_000)).save(here / "pictures" / "bomb.png")


PICTURES = {
    "13-missing": (missing, [], ["no such folder", "pictures (data.root)"]),
    "13-a-file": (a_file, [], ["cannot read pictures", "(data.root)", ".zip"]),
    "13-unreadable": (unreadable, [], ["cannot read pictures", "(data.root)"]),
    "14-empty-folder": (empty, [], ["0 images in pictures (data.root)", ".png .jpg"]),
    "14-empty-class": (empty_class, ["data.classes=2"], ["0 images", "dog", "(data.root)"]),
    "15-corrupt": (corrupt, [], ["2 of 14 images", "'cut.png'", "'nothing.png' (zero bytes)", "(data.on_bad)", "skip"]),
    "17-bomb": (bomb, [], ["1 of 13 images", "'bomb.png'", "limit", "(data.on_bad)"]),
}


@pytest.mark.parametrize("row", PICTURES)
def test_pictures(run: Run, tmp_path: Path, row: str) -> None:
    make, words, told = PICTURES[row]
    make(tmp_path)
    assert_refused(run(*FOLDER, *words), tmp_path, *told)


def idx(values: np.ndarray) -> bytes:
    return struct.pack(f">{1 + values.ndim}I", 0x800 + values.ndim, *values.shape) + values.astype(np.uint8).tobytes()


def digits(folder: Path, labels: int = 60) -> None:
    folder.mkdir()
    for stem in ("train", "t10k"):
        (folder / f"{stem}-images-idx3-ubyte").write_bytes(idx(np.zeros((60, 28, 28))))
        (folder / f"{stem}-labels-idx1-ubyte").write_bytes(idx(np.arange(labels) % 10))


def altered(here: Path) -> None:
    digits(here / "idx")


def cut_off(here: Path) -> None:
    digits(here / "idx")
    file = here / "idx" / "train-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:1000])


def half_zipped(here: Path) -> None:
    digits(here / "idx")
    file = here / "idx" / "train-images-idx3-ubyte"
    file.with_suffix(".gz").write_bytes(gzip.compress(file.read_bytes())[:40])
    file.unlink()


def short_labels(here: Path) -> None:
    digits(here / "idx", 50)


IDX = {
    "18-altered": (altered, [], ["sha256 begins", "expected ba891046e650", "(data.root)", "delete and retry"]),
    "18-cut-off": (cut_off, ["data.verify=false"], ["is truncated: 984 bytes", "its header says 47,040", "(data.root)"]),
    "18-half-zipped": (half_zipped, [], ["is damaged", "(data.root)", "delete and retry"]),
    "19-short-labels": (short_labels, ["data.verify=false"], ["has 50 labels for the 60 images", "(data.root)"]),
}


@pytest.mark.parametrize("row", IDX)
def test_idx(run: Run, tmp_path: Path, row: str) -> None:
    make, words, told = IDX[row]
    make(tmp_path)
    assert_refused(run(*MNIST, *words), tmp_path, *told)


def test_20_no_network(run: Run, tmp_path: Path) -> None:
    done = run("data=mnist", "data.mirrors=[http://127.0.0.1:9/]", *SMALL, no_proxy="*", GENTRAIN_CACHE=str(tmp_path / "cache"))
    assert_refused(done, tmp_path, "(data)", "http://127.0.0.1:9/", "data=mnist_5k", status=4)


def test_16_pictures_of_every_kind(run: Run, tmp_path: Path) -> None:
    """Sizes, 16 bits, palettes, transparency, CMYK, 1 bit; 17: a loop of links; 35: more workers than cores."""
    folder = tmp_path / "pictures"
    fill(folder)
    random = np.random.default_rng(0)
    Image.fromarray(random.integers(0, 65536, (9, 7)).astype(np.uint16)).save(folder / "grey16.png")
    for mode, name in (("P", "p.png"), ("RGBA", "rgba.png"), ("LA", "la.png"), ("CMYK", "cmyk.jpg"), ("1", "bit.png"), ("L", "l.bmp")):
        Image.fromarray(random.integers(0, 256, (40, 300, 3), dtype=np.uint8)).convert(mode).save(folder / name)
    (folder / "loop").symlink_to(folder)
    done = run("model=dcgan", *FOLDER, *TINY, "data.size=32", "data.workers=10000", "data.resident=false", "steps=2")
    assert_fine(done)
    assert summary(only_run(tmp_path))["steps"] == 2
    assert "10000 workers on" in done.stderr and "(data.workers)" in done.stderr
