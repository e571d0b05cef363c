"""Kinds of labels: one of K classes, or any of K attributes; against sums and sets by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gentrain.data.labels import Attributes, Exclusive, LabelKind
from gentrain.errors import UserError

NAMES = ["black", "blond", "male", "young"]
HAIR = Attributes(NAMES, [["black", "blond", "gray"]])
EVERY = torch.tensor(list(itertools.product((0, 1), repeat=4)))


def changed(own: list[int], k: int) -> list[int]:
    """Attribute k flipped; of the hair colours, k instead of any other."""
    new = list(own)
    if NAMES[k] in ("black", "blond"):
        new[0] = new[1] = 0
        new[k] = 1
    else:
        new[k] = 1 - new[k]
    return new


def test_a_translation_changes_one_attribute() -> None:
    for k in range(4):
        found = HAIR.turned(EVERY, torch.full((16,), k))
        assert found.tolist() == [changed(own, k) for own in EVERY.tolist()]
    free = Attributes(NAMES).turned(EVERY, torch.zeros(16, dtype=torch.int64))
    assert torch.equal(free[:, 0], 1 - EVERY[:, 0]) and torch.equal(free[:, 1:], EVERY[:, 1:])
    assert HAIR.following(EVERY, 4).tolist() == [
        changed(own, i % 4) for i, own in enumerate(EVERY.tolist())
    ]


def test_another_label_is_each_of_those_one_change_away() -> None:
    torch.manual_seed(0)
    found = HAIR.others(EVERY.repeat(200, 1), 4).unflatten(0, (200, 16))
    for i, own in enumerate(EVERY.tolist()):
        near = {tuple(changed(own, k)) for k in range(4)} - {tuple(own)}
        counts = [(found[:, i] == torch.tensor(label)).all(1).sum().item() for label in near]
        assert sum(counts) == 200 and min(counts) > 200 / len(near) / 2
    y = torch.arange(3).repeat(100)
    others = Exclusive().others(y, 3)
    assert (others != y).all() and torch.bincount(others).min() > 50
    assert Exclusive().following(y[:3], 3).tolist() == [1, 2, 0]


def test_likelihoods_by_hand() -> None:
    logits, y = torch.randn(5, 4), torch.randint(2, (5, 4))
    p = 1 / (1 + np.exp(-logits.double().numpy()))
    each = np.where(y.numpy() == 1, p, 1 - p)
    assert HAIR.nll(logits, y).item() == pytest.approx(-np.log(each).sum() / 5, rel=1e-5)
    assert HAIR.accuracy(logits, y).item() == pytest.approx((each > 0.5).mean())
    classes = torch.randint(4, (5,))
    torch.testing.assert_close(Exclusive().nll(logits, classes), F.cross_entropy(logits, classes))
    assert Exclusive().predict(logits).tolist() == logits.argmax(1).tolist()


@pytest.mark.parametrize(
    ("kind", "words", "label"),
    [
        (Exclusive(), "male", 2),
        (Exclusive(), "2", 2),
        (HAIR, "blond+young", [0, 1, 0, 1]),
        (HAIR, "male", [0, 0, 1, 0]),
        (HAIR, "0+3", [1, 0, 0, 1]),
    ],
)
def test_labels_by_name(kind: LabelKind, words: str, label: object) -> None:
    assert kind.named(words, NAMES).tolist() == label
    with pytest.raises(UserError, match=r"no domain bald \(domain\); give one of black, blond"):
        kind.named("bald", NAMES)


def test_vectors_and_tables() -> None:
    has = torch.tensor([[1, 0], [1, 1], [0, 1], [0, 0]]).bool()
    labels, rows = Exclusive().of_table(has)
    assert labels.tolist() == [0, 1] and rows.tolist() == [0, 2]
    assert Exclusive().vectors(labels, 2).tolist() == [[1, 0], [0, 1]]
    labels, rows = Attributes(["a", "b"]).of_table(has)
    assert labels.tolist() == has.long().tolist() and rows.tolist() == [0, 1, 2, 3]
    assert torch.equal(Attributes(["a", "b"]).vectors(labels, 2), has.float())
