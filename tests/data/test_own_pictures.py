"""A user's own pictures: never those of another folder, and labels that are what they say."""

from __future__ import annotations

import json
import logging
import os
import shutil
import socket
import unicodedata
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, features

from gentrain.data import decoded_files
from gentrain.data.label_files import natural
from gentrain.data.pictures import Form, decoded
from gentrain.errors import UserError
from gentrain.runs.checkpoints import refuse_other_data, save

Make = Callable[..., Any]
WHEN = 1_500_000_000 * 10**9


def plain(folder: Path, name: str, value: int | tuple[int, int, int], mode: str = "RGB") -> Path:
    """A picture of one colour, whose size and times do not depend on the colour."""
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (8, 8), value).save(file)
    os.utime(file, ns=(WHEN, WHEN))
    return file


def zip_of(target: Path, names: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(target, "w") as file:
        for name, content in names.items():
            file.writestr(name, content)
    return target


def png(tmp_path: Path, value: int) -> bytes:
    return plain(tmp_path / "made", "x.png", (value, 0, 0)).read_bytes()


def means(images: torch.Tensor) -> list[list[int]]:
    return images.float().mean((2, 3)).round().int().tolist()


# --- never another's ------------------------------------------------------------------------------


def test_equal_names_sizes_and_times_are_not_equal_pictures(make: Make, tmp_path: Path) -> None:
    for colour, value in (("red", (255, 0, 0)), ("blue", (0, 0, 255))):
        for number in range(10):
            plain(tmp_path / colour, f"{number}.bmp", value)
    red, blue = (
        make("image_folder", f"root={tmp_path / colour}", "size=8").load("train").images
        for colour in ("red", "blue")
    )
    assert means(red) == [[255, 0, 0]] * 9 and means(blue) == [[0, 0, 255]] * 9
    a, b = tmp_path / "red", tmp_path / "blue"
    both = make("pairs", f"a={a}", f"b={b}", "size=8").load("train")
    assert means(both.sources) == [[255, 0, 0]] * 9 and means(both.images) == [[0, 0, 255]] * 9
    two = make("unpaired", f"a={a}", f"b={b}", "size=8").load("test")
    assert means(two.sources) == [[255, 0, 0]] and means(two.images) == [[0, 0, 255]]


def test_a_changed_picture_of_equal_size_and_time_is_read_again(make: Make, tmp_path: Path) -> None:
    for number in range(10):
        plain(tmp_path / "p", f"{number}.bmp", (255, 0, 0))
    before = make("image_folder", f"root={tmp_path / 'p'}", "size=8").digest()
    for number in range(10):
        plain(tmp_path / "p", f"{number}.bmp", (0, 0, 255))
    assert make("image_folder", f"root={tmp_path / 'p'}", "size=8").digest() != before


def test_a_moved_folder_is_decoded_once(
    make: Make, picture_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("size=16", "classes=2")
    before = make("image_folder", f"root={picture_root}", *words)
    identity = before.load("train") and before.identity()
    assert identity["classes"] == ["cat", "dog"]
    moved = shutil.copytree(picture_root, picture_root.parent / "elsewhere")
    monkeypatch.setattr(decoded_files, "decode_rows", None)  # would fail
    assert make("image_folder", f"root={moved}", *words).identity() == identity


def test_a_run_goes_on_with_its_own_data_alone(
    make: Make, picture_root: Path, tmp_path: Path, caplog: Any
) -> None:
    data, path = make("image_folder", f"root={picture_root}", "size=16"), tmp_path / "last.ckpt"
    data.load("train")
    save({"origin": {"data": data.identity()}}, path)
    refuse_other_data(path, data.identity(), force=False)
    changed = data.identity() | {"digest": "0" * 64}
    with pytest.raises(UserError, match=r"the training samples have digest 0{12}, and had .*force"):
        refuse_other_data(path, changed, force=False)
    refuse_other_data(path, changed, force=True)
    assert "was trained on other data" in caplog.text
    assert make("rings", "n=100").identity() == {"digest": None, "classes": []}  # from a seed
    save({"origin": {}}, path)  # of a run before there was a record
    refuse_other_data(path, changed, force=False)


# --- pairs ----------------------------------------------------------------------------------------


def pairs_of(tmp_path: Path, stems: list[str], endings: tuple[str, str]) -> tuple[Path, Path]:
    """Two folders, of which the pictures of one name have one colour."""
    roots = tmp_path / "A", tmp_path / "B"
    for root, ending in zip(roots, endings, strict=True):
        for number, name in enumerate(stems):
            plain(root, name + ending, (10 * number, 0, 0))
    return roots


@pytest.mark.parametrize("split", ["train", "validation", "test"])
@pytest.mark.parametrize("endings", [(".jpg", ".png"), (".png", ".webp"), (".bmp", ".PNG")])
def test_pairs_belong_together_whatever_their_endings(
    endings: tuple[str, str], split: str, make: Make, tmp_path: Path
) -> None:
    stems = [stem for number in range(10) for stem in (f"s{number}", f"s{number}.noisy")]
    a, b = pairs_of(tmp_path, stems, endings)
    found = make("pairs", f"a={a}", f"b={b}", "size=8", "validation=0.1").load(split)
    difference = found.images.int() - found.sources.int()
    assert len(found.images) == {"train": 16, "validation": 2, "test": 2}[split]
    assert difference.abs().max() <= 4  # of JPEG and WebP


def test_a_doubled_name_is_refused(make: Make, tmp_path: Path) -> None:
    a, b = pairs_of(tmp_path, [f"{number:02}" for number in range(12)], (".png", ".png"))
    plain(b, "03.bmp", (0, 0, 0))
    with pytest.raises(UserError, match=r"03\.bmp and 03\.png of .*B differ .*\(data\.b\); rename"):
        make("pairs", f"a={a}", f"b={b}", "size=8").load("train")


def test_pairs_of_zips_with_a_top_folder_and_of_accents_of_a_mac(
    make: Make, tmp_path: Path
) -> None:
    stems = [*(str(number) for number in range(10)), "caf\u00e9"]
    a, b = pairs_of(tmp_path, stems, (".png", ".png"))
    for root in (a, b):
        names = {f"{root.name}/{file.name}": file.read_bytes() for file in root.iterdir()}
        if root == b:
            names = {unicodedata.normalize("NFD", name): each for name, each in names.items()}
        zip_of(tmp_path / f"{root.name}.zip", names)
    found = make("pairs", f"a={a}.zip", f"b={b}.zip", "size=8").load("train")
    assert len(found.images) == 10 and torch.equal(found.images, found.sources)


@pytest.mark.parametrize("name", ["pairs", "unpaired"])
def test_unreadable_pictures_are_skipped_in_pairs(name: str, make: Make, tmp_path: Path) -> None:
    a, b = pairs_of(tmp_path, [f"{number:02}" for number in range(20)], (".png", ".png"))
    words = (name, f"a={a}", f"b={b}", "size=8")
    whole = [make(*words).load(split) for split in ("train", "test")]
    bad = [*sorted(a.iterdir())[:2], sorted(b.iterdir())[2]]
    for file in bad:
        file.write_bytes(b"garbage")
    with pytest.raises(UserError, match=r"unreadable.*\(data\.on_bad\); fix them, or write skip"):
        [make(*words).load(split) for split in ("train", "test")]
    left = [make(*words, "on_bad=skip").load(split) for split in ("train", "test")]
    if name == "pairs":
        assert all(torch.equal(part.images, part.sources) for part in left)
        assert sum(len(part.images) for part in left) == 17
    assert sum(len(part.sources) for part in left) == (17 if name == "pairs" else 18)
    assert sum(len(part.sources) for part in whole) == 20


# --- what is no picture ---------------------------------------------------------------------------


def test_pipes_and_sockets_are_left_out(
    make: Make, picture_root: Path, caplog: pytest.LogCaptureFixture, monkeypatch: Any
) -> None:
    folder = picture_root / "train" / "cat"
    os.mkfifo(folder / "pipe.png")
    (folder / "link.png").symlink_to("pipe.png")
    monkeypatch.chdir(folder)  # the path of a socket is short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.png")
    (folder / "raw.heic").write_bytes(b"?")
    caplog.set_level(logging.INFO, "gentrain")
    assert len(make("image_folder", f"root={picture_root}", "size=16").load("train").images) == 60
    assert "left out, since no picture: 1 .heic, 3 a pipe, socket or device" in caplog.text
    with pytest.raises(UserError, match="is a pipe, socket or device"):
        make("image_folder", f"root={folder / 'pipe.png'}", "size=16").load("train")


@pytest.mark.parametrize("ending", [".jfif", ".avif"])
def test_more_kinds_of_pictures(ending: str, make: Make, tmp_path: Path) -> None:
    if ending == ".avif" and not features.check("avif"):
        pytest.skip("this Pillow reads no AVIF")
    for number in range(10):
        file = tmp_path / "p" / f"{number}{ending}"
        file.parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8), (200, 0, 0)).save(file, "JPEG" if ending == ".jfif" else "AVIF")
    found = make("image_folder", f"root={tmp_path / 'p'}", "size=8").load("train").images
    assert (found[:, 0].int() - 200).abs().max() < 8


