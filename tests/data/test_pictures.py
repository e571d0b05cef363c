"""Folders and zips of pictures: layouts, conversions, and all that can be wrong with them."""

import io
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gentrain.data import decoded_files
from gentrain.data.pictures import Form, decoded
from gentrain.errors import UserError

Make = Callable[..., Any]


def told(make: Callable[[], Any]) -> str:
    with pytest.raises(UserError) as caught:
        make()
    text = str(caught.value)
    assert caught.value.status == 2
    assert "\n" not in text
    assert "(data." in text and ";" in text
    return text


def zipped(root: Path, target: Path, top: str = "") -> Path:
    with zipfile.ZipFile(target, "w") as file:
        for path in sorted(root.rglob("*")):
            file.write(path, top + str(path.relative_to(root)))
    return target


@pytest.mark.parametrize("top", ["", "archive/"])
def test_a_zip_is_its_folder(top: str, make: Make, picture_root: Path, tmp_path: Path) -> None:
    file = zipped(picture_root, tmp_path / "pictures.zip", top)
    one, two = (
        make("image_folder", f"root={root}", "size=16", "classes=2")
        for root in (picture_root, file)
    )
    for split in ("train", "test"):
        assert one.digest(split) == two.digest(split)


def test_labels_follow_the_names_of_the_folders(make: Make, picture_root: Path) -> None:
    images, labels, _ = make("image_folder", f"root={picture_root}", "size=16", "classes=2").load(
        "train"
    )
    assert labels.tolist() == [0] * 30 + [1] * 30
    pixels = decoded(
        (picture_root / "train" / "dog" / "0.png").read_bytes(), Form((16, 16), 3, True)
    )
    assert torch.equal(images[30], torch.from_numpy(pixels.copy()))


def test_a_tenth_is_held_out_where_there_is_no_test(make: Make, picture_root: Path) -> None:
    root = picture_root / "train"  # cat/ and dog/ only
    train, test = (
        make("image_folder", f"root={root}", "size=16", "classes=2").load(split)
        for split in ("train", "test")
    )
    assert (len(train.images), len(test.images)) == (54, 6)
    assert not {image.numpy().tobytes() for image in train.images} & {
        image.numpy().tobytes() for image in test.images
    }
    other = make("image_folder", f"root={root}", "size=16", "draw_seed=1")
    assert other.digest("test") != make("image_folder", f"root={root}", "size=16").digest("test")
    shutil.rmtree(picture_root / "test")
    # train/ alone: the same images
    alone = make("image_folder", f"root={picture_root}", "size=16", "classes=2")
    assert len(alone.load("train").images) == 54


def test_a_class_may_be_called_train(make: Make, picture_root: Path) -> None:
    (picture_root / "test").rename(picture_root / "bus")
    data = make("image_folder", f"root={picture_root}", "size=16", "classes=2")
    assert len(data.load("train").images) + len(data.load("test").images) == 70


