"""The number of threads: by affinity, cgroup quota and what others do; the user's setting wins."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gentrain import cores


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Eight cores, nothing to do, no quota."""
    for name in (*cores.USERS, *cores.WAITING):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    write(tmp_path / "proc/loadavg", "0.10 0.20 0.30 1/100 4242")
    write(tmp_path / "proc/self/cgroup", "0::/user/job")
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n", encoding="ascii")


def test_a_quiet_machine_gives_all_its_cores(machine: Path) -> None:
    assert cores.choose(machine) == cores.Threads(8, "")


@pytest.mark.parametrize(
    ("loadavg", "number"),
    [
        ("3.10 1 1 4/100 1", 5),  # three others
        ("9.00 1 1 12/100 1", 1),  # more than there are cores
        ("7.90 1 1 1/100 1", 8),  # all have just ended
        ("0.20 1 1 9/100 1", 8),  # a moment's bustle
        ("nonsense", 8),
    ],
)
def test_what_others_compute_on_is_left_to_them(machine: Path, loadavg: str, number: int) -> None:
    write(machine / "proc/loadavg", loadavg)
    assert cores.choose(machine).number == number


@pytest.mark.parametrize(
    ("files", "number"),
    [
        ({"sys/fs/cgroup/user/job/cpu.max": "200000 100000"}, 2),
        ({"sys/fs/cgroup/user/cpu.max": "350000 100000"}, 3),  # of the group above
        ({"sys/fs/cgroup/user/job/cpu.max": "50000 100000"}, 1),
        ({"sys/fs/cgroup/user/job/cpu.max": "max 100000"}, 8),
        (
            {
                "proc/self/cgroup": "4:memory:/a\n3:cpu,cpuacct:/a",
                "sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us": "400000",
                "sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us": "100000",
            },
            4,
        ),
        (
            {
                "proc/self/cgroup": "3:cpu:/a",
                "sys/fs/cgroup/cpu/a/cpu.cfs_quota_us": "-1",
                "sys/fs/cgroup/cpu/a/cpu.cfs_period_us": "100000",
            },
            8,
        ),
    ],
    ids=lambda value: str(value)[-24:],
)
def test_a_quota_is_kept(machine: Path, files: dict[str, str], number: int) -> None:
    for name, content in files.items():
        write(machine / name, content)
    assert cores.choose(machine).number == number


@pytest.mark.parametrize(
    ("loadavg", "own", "free"),
    [
        ("9.00 1 1 1/100 1", 1, 8),  # the load of the last minute does not count
        ("0.00 1 1 4/100 1", 1, 5),
        ("0.00 1 1 4/100 1", 3, 7),
        ("0.00 1 1 12/100 1", 1, 0),
        ("nonsense", 3, 3),
    ],
)
def test_cores_that_are_free_now(machine: Path, loadavg: str, own: int, free: int) -> None:
    write(machine / "proc/loadavg", loadavg)
    assert cores.free_beside(own, machine) == free


@pytest.mark.parametrize("name", cores.USERS)
def test_the_users_number_wins(machine: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "3")
    assert cores.choose(machine) == cores.Threads(None, f"{name}=3")


@pytest.mark.parametrize("name", ["", *cores.WAITING])
def test_the_users_way_of_waiting_wins(
    machine: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name:
        monkeypatch.setenv(name, "7")
    before = dict(os.environ)
    monkeypatch.setattr(os, "environ", before)
    cores.wait_politely()
    wanted = {"": cores.SPINS, "GOMP_SPINCOUNT": "7"}.get(name)
    assert before.get("GOMP_SPINCOUNT") == wanted
