"""A run that began beside others gets their cores when they end, before its first checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from gentrain import cores
from gentrain.training.callbacks import threads
from gentrain.training.callbacks.threads import MoreThreads


@pytest.fixture
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    now = {"time": 0.0}
    monkeypatch.setattr(threads.time, "monotonic", lambda: now["time"])
    return now


def threads_after(
    free: list[int], clock: dict[str, float], monkeypatch: pytest.MonkeyPatch, **more: Any
) -> list[int]:
    """The number of threads after each second, in which so many cores are free."""
    callback, found = MoreThreads(4, **more), []
    for number in free:
        clock["time"] += 1.0
        monkeypatch.setattr(cores, "free_beside", lambda own, n=number: n)
        callback.on_train_batch_end()
        found.append(torch.get_num_threads())
    return found


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(
    ("free", "found"),
    [
        ([3, 3, 3, 3, 3, 3], [1, 1, 1, 1, 3, 3]),
        ([3, 2, 9, 9, 9], [1, 1, 1, 1, 2]),  # what all looks allow
        ([9, 9, 9, 9, 9], [1, 1, 1, 1, 4]),  # no more than the run may have
        ([3, 3, 1, 3, 3, 3, 3, 3], [1, 1, 1, 1, 1, 1, 1, 3]),  # in a row
        ([2, 2, 2, 2, 2, 4, 4, 4, 4, 4], [1, 1, 1, 1, 2, 2, 2, 2, 2, 2]),  # once
    ],
)
def test_five_looks_in_a_row_decide(
    free: list[int],
    found: list[int],
    clock: dict[str, float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert threads_after(free, clock, monkeypatch) == found


@pytest.mark.usefixtures("one_thread")
def test_not_later_than_its_patience(
    clock: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    free = [1] * 10 + [3] * 10
    assert threads_after(free, clock, monkeypatch, patience=12.0) == [1] * 20


@pytest.mark.usefixtures("one_thread")
def test_not_after_a_checkpoint(clock: dict[str, float], monkeypatch: pytest.MonkeyPatch) -> None:
    callback = MoreThreads(4)
    monkeypatch.setattr(cores, "free_beside", lambda own: 3)
    for second in range(10):
        clock["time"] += 1.0
        if second == 3:
            callback.on_save_checkpoint()
        callback.on_train_batch_end()
    assert torch.get_num_threads() == 1


@pytest.mark.usefixtures("one_thread")
def test_looks_are_a_second_apart(clock: dict[str, float], monkeypatch: pytest.MonkeyPatch) -> None:
    callback = MoreThreads(4)
    monkeypatch.setattr(cores, "free_beside", lambda own: 3)
    for _ in range(40):
        clock["time"] += 0.1
        callback.on_train_batch_end()
    assert torch.get_num_threads() == 1
    for _ in range(12):
        clock["time"] += 0.1
        callback.on_train_batch_end()
    assert torch.get_num_threads() == 3
