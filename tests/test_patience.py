"""Nothing takes long without a line. A patience of 0 seconds shows every line that may come."""

from __future__ import annotations

import logging
import sys
import threading
from pathlib import Path

import pytest

from gentrain import patience
from gentrain.cli import main
from gentrain.config import plugins
from gentrain.errors import UserError
from gentrain.files import acquire, exclusive
from gentrain.patience import counted, say_if_slow
from gentrain.runs import resolvers
from gentrain.training import module
from tests.support.shell import SMALL, gentrain, plain, running, wait_until
from tests.support.zoo import Zoo

HOLD = """
import sys, time
from pathlib import Path
from gentrain.files import acquire
file = acquire(Path(sys.argv[1]), wait=False)
print("mine", flush=True)
time.sleep(60)
"""


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("GENTRAIN_PATIENCE", "0")
    caplog.set_level(logging.INFO, "gentrain")


def test_a_line_comes_while_the_block_runs(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    told = threading.Event()
    heard = logging.Handler()
    heard.emit = lambda record: told.set()  # type: ignore[method-assign]
    monkeypatch.setenv("GENTRAIN_PATIENCE", "0.01")
    monkeypatch.setattr(logging.getLogger("gentrain"), "handlers", [heard])
    with caplog.at_level(logging.INFO, "gentrain"), say_if_slow("baking"):
        assert told.wait(60)
    assert caplog.messages == ["baking"]


def test_no_line_comes_for_what_is_soon_done(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "gentrain"), say_if_slow("baking"):
        timers = [one for one in threading.enumerate() if isinstance(one, threading.Timer)]
        assert timers
    for timer in timers:
        timer.join(60)  # it is cancelled, and ends
    assert not caplog.messages


def test_a_patience_that_is_no_number(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("GENTRAIN_PATIENCE", "long")
    with (
        caplog.at_level(logging.INFO, "gentrain"),
        pytest.raises(UserError, match=r"'long' is no number of seconds \(GENTRAIN_PATIENCE\); "),
        say_if_slow("baking"),
    ):
        pass


@pytest.mark.usefixtures("impatient")
def test_how_much_is_done(caplog: pytest.LogCaptureFixture) -> None:
    parts = [[1, 2], [3, 4, 5]]
    assert list(counted(parts, 5, "kneading", size=len)) == parts
    (line,) = caplog.messages
    assert line.startswith("kneading: 2/5, ") and line.endswith(" left")


@pytest.mark.usefixtures("impatient")
def test_waiting_for_a_lock_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lock = tmp_path / "lock"
    with running(tmp_path, plain(), "-c", HOLD, str(lock)) as holder:
        wait_until(lambda: holder.stdout.read() == "mine\n", holder)
        threading.Timer(0.2, holder.kill).start()
        with exclusive(lock):
            assert caplog.messages[0].startswith(f"waiting for process {holder.pid} on ")
    caplog.clear()
    acquire(lock, wait=True).close()
    assert not caplog.messages


@pytest.mark.usefixtures("impatient")
def test_compiling_is_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module.torch, "compile", lambda objective, **_: objective)
    objective = module.compiled(lambda batch: batch)  # type: ignore[arg-type, return-value]
    assert [objective(()), objective(())] == [(), ()]  # type: ignore[comparison-overlap]
    assert caplog.messages == ["compiling the objective, once a run (compile)"]


LINES = {
    "train": "reading the train split of data=mnist_5k",
    "scores": "scoring, quality=nats",
    "preparing": "preparing quality=nats for the validation split",
    "test": "preparing quality=nats for the test split",
    "saving": "saving ",
    "model": "building model=vae",
}


def test_the_lines_of_a_training(env: dict[str, str], tmp_path: Path) -> None:
    words = ("quality=nats", "quality.images=20", "quality.importance=5", "samples.n=4", "steps=2")
    sizes = ("model.encoder.width=8", "model.decoder.width=8")
    done = gentrain(
        tmp_path, env | {"GENTRAIN_PATIENCE": "0"}, "model=vae", *SMALL[:2], *words, *sizes
    )
    assert done.returncode == 0, done.stderr
    assert not [line for line in LINES.values() if line not in done.stderr], done.stderr


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("sample", "n=4", "save=none"), "drawing, mode=grid"),
        pytest.param(
            ("eval", "quality=classifier", "n=20"),
            "scoring, quality=classifier",
            marks=pytest.mark.slow,
        ),
        pytest.param(("doctor", "samples=8"), "examining 8 samples", marks=pytest.mark.slow),
    ],
)
def test_the_lines_of_commands(
    words: tuple[str, ...], line: str, zoo: Zoo, env: dict[str, str], tmp_path: Path
) -> None:
    verb, *rest = words
    run = zoo("long")
    out = [] if verb == "doctor" else [f"out={tmp_path / 'out'}"]
    done = gentrain(tmp_path, env | {"GENTRAIN_PATIENCE": "0"}, verb, f"run={run}", *rest, *out)
    assert f"opening {run}" in done.stderr and line in done.stderr, done.stderr


@pytest.mark.parametrize("reason", ["job", "plugin", "tensors"])
def test_the_import_of_torch_is_said(
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """Once, before whatever imports it first: a training, a plugin, or the shape of data."""
    import numpy as np

    np.save(tmp_path / "images.npy", np.zeros((4, 8, 8, 1), "uint8"))
    (tmp_path / "quick_plugin.py").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(patience, "announced", [])
    monkeypatch.setattr(plugins, "active", {})
    monkeypatch.setattr(sys, "path", [*sys.path])

    def imports() -> None:
        match reason:
            case "job":
                patience.announce_torch()
            case "plugin":
                plugins.active.clear()
                plugins.activate(["quick_plugin"])
            case "tensors":
                resolvers.tensors_shape(str(tmp_path / "images.npy"), None, None, "nhwc", None)

    imports()  # so that no module is imported for the first time without torch
    monkeypatch.setenv("GENTRAIN_PATIENCE", "0")
    imports()
    assert "loading torch" not in capsys.readouterr().err, "it is there already"
    monkeypatch.delitem(sys.modules, "torch")
    imports()
    imports()
    assert capsys.readouterr().err.count("gentrain: loading torch\n") == 1


@pytest.mark.parametrize("words", [("sample", "run=a b"), ("eval", "run=x"), ("model=gan",)])
def test_ctrl_c_says_how_to_begin_again(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(main, "execute", stopped)
    assert main.run(list(words)) == 130
    typed = "sample 'run=a b'" if words[0] == "sample" else " ".join(words)
    assert capsys.readouterr().err == (
        f"gentrain: stopped before the end; begin again with: gentrain {typed}\n"
    )
