"""A process of the fork server is one like any other: what the other tests take for granted."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.support import fork_server
from tests.support.shell import LIMIT, plain, python, running, wait_until, without_torch

pytestmark = pytest.mark.skipif(not fork_server.AVAILABLE, reason="needs pidfd_open (Linux)")
REPORT = """
import json, os, random, sys, threading, warnings
import numpy, torch
print(json.dumps({
    "argv": sys.argv, "cwd": os.getcwd(), "mine": os.environ.get("MINE"), "name": __name__,
    "threads": threading.active_count(), "file": hasattr(sys.modules["__main__"], "__file__"),
    "handlers": [str(__import__("signal").getsignal(n)) for n in (2, 10, 12, 15, 17)],
    "cuda": torch.cuda.is_initialized(), "tty": sys.stdin.isatty(),
    "filters": [str(each[:3]) for each in warnings.filters if each[0] == "error"],
    "hydra": __import__("hydra").core.global_hydra.GlobalHydra.instance().is_initialized(),
}, sort_keys=True))
print(random.random(), numpy.random.rand(), torch.rand(()).item(), os.getpid())
"""


@pytest.mark.slow
def test_it_finds_what_a_cold_one_finds(tmp_path: Path) -> None:
    env = plain() | {"MINE": "yes", "CUDA_VISIBLE_DEVICES": ""}
    found = [
        python(tmp_path, env, "-c", REPORT, "word", cold=cold).stdout.splitlines()
        for cold in (False, False, True)
    ]
    assert found[0][0] == found[1][0] == found[2][0]
    random = [line.split() for _, line in found]
    assert all(len(set(each)) == 3 for each in zip(*random, strict=True)), "no state is shared"


@pytest.mark.parametrize(
    ("code", "status", "said"),
    [
        ("pass", 0, ""),
        ("raise SystemExit(7)", 7, ""),
        ("import sys; sys.exit('no')", 1, "no\n"),
        ("1 / 0", 1, "ZeroDivisionError"),
        ("import os; os._exit(9)", 9, ""),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL, ""),
        ("import atexit, sys; atexit.register(lambda: print('end', file=sys.stderr))", 0, "end\n"),
    ],
)
def test_how_it_ends(tmp_path: Path, code: str, status: int, said: str) -> None:
    done = python(tmp_path, plain(), "-c", code)
    assert done.returncode == status and said in done.stderr, done


def test_signals_and_children(tmp_path: Path) -> None:
    code = "import time; print('up', flush=True); time.sleep(1000)"
    with (
        running(tmp_path, plain(), "-c", code) as one,
        running(tmp_path, plain(), "-c", code) as other,
    ):
        for process in (one, other):
            wait_until(lambda process=process: process.stdout.read() == "up\n", process)
        assert one.pid != other.pid and one.poll() is None
        one.send_signal(signal.SIGINT)
        assert one.wait(LIMIT) == 130 and "KeyboardInterrupt" in one.stderr.read()
        assert other.poll() is None
        other.send_signal(signal.SIGTERM)
        assert other.wait(LIMIT) == -signal.SIGTERM
        assert not Path(f"/proc/{other.pid}").exists(), "its status was taken"


@pytest.mark.slow
def test_without_torch(tmp_path: Path) -> None:
    done = python(tmp_path, without_torch(plain()), "-c", "import torch")
    assert done.returncode == 99 and "torch was imported" in done.stderr
    assert (
        python(tmp_path, without_torch(plain()), "-c", "import gentrain.cli.main").returncode == 0
    )
