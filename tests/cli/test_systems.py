"""Other systems, imitated: Windows is refused in a line; macOS lacks some functions of Linux."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from PIL import Image

from gentrain.data.decoded_files import allocate
from gentrain.runs import checkpoints
from tests.support.shell import TINY, assert_fine, python, summary

WINDOWS = """
import sys
sys.platform = "win32"
for name in ("fcntl", "resource", "pwd", "termios", "_posixsubprocess"):
    sys.modules[name] = None
"""
LINE = "Windows is not supported (platform); use Linux, macOS, or the Linux subsystem, WSL"
# of `os`, what macOS does not have
OF_LINUX = (
    "posix_fallocate", "fdatasync", "sched_getaffinity", "sched_setaffinity", "pidfd_open",
    "posix_fadvise", "memfd_create", "getrandom", "copy_file_range", "eventfd", "splice",
)  # fmt: skip
MACOS = f"""
import os, sys
for name in {OF_LINUX}:
    vars(os).pop(name, None)
before = open
def macos_open(file, *args, **more):
    if str(file).startswith("/proc/"):
        raise FileNotFoundError(2, "No such file or directory", file)
    return before(file, *args, **more)
import builtins
builtins.open = macos_open
"""


@pytest.mark.parametrize(
    "start",
    [
        "from gentrain.cli.main import main; main()",
        "import runpy; runpy.run_module('gentrain', run_name='__main__')",
    ],
)
def test_windows_is_refused(start: str, env: dict[str, str], tmp_path: Path) -> None:
    """Before an import of what it lacks."""
    done = python(tmp_path, env, "-c", f"{WINDOWS}\n{start}", "model=gan", cold=True)
    assert done.returncode == 2 and done.stderr == f"gentrain: error: {LINE}\n", done


def test_windows_is_refused_in_python(env: dict[str, str], tmp_path: Path) -> None:
    code = f"""{WINDOWS}
import gentrain
try:
    gentrain.load("run")
except gentrain.UserError as error:
    print(error)
"""
    done = python(tmp_path, env, "-c", code, cold=True)
    assert (done.returncode, done.stdout) == (0, f"{LINE}\n"), done


def test_files_without_the_functions_of_linux(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("posix_fallocate", "fdatasync"):
        monkeypatch.delattr(os, name)
    allocate(tmp_path / "images.npy", (2, 1, 4, 4))
    assert (tmp_path / "images.npy").stat().st_size > 32
    checkpoints.save({"weights": torch.ones(3)}, tmp_path / "last.ckpt", 1)
    assert torch.equal(checkpoints.load(tmp_path / "last.ckpt")["weights"], torch.ones(3))


def test_a_training_without_the_functions_of_linux(env: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    for number in range(12):
        Image.new("L", (8, 8), number).save(tmp_path / "pictures" / f"{number}.png")
    own = env | {"GENTRAIN_CACHE": str(tmp_path / "cache")}
    words = (
        "model=gan", "data=image_folder", "data.root=pictures", "data.size=8", "data.channels=1",
        "network=mlp", "steps=2", "hydra.run.dir=run", *TINY, "data.batch_size=4",
    )  # fmt: skip
    start = "from gentrain.cli.main import main; main()"
    assert_fine(python(tmp_path, own, "-c", f"{MACOS}\n{start}", *words))
    assert summary(tmp_path / "run")["status"] == "completed"
