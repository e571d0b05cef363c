"""Checkpoint files under fire: F2, F6, F7, F8 of the list of faults, and bad inputs 22, 25, 26."""

from __future__ import annotations

import os
import pickle
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from gentrain.errors import Unavailable, UserError
from gentrain.files import remove_unfinished
from gentrain.runs.checkpoints import (
    MARK,
    Damaged,
    load,
    newest_valid,
    save,
    step_of,
    verify,
)
from tests.support.bomb import Bomb
from tests.support.shell import plain, running, wait_until


def state(step: int = 1) -> dict[str, object]:
    return {"global_step": step, "weights": torch.arange(5000.0) + step, "names": ["a", "b"]}


@pytest.fixture
def last(tmp_path: Path) -> Path:
    path = tmp_path / "checkpoints" / "last.ckpt"
    save(state(), path)
    return path


def test_a_file_is_torchs_own_and_a_checksum(last: Path) -> None:
    verify(last)
    assert torch.equal(torch.load(last, weights_only=True)["weights"], state()["weights"])
    assert step_of(last) == 1
    assert last.read_bytes()[-24:].startswith(MARK)


def test_every_flipped_bit_is_found(last: Path) -> None:
    whole, draw = last.read_bytes(), random.Random(0)
    for place in [
        0,
        len(whole) - 1,
        len(whole) - 20,
        *(draw.randrange(len(whole)) for _ in range(200)),
    ]:
        broken = bytearray(whole)
        broken[place] ^= 1 << draw.randrange(8)
        last.write_bytes(broken)
        with pytest.raises(Damaged):
            verify(last)


@pytest.mark.parametrize("size", [0, 1, 23, 24, 25, 5000, -1])
def test_a_cut_file_is_found(last: Path, size: int) -> None:
    last.write_bytes(last.read_bytes()[:size])
    with pytest.raises(Damaged):
        verify(last)


def test_the_last_k_stay_and_the_newest_whole_one_is_used(
    last: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for step in range(2, 7):
        save(state(step), last, keep=3)
    assert sorted(p.name for p in last.parent.iterdir()) == [
        "last-1.ckpt",
        "last-2.ckpt",
        "last.ckpt",
    ]
    assert [step_of(last.with_name(n)) for n in ("last.ckpt", "last-1.ckpt", "last-2.ckpt")] == [
        6,
        5,
        4,
    ]
    assert newest_valid(last) == last
    last.write_bytes(b"")
    with caplog.at_level("WARNING", "gentrain"):
        assert newest_valid(last) == last.with_name("last-1.ckpt")
    assert "last.ckpt" in caplog.text
    assert "last-1.ckpt" in caplog.text
    for file in last.parent.iterdir():
        file.write_bytes(b"nothing")
    with pytest.raises(
        Unavailable, match=r"last\.ckpt.*last-1\.ckpt.*last-2\.ckpt.*start a new run"
    ):
        newest_valid(last)


@pytest.mark.parametrize("dressed", [False, True])
def test_a_malicious_pickle_is_not_run(tmp_path: Path, dressed: bool) -> None:
    """Plain, or in torch's own format with a right checksum."""
    path, canary = tmp_path / "last.ckpt", tmp_path / "canary"
    if dressed:
        save({"global_step": 1, "x": Bomb(canary)}, path)
        verify(path)
    else:
        path.write_bytes(pickle.dumps(Bomb(canary)))
    with pytest.raises(UserError, match="not loaded") as refused:
        load(path)
    assert "weights_only" not in str(refused.value)  # no advice to switch the check off
    assert not canary.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk_leaves_the_old_checkpoint(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True
    ).returncode:
        pytest.skip("no tmpfs here")
    try:
        path = disk / "last.ckpt"
        save(state(), path)
        before = path.read_bytes()
        with pytest.raises(
            Unavailable, match=r"No space left.*MB and more are needed.*MB are free"
        ):
            save({"global_step": 2, "weights": torch.randn(2_000_000)}, path)
        assert path.read_bytes() == before
        assert [p.name for p in disk.iterdir()] == ["last.ckpt"]
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_directory_that_cannot_be_written_to_is_told(
    last: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    before = last.read_bytes()
    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(Unavailable, match="Permission denied"):
        save(state(2), last)
    assert last.read_bytes() == before


def test_only_dead_processes_leftovers_are_removed(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    theirs, ours = (
        tmp_path / f".last.ckpt.{dead.pid}.tmp",
        tmp_path / f".last.ckpt.{os.getpid()}.tmp",
    )
    theirs.touch()
    ours.touch()
    remove_unfinished(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [ours.name]


KILLED = """
import sys, torch
from pathlib import Path
from gentrain.runs.checkpoints import save
for step in range(100000):
    weights = torch.full((400_000,), float(step))
    save({"global_step": step, "w": weights}, Path(sys.argv[1]))
    print(step, flush=True)
"""


def test_killed_while_saving(tmp_path: Path) -> None:
    """F2: SIGKILL at random moments of an endless save, TMPDIR on another file system: never a file
    that does not load.
    """
    kills(tmp_path, 3)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_killed_while_saving_a_hundred_times(tmp_path: Path) -> None:
    kills(tmp_path, 100)


def kills(folder: Path, times: int) -> None:
    draw, path = random.Random(1), folder / "last.ckpt"
    env = plain() | {"TMPDIR": "/dev/shm" if os.path.isdir("/dev/shm") else str(folder)}
    for _ in range(times):
        with running(folder, env, "-c", KILLED, str(path)) as process:
            wait_until(lambda process=process: "\n" in process.stdout.read(), process)
            time.sleep(draw.uniform(0, 0.3))
            process.kill()
            process.wait()
        remove_unfinished(folder)
        used = newest_valid(path)
        assert used == path
        content = load(used)
        assert torch.equal(content["w"], torch.full((400_000,), float(content["global_step"])))
        assert {p.name for p in folder.iterdir()} <= {"last.ckpt", "last-1.ckpt"}
