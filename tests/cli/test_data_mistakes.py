"""Data that cannot be read, by the rows of the table of bad inputs; and pictures of every kind,
which can.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.data_files import idx
from tests.support.shell import (
    SMALL,
    TINY,
    Done,
    assert_fine,
    assert_refused,
    gentrain,
    only_run,
    summary,
)

Run = Callable[..., Done]
FOLDER = ("data=image_folder", "data.root=pictures", *SMALL)


def fill(folder: Path, count: int = 7) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    for number in range(count):
        Image.fromarray(random.integers(0, 256, (12, 10, 3), dtype=np.uint8)).save(
            folder / f"{number}.png"
        )


def test_13_an_unreadable_folder(run: Run, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    (tmp_path / "pictures").mkdir(mode=0)
    assert_refused(run(*FOLDER), tmp_path, "cannot read pictures", "(data.root)")


def test_14_an_empty_class(run: Run, tmp_path: Path) -> None:
    fill(tmp_path / "pictures" / "cat")
    (tmp_path / "pictures" / "dog").mkdir()
    assert_refused(run(*FOLDER, "data.classes=2"), tmp_path, "0 images", "dog", "(data.root)")


def test_15_corrupt_pictures(run: Run, tmp_path: Path) -> None:
    spoil(tmp_path / "pictures")
    done = run(*FOLDER)
    assert_refused(
        done,
        tmp_path,
        "2 of 9 images",
        "'cut.png'",
        "'nothing.png' (zero bytes)",
        "(data.on_bad)",
        "skip",
        lines_before=1,
    )


def test_other_data_at_a_resume(run: Run, tmp_path: Path) -> None:
    """Refused by the names of the classes; the same pictures elsewhere are the same data."""
    for name in ("c1", "c2", "c10"):
        fill(tmp_path / "pictures" / name)
    words = ("model=cgan", "data=image_folder", "data.size=16", "data.classes=3", "samples.n=4")
    words = (*words, "data.batch_size=4", "hydra.run.dir=r", "network=mlp", *SMALL)
    assert_fine(run(*words, "data.root=pictures", "steps=1"))
    assert summary(tmp_path / "r")["data"]["classes"] == ["c1", "c2", "c10"]
    (tmp_path / "pictures").rename(tmp_path / "moved")
    (tmp_path / "moved" / "c1").rename(tmp_path / "moved" / "z1")
    done = run(*words, "data.root=moved", "steps=2", "resume=auto")
    told = "the classes were c1, c2, c10, and now are c2, c10, z1"
    assert done.returncode == 2 and told in done.stderr and "force=true" in done.stderr
    (tmp_path / "moved" / "z1").rename(tmp_path / "moved" / "c1")
    assert_fine(run(*words, "data.root=moved", "steps=2", "resume=auto"))
    done = run("sample", "run=r", "labels=[c10,1]", "n=4")
    assert_fine(done)
    record = json.loads((tmp_path / "r" / "samples-grid" / "sample.json").read_text("utf-8"))
    assert record["labels"] == [2, 1] and record["class_names"] == ["c1", "c2", "c10"]


def test_scores_of_pictures_without_labels(run: Run, tmp_path: Path) -> None:
    """Too few of them train without scores; of enough, the best checkpoint follows a score."""
    fill(tmp_path / "pictures", 20)
    words = ("model=dcgan", *FOLDER[:2], "data.size=8", "trainer=cpu", "logger=csv", "samples.n=4")
    words = (*words, "data.batch_size=4", "steps=1", "network=mlp")
    done = run(*words, "hydra.run.dir=few")
    assert done.returncode == 0 and "no scores: the test split" in done.stderr, done.stderr
    assert "choose quality=none" in done.stderr and not summary(tmp_path / "few")["best"]
    quick = ("quality.samples=20", "quality.features.updates=2", "quality.optional=false")
    assert_fine(run(*words, *quick, "hydra.run.dir=all"))
    assert summary(tmp_path / "all")["best"]["metric"] == "quality/fid_rotation"
    done = run(*words, "quality=classifier")
    assert done.returncode == 2 and "quality=rotation" in done.stderr


def test_18_an_altered_file(run: Run, tmp_path: Path) -> None:
    digits(tmp_path / "idx")
    done = run("data=mnist", "data.root=idx", *SMALL)
    assert_refused(
        done, tmp_path, "sha256 begins", "expected ba891046e650", "(data.root)", "delete and retry"
    )


def spoil(folder: Path) -> None:
    fill(folder)
    (folder / "cut.png").write_bytes((folder / "0.png").read_bytes()[:60])
    (folder / "nothing.png").touch()


def bomb(folder: Path) -> None:
    fill(folder)
    Image.new("1", (20_000, 20_000)).save(folder / "bomb.png")


def digits(folder: Path, labels: int = 60) -> Path:
    """MNIST of zeros; its training images are returned."""
    folder.mkdir()
    for stem in ("train", "t10k"):
        (folder / f"{stem}-images-idx3-ubyte").write_bytes(idx(np.zeros((60, 28, 28))))
        (folder / f"{stem}-labels-idx1-ubyte").write_bytes(idx(np.arange(labels) % 10))
    return folder / "train-images-idx3-ubyte"


PICTURES = {
    "13-a-file": ["cannot read a_file", "(data.root)", ".zip"],
    "13-missing": ["no such folder or file missing (data.root)"],
    "14-empty-folder": ["0 images in empty (data.root)", ".png .jpg"],
    "27-not-a-number": ["1 of 8 images", "'nan.tiff'", "floating-point pixels", "(data.on_bad)"],
    "17-bomb": ["1 of 8 images", "'bomb.png'", "limit", "(data.on_bad)"],
}
IDX = {
    "18-cut-off": ["is truncated: 984 bytes", "its header says 47,040", "(data.root)"],
    "18-half-zipped": ["is damaged", "(data.root)", "delete and retry"],
    "19-short-labels": ["has 50 labels for the 60 images", "(data.root)"],
    "13-a-file-again": ["a_file is a file, not a folder", "(data.root)"],
}


@pytest.mark.parametrize(
    ("classes", "count", "words"),
    [
        (3, 5, ["the test split gives 1 real images, too few for scores", "quality=none"]),
        (1, 15, ["quality=classifier learns to tell classes apart", "has 1 (data.classes)"]),
        (2, 2, ["of the 4 training samples of pictures is 0 (data.validation)"]),
    ],
    ids=["09-one-test-image", "11-one-class", "four-pictures"],
)
def test_too_little_for_a_score(
    classes: int, count: int, words: list[str], run: Run, tmp_path: Path
) -> None:
    for number in range(classes):
        fill(tmp_path / "pictures" / f"c{number}", count)
    own = ("data.size=8", f"data.classes={classes}", "data.batch_size=2", "quality=classifier")
    done = run("model=dcgan", *FOLDER[:2], *SMALL[:2], "steps=2", "network=mlp", *own)
    lines = len(done.stderr.splitlines())
    assert_refused(done, tmp_path, *words, lines_before=lines - 1)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory, env: dict[str, str]) -> Done:
    """The rows of PICTURES as the jobs of one multirun: the import of torch costs more than they
    do.
    """
    here = tmp_path_factory.mktemp("pictures")
    (here / "a_file").write_text("no zip")
    (here / "empty").mkdir()
    bomb(here / "bomb")
    fill(here / "floats")
    Image.fromarray(np.full((9, 9), np.nan, dtype=np.float32)).save(here / "floats" / "nan.tiff")
    return gentrain(
        here, env, "-m", "data=image_folder", "data.root=a_file,missing,empty,floats,bomb", *SMALL
    )


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, env: dict[str, str]) -> Done:
    """The rows of IDX, the same way."""
    here = tmp_path_factory.mktemp("files")
    images = digits(here / "cut")
    images.write_bytes(images.read_bytes()[:1000])
    images = digits(here / "zipped")
    images.with_suffix(".gz").write_bytes(gzip.compress(images.read_bytes())[:40])
    images.unlink()
    digits(here / "short", 50)
    (here / "a_file").touch()
    return gentrain(
        here,
        env,
        "-m",
        "data=mnist",
        "data.root=cut,zipped,short,a_file",
        "data.verify=false",
        *SMALL,
    )


def assert_told(done: Done, job: int, words: list[str]) -> None:
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith(f"cell {job:03d} (")]
    told = [line for line in lines if "): failed: " in line]
    assert len(told) == 1 and all(word in told[0] for word in words), done.stderr


@pytest.mark.parametrize("row", PICTURES)
def test_pictures(pictures: Done, row: str) -> None:
    assert_told(pictures, list(PICTURES).index(row), PICTURES[row])


@pytest.mark.parametrize("row", IDX)
def test_idx(files: Done, row: str) -> None:
    assert_told(files, list(IDX).index(row), IDX[row])


def test_28_images_of_one_colour(run: Run, tmp_path: Path) -> None:
    """A warning, and no distance between images that all have the same features."""
    digits(tmp_path / "zeros")
    scored = (
        "quality=classifier",
        "quality.samples=50",
        "quality.batch_size=50",
        "quality.features.updates=2",
        "samples.n=4",
    )
    done = run(
        "model=dcgan",
        "data=mnist",
        "data.root=zeros",
        "data.verify=false",
        "data.batch_size=16",
        *scored,
        "steps=2",
        "logger=csv",
        "trainer=cpu",
    )
    assert done.returncode == 0 and "54 of 54 train images have one single colour" in done.stderr, (
        done.stderr
    )
    assert "the same features" in done.stderr
    assert "quality/fid_classifier" not in summary(only_run(tmp_path))["metrics"]


def test_20_no_network(run: Run, tmp_path: Path) -> None:
    done = run(
        "data=mnist",
        "data.mirrors=[http://127.0.0.1:9/]",
        *SMALL,
        no_proxy="*",
        GENTRAIN_CACHE=str(tmp_path / "cache"),
    )
    assert_refused(
        done, tmp_path, "(data)", "http://127.0.0.1:9/", "data=mnist_5k", status=4, lines_before=1
    )


def test_16_pictures_of_every_kind(run: Run, tmp_path: Path) -> None:
    """Sizes, 16 bits, palettes, transparency, CMYK, 1 bit; 17: a loop of links; 35: more workers
    than cores.
    """
    folder = tmp_path / "pictures" / "train"
    fill(folder, 20)
    fill(tmp_path / "pictures" / "test")
    random = np.random.default_rng(0)
    Image.fromarray(random.integers(0, 65536, (9, 7)).astype(np.uint16)).save(folder / "grey16.png")
    for mode, name in (
        ("P", "p.png"),
        ("RGBA", "rgba.png"),
        ("LA", "la.png"),
        ("CMYK", "cmyk.jpg"),
        ("1", "bit.png"),
        ("L", "l.bmp"),
    ):
        Image.fromarray(random.integers(0, 256, (40, 300, 3), dtype=np.uint8)).convert(mode).save(
            folder / name
        )
    (folder / "loop").symlink_to(folder)
    done = run(
        "model=dcgan",
        *FOLDER,
        *TINY,
        "data.size=32",
        "data.workers=10000",
        "data.resident=false",
        "steps=2",
    )
    assert_fine(done)
    assert summary(only_run(tmp_path))["steps"] == 2
    assert "10000 workers on" in done.stderr and "(data.workers)" in done.stderr
