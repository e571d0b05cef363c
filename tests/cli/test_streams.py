"""Terminals and disks as they are elsewhere: closed streams, another locale, no room."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gentrain.cli import main
from gentrain.files import messages_to
from tests.support import made_runs
from tests.support.shell import GENTRAIN, SMALL, gentrain, python

TRAIN = (
    "model=dcgan", "steps=1", "data.batch_size=8", "model.generator.width=4",
    "model.critic.width=4", "samples.n=4", *SMALL,
)  # fmt: skip


# what an interpreter makes of streams that were closed before it started
CLOSED = """
import os, sys
for number in map(int, sys.argv.pop()):
    os.close(number)
    for name in (["stdout", "__stdout__"], ["stderr", "__stderr__"])[number - 1]:
        setattr(sys, name, None)
from gentrain.cli.main import main
main()
"""


@pytest.mark.parametrize(
    "closed", ["12", *(pytest.param(n, marks=pytest.mark.slow) for n in ("1", "2"))]
)
def test_closed_streams(closed: str, env: dict[str, str], tmp_path: Path) -> None:
    done = python(tmp_path, env, "-c", CLOSED, *TRAIN, "hydra.run.dir=run", closed)
    assert done.returncode == 0 and (tmp_path / "run" / "summary.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("closed", ["1>&- 2>&-", "2>&-", "1>&-", "2>/dev/full"])
def test_a_closed_stream(closed: str, env: dict[str, str], tmp_path: Path) -> None:
    words = " ".join([GENTRAIN, *TRAIN, "hydra.run.dir=run"])
    status = subprocess.run(["bash", "-c", f"{words} {closed}"], cwd=tmp_path, env=env).returncode
    assert status == 0 and (tmp_path / "run" / "summary.json").exists()


needs_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has /dev/full")


@needs_full
@pytest.mark.parametrize(
    ("words", "status"),
    [("model=gann 2>/dev/full", 2), ("bs=3 nothing=3 2>/dev/full", 2), ("list 2>/dev/full", 0)],
)
def test_messages_that_cannot_be_written_are_lost(
    words: str, status: int, light: dict[str, str], tmp_path: Path
) -> None:
    done = subprocess.run(["bash", "-c", f"{GENTRAIN} {words}"], cwd=tmp_path, env=light)
    assert done.returncode == status


@needs_full
@pytest.mark.parametrize("words", ["--version", "list models"])
def test_results_that_cannot_be_written_are_an_error(
    words: str, light: dict[str, str], tmp_path: Path
) -> None:
    command = ["bash", "-c", f"{GENTRAIN} {words} >/dev/full"]
    done = subprocess.run(command, cwd=tmp_path, env=light, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 4 and done.stderr.count("\n") == 1, done.stderr
    assert "No space left on device" in done.stderr


@needs_full
def test_a_stream_of_messages() -> None:
    number = os.open("/dev/full", os.O_WRONLY)
    print("a line that is lost", file=messages_to(number, "utf-8", "strict"), flush=True)
    os.close(number)


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", ["list models", "compare r page=false"])
def test_a_reader_that_is_gone(
    words: str, unbuffered: str, light: dict[str, str], tmp_path: Path
) -> None:
    """gentrain list | head: what is left to print is thrown away, and nothing is said of it."""
    made_runs.run(tmp_path / "r")
    done = subprocess.run(
        ["bash", "-c", f"{GENTRAIN} {words} | true; exit ${{PIPESTATUS[0]}}"],
        cwd=tmp_path, env=light | {"PYTHONUNBUFFERED": unbuffered}, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")


@pytest.mark.slow
def test_a_name_that_the_locale_has_not(env: dict[str, str], tmp_path: Path) -> None:
    place = os.fsdecode("é".encode())
    done = gentrain(tmp_path, env | ASCII, *TRAIN, f"hydra.run.dir={place}", cold=True)
    assert done.returncode == 0 and "Logging error" not in done.stderr, done.stderr
    log = (tmp_path / place / "train.log").read_text("utf-8")
    assert "done: 1 steps" in log


ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.slow
def test_a_sweep_whose_name_the_locale_has_not(env: dict[str, str], tmp_path: Path) -> None:
    """The bytes of the name come through, and the table has ± in some form."""
    name = os.fsdecode("é".encode())
    words = ("-m", "seeds=2", f"sweep.name={name}", *TRAIN)
    done = gentrain(tmp_path, env | ASCII, *words, cold=True)
    assert done.returncode == 0 and "Logging error" not in done.stderr, done.stderr
    sweep = tmp_path / "outputs" / "sweeps" / "é"
    assert "é" in (sweep / "table.csv").read_text("utf-8")
    assert "é" in (sweep / "001" / "cell.log").read_text("utf-8")
    assert "\\xb1 standard deviation" in done.stdout and "é" in done.stdout


@pytest.mark.parametrize("what", ["models"])
def test_a_list_in_ascii(what: str, light: dict[str, str], tmp_path: Path) -> None:
    done = gentrain(tmp_path, light | ASCII, "list", what, cold=True)
    assert done.returncode == 0 and done.stdout.isascii() and done.stderr == "", done


@pytest.mark.parametrize("words", [("list", "models"), ("sample", "run=\udcff")])
def test_a_stream_that_lacks_characters(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name with a byte that is no UTF-8 is printed as it is."""
    written = io.BytesIO()
    stream = io.TextIOWrapper(written, "ascii", "strict", write_through=True)
    monkeypatch.setattr(sys, "argv", ["gentrain", *words])
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, stream)
    with pytest.raises(SystemExit):
        main.main()
    assert written.getvalue() and b"Traceback" not in written.getvalue()
    assert words[0] == "list" or b"no run in \xff (run)" in written.getvalue()


@pytest.mark.parametrize("words", [("--help",), ("-m", "model=dcgan", "seed=0,1"), ("list",)])
def test_an_error_of_the_disk_is_one_line(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "/full/file")

    monkeypatch.setattr(main, "execute", full)
    assert main.run(list(words)) == 4
    assert capsys.readouterr().err.startswith("gentrain: error: /full/file: No space left")
