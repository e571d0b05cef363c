"""Captions as labels, captioned digits with their rules, and anybody's pictures with texts."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from gentrain.data.arrays import to_float
from gentrain.data.captioned_digits import FACTS, VALUES, WORDS, CaptionedDigits
from gentrain.data.labels import Attributes, Captions, Exclusive, one_word_off, words_of
from gentrain.errors import UserError

Make = Callable[..., Any]


@cache
def digits(silent: float = 0.2) -> CaptionedDigits:
    return CaptionedDigits(
        name="captioned_digits",
        shape=(3, 32, 32),
        size=32,
        classes=len(WORDS),
        digits="mnist_5k",
        n=1500,
        silent=silent,
        label_kind=Captions(8),
    )


# --- a label --------------------------------------------------------------------------------------


def test_a_caption_there_and_back() -> None:
    kind = Captions(8)
    label = kind.named("A small RED seven, top left; on blue!", WORDS)
    assert kind.text(label, WORDS) == "a small red seven top left on blue"
    short = kind.named("a red seven on white", WORDS)
    assert short.tolist()[5:] == [0, 0, 0]
    assert torch.equal(kind.named(kind.text(short, WORDS), WORDS), short)
    assert words_of("It's 3 o'clock, twenty-one") == ["it's", "3", "o'clock", "twenty", "one"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a purple seven", r"no word purple \(text\); give one of .*"),
        ("a 3 on white", r"no word 3 \(text\)"),  # no number of a word
        ("  ,;", r"no words in .* \(text\); write a caption"),
        ("a a a a a a a a a", r"9 words in .* at most 8 \(text\)"),
    ],
)
def test_other_texts_are_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as refused:
        Captions(8).named(text, WORDS, "text")
    assert "\n" not in str(refused.value)


def test_wrong_captions_are_others_of_the_batch() -> None:
    kind, y = Captions(2), torch.tensor([[1, 2], [1, 2], [3, 0], [4, 5]])
    torch.manual_seed(0)
    drawn = torch.stack([kind.others(y, 6) for _ in range(300)])
    assert (drawn != y).any(2).all()
    for row, choices in ((0, 2), (2, 3), (3, 3)):  # row 2 has two equal ones among its three
        found, counts = drawn[:, row].unique(dim=0, return_counts=True)
        assert len(found) == 2, choices
        assert counts.min() > 300 / choices * 0.7
    same = y[:2]
    assert torch.equal(kind.others(same, 6), same)


def test_one_word_of_a_caption_is_exchanged() -> None:
    y = torch.tensor([[1, 2, 3], [1, 5, 6], [1, 5, 0], [4, 0, 0], [1, 2, 0]])
    torch.manual_seed(0)
    drawn = torch.stack([one_word_off(y) for _ in range(200)])
    assert (drawn != y).any(2).all()
    pairs = {0: {(1, 5, 3), (1, 2, 6)}, 1: {(1, 2, 6), (1, 5, 3)}, 2: {(1, 2, 0)}, 4: {(1, 5, 0)}}
    for row, expected in pairs.items():
        assert {tuple(each) for each in drawn[:, row].tolist()} == expected
    # the only caption of one word gets a whole other one
    assert {tuple(each) for each in drawn[:, 3].tolist()} == {
        tuple(r) for r in y[[0, 1, 2, 4]].tolist()
    }
    same = y[:1].repeat(3, 1)
    assert torch.equal(one_word_off(same), same)


def test_the_words_of_a_caption_as_a_vector() -> None:
    found = Captions(3).vectors(torch.tensor([[2, 1, 2], [3, 0, 0]]), 4)
    assert found.tolist() == [[0, 1, 1, 0], [0, 0, 0, 1]]


def test_captions_are_no_classes() -> None:
    kind, y = Captions(2), torch.tensor([[1, 2]])
    calls: list[Callable[[], Any]] = [
        lambda: kind.nll(torch.zeros(1, 3), y),
        lambda: kind.accuracy(torch.zeros(1, 3), y),
        lambda: kind.turned(y, y[0]),
        lambda: kind.following(y, 3),
        lambda: kind.of_table(torch.ones(1, 2, dtype=torch.bool)),
    ]
    for call in calls:
        with pytest.raises(UserError, match="captions, which are no classes"):
            call()
    assert Exclusive.listed and Attributes.listed and not Captions.listed


# --- captioned digits -----------------------------------------------------------------------------


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_the_rules_are_right_on_every_real_image(split: str) -> None:
    data = digits()
    images, labels, _ = data.load(split)
    assert labels is not None
    found, said = data.facts_of(images), data.facts_said(labels)
    assert (said[:, 0] >= 0).all() and (found[:, 0] == -1).all()
    for i in range(1, len(FACTS)):
        there = said[:, i] >= 0
        assert torch.equal(found[there, i], said[there, i]), FACTS[i]
        assert set(said[there, i].tolist()) == set(range(len(VALUES[i])))
    unsaid = (said < 0).float().mean(0)
    assert unsaid[[0, 1, 4]].max() == 0 and (unsaid[2:4] - 0.2).abs().max() < 0.07


def test_the_rules_find_nothing_where_nothing_is() -> None:
    data = digits()
    noise = torch.randint(256, (20, 3, 32, 32), dtype=torch.uint8)
    plain = torch.full((2, 3, 32, 32), 255, dtype=torch.uint8)
    grey = torch.full((1, 3, 32, 32), 128, dtype=torch.uint8)
    assert (data.facts_of(noise)[:, 1:] == -1).float().mean() > 0.9
    assert data.facts_of(plain).tolist() == [[-1, -1, -1, -1, 1]] * 2
    assert data.ink_of(torch.cat([plain, grey])).shape == (3, 1, 28, 28)


def test_held_out_combinations_are_in_no_split() -> None:
    data = digits(silent=0.0)  # all captions say all
    held_out = {tuple(row) for row in data.facts_said(data.held_out_captions).tolist()}
    shown: set[tuple[int, ...]] = set()
    for split in ("train", "validation", "test"):
        images, labels, _ = data.load(split)
        assert labels is not None
        said = data.facts_said(labels)
        said[:, 1:] = data.facts_of(images)[:, 1:]  # what is seen, whatever the caption says
        shown |= {tuple(row) for row in said.tolist()}
    assert len(held_out) == 88 and not held_out & shown
    assert len(shown) > 600  # of 880: 10 digits, 11 pairs of colours, 2 sizes, 4 places
    for i, values in enumerate(VALUES):  # each value is seen, and each is asked for
        assert {row[i] for row in held_out} == {row[i] for row in shown} == set(range(len(values)))
    # also of the images whose captions leave something out
    data = digits()
    images, labels, _ = data.load("train")
    assert labels is not None
    found = data.facts_of(images)
    found[:, 0] = data.facts_said(labels)[:, 0]
    assert not held_out & {tuple(row) for row in found.tolist()}


def test_the_ink_of_a_digit_is_where_it_is_whatever_its_look() -> None:
    data = digits()
    images = data.load("test").images[:200]
    ink = data.ink_of(images).float()
    places = torch.arange(28.0) - 13.5
    total = ink.sum((1, 2, 3))
    for axis in (2, 3):
        centre = (ink.sum(5 - axis)[:, 0] * places).sum(1) / total
        assert centre.abs().max() < 4
    assert ((ink > 64).flatten(1).float().mean(1) > 0.03).all()


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("classes=24", r"25 words, not 24 \(data.classes\)"),
        ("label_kind.length=7", r"up to 8 words, not 7 \(data.label_kind.length\)"),
        ("silent=1", r"\(data.silent\)"),
        ("size=30", r"\(data.size\)"),
        ("size=[32,40]", r"\(data.size\)"),
        ("flip=true", r"\(data.flip\)"),
        ("jitter=4", r"\(data.jitter\)"),
        ("n=3", r"\(data.n\)"),
        ("digits=letters", r"\(data.digits\)"),
    ],
)
def test_options_that_do_not_fit_are_refused(word: str, message: str, make: Make) -> None:
    with pytest.raises(UserError, match=message):
        make("captioned_digits", word)


# --- pictures with texts --------------------------------------------------------------------------


@pytest.fixture
def captioned(tmp_path: Path) -> Path:
    """Forty captioned digits, written as `gentrain sample save=folder` writes them."""
    data, root = digits(), tmp_path / "captioned"
    root.mkdir()
    images, labels, _ = data.load("test")
    assert labels is not None
    for number in range(40):
        data.write_labelled(to_float(images[number]), labels[number], root, f"{number:03d}")
    return root


def test_a_folder_of_texts_gives_the_captions_back(captioned: Path, make: Make) -> None:
    data = make("captions", f"root={captioned}", "size=32", "label_kind.length=8")
    images, labels, _ = data.load("train")
    texts = [data.captions.text(label, data.class_names) for label in labels]
    real, own, _ = digits().load("test")
    assert own is not None
    expected = {digits().captions.text(own[i], WORDS): real[i] for i in range(40)}
    assert len(images) == 36 and set(texts) <= set(expected)
    for image, text in zip(images, texts, strict=True):
        assert any(
            torch.equal(image, real[i])
            for i in range(40)
            if digits().captions.text(own[i], WORDS) == text
        )
    assert data.class_names[0] == "" and {"a", "on"} <= set(data.class_names[1:4])


def test_a_table_of_captions_and_a_small_vocabulary(
    captioned: Path, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "gentrain")
    names = sorted(file.name for file in captioned.glob("*.png"))
    lines = [f'{name},"A dog, red; number {i}"' for i, name in enumerate(names)]
    (captioned / "all.csv").write_text("\n".join(["file,caption", *lines]) + "\n")
    keys = (f"root={captioned}", "size=32", "texts=all.csv", "classes=5", "label_kind.length=3")
    data = make("captions", *keys)
    _, labels, _ = data.load("train")
    assert list(data.class_names) == ["", "a", "dog", "number", "red"]
    assert labels.tolist() == [[1, 2, 4]] * 36
    assert "36 rarer words of 40" in caplog.text and "cut after 3 words" in caplog.text


def test_pictures_without_a_text_are_refused(captioned: Path, make: Make) -> None:
    (captioned / "003.txt").unlink()
    with pytest.raises(
        UserError, match=r"pictures without a text .* 1 of .* 003.txt \(data.root\); add them"
    ) as refused:
        make("captions", f"root={captioned}", "size=32", "draw_seed=0").load("train")
    assert "\n" not in str(refused.value)
    shutil.rmtree(captioned)
    captioned.mkdir()
    with pytest.raises(UserError, match=r"0 images in .* \(data.root\)"):
        make("captions", f"root={captioned}").load("train")


@pytest.mark.parametrize("word", ["labels=x.csv", "classes=1"])
def test_other_labels_of_pictures_are_refused(word: str, captioned: Path, make: Make) -> None:
    key = word.partition("=")[0]
    with pytest.raises(UserError, match=rf"\(data\.{key}\)"):
        make("captions", f"root={captioned}", word)
