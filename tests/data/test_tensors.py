"""data=tensors: arrays of images in one file."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gentrain.data.images import sides_of
from gentrain.data.tensors import Tensors, tensors_shape
from gentrain.errors import UserError
from tests.support.compose import composed

COUNT, H, W = 40, 6, 8
RANDOM = np.random.default_rng(0)
BYTES = RANDOM.integers(0, 256, (COUNT, 3, H, W), dtype=np.uint8)
BYTES[:, :, 0, 0] = 255  # bright enough for no warning
LABELS = np.arange(COUNT) % 4
SHAPE_KEYS = ("key", "label_key", "layout", "size")


def tensors(path: Path, **options: Any) -> Tensors:
    of_shape = (options.get(key) for key in SHAPE_KEYS)
    shape = tuple(tensors_shape(str(path), *of_shape))
    return Tensors(**{"name": "tensors", "file": str(path), "shape": shape, **options})


def saved(path: Path, **arrays: np.ndarray) -> Path:
    match path.suffix:
        case ".npy":
            np.save(path, arrays["images"])
        case ".npz":
            np.savez(path, **arrays)
        case _:
            from safetensors.numpy import save_file

            save_file({name: np.ascontiguousarray(each) for name, each in arrays.items()}, path)
    return path


def whole(data: Tensors) -> torch.Tensor:
    """All images, in their order in the file."""
    found = torch.empty(COUNT, *data.shape, dtype=torch.uint8)
    for split in ("train", "test"):
        found[data.rows_of(split, COUNT)] = data.read(split).images
    return found


@pytest.mark.parametrize("ending", ["npz", "npy", "safetensors"])
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_bytes_are_what_the_file_has(tmp_path: Path, ending: str, layout: str) -> None:
    stored = BYTES if layout == "nchw" else BYTES.transpose(0, 2, 3, 1)
    path = saved(tmp_path / f"x.{ending}", images=stored, labels=LABELS)
    assert tensors_shape(str(path), None, None, None, None) == [3, H, W]
    for given in (None, layout):
        data = tensors(path, layout=given, classes=None if ending == "npy" else 4)
        assert torch.equal(whole(data), torch.from_numpy(BYTES))
        if ending != "npy":
            for split in ("train", "test"):
                rows = data.rows_of(split, COUNT)
                assert torch.equal(data.read(split).labels, torch.from_numpy(LABELS)[rows])
    # the draw of the test split does not depend on the run's seed
    assert torch.equal(tensors(path, seed=3).load("test").images, data.load("test").images)


RANGES: dict[str, tuple[np.ndarray, list[float] | None]] = {
    "uint16": (BYTES.astype(np.uint16) * 257, None),
    "twelve bits": (np.floor(BYTES * (4095 / 255) + 0.5).astype(np.uint16), [0, 4095]),
    "float32": ((BYTES / 255).astype(np.float32), None),
    "float16": ((BYTES / 255).astype(np.float16), None),
    "minus one to one": (BYTES / 127.5 - 1, [-1, 1]),
    "int64": (BYTES.astype(np.int64), [0, 255]),
}


@pytest.mark.parametrize("name", RANGES)
def test_other_types_become_the_same_bytes(tmp_path: Path, name: str) -> None:
    array, span = RANGES[name]
    data = tensors(saved(tmp_path / "x.npz", x=array), range=span)
    assert torch.equal(whole(data), torch.from_numpy(BYTES))


def test_bfloat16_of_safetensors(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    black_and_white = torch.from_numpy(BYTES > 127)
    save_file({"x": black_and_white.to(torch.bfloat16)}, tmp_path / "x.safetensors")
    found = whole(tensors(tmp_path / "x.safetensors"))
    assert torch.equal(found, black_and_white.byte() * 255)
    np.savez(tmp_path / "x.npz", x=black_and_white.numpy())
    assert torch.equal(whole(tensors(tmp_path / "x.npz")), found)


def test_grey_images_without_an_axis_of_channels(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.npz", images=BYTES[:, 0])
    data = tensors(path)
    assert data.shape == (1, H, W)
    assert torch.equal(whole(data), torch.from_numpy(BYTES[:, :1]))
    smaller = tensors(path, size=[3, 4])  # a mean of four, where the filter is not at a border
    assert smaller.load("train").images.shape[1:] == (1, 3, 4)
    assert sides_of([3, 4]) == (3, 4) and sides_of(5) == (5, 5)


def test_splits_of_the_file(tmp_path: Path) -> None:
    """The names of Keras and of MedMNIST; labels (N, 1) as the latter has them."""
    keras = saved(
        tmp_path / "k.npz",
        x_train=BYTES[:30, 0],
        y_train=LABELS[:30],
        x_test=BYTES[30:, 0],
        y_test=LABELS[30:],
    )
    data = tensors(keras, classes=4)
    assert torch.equal(data.load("test").images, torch.from_numpy(BYTES[30:, :1]))
    assert len(data.load("train").images) == 27 and len(data.load("validation").images) == 3
    parts = {"train": slice(20), "val": slice(20, 30), "test": slice(30, None)}
    arrays = {f"{name}_images": BYTES[rows] for name, rows in parts.items()}
    arrays |= {f"{name}_labels": LABELS[rows, None] for name, rows in parts.items()}
    data = tensors(saved(tmp_path / "m.npz", **arrays), classes=4)
    for split, name in (("train", "train"), ("validation", "val"), ("test", "test")):
        assert torch.equal(data.load(split).images, torch.from_numpy(arrays[f"{name}_images"]))
        assert data.load(split).labels.tolist() == LABELS[parts[name]].tolist()
    with pytest.raises(UserError, match=r"split of its own, val_images \(data\.validation\)"):
        tensors(tmp_path / "m.npz", classes=4, validation=0.3).load("train")


def test_names_of_classes(tmp_path: Path) -> None:
    words = np.array(["a10", "a9", "b", "a9"])[LABELS]
    named = tensors(saved(tmp_path / "w.npz", images=BYTES, y=words), classes=3)
    labels = named.load("test").labels.tolist()
    assert list(named.class_names) == ["a9", "a10", "b"]
    rows = named.rows_of("test", COUNT).tolist()
    assert [named.class_names[k] for k in labels] == [words[row] for row in rows]
    names = np.array(["x", "y", "z", "w"])
    listed = tensors(
        saved(tmp_path / "n.npz", images=BYTES, y=LABELS, class_names=names), classes=4
    )
    assert listed.identity()["classes"] == ["x", "y", "z", "w"]
    with pytest.raises(UserError, match=r"has 4 names of classes, not 5 \(data\.classes\)"):
        tensors(tmp_path / "n.npz", classes=5).load("train")


def test_the_digest_is_of_the_content(tmp_path: Path) -> None:
    one = tensors(saved(tmp_path / "a.npz", images=BYTES), seed=1)
    two = tensors(saved(tmp_path / "b.safetensors", images=BYTES.transpose(0, 2, 3, 1)), seed=2)
    assert one.identity() == two.identity()
    changed = BYTES.copy()
    changed[int(one.rows_of("train", COUNT)[0])] ^= 1
    other = tensors(saved(tmp_path / "c.npz", images=changed), seed=1, validation=0)
    assert tensors(tmp_path / "a.npz", validation=0).digest() != other.digest()


def test_labels_that_are_not_read_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    tensors(saved(tmp_path / "x.npz", images=BYTES, y=LABELS)).load("train")
    assert f"y of {tmp_path}/x.npz are left out; data.classes=4 reads them" in caplog.text
    tensors(saved(tmp_path / "d.npz", images=(BYTES // 16).astype(np.uint16))).load("train")
    assert "the pictures are dark" in caplog.text


NAN = (BYTES / 255).astype(np.float32)
NAN[5, 0, 0, 0] = np.nan
# the arrays of a file, the options, and the words of the refusal
REFUSED: dict[str, tuple[dict[str, np.ndarray], dict[str, Any], str]] = {
    "no images": ({"a": BYTES, "b": BYTES}, {}, r"holds a, b, and no array .* \(data\.key\)"),
    "no such key": ({"a": BYTES}, {"key": "b"}, r"no array 'b' among a of .* \(data\.key\)"),
    "no such labels": ({"a": BYTES}, {"label_key": "y"}, r"no array 'y' .* \(data\.label_key\)"),
    "objects": ({"x": np.array([None, 1])}, {}, r"shape \(2,\), not"),
    "pickled": ({"x": np.full((9, 4, 4), None)}, {}, r"cannot be read: Object arrays"),
    "not a number": ({"x": NAN}, {}, r"not finite \(data\.file\)"),
    "no images at all": ({"x": BYTES[:0]}, {}, r"shape \(0, 3, 6, 8\)"),
    "one image": ({"x": BYTES[:1]}, {}, r"1 image of .* cannot be shared"),
    "fewer labels": ({"x": BYTES, "y": LABELS[1:]}, {"classes": 4}, r"40 images and 39 labels"),
    "no labels": ({"x": BYTES}, {"classes": 4}, r"has no labels .* \(data\.label_key\)"),
    "other classes": ({"x": BYTES, "y": LABELS}, {"classes": 3}, r"from 0 to 3, .* give 4"),
    "from one": ({"x": BYTES, "y": LABELS + 1}, {"classes": 4}, r"from 1 to 4, not from 0 to 3"),
    "one-hot": ({"x": BYTES, "y": np.eye(4)[LABELS]}, {"classes": 4}, r"shape \(40, 4\)"),
    "halves": ({"x": BYTES, "y": LABELS / 2}, {"classes": 4}, r"no whole numbers"),
    "bytes as floats": ({"x": BYTES / 1.0}, {}, r"from 0 to 255, .* data\.range=\[0,255\]"),
    "signed": ({"x": BYTES / 127.5 - 1}, {}, r"from -1 to 1, .* data\.range=\[-1,1\]"),
    "beyond": ({"x": BYTES}, {"range": [0, 200]}, r"beyond 0 to 200 \(data\.range\)"),
    "int64": ({"x": BYTES.astype(np.int64)}, {}, r"is int64, .* \(data\.range\)"),
    "complex": ({"x": BYTES * 1j}, {}, r"type complex128, not numbers"),
    "two channels": ({"x": BYTES[:, :2]}, {}, r"without an axis of 1 or 3 channels"),
    "both ends": ({"x": BYTES[..., :3]}, {}, r"more ways than one \(data\.layout\)"),
    "one picture": ({"x": BYTES[0].transpose(1, 2, 0)}, {}, r"more ways than one \(data\.layout\)"),
    "other layout": ({"x": BYTES}, {"layout": "nhwc"}, r"which is not nhwc .* \(data\.layout\)"),
    "no layout": ({"x": BYTES}, {"layout": "chw"}, r"layout is 'chw' \(data\.layout\)"),
    "videos": ({"x": BYTES[None]}, {}, r"shape \(1, 40, 3, 6, 8\)"),
    "no size": ({"x": BYTES}, {"size": [3, 0]}, r"size must be .* \(data\.size\)"),
    "no share": ({"x": BYTES}, {"test": 1.0}, r"\(data\.test\)"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(tmp_path: Path, name: str) -> None:
    arrays, options, message = REFUSED[name]
    with pytest.raises(UserError, match=message) as refusal:
        tensors(saved(tmp_path / "x.npz", **arrays), **options).load("train")
    assert "\n" not in str(refusal.value) and "(data." in str(refusal.value)


@pytest.mark.parametrize("ending", ["npz", "npy", "safetensors"])
def test_broken_files(tmp_path: Path, ending: str) -> None:
    path = saved(tmp_path / f"x.{ending}", images=BYTES)
    content = path.read_bytes()
    for part in (b"", b"hello world, this is no such file", content[: len(content) // 2]):
        path.write_bytes(part)
        with pytest.raises(UserError, match=r"cannot be read: .* \(data\.file\)") as refusal:
            tensors(path).load("train")
        assert "\n" not in str(refusal.value)


def test_refusals_of_files(tmp_path: Path) -> None:
    (tmp_path / "x.pt").touch()
    saved(tmp_path / "x.npy", images=BYTES)
    for path, key, message in (
        (None, None, r"needs a file"),
        (tmp_path / "no.npz", None, r"no such file"),
        (tmp_path, None, r"no such file"),
        (tmp_path / "x.pt", None, r"no file of arrays"),
        (tmp_path / "x.npy", "a", r"one array without a name \(data\.key"),
    ):
        with pytest.raises(UserError, match=message):
            tensors_shape(path and str(path), key, None, None, None)
    with pytest.raises(UserError, match=r"^no such file .*no\.npz \(data\.file\)"):
        composed("data=tensors", f"data.file={tmp_path}/no.npz")


def test_safetensors_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "x.safetensors", images=BYTES)
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("safetensors"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match=r"pip install 'gentrain\[export\]'"):
        tensors(path)
