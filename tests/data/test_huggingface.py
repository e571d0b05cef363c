"""data=huggingface: copies on the disk, by the package `datasets`, which the tests may lack."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gentrain.data.huggingface import loaded
from gentrain.errors import Unavailable, UserError

Make = Callable[..., Any]
RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.integers(0, 256, (40, 12, 16, 3), dtype=np.uint8)
PIXELS[:, 0, 0] = 255
WORDS = ("size=[12,16]", "workers=0")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The package, with caches of its own."""
    found = pytest.importorskip("datasets", reason="datasets is not installed")
    monkeypatch.setattr(found.config, "HF_DATASETS_CACHE", tmp_path / "hub")
    found.disable_progress_bars()
    loaded.cache_clear()
    return found


def rows(hub: Any, part: slice, **more: Any) -> Any:
    """Images and labels, with columns besides."""
    images = [Image.fromarray(pixels) for pixels in PIXELS[part]]
    numbers = list(range(len(PIXELS)))[part]
    features = {"n": hub.Value("int64"), "img": hub.Image(), "kind": hub.ClassLabel(names=NAMES)}
    columns = {"n": numbers, "img": images, "kind": [n % 3 for n in numbers]}
    for name, (feature, values) in more.items():
        features[name], columns[name] = feature, values
    return hub.Dataset.from_dict(columns, features=hub.Features(features))


NAMES = ["b", "a", "c"]  # not in the order of the alphabet


def split(hub: Any) -> Any:
    return hub.DatasetDict(train=rows(hub, slice(30)), test=rows(hub, slice(30, None)))


def as_saved(hub: Any, place: Path) -> Path:
    split(hub).save_to_disk(str(place / "saved"))
    return place / "saved"


def as_parquet(hub: Any, place: Path) -> Path:
    (place / "parquet").mkdir()
    for name, part in split(hub).items():
        part.to_parquet(str(place / "parquet" / f"{name}.parquet"))
    return place / "parquet"


@pytest.mark.parametrize("kind", [as_saved, as_parquet])
def test_copies(hub: Any, kind: Any, tmp_path: Path, make: Make) -> None:
    """Pixels, labels and the names of ClassLabel, in their order; a moved copy is the same data."""
    place = kind(hub, tmp_path)
    data = make("huggingface", f"root={place}", "classes=3", *WORDS)
    for name, part in (("train", slice(30)), ("test", slice(30, None))):
        images, labels, _ = data.load(name)
        assert torch.equal(images, torch.from_numpy(PIXELS[part]).permute(0, 3, 1, 2))
        assert labels.tolist() == [n % 3 for n in range(40)][part]
    assert list(data.class_names) == NAMES
    place.rename(tmp_path / "moved")
    loaded.cache_clear()
    moved = make("huggingface", f"root={tmp_path / 'moved'}", "classes=3", "seed=9", *WORDS)
    assert moved.identity() == data.identity()
    by_name = make("huggingface", f"name={tmp_path / 'moved'}", *WORDS)
    assert by_name.load("test").labels is None
    assert len(make("huggingface", f"root={tmp_path / 'moved'}", "validation=0.1", *WORDS).load(
        "validation"
    ).images) == 3  # fmt: skip


def test_folders_of_pictures(hub: Any, tmp_path: Path, make: Make) -> None:
    for n in range(20):
        place = tmp_path / "p" / "train" / ("cat", "dog")[n % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(PIXELS[n]).save(place / f"{n:02d}.png")
    data = make("huggingface", f"root={tmp_path / 'p'}", "classes=2", *WORDS)
    images, labels, _ = data.load("train")
    assert len(images) == 18 and len(data.load("test").images) == 2  # one split is drawn from
    assert list(data.class_names) == ["cat", "dog"]
    known = {PIXELS[n].transpose(2, 0, 1).tobytes(): n % 2 for n in range(20)}
    found = [known[image.numpy().tobytes()] for image in images]
    assert found == labels.tolist()


def test_columns_by_their_names(hub: Any, tmp_path: Path, make: Make) -> None:
    words = (hub.Value("string"), ["x10", "x9"] * 10)
    other = (hub.Image(), [Image.fromarray(255 - pixels) for pixels in PIXELS[:20]])
    unlabelled = (hub.ClassLabel(names=["u", "v"]), [-1, 0] * 10)
    made = rows(hub, slice(20), word=words, other=other, some=unlabelled)
    made.save_to_disk(str(tmp_path / "s"))
    base = ("huggingface", f"root={tmp_path / 's'}", *WORDS)
    with pytest.raises(UserError, match=r"2 columns with the feature Image \(data\.image\); .*img"):
        make(*base).load("train")
    with pytest.raises(UserError, match=r"2 columns with the feature ClassLabel \(data\.label\)"):
        make(*base, "image=img", "classes=3").load("train")
    data = make(*base, "image=other", "label=word", "classes=2")
    labels = data.load("train").labels
    assert list(data.class_names) == ["x9", "x10"] and set(labels.tolist()) == {0, 1}
    taken = {(255 - pixels).transpose(2, 0, 1).tobytes() for pixels in PIXELS[:20]}
    assert {image.numpy().tobytes() for image in data.load("train").images} <= taken
    for words_of, message in (
        (("image=n",), r"column n of .* has no images \(data\.image\)"),
        (("image=no",), r"no column 'no' among n, img"),
        (("image=img", "label=no", "classes=2"), r"no column 'no' .* \(data\.label\)"),
        (("image=img", "label=kind", "classes=2"), r"3 classes, not 2 \(data\.classes\); give 3"),
        (("image=img", "label=some", "classes=2"), r"10 images .* have no label"),
    ):
        with pytest.raises(UserError, match=message) as refusal:
            make(*base, *words_of).load("train")
        assert "\n" not in str(refusal.value)


def test_what_is_no_data_set(hub: Any, tmp_path: Path, make: Make) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty cannot be read: .* \(data\.name") as refusal:
        make("huggingface", f"root={tmp_path / 'empty'}", *WORDS).load("train")
    assert "\n" not in str(refusal.value)
    hub.DatasetDict(a=rows(hub, slice(5)), b=rows(hub, slice(5))).save_to_disk(str(tmp_path / "ab"))
    with pytest.raises(UserError, match=r"splits a, b, and no train"):
        make("huggingface", f"root={tmp_path / 'ab'}", *WORDS).load("train")


def test_a_hub_out_of_reach(hub: Any, monkeypatch: pytest.MonkeyPatch, make: Make) -> None:
    def offline(*args: Any) -> None:
        raise ConnectionError("Couldn't reach 'user/set' on the Hub")

    monkeypatch.setattr(hub, "load_dataset", offline)
    with pytest.raises(Unavailable, match=r"hub cannot be reached: .* \(data\.name\)"):
        make("huggingface", "name=user/set", *WORDS).load("train")


def test_without_the_package(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.split(".")[0] == "datasets":
            raise ImportError(name)
        return real(name, *rest)

    loaded.cache_clear()
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match=r"pip install 'gentrain\[huggingface\]'") as refusal:
        make("huggingface", "name=user/set").load("train")
    assert "\n" not in str(refusal.value)
    with pytest.raises(UserError, match=r"\(data\.name\); give data\.name=user/set"):
        make("huggingface")
