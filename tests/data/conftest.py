"""Tiny copies of the data sets, made on the spot: no test needs a network or other files."""

import gzip
import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import get_class, instantiate
from omegaconf import OmegaConf
from PIL import Image

from gentrain.runs import resolvers
from tests.support.data_files import idx_files
from tests.support.paths import CONF

OF_FILES = {
    "points": ("shape=[2]",),
    "tensors": ("shape=[1,8,8]",),
}  # what is read from a file that is not there


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GENTRAIN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("GENTRAIN_DATA_DIR", raising=False)
    monkeypatch.setenv("no_proxy", "*")
    return tmp_path / "cache"


@pytest.fixture
def config() -> Callable[..., dict[str, Any]]:
    """The keys of one data set as a run would see them, resolved.

    Without a validation split, unless one is asked for: most tests are of what a source reads.
    """

    def composed(name: str, *overrides: str) -> dict[str, Any]:
        resolvers.register()
        keys = [f"data.{word}" for word in ("validation=0", *OF_FILES.get(name, ()), *overrides)]
        with initialize_config_dir(str(CONF), version_base=None):
            # a data set may choose the quality
            cfg = compose(overrides=["+quality=none", f"+data={name}", *keys])
        return OmegaConf.to_container(
            OmegaConf.create({"seed": 7, "data": cfg.data}), resolve=True
        )["data"]

    return composed


@pytest.fixture
def make(config: Callable[..., dict[str, Any]]) -> Callable[..., Any]:
    """A data set from its YAML, with `key=value` overrides."""

    def made(name: str, *overrides: str) -> Any:
        keys = config(name, *overrides)
        keys["label_kind"] = instantiate(keys["label_kind"])
        # hydra's instantiate would wrap what the constructor raises
        return get_class(keys.pop("_target_"))(**keys)

    return made


@pytest.fixture
def idx_root(tmp_path: Path) -> Path:
    root = tmp_path / "idx"
    root.mkdir()
    for file, content in idx_files().items():
        (root / file).write_bytes(content)
    return root


@pytest.fixture
def cifar_root(tmp_path: Path) -> Path:
    folder = tmp_path / "cifar" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for file in [f"data_batch_{number}" for number in range(1, 6)] + ["test_batch"]:
        batch = {
            "data": random.integers(0, 256, (12, 3072), dtype=np.uint8),
            "labels": [row % 10 for row in range(12)],
        }
        (folder / file).write_bytes(pickle.dumps(batch, protocol=2))
    return folder.parent


@pytest.fixture
def picture_root(tmp_path: Path) -> Path:
    """Two classes, two splits, pictures of several sizes."""
    root, random = tmp_path / "pictures", np.random.default_rng(0)
    for split, count in (("train", 30), ("test", 5)):
        for label in ("cat", "dog"):
            folder = root / split / label
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = random.integers(0, 256, (20 + number, 24, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    return root


@pytest.fixture
def captioned_root(picture_root: Path) -> Path:
    """The same pictures, each with a text beside it."""
    for path in picture_root.rglob("*.png"):
        path.with_suffix(".txt").write_text(f"a {path.parent.name}, number {path.stem}\n")
    return picture_root


@pytest.fixture
def tensor_file(tmp_path: Path) -> Path:
    """Arrays of 60 images that are no squares, and their labels."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (60, 12, 16, 3), dtype=np.uint8)
    np.savez(tmp_path / "arrays.npz", images=images, labels=np.arange(60) % 2)
    return tmp_path / "arrays.npz"


@pytest.fixture
def sets(
    make: Callable[..., Any],
    idx_root: Path,
    cifar_root: Path,
    picture_root: Path,
    tensor_file: Path,
    captioned_root: Path,
) -> Callable[[str], Any]:
    """Every data set by a name, small enough to read in a moment."""
    commands = {
        "mnist": ("mnist", f"root={idx_root}", "verify=false"),
        "mnist_32": ("mnist", f"root={idx_root}", "verify=false", "size=32"),
        "fashion_mnist": ("fashion_mnist", f"root={idx_root}", "verify=false"),
        "mnist_5k": ("mnist_5k",),
        "cifar10": ("cifar10", f"root={cifar_root}", "verify=false"),
        "image_folder": ("image_folder", f"root={picture_root}", "size=16"),
        "image_folder_classes": (
            "image_folder",
            f"root={picture_root}",
            "size=16",
            "classes=2",
            "channels=1",
        ),
        "tensors": ("tensors", f"file={tensor_file}", "shape=[3,12,16]", "classes=2"),
        "gaussian_ring": ("gaussian_ring", "n=1000"),
        "gaussian_grid": ("gaussian_grid", "n=1000"),
        "two_moons": ("two_moons", "n=1000"),
        "checkerboard": ("checkerboard", "n=1000"),
        "rings": ("rings", "n=1000"),
        "tones": ("tones", "n=300"),
        "stacked_mnist": ("stacked_mnist", f"root={idx_root}", "verify=false", "n=200"),
        "stacked_mnist_5k": ("stacked_mnist", "digits=mnist_5k", "n=200"),
        "coloured_digits": ("coloured_digits", "digits=mnist", f"root={idx_root}", "verify=false"),
        "captioned_digits": ("captioned_digits", "n=300"),
        "captions": ("captions", f"root={captioned_root}", "size=16", "label_kind.length=6"),
        "digit_domains": ("digit_domains", "digits=mnist", f"root={idx_root}", "verify=false"),
    }
    return lambda name, *more: make(*commands[name], *more)


@pytest.fixture
def gz() -> Callable[[bytes], bytes]:
    return gzip.compress


@pytest.fixture
def no_left_overs(own_cache: Path) -> Iterator[None]:
    """Nothing half-written stays in the cache."""
    yield
    found = [
        name
        for _, _, names in os.walk(own_cache)
        for name in names
        if name.startswith(".") and name != ".lock"
    ]
    assert found == []
