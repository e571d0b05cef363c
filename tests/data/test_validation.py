"""The validation split: rows of the training split that no batch has, the same for every seed."""

from __future__ import annotations

import shutil
import tarfile
from collections import Counter
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gentrain.data.arrays import ArrayDataset, to_bytes
from gentrain.data.base import Data
from gentrain.data.spectra import to_pcm
from gentrain.data.validation import divided, quotas_of
from gentrain.errors import UserError
from tests.data.test_contract import CONFIGS

Make = Callable[..., Any]
SPLITS = ("train", "validation", "test")


def pictures(folder: Path, count: int, seed: int, width: int = 8) -> None:
    folder.mkdir(parents=True)
    random = np.random.default_rng(seed)
    for number in range(count):
        pixels = random.integers(0, 256, (8, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{seed}-{number:02d}.png")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of pictures, of which no two are equal."""
    root = tmp_path_factory.mktemp("world")
    for seed, (place, count) in enumerate((("cat", 40), ("dog", 20))):
        pictures(root / "classes" / place, count, seed)
    for seed, place in enumerate(("a", "b"), start=2):
        pictures(root / place, 30, seed)
    for file in (root / "b").iterdir():  # pairs have equal names
        file.rename(file.with_name("2" + file.name[1:]))
    pictures(root / "wide", 30, 4, width=16)
    (root / "shards").mkdir()
    with tarfile.open(root / "shards" / "0.tar", "w") as archive:
        for i, file in enumerate(sorted((root / "classes" / "cat").iterdir())):
            (root / "label").write_text(str(i % 2))
            archive.add(file, file.name)
            archive.add(root / "label", f"{file.stem}.cls")
    pictures(root / "faces", 60, 5)
    table = [f"5-{i:02d}.png {2 * (i % 3 > 0) - 1} {2 * (i % 3 == 0) - 1}" for i in range(60)]
    lines = ["60", "Grey Red", *table]
    (root / "faces" / "list_attr_celeba.txt").write_text("\n".join(lines))
    table = np.random.default_rng(6).normal(size=(60, 3))
    np.savetxt(root / "table.csv", table, delimiter=",", header="a,b,c", comments="")
    (root / "static").mkdir()
    for seed, (split, count) in enumerate((("train", 25), ("valid", 7), ("test", 5))):
        write_amat(root / "static" / f"binarized_mnist_{split}.amat", count, seed)
    return root


def write_amat(file: Path, count: int, seed: int) -> np.ndarray:
    """Write images as Larochelle's files have them; returns their pixels."""
    pixels = np.random.default_rng(seed).integers(0, 2, (count, 784))
    file.write_text("".join(" ".join(map(str, row)) + " \n" for row in pixels))
    return pixels


@pytest.fixture
def world(
    root: Path, idx_root: Path, cifar_root: Path, tensor_file: Path
) -> dict[str, tuple[str, ...]]:
    """The overrides by which each data set of conf/data is small enough to read in a moment."""
    digits = (f"root={idx_root}", "verify=false")
    captioned = shutil.copytree(root / "a", root / "captioned", dirs_exist_ok=True)
    for path in captioned.glob("*.png"):
        path.with_suffix(".txt").write_text(f"picture number {path.stem}")
    of_digits = ("digits=mnist", *digits)
    two = (f"a={root / 'a'}", f"b={root / 'b'}", "size=8")
    faces = (f"root={root / 'faces'}", "size=8", "classes=2", "attributes=[Grey,Red]")
    points, embedded = ("n=200",), ("batch_size=405",)
    return {
        "mnist": digits,
        "fashion_mnist": digits,
        "mnist_5k": embedded,
        "mnist_static": (f"root={root / 'static'}", "verify=false"),
        "digit_edges": embedded,
        "digit_holes": embedded,
        "digit_downsampled": embedded,
        "stacked_mnist": (*of_digits, "n=200"),
        "coloured_digits": of_digits,
        "digit_colours": of_digits,
        "digit_domains": of_digits,
        "captioned_digits": ("n=200",),
        "captions": (f"root={captioned}", "size=8"),
        "cifar10": (f"root={cifar_root}", "verify=false"),
        "image_folder": (f"root={root / 'classes'}", "size=8", "classes=2"),
        "celeba": faces,
        "celeba_attributes": (*faces, "flip=false"),
        "facades": (f"root={root / 'wide'}", "size=8"),
        "pairs": two,
        "unpaired": two,
        "points": (f"file={root / 'table.csv'}", "shape=[3]", "standardise=false"),
        "shards": (f"root={root / 'shards'}", "size=8", "classes=2"),
        "tensors": (f"file={tensor_file}", "shape=[3,12,16]", "classes=2"),
        "gaussian_ring": points,
        "gaussian_grid": points,
        "two_moons": points,
        "checkerboard": points,
        "rings": points,
        "tones": points,
    }


def pieces(images: torch.Tensor) -> list[bytes]:
    """What must not be in two splits: images, the channels of stacked digits, points."""
    return [image.contiguous().numpy().tobytes() for image in images]


def of(data: Any, images: torch.Tensor) -> list[bytes]:
    """The pieces of images of a data set."""
    return pieces(images.flatten(0, 1) if data.name == "stacked_mnist" else images)


def stored(data: Any, images: torch.Tensor) -> torch.Tensor:
    """Samples of a batch as `load` gives them."""
    return {"images": to_bytes, "sounds": to_pcm}.get(data.things, torch.Tensor.clone)(images)


OWN = ("mnist_static",)  # a validation split of their own
FRESH = (
    *("stacked_mnist", "gaussian_ring", "gaussian_grid", "two_moons", "checkerboard", "rings"),
    "tones",
    "captioned_digits",
)


# the same digits as data=mnist_5k and digit_edges have
SLOW = {"digit_holes", "digit_downsampled"}
# need packages that the tests may lack: test_huggingface.py, test_audio_folder.py
ELSEWHERE = {"huggingface", "audio_folder"}
NAMES = [
    pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name
    for name in CONFIGS
    if name not in ELSEWHERE
]


@pytest.mark.parametrize("name", NAMES)
def test_no_batch_has_a_validation_or_a_test_row(
    name: str, make: Make, world: dict[str, tuple[str, ...]]
) -> None:
    """Splits are disjoint, "train" and "validation" are what was "train", and an epoch is within
    "train", for every part of a batch that comes from the data.
    """
    small = world.get(name, ())  # a new data set is read as its YAML says
    data = make(name, "batch_size=6", *small, "validation=0.1")
    seen = {split: set(of(data, data.load(split).images)) for split in SPLITS}
    assert not seen["train"] & seen["validation"] and not seen["train"] & seen["test"]
    assert not seen["validation"] & seen["test"] and all(seen.values())
    whole = make(name, *small, "validation=0").load("train")
    parts = [data.load(split) for split in SPLITS[:2]]
    if name not in FRESH + OWN:
        joined = pieces(torch.cat([part.images for part in parts]))
        assert Counter(joined) == Counter(pieces(whole.images))
        share = len(parts[1].images) / len(whole.images)
        assert abs(share - 0.1) < 1 / len(whole.images)
    sources = None if data.degrade else [part.sources for part in parts]
    if whole.sources is not None and sources is not None:
        ours = [set(pieces(source)) for source in sources]
        assert not ours[0] & ours[1] and ours[0] | ours[1] == set(pieces(whole.sources))
    epoch = data.batch_sampler().per_epoch
    for batch in islice(data.batches(), epoch + 1):
        images = stored(data, batch[0])
        assert seen["train"].issuperset(of(data, images))
        if sources is not None and data.source_shape is not None:
            assert ours[0].issuperset(pieces(to_bytes(batch[1])))


@pytest.mark.parametrize("name", ["mnist", "image_folder", "celeba", "pairs", "stacked_mnist"])
def test_the_same_rows_for_every_seed(
    name: str, make: Make, world: dict[str, tuple[str, ...]]
) -> None:
    one, two = (
        make(name, *world[name], "validation=0.2", f"seed={seed}").load("validation").images
        for seed in (1, 2)
    )
    assert torch.equal(one, two)


@pytest.mark.parametrize(
    ("name", "counts"),
    [("mnist", [1] * 10), ("image_folder", [6, 3]), ("celeba", [6, 3]), ("coloured_digits", None)],
)
def test_each_class_gives_its_share(
    name: str, counts: list[int] | None, make: Make, world: dict[str, tuple[str, ...]]
) -> None:
    """60 digits, 36 + 18 pictures after a tenth for test: a sixth of each class, to one row."""
    data = make(name, *world[name], "validation=0.16666666")
    found, left = (data.load(split).labels.bincount() for split in ("validation", "train"))
    if counts is None or name == "celeba":
        assert ((found - (found + left) / 6).abs() < 1).all() and left.min() > 0
    elif name == "image_folder":
        assert abs(int(found[0]) - 6) <= 1 and abs(int(found[1]) - 3) <= 1
    else:
        assert found.tolist() == counts


def test_shares_are_those_of_the_largest_remainders() -> None:
    """Against a loop over the classes; and a class of one row stays in the training."""
    random = np.random.default_rng(0)
    for _ in range(50):
        sizes = random.integers(2, 60, 7)
        total = int(random.integers(1, sizes.sum() // 2))
        quotas = quotas_of(torch.from_numpy(sizes), total)
        exact = sizes * total / sizes.sum()
        assert int(quotas.sum()) == total and (np.abs(quotas.numpy() - exact) < 1).all()
    assert quotas_of(torch.tensor([1, 1, 98]), 50).tolist() == [0, 0, 50]
    rows = divided(60, torch.arange(60) % 3, 0.1, "x")
    assert torch.cat(list(rows.values())).sort().values.tolist() == list(range(60))
    assert (torch.arange(60) % 3)[rows["validation"]].bincount().tolist() == [2, 2, 2]


def test_mnist_holds_out_6000_rows() -> None:
    sizes = torch.tensor([5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949])
    labels = torch.arange(10).repeat_interleave(sizes)
    rows = divided(60_000, labels, 0.1, "mnist")
    assert len(rows["validation"]) == 6000 and len(rows["train"]) == 54_000
    assert ((labels[rows["validation"]].bincount() - sizes / 10).abs() < 1).all()


def test_labelled_images_are_training_rows(make: Make, world: dict[str, tuple[str, ...]]) -> None:
    data = make("mnist", *world["mnist"], "validation=0.5", "labelled=20", "batch_size=10")
    train = set(pieces(data.load("train").images))
    few = data.labelled_subset()
    assert train.issuperset(pieces(few.images)) and few.labels.bincount().tolist() == [2] * 10
    for images, labelled, _ in islice(data.batches(), 6):
        assert train.issuperset(pieces(to_bytes(torch.cat([images, labelled]))))


@pytest.mark.parametrize("name", ["coloured_digits", "digit_domains"])
def test_content_stays_with_its_image(
    name: str, make: Make, world: dict[str, tuple[str, ...]], idx_root: Path
) -> None:
    """The digit of every painted image, found by its pixels among all digits."""
    grey = make("mnist", *world["mnist"])
    data = make(name, *world[name], "validation=0.2")
    for split in SPLITS:
        digits = grey.load("test" if split == "test" else "train")
        known = {
            piece: int(label)
            for piece, label in zip(pieces(digits.images[:, 0]), digits.labels, strict=True)
        }
        images, labels, _ = data.content(split)
        start = data.load(split).images if data.aligned else data.load(split).sources
        assert torch.equal(images[: len(start)], start)
        found = [known[piece] for piece in pieces(images.amax(1))]
        assert found == labels.tolist() and len(set(found)) > 1


def test_a_validation_folder_beside_a_test_folder_is_used(make: Make, tmp_path: Path) -> None:
    for seed, (split, count) in enumerate((("train", 20), ("val", 7), ("test", 5))):
        pictures(tmp_path / "three" / split / "x", count, seed)
    words = ("image_folder", f"root={tmp_path / 'three'}", "size=8")
    data = make(*words, "validation=0.1")
    assert [len(data.load(split).images) for split in SPLITS] == [20, 7, 5]
    with pytest.raises(UserError, match=r"of its own, val/ \(data.validation\)"):
        make(*words, "validation=0.3").load("train")
    none = make(*words, "validation=0")
    assert len(none.load("train").images) == 20 and none.held_out_split == "test"


@pytest.mark.parametrize("share", [-0.1, 1, 1.5, float("nan")])
def test_a_share_is_from_0_to_below_1(share: float, make: Make) -> None:
    with pytest.raises(UserError, match=r"data\.validation"):
        make("mnist_5k", f"validation={share}")


def test_too_few_pictures_are_refused_in_one_line(make: Make, tmp_path: Path) -> None:
    pictures(tmp_path / "few" / "train" / "x", 4, 0)
    pictures(tmp_path / "few" / "test" / "x", 4, 1)
    words = ("image_folder", f"root={tmp_path / 'few'}", "size=8")
    with pytest.raises(UserError, match=r"4 training samples .* is 0 \(data.validation\)") as no:
        make(*words, "validation=0.1").load("train")
    assert "\n" not in str(no.value)
    assert len(make(*words, "validation=0.5").load("train").images) == 2


def test_without_a_validation_split_it_cannot_be_loaded(make: Make) -> None:
    data = make("rings", "n=100")
    assert data.held_out_split == "test"
    with pytest.raises(UserError, match=r"data\.validation=0"):
        data.load("validation")


def test_static_mnist_is_read_as_it_is_written(make: Make, tmp_path: Path) -> None:
    written = {
        split: write_amat(tmp_path / f"binarized_mnist_{file}.amat", count, count)
        for split, file, count in (
            ("train", "train", 6),
            ("validation", "valid", 4),
            ("test", "test", 3),
        )
    }
    data = make("mnist_static", f"root={tmp_path}", "verify=false", "validation=0.1")
    for split, pixels in written.items():
        images = data.load(split).images
        assert images.dtype == torch.uint8 and images.shape == (len(pixels), 1, 28, 28)
        assert np.array_equal(images.flatten(1).numpy(), 255 * pixels)
        assert data.load(split).labels is None
    assert data.held_out_split == "validation"
    with pytest.raises(UserError, match=r"6 images, not 50,000 \(data\.root\)"):
        make("mnist_static", f"root={tmp_path}").load("train")
    with pytest.raises(UserError, match=r"of its own, .*valid\.amat \(data\.validation\)"):
        make("mnist_static", f"root={tmp_path}", "validation=0.3")


@pytest.mark.parametrize(
    "text", ["", "0 1 0\n", "0 2 " + "0 " * 782, "01 " + "0 " * 782, "0.0 " * 784]
)
def test_a_file_of_another_form_is_refused(make: Make, tmp_path: Path, text: str) -> None:
    (tmp_path / "binarized_mnist_train.amat").write_text(text)
    with pytest.raises(UserError, match=r"784 times 0 or 1 .* \(data\.root\)"):
        make("mnist_static", f"root={tmp_path}", "verify=false").load("train")


def test_static_mnist_says_where_its_files_are_from(make: Make, tmp_path: Path) -> None:
    for words in ((), (f"root={tmp_path}",)):
        with pytest.raises(UserError, match=r"data\.root\).*larocheh/public/datasets") as refusal:
            make("mnist_static", *words).load("train")
        assert "\n" not in str(refusal.value)


class Sorted(Data):
    """30,000 images of 4 x 4: the first half is black, the second white."""

    def __init__(self, **keys: Any) -> None:
        super().__init__(name="sorted", shape=(1, 4, 4), classes=2, **keys)

    def read(self, split: str) -> ArrayDataset:
        count = 30_000 if split == "train" else 1_000
        labels = torch.arange(count) * 2 // count
        images = (255 * labels).to(torch.uint8)[:, None, None, None].expand(-1, 1, 4, 4)
        return ArrayDataset(images.contiguous(), labels)


def test_no_cut_of_sorted_rows_has_one_class_alone() -> None:
    """What takes the first so many of all rows takes them in a random order."""
    from gentrain.data.arrays import constant_images, drawn
    from gentrain.quality.paired import mean_image
    from gentrain.quality.rotation import RotatedImages

    data = Sorted()
    images = data.load("train").images
    assert mean_image(images).abs().max() < 0.05  # between black, -1, and white, 1
    turned = RotatedImages(data).load("train").images
    assert abs(float(turned.float().mean()) / 255 - 0.5) < 0.02
    assert abs(float(drawn(images, 100).float().mean()) / 255 - 0.5) < 0.25
    assert (
        constant_images(torch.cat([images, images.new_tensor(range(16)).view(1, 1, 4, 4)]))
        == 27_000
    )
    assert data.load("validation").labels.bincount().tolist() == [1500, 1500]


def test_data_that_are_divided_anew_are_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """`eval` of a run without scores divides what it has read already."""
    from tests.support.toy import Noise

    options = {"name": "noise", "shape": (1, 2, 2), "classes": 4}
    whole, wanted = Noise(**options, validation=0.0), Noise(**options, validation=0.25)
    for split in ("train", "test"):
        whole.load(split)
    expected = {split: wanted.load(split).images for split in ("train", "validation", "test")}
    monkeypatch.setattr(Noise, "read", lambda self, split: pytest.fail(f"{split} is read again"))
    divided = whole.with_validation(0.25)
    for split, images in expected.items():
        assert torch.equal(divided.load(split).images, images)