def test_decoded_once(make: Make, picture_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = make("image_folder", f"root={picture_root}", "size=16").digest()
    monkeypatch.setattr(decoded_files, "decode_rows", None)  # would fail
    assert make("image_folder", f"root={picture_root}", "size=16").digest() == digest
    file, later = picture_root / "train" / "cat" / "0.png", os.stat(picture_root).st_mtime_ns
    os.utime(file, (1, 1))  # the content is what counts
    assert make("image_folder", f"root={picture_root}", "size=16").digest() == digest
    file.write_bytes((picture_root / "train" / "dog" / "0.png").read_bytes())
    os.utime(file, ns=(later, later))
    with pytest.raises(TypeError):
        make("image_folder", f"root={picture_root}", "size=16").load("train")


def test_processes_decode_what_one_would(
    make: Make, picture_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = make("image_folder", f"root={picture_root}", "size=16", "workers=0").digest()
    monkeypatch.setattr(decoded_files, "PORTION", 7)
    monkeypatch.setattr(decoded_files, "cores", lambda: 2)
    assert (
        make(
            "image_folder", f"root={picture_root}", "size=16", "cache=${oc.env:GENTRAIN_CACHE}2"
        ).digest()
        == one
    )


# Conversions


def content(picture: Image.Image, kind: str = "png", **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def colour(data: bytes, channels: int = 3) -> list[int]:
    """The one colour of a picture after decoding."""
    pixels = decoded(data, Form((8, 8), channels, True))
    assert pixels.shape == (channels, 8, 8)
    assert (pixels == pixels[:, :1, :1]).all()
    return pixels[:, 0, 0].tolist()


def test_conversions() -> None:
    size = (12, 9)
    assert colour(content(Image.new("L", size, 7))) == [7, 7, 7]
    assert colour(content(Image.new("1", size, 1))) == [255] * 3
    assert colour(content(Image.new("RGBA", size, (0, 0, 0, 0)))) == [255] * 3  # transparent: white
    assert colour(content(Image.new("RGBA", size, (255, 0, 0, 128)))) == [255, 127, 127]
    assert colour(content(Image.new("LA", size, (0, 0)))) == [255] * 3
    assert colour(content(Image.new("LA", size, (0, 0))), 1) == [255]
    assert colour(content(Image.fromarray(np.full((9, 12), 65535, np.uint16)))) == [255] * 3
    assert colour(content(Image.fromarray(np.full((9, 12), 257 * 9, np.uint16))), 1) == [9]
    assert colour(content(Image.new("CMYK", size, (0, 0, 0, 255)), "tiff")) == [0] * 3
    assert colour(content(Image.new("RGB", size, (255, 0, 0))), 1) == [76]  # 0.299 red
    palette = Image.new("RGB", size, (10, 200, 30)).quantize(4)
    assert colour(content(palette)) == [10, 200, 30]
    assert colour(content(palette, transparency=0)) in ([255] * 3, [10, 200, 30])
    frames = [Image.new("RGB", size, tint) for tint in ("red", "blue")]
    assert colour(content(frames[0], "gif", save_all=True, append_images=frames[1:])) == [255, 0, 0]


def test_orientation_and_crop() -> None:
    pixels = np.zeros((8, 16, 3), np.uint8)
    pixels[:, 4:12] = 255  # the centre square is white
    wide = Image.fromarray(pixels)
    assert (decoded(content(wide), Form((8, 8), 3, True)) == 255).all()
    assert decoded(content(wide), Form((8, 8), 3, False))[0, 0].tolist() == pytest.approx(
        [0, 0, 255, 255, 255, 255, 0, 0], abs=70
    )
    # white on the left
    left = Image.fromarray(np.repeat(np.uint8([[255, 0]]), 2, 0)).resize(
        (8, 8), Image.Resampling.NEAREST
    )
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: right is up
    turned = decoded(content(left, exif=exif), Form((8, 8), 1, True))[0]
    assert (turned[:4] == 255).all() and (turned[4:] == 0).all()


def test_height_comes_before_width() -> None:
    """A band in the middle of a tall picture: cut to [2, 4] it is all there is, squeezed it is a
    quarter."""
    pixels = np.zeros((80, 40, 3), np.uint8)
    pixels[30:50] = 255
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    cut = decoded(content.getvalue(), Form((20, 40), 3, True))
    assert cut.shape == (3, 20, 40) and (cut == 255).all()
    squeezed = decoded(content.getvalue(), Form((20, 40), 3, False))
    assert squeezed.shape == (3, 20, 40) and abs(float(squeezed.mean()) / 255 - 0.25) < 0.01


def test_shrinking_is_antialiased() -> None:
    checker = np.indices((64, 64)).sum(0) % 2 * 255
    assert (
        abs(
            decoded(
                content(Image.fromarray(checker.astype(np.uint8))), Form((8, 8), 1, True)
            ).astype(int)
            - 127
        ).max()
        < 12
    )


# What can be wrong


def test_no_images(make: Make, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").touch()
    text = told(lambda: make("image_folder", f"root={tmp_path / 'empty'}").load("train"))
    assert "0 images" in text and ".png" in text and ".webp" in text
    assert "needs a folder" in told(lambda: make("image_folder").load("train"))
    assert "no such" in told(
        lambda: make("image_folder", f"root={tmp_path / 'none'}").load("train")
    )
    (tmp_path / "text.zip").write_text("not a zip")
    assert "whole .zip" in told(
        lambda: make("image_folder", f"root={tmp_path / 'text.zip'}").load("train")
    )


def test_classes_that_do_not_match(make: Make, picture_root: Path) -> None:
    def load() -> Any:
        return make("image_folder", f"root={picture_root}", "classes=3").load("train")

    assert "2 class folders, not 3 (data.classes); give 2" in told(load)
    (picture_root / "train" / "eel").mkdir()
    assert "0 images in the class folders eel" in told(load)
    shutil.copy(picture_root / "train" / "cat" / "0.png", picture_root / "train" / "eel" / "0.png")
    assert "2 class folders, not 3" in told(load)  # of the test split
    (picture_root / "test" / "fox").mkdir()
    shutil.copy(picture_root / "train" / "cat" / "0.png", picture_root / "test" / "fox" / "0.png")
    assert "eel, fox" in told(load)
    shutil.copy(picture_root / "train" / "cat" / "0.png", picture_root / "train" / "loose.png")
    assert "1 images" in told(load) and "data.classes=null" in told(load)


def test_bad_pictures_stop_or_are_skipped(
    make: Make, picture_root: Path, own_cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = picture_root / "train" / "cat"
    (folder / "0.png").write_bytes(b"")
    (folder / "1.png").write_bytes((folder / "1.png").read_bytes()[:200])
    for number in range(2, 13):
        (folder / f"{number}.png").write_bytes(b"garbage")
    arguments = ("image_folder", f"root={picture_root}", "size=16", "classes=2")
    text = told(lambda: make(*arguments).load("train"))
    assert (
        "13 of 60" in text
        and "zero bytes" in text
        and text.count(".png") == 10
        and "3 more" in text
        and "skip" in text
    )
    assert not list(own_cache.rglob("*.npy*"))
    for _ in range(2):  # decoded, and from the cache
        caplog.clear()
        images, labels, _ = make(*arguments, "on_bad=skip").load("train")
        assert len(images) == 47
        assert labels.tolist() == [0] * 17 + [1] * 30
        assert "13 of 60" in caplog.text
    clean = make(*arguments, "on_bad=skip").load("train").images[17:]
    assert torch.equal(
        clean[0],
        torch.from_numpy(
            decoded((picture_root / "train/dog/0.png").read_bytes(), Form((16, 16), 3, True)).copy()
        ),
    )


def test_decompression_bomb(
    make: Make, picture_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 800)  # of pictures from 480 to 1176 pixels
    text = told(lambda: make("image_folder", f"root={picture_root}", "size=16").load("train"))
    assert "800" in text and "unreadable" in text


def test_links_that_loop(make: Make, picture_root: Path) -> None:
    (picture_root / "train" / "cat" / "loop").symlink_to(picture_root / "train")
    (picture_root / "train" / "cat" / "self").symlink_to("self")
    assert len(make("image_folder", f"root={picture_root}", "size=16").load("train").images) == 60
    (picture_root / "train" / "cat" / "broken.png").symlink_to("nowhere.png")
    assert "broken.png" in told(
        lambda: make("image_folder", f"root={picture_root}", "size=16").load("train")
    )


def test_odd_names(make: Make, picture_root: Path, tmp_path: Path) -> None:
    root = tmp_path / "ä b=c\n"
    picture_root.rename(root)
    (root / "train" / "cat" / "0.png").rename(root / "train" / "cat" / "ß =\n.PNG")
    (root / "train" / "cat" / "._0.png").write_bytes(b"shadow")
    from gentrain.data.image_folder import ImageFolder

    data = ImageFolder(
        name="image_folder",
        shape=(3, 16, 16),
        size=16,
        root=str(root),
        cache=str(tmp_path / "cache"),
    )
    assert sum(len(data.load(split).images) for split in ("train", "validation")) == 60


def test_what_programs_leave_behind_is_no_picture_and_no_class(
    make: Make, picture_root: Path
) -> None:
    """Of macOS, of notebooks, of Windows, of thumbnailers; beside the classes and within them."""
    before = make("image_folder", f"root={picture_root}", "size=16", "classes=2")
    left = (
        "__MACOSX/cat/._0.png", ".DS_Store", "train/.DS_Store", "train/cat/._1.png",
        "train/.ipynb_checkpoints/0.png", "train/cat/.ipynb_checkpoints/0-checkpoint.png",
        "train/cat/Thumbs.db", "train/.thumbnails/normal/x.png", "train/@eaDir/0.png",
    )  # fmt: skip
    for name in left:
        (picture_root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(picture_root / "train" / "cat" / "0.png", picture_root / name)
    after = make("image_folder", f"root={picture_root}", "size=16", "classes=2")
    assert after.identity() == before.identity()


@pytest.mark.parametrize("channels", [0, 2, 4])
def test_channels(channels: int, make: Make, picture_root: Path) -> None:
    assert "1 (grey) or 3" in told(
        lambda: make("image_folder", f"root={picture_root}", f"channels={channels}")
    )
