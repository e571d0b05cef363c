"""Digits in domains: what is painted, which digit is where, and a rule that names the domain of any
of them.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from gentrain.data.coloured_digits import COLOURS, INVERTED, LOOKS, looks, painted
from gentrain.errors import UserError

Make = Callable[..., Any]


def rows(images: torch.Tensor) -> list[bytes]:
    return [bytes(row) for row in images.flatten(1).numpy()]


def test_the_rule_names_every_painted_digit(make: Make) -> None:
    """Embedded digits in all looks, also when they are dim, or noisy as a translation's are."""
    grey = make("mnist_5k").load("train").images[::5]
    for number, look in enumerate(LOOKS):
        images = painted(grey, look)
        assert images.dtype == torch.uint8 and (looks(images) == number).all()
        noise = torch.randint(-30, 31, images.shape, generator=torch.Generator().manual_seed(0))
        assert (
            looks((images.short() + noise).clamp(0, 255).byte()) == number
        ).float().mean() > 0.99
        if look != INVERTED:
            assert (looks(images // 2) == number).all()
    assert torch.equal(painted(grey, INVERTED)[:, :1], 255 - grey)
    assert torch.equal(
        painted(grey, "yellow"), grey * torch.tensor([1, 1, 0], dtype=torch.uint8).view(1, 3, 1, 1)
    )


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_colour_is_a_label_and_the_digit_is_kept(make: Make, split: str) -> None:
    data, grey = make("coloured_digits", "classes=3"), make("mnist_5k").load(split)
    images, labels, _ = data.load(split)
    assert data.domain_names == ["red", "green", "blue"]
    assert (
        torch.equal(images.amax(1), grey.images[:, 0]) and (data.domain_of(images) == labels).all()
    )
    assert labels.bincount().min() > 0.25 * len(labels)
    content = data.content(split)
    assert torch.equal(content.images, images) and torch.equal(content.labels, grey.labels)
    assert torch.equal(make("coloured_digits", "classes=3", "seed=1").load(split).labels, labels)
    assert not torch.equal(
        make("coloured_digits", "classes=3", "draw_seed=1").load(split).labels, labels
    )
    assert (data.domain_of(painted(grey.images, "cyan")) == 3).all()  # of none of them


@pytest.mark.parametrize("split", ["train", "test"])
def test_each_digit_is_in_one_domain_alone(make: Make, split: str) -> None:
    data, grey = make("digit_domains"), make("mnist_5k").load(split)
    images, labels, sources = data.load(split)
    assert (
        labels is None
        and not data.aligned
        and images.shape == sources.shape == (len(grey.images) // 2, 3, 28, 28)
    )
    of_source, of_target = rows(sources[:, :1]), rows(images[:, :1])
    assert sorted(of_source + of_target) == sorted(rows(grey.images))
    assert (data.domain_of(sources) == 0).all() and (data.domain_of(images) == 1).all()
    content, digit = (
        data.content(split),
        dict(zip(rows(grey.images), grey.labels.tolist(), strict=True)),
    )
    assert [digit[row] for row in rows(content.images[:, :1])] == content.labels.tolist()
    assert torch.equal(content.images[: len(sources)], sources)


def test_batches_are_targets_and_sources(make: Make) -> None:
    b, a = next(iter(make("digit_domains", "target=inverted", "batch_size=5").batches()))
    assert b.shape == a.shape == (5, 3, 28, 28)
    assert (b.mean((1, 2, 3)) > 0).all() and (a.mean((1, 2, 3)) < 0).all()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("coloured_digits", "classes=1"), r"data\.classes"),
        (("coloured_digits", "classes=8"), f"2 to 7: {', '.join(COLOURS)}"),
        (("coloured_digits", "digits=cifar10"), r"data\.digits"),
        (("digit_domains", "degrade=edges"), r"data\.degrade"),
        (("digit_domains", "target=pink"), r"data\.target"),
        (("digit_domains", "target=white"), "choose two"),
    ],
)
def test_mistakes(make: Make, words: tuple[str, ...], told: str) -> None:
    with pytest.raises(UserError, match=told):
        make(*words)