# --- zips and classes -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    ["{}/{}.png", "set/{}/{}.png", "./{}/{}.png", "./a/b/{}/{}.png", "set\\{}\\{}.png"],
)
def test_class_zips_as_they_come(path: str, make: Make, tmp_path: Path) -> None:
    names = {
        path.format(label, number): png(tmp_path, 10 * number)
        for label in ("cat", "dog")
        for number in range(10)
    }
    names["__MACOSX/set/cat/._0.png"] = b"shadow"
    file = zip_of(tmp_path / "set.zip", names)
    data = make("image_folder", f"root={file}", "size=8", "classes=2")
    assert data.load("train").labels.bincount().sum() == 18 and data.class_names == ["cat", "dog"]
    (tmp_path / "out").mkdir()
    for name, content in names.items():  # the same, extracted
        target = tmp_path / "out" / name.replace("\\", "/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    folder = make("image_folder", f"root={tmp_path / 'out'}", "size=8", "classes=2")
    assert folder.digest() == data.digest()


def test_one_class_may_have_folders_of_its_own(make: Make, tmp_path: Path) -> None:
    for number in range(10):
        plain(tmp_path / "p", f"cat/{number % 2}/{number}.png", (9, 9, 9))
    data = make("image_folder", f"root={tmp_path / 'p'}", "size=8", "classes=1")
    assert data.load("train").labels.tolist() == [0] * 9 and data.class_names == ["cat"]


def test_class_folders_are_in_natural_order(make: Make, tmp_path: Path) -> None:
    for label in ("1", "2", "10", "b", "a10", "a9"):
        for number in range(4):
            plain(tmp_path / "p", f"{label}/{number}.png", (number, 9, 9))
    data = make("image_folder", f"root={tmp_path / 'p'}", "size=8", "classes=6")
    data.load("train")
    assert data.class_names == ["1", "2", "10", "a9", "a10", "b"]
    assert sorted(["x01", "x1", "X2", ""], key=natural) == ["", "X2", "x01", "x1"]


# --- files of labels ------------------------------------------------------------------------------


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    """20 pictures in one folder, of value 10 n."""
    for number in range(20):
        plain(tmp_path / "flat", f"{number:02}.png", (10 * number, 0, 0))
    return tmp_path / "flat"


TABLES = {
    "a.csv": "file,class\n" + "".join(f"{n:02}.png,{n % 3 + 9}\n" for n in range(20)),
    "b.csv": "id;label;path\n" + "".join(f"{n};{n % 3 + 9};./{n:02}.png\n" for n in range(20)),
    "c.csv": "picture\tkind\r\n" + "".join(f"{n:02}.png\t{n % 3 + 9}\r\n" for n in range(20)),
    "dataset.json": json.dumps({"labels": [[f"{n:02}.png", n % 3 + 9] for n in range(20)]}),
}


@pytest.mark.parametrize("place", ["beside", "inside", "zip"])
@pytest.mark.parametrize("name", TABLES)
def test_labels_of_a_file(name: str, place: str, make: Make, flat: Path, tmp_path: Path) -> None:
    root, table = flat, tmp_path / name
    (table if place == "beside" else flat / name).write_text(TABLES[name], newline="")
    if place == "zip":
        root = zip_of(tmp_path / "flat.zip", {f.name: f.read_bytes() for f in flat.iterdir()})
    labels = table if place == "beside" else name
    data = make("image_folder", f"root={root}", "size=8", "classes=3", f"labels={labels}")
    for split in ("train", "test"):
        images, found, _ = data.load(split)
        assert found.tolist() == [row[0] // 10 % 3 for row in means(images)]
    assert data.class_names == ["9", "10", "11"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("file,class\n00.png,1\n", "19 pictures of .* have no class in .*: 01.png, 02.png"),
        (TABLES["a.csv"], r"has 3 classes, not 2 \(data.classes\); give 3"),
        ("file,x,y\n00.png,1,2\n", "no column of classes among file, x, y"),
        ("file,class\n00.png\n", "line 2 of .* has not a value for each of 2 titles"),
        ("", "no lines below its titles"),
    ],
)
def test_wrong_files_of_labels(
    text: str, told: str, make: Make, flat: Path, tmp_path: Path
) -> None:
    (tmp_path / "x.csv").write_text(text)
    words = ("image_folder", f"root={flat}", "size=8", f"labels={tmp_path / 'x.csv'}")
    with pytest.raises(UserError, match=told):
        make(*words, "classes=2").load("train")
    with pytest.raises(UserError, match=r"data\.classes=K"):
        make(*words)


def test_two_pictures_of_one_line_are_refused(make: Make, flat: Path, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(TABLES["a.csv"])
    plain(flat, "more/03.png", (0, 0, 0))
    words = ("classes=3", f"labels={tmp_path / 'x.csv'}")
    with pytest.raises(UserError, match=r"03\.png and more/03\.png .* are both 03\.png"):
        make("image_folder", f"root={flat}", "size=8", *words).load("train")


def test_the_table_of_celeba_as_csv(make: Make, flat: Path) -> None:
    rows = [(f"{n:02}.png", 1 if n % 2 else -1, -1 if n % 2 else 1) for n in range(20)]
    text = "image_id,Young,Male\n" + "".join(f"{a},{b},{c}\n" for a, b, c in rows)
    (flat / "list_attr_celeba.csv").write_text(text)
    words = ("attributes=[Male,Young]", "classes=2")
    images, labels, _ = make("celeba", f"root={flat}", "size=8", *words).load("train")
    assert labels.tolist() == [row[0] // 10 % 2 for row in means(images)]


# --- the range of pixels --------------------------------------------------------------------------


def deep(folder: Path, top: int, kind: type, ending: str = ".png") -> Path:
    folder.mkdir()
    for number in range(10):
        ramp = np.linspace(0, top, 64).reshape(8, 8).astype(kind)
        Image.fromarray(ramp).save(folder / f"{number}{ending}")
    return folder


@pytest.mark.parametrize(
    ("top", "kind", "ending"),
    [
        (4095, np.uint16, ".png"),
        (16383, np.uint16, ".tif"),
        (1, np.float32, ".tif"),
        (20, np.uint8, ".png"),
        (100_000, np.int32, ".tif"),
    ],
)
def test_the_range_of_pixels(
    top: int, kind: type, ending: str, make: Make, tmp_path: Path, caplog: Any
) -> None:
    root = deep(tmp_path / "p", top, kind, ending)
    words = ("image_folder", f"root={root}", "size=8", "channels=1")
    if top == 100_000 or kind is np.float32:
        with pytest.raises(UserError, match=r"give data\.range=\[LOW,HIGH\]"):
            make(*words).load("train")
    else:
        make(*words).load("train")
        assert "the pictures are dark" in caplog.text
    caplog.clear()
    found = make(*words, f"range=[0,{top}]").load("train").images[0, 0]
    ramp = np.linspace(0, top, 64).reshape(8, 8).astype(kind) / top * 255
    assert np.abs(found.numpy() - ramp).max() <= 0.5001
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_a_range_leaves_transparency(tmp_path: Path) -> None:
    clear = plain(tmp_path, "x.png", (0, 0, 0, 0), "RGBA")  # type: ignore[arg-type]
    form = Form((8, 8), 1, True, range=(0, 10))
    assert (decoded(clear.read_bytes(), form) == 255).all()  # over white
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([0, 0, 0, 5, 5, 5])
    palette.save(tmp_path / "p.png")
    assert (decoded((tmp_path / "p.png").read_bytes(), form) == 128).all()


@pytest.mark.parametrize("given", ["[1,1]", "[3]", "[5,1]", "[a,b]", "x"])
def test_wrong_ranges(given: str, make: Make, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"\(data\.range\); give the values"):
        make("image_folder", f"root={tmp_path}", f"range={given}")
