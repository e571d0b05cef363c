"""Images with what a translation starts from: degraded images, pictures in pairs, two folders."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from gentrain.data.arrays import ArrayDataset, sha256_of, to_bytes, to_float
from gentrain.data.attributes import AttributeTable
from gentrain.data.batches import Batches, BatchSampler, ZippedBatches, cropped
from gentrain.data.degrade import DEGRADATIONS, source_shape
from gentrain.data.labels import Attributes, Exclusive
from gentrain.errors import UserError
from gentrain.quality.classifier import Classifier
from gentrain.training.callbacks.samples import chosen
from gentrain.training.job import refuse_labels

Make = Callable[..., Any]


def numbers(how: str, n: int) -> Tensor:
    return torch.rand(n, DEGRADATIONS[how].draws)


@pytest.mark.parametrize("how", sorted(DEGRADATIONS))
def test_degraded_images_are_of_the_promised_shape_and_of_8_bits(how: str) -> None:
    images = torch.rand(5, 3, 32, 32) * 2 - 1
    sources = DEGRADATIONS[how].make(images, numbers(how, 5))
    assert list(sources.shape[1:]) == source_shape((3, 32, 32), how)
    torch.testing.assert_close(to_float(to_bytes(sources)), sources, atol=1e-6, rtol=0)
    if (restore := DEGRADATIONS[how].restore) is not None:
        assert restore(sources, (3, 32, 32)).shape == images.shape


@pytest.mark.parametrize("how", [how for how in DEGRADATIONS if how != "mask"])
def test_degrading_a_mirrored_image_is_mirroring_the_degraded_one(how: str) -> None:
    images, made = torch.rand(4, 3, 32, 32) * 2 - 1, DEGRADATIONS[how].make
    torch.testing.assert_close(
        made(images.flip(-1), numbers(how, 4)),
        made(images, numbers(how, 4)).flip(-1),
        atol=1 / 127,
        rtol=0,
    )


def test_holes_hide_what_the_last_channel_says_and_nothing_else() -> None:
    images = to_float(torch.randint(256, (200, 3, 32, 32), dtype=torch.uint8))
    for how in ("mask", "mask_centre"):
        sources = DEGRADATIONS[how].make(images, numbers(how, 200))
        known = (sources[:, -1:] > 0).expand_as(images)
        torch.testing.assert_close(sources[:, :-1][known], images[known])
        assert (sources[:, :-1][~known].abs() < 0.01).all()
        hidden = 1 - known[:, 0].float().mean((1, 2))
        assert hidden.max() <= (0.26 if how == "mask" else 0.25) and hidden.min() > (
            0.01 if how == "mask" else 0.24
        )
        torch.testing.assert_close(
            DEGRADATIONS[how].restore(sources, (3, 32, 32))[known], images[known]
        )  # type: ignore[misc]


def test_luma_edges_and_smaller_images_against_other_programs() -> None:
    pixels = torch.randint(256, (1, 3, 32, 32), dtype=torch.uint8)
    picture = Image.fromarray(pixels[0].permute(1, 2, 0).numpy())
    grey = to_bytes(DEGRADATIONS["grayscale"].make(to_float(pixels), torch.empty(1, 0)))
    assert (
        grey[0, 0].int() - torch.from_numpy(np.array(picture.convert("L"))).int()
    ).abs().max() <= 1
    small = to_bytes(DEGRADATIONS["downsample_x4"].make(to_float(pixels), torch.empty(1, 0)))
    wanted = torch.from_numpy(np.array(picture.resize((8, 8), Image.Resampling.BICUBIC))).permute(
        2, 0, 1
    )
    assert (small[0].int() - wanted.int()).abs().max() <= 1
    half = torch.full((1, 1, 16, 16), -1.0)
    half[..., 8:] = 1  # one step from black to white, between columns 7 and 8
    assert (DEGRADATIONS["edges"].make(half, torch.empty(1, 0))[0, 0] > 0).any(
        0
    ).nonzero().flatten().tolist() == [7, 8]


def paired(rows: int = 12, side: int = 16) -> ArrayDataset:
    """Pictures of which each pixel knows its picture, row and column; the source of a pixel is its
    negative.
    """
    at = torch.arange(side)
    images = torch.stack(
        [
            torch.stack(
                [
                    torch.full((side, side), 20 * n),
                    at[:, None] * 15 + 0 * at,
                    at * 15 + 0 * at[:, None],
                ]
            )
            for n in range(rows)
        ]
    )
    return ArrayDataset(images.to(torch.uint8), torch.arange(rows), 255 - images.to(torch.uint8))


@pytest.mark.parametrize("workers", [0, 1])
def test_pairs_are_cropped_and_mirrored_as_one(workers: int) -> None:
    samples = paired()
    stream = Batches(
        samples,
        BatchSampler(12, 4, seed=0),
        flip=True,
        jitter=4,
        resident=not workers,
        workers=workers,
    )
    seen = list(islice(stream.at(0), 6))
    for images, sources, labels in seen:
        # pixel by pixel: the same window of both
        torch.testing.assert_close(sources, -images, atol=1e-5, rtol=0)
        torch.testing.assert_close(
            images[:, 0], to_float(samples.images)[labels][:, 0], atol=1e-5, rtol=0
        )
    columns = {round(float(x[2, 0, 1] - x[2, 0, 0]), 3) > 0 for images, *_ in seen for x in images}
    corners = {round(float(x[1, 0, 0]), 3) for images, *_ in seen for x in images}
    assert columns == {True, False} and len(corners) > 2  # both ways round, at several places


def test_crops_are_windows_of_the_enlarged_picture() -> None:
    images = torch.rand(3, 2, 8, 8)
    large = F.interpolate(images, (13, 13), mode="bilinear")
    found = cropped(images, 5, torch.tensor([[0.0, 0.0], [0.999, 0.0], [0.5, 0.999]]))
    for image, whole, (top, left) in zip(found, large, [(0, 0), (5, 0), (3, 5)], strict=True):
        torch.testing.assert_close(image, whole[:, top : top + 8, left : left + 8])


def test_sources_of_a_batch_are_made_of_what_became_of_its_images(make: Make) -> None:
    data = make("mnist_5k", "degrade=downsample_x4", "flip=true", "jitter=4", "batch_size=8")
    assert data.source_shape == (1, 7, 7) and data.shape == (1, 28, 28)
    images, sources, labels = next(iter(data.batches()))
    assert labels.shape == (8,)
    torch.testing.assert_close(
        sources, DEGRADATIONS["downsample_x4"].make(images, torch.empty(8, 0))
    )


def test_a_digest_names_images_and_sources_that_are_no_function_of_them(
    make: Make, facades: Path
) -> None:
    plain, edges = make("mnist_5k"), make("mnist_5k", "degrade=edges")
    assert plain.digest("test") == edges.digest("test")
    one, other = (
        make("facades", f"root={facades}", "size=16", f"channels={channels}") for channels in (3, 1)
    )
    assert one.digest() != other.digest()
    samples = one.load("train")
    assert (
        sha256_of(samples)
        != sha256_of(samples._replace(sources=samples.images))
        != sha256_of(samples._replace(sources=None))
    )


def test_holes_are_new_at_each_pass_and_the_same_at_each_look(make: Make) -> None:
    data, again = (
        make("mnist_5k", "degrade=mask", "batch_size=64", f"seed={seed}") for seed in (0, 1)
    )
    for split in ("train", "test"):
        assert torch.equal(data.load(split).sources, again.load(split).sources)
    stream = data.batches()
    (first, *_), (same, *_) = (list(islice(stream.at(0), 2)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, same, strict=True))
    epoch = data.batch_sampler().per_epoch
    masks = torch.stack([next(stream.at(position))[1][:, -1] for position in (0, epoch)])
    assert not torch.equal(masks[0], masks[1])


def test_two_processes_share_the_holes_of_one_batch() -> None:
    samples, how = paired()._replace(sources=None, labels=None), DEGRADATIONS["mask"]
    whole = next(Batches(samples, BatchSampler(12, 8, seed=3), degrade=how).at(5))[1]
    halves = [
        next(Batches(samples, BatchSampler(12, 4, seed=3, rank=rank, world=2), degrade=how).at(5))[
            1
        ]
        for rank in (0, 1)
    ]
    assert torch.equal(whole, torch.cat(halves))


def test_domains_have_orders_of_their_own_and_the_smaller_repeats() -> None:
    few, many = torch.arange(6), torch.arange(10)

    def domain(rows: Tensor) -> ArrayDataset:
        return ArrayDataset(
            rows.to(torch.uint8)[:, None, None, None].expand(-1, 1, 2, 2).contiguous(), None
        )

    b, a = (
        Batches(domain(many), BatchSampler(10, 2, 0)),
        Batches(domain(few), BatchSampler(6, 2, 0, of=" of sources")),
    )
    pairs = [
        tuple(to_bytes(x)[:, 0, 0, 0] for x in batch)
        for batch in islice(ZippedBatches(b, a).at(0), 15)
    ]
    targets, sources = (torch.cat([pair[i] for pair in pairs]) for i in (0, 1))
    assert sorted(targets[:10].tolist()) == list(range(10)) and torch.equal(
        targets.bincount(), torch.full((10,), 3)
    )
    assert sorted(sources[:6].tolist()) == list(range(6)) and torch.equal(
        sources.bincount(), torch.full((6,), 5)
    )
    late = [
        tuple(to_bytes(x)[:, 0, 0, 0] for x in batch)
        for batch in islice(ZippedBatches(b, a).at(7), 3)
    ]
    assert all(
        torch.equal(x, y)
        for one, two in zip(late, pairs[7:10], strict=True)
        for x, y in zip(one, two, strict=True)
    )
    same = [BatchSampler(10, 10, 0, of=of).epoch(0)[0] for of in ("", " of sources")]
    assert not torch.equal(*same)  # as many of each, and still no pairs


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ("mnist_5k", "degrade=blur"),
            r"degrade is 'blur' \(data.degrade\); write one of edges, grayscale",
        ),
        (
            ("mnist_5k", "degrade=grayscale"),
            r"cannot take grayscale, they have no colours \(data.degrade\)",
        ),
        (("mnist_5k", "degrade=downsample_x4", "size=30"), r"no multiples of 4 \(data.degrade\)"),
        (
            ("mnist_5k", "degrade=edges", "labelled=100"),
            r"has sources, and so no few labels \(data.labelled\)",
        ),
        (("mnist_5k", "jitter=-1"), r"jitter must be a whole number >= 0"),
        (("mnist_5k", "source_shape=[1,28,28]"), None),
    ],
)
def test_mistakes_are_told_in_one_line(
    make: Make, words: tuple[str, ...], told: str | None
) -> None:
    with pytest.raises(
        UserError, match=told or r"the config says \(1, 28, 28\) \(data.source_shape\)"
    ) as refused:
        make(*words).load("train")
    assert "\n" not in str(refused.value)


# --- pictures in files ----------------------------------------------------------------------------


def picture(
    path: Path, width: int = 40, height: int = 20, seed: int = 0, left: int | None = None
) -> Path:
    """Random pixels, or two halves of which the right is the negative of the left."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    if left is not None:
        pixels[:, : width // 2] = left
        pixels[:, width // 2 :] = 255 - left
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def facades(tmp_path: Path) -> Path:
    for split, count in (("train", 6), ("val", 3)):
        for n in range(count):
            picture(tmp_path / "facades" / split / f"{n}.png", left=20 * n)
    return tmp_path / "facades"


@pytest.mark.parametrize("direction", ["a2b", "b2a"])
def test_side_by_side(make: Make, facades: Path, direction: str) -> None:
    data = make(
        "facades",
        f"root={facades}",
        "size=16",
        f"direction={direction}",
        "batch_size=3",
        "flip=true",
        "jitter=4",
    )
    train, test = data.load("train"), data.load("test")
    assert (
        train.images.shape == train.sources.shape == (6, 3, 16, 16)
        and len(test.images) == 3
        and train.labels is None
    )
    lefts = torch.arange(6, dtype=torch.uint8) * 20
    left, right = (
        (train.sources, train.images) if direction == "a2b" else (train.images, train.sources)
    )
    assert torch.equal(left[:, 0, 0, 0], lefts) and torch.equal(right, 255 - left)
    images, sources = next(iter(data.batches()))
    torch.testing.assert_close(images, -sources, atol=1e-5, rtol=0)


def test_side_by_side_as_two_domains(make: Make, facades: Path) -> None:
    data = make("facades", f"root={facades}", "size=16", "paired=false", "batch_size=6")
    assert not data.aligned
    images, sources = next(iter(data.batches()))
    shown = [to_bytes(x)[:, 0, 0, 0].tolist() for x in (images, -sources)]
    assert (
        sorted(shown[0]) == sorted(shown[1]) == [20 * n for n in range(6)] and shown[0] != shown[1]
    )


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """20 pairs, b the negative of a, without a test/."""
    for n in range(20):
        pixels = Image.open(picture(tmp_path / "a" / f"{n:02d}.png", 24, 18, seed=n))
        (tmp_path / "b").mkdir(exist_ok=True)
        # another ending, the same name
        Image.fromarray(255 - np.asarray(pixels)).save(tmp_path / "b" / f"{n:02d}.bmp")
    return tmp_path / "a", tmp_path / "b"


def test_two_folders_of_pairs(make: Make, folders: tuple[Path, Path]) -> None:
    a, b = folders
    for direction in ("a2b", "b2a"):
        data = make("pairs", f"a={a}", f"b={b}", "size=16", f"direction={direction}")
        train, test = data.load("train"), data.load("test")
        assert len(train.images) == 18 and len(test.images) == 2
        for part in (train, test):
            # still pairs, after both were resized
            assert (part.images.int() + part.sources.int() - 255).abs().max() <= 2
    first = make("pairs", f"a={a}", f"b={b}", "size=16").load("train")
    assert torch.equal(
        first.images,
        make("pairs", f"a={b}", f"b={a}", "size=16", "direction=b2a").load("train").images,
    )


def test_two_folders_of_domains(make: Make, folders: tuple[Path, Path]) -> None:
    a, b = folders
    for n in range(8):
        (b / f"{n:02d}.bmp").unlink()
    data = make("unpaired", f"a={a}", f"b={b}", "size=16", "batch_size=4")
    samples = data.load("train")
    assert (len(samples.sources), len(samples.images), samples.rows) == (
        18,
        11,
        18,
    ) and not data.aligned
    batches = list(islice(data.batches().at(0), 4))
    assert all(images.shape == sources.shape == (4, 3, 16, 16) for images, sources in batches)


def test_pairs_that_are_none_are_told_with_their_paths(
    make: Make, folders: tuple[Path, Path]
) -> None:
    a, b = folders

    def told(name: str = "pairs", *words: str) -> str:
        with pytest.raises(UserError) as refused:
            make(name, f"a={a}", f"b={b}", "size=16", *words).load("train")
        assert "\n" not in str(refused.value)
        return str(refused.value)

    picture(b / "07.bmp", 30, 18)
    assert (
        f"1 pairs of {a} and {b} differ in size: '07.png' (24 x 18 and 30 x 18) (data.a, data.b)"
        in told()
    )
    (b / "07.bmp").unlink()
    assert (
        f"1 pictures of {a} have no partner of the same name in {b}: 07.png (data.a, data.b)"
        in told()
    )
    (a / "07.png").unlink()
    picture(b / "99.png")
    assert f"1 pictures of {b} have no partner of the same name in {a}: 99.png" in told()
    (b / "99.png").write_bytes(b"no picture")
    picture(a / "99.png")
    assert "unreadable" in told()
    assert "direction is 'up' (data.direction)" in told("unpaired", "direction=up")
    assert "has sources already, of (3, 16, 16)" in told("unpaired", "degrade=edges")
    b = b / "nowhere"
    assert f"no such folder or file {b} (data.b)" in told("unpaired")


def test_a_picture_of_an_odd_width_is_no_pair(make: Make, facades: Path) -> None:
    picture(facades / "train" / "9.png", 41)
    with pytest.raises(
        UserError,
        match=r"'9.png' \(41 pixels are not as many for each of 2 pictures|"
        r"train/9.png' \(41 pixels",
    ):
        make("facades", f"root={facades}", "size=16").load("train")


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    lines = ["8", "Black_Hair Blond_Hair Smiling"]
    values = {
        0: "1 -1 1",
        1: "-1 1 1",
        2: "1 1 -1",
        3: "-1 -1 1",
        4: "1 -1 -1",
        5: "-1  1 -1",
        6: "1 -1 1",
        7: "-1 1 1",
    }
    for n, has in values.items():
        picture(tmp_path / "faces" / ("train" if n < 6 else "test") / f"{n:06d}.png", left=30 * n)
        lines.append(f"{n:06d}.png {has}")
    (tmp_path / "faces" / "list_attr_celeba.txt").write_text("\n".join(lines) + "\n")
    return tmp_path / "faces"


def test_attributes_are_domains(make: Make, faces: Path) -> None:
    """Of the six in train/, 2 has both and 3 has neither."""
    words = ("celeba", f"root={faces}", "size=16", "attributes=[Black_Hair,Blond_Hair]")
    data = make(*words, "classes=2")
    train, test = data.load("train"), data.load("test")
    assert train.labels.tolist() == [0, 1, 0, 1] and test.labels.tolist() == [0, 1]
    assert (train.images[:, 0, 0, 0] // 30).tolist() == [0, 1, 4, 5]
    assert make(*words[:3], "attributes=[Blond_Hair,Black_Hair]", "classes=2").load(
        "train"
    ).labels.tolist() == [1, 0, 1, 0]
    mistakes = {
        (
            "attributes=[Black_Hair,Bald]",
            "classes=2",
        ): r"has no attribute Bald \(data.attributes\); it has Black_Hair, Blond_Hair, Smiling",
        ("attributes=[Black_Hair]", "classes=1"): r"give two or more different ones",
        ("attributes=[Black_Hair,Blond_Hair]", "classes=3"): r"write data.classes=2",
        (
            "attributes=[Black_Hair,Blond_Hair]",
            "classes=2",
            "table=/nowhere",
        ): r"cannot read /nowhere: .* \(data.table\)",
    }
    for more, wanted in mistakes.items():
        with pytest.raises(UserError, match=wanted):
            make(*words[:3], *more).load("train")
    table = faces / "list_attr_celeba.txt"
    table.write_text(table.read_text().replace("1 -1 1", "1 -1", 1))
    with pytest.raises(UserError, match=r"line 3 of .* has not a name and 3 values"):
        make(*words, "classes=2").load("train")


def test_attributes_are_labels_of_several_at_once(make: Make, faces: Path) -> None:
    """Every picture of the table counts, and its label says which it has."""
    words = ("celeba_attributes", f"root={faces}", "size=16")
    data = make(*words, "attributes=[Black_Hair,Blond_Hair]", "classes=2", "batch_size=6")
    train = data.load("train")
    assert train.labels.tolist() == [[1, 0], [0, 1], [1, 1], [0, 0], [1, 0], [0, 1]]
    assert (train.images[:, 0, 0, 0] // 30).tolist() == [0, 1, 2, 3, 4, 5]
    images, labels = next(iter(data.batches()))
    assert images.shape == (6, 3, 16, 16) and labels.shape == (6, 2)
    assert data.label_kind.turned(labels[:1] * 0, torch.tensor([1])).tolist() == [[0, 1]]
    rows = chosen(train, 8, seed=0)  # the four kinds of faces take turns
    assert len({tuple(label) for label in train.labels[rows[:4]].tolist()}) == 4
    with pytest.raises(UserError, match=r"no test image .* has Blond_Hair \(data.attributes\)"):
        table = faces / "list_attr_celeba.txt"
        table.write_text(table.read_text().replace("000007.png -1 1 1", "000007.png -1 -1 1"))
        make(*words, "attributes=[Black_Hair,Blond_Hair]", "classes=2").load("test")


def test_labels_of_another_kind_are_refused() -> None:
    data = AttributeTable.__new__(AttributeTable)
    data.name, data.classes, data.labelled = "faces", 2, None
    data.label_kind = Attributes(["a", "b"])
    with pytest.raises(UserError, match=r"are Attributes, .* from Exclusive \(data.label_kind\)"):
        refuse_labels(data, of_labels())
    refuse_labels(data, of_labels(label_kinds=(Exclusive, Attributes)))
    refuse_labels(data, of_labels(labelled=False))
    with pytest.raises(UserError, match=r"quality=classifier learns one class .*data.label_kind"):
        Classifier().check(data)


def of_labels(**options: Any) -> Any:
    """What is asked of a model that learns from labels."""
    return SimpleNamespace(
        **{"labelled": True, "semi_supervised": False, "label_kinds": (Exclusive,)} | options
    )


def test_labelled_folders_are_domains(make: Make, picture_root: Path) -> None:
    """As image_folder has them: for a game of domains nothing more is needed."""
    data = make("image_folder", f"root={picture_root}", "size=16", "classes=2", "batch_size=8")
    images, labels = next(iter(data.batches()))
    assert (
        images.shape == (8, 3, 16, 16)
        and set(labels.tolist()) <= {0, 1}
        and data.source_shape is None
    )
