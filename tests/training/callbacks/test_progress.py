"""A bar of generator steps on a terminal, plain lines elsewhere."""

import io
import logging
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from gentrain.training.callbacks.progress import Bar, Lines, headlines, progress
from tests.support.toy import train


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_on_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    bar = progress(refresh=0)
    assert isinstance(bar, Bar)
    train(tmp_path, 6, [bar])
    assert (
        "6/6" in screen.getvalue()
        and "images/s" in screen.getvalue()
        and "critic/adversarial" in screen.getvalue()
    )
    assert "18" not in re.findall(r"(\d+)/6", screen.getvalue())


def test_lines_elsewhere(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lines = progress(seconds=0)
    assert isinstance(lines, Lines)
    with caplog.at_level(logging.INFO, "gentrain"):
        train(tmp_path, 6, [lines], log_every=3)
    said = [record.getMessage() for record in caplog.records if record.name == "gentrain"]
    assert [line.split("  ")[0] for line in said] == ["step 3/6", "step 6/6"]
    assert re.fullmatch(
        r"step 3/6  critic/adversarial \S+  generator/adversarial \S+  "
        r"[\d,]+ images/s  \d\d:\d\d left",
        said[0],
    )


def test_lines_keep_their_distance(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "gentrain"):
        train(tmp_path, 6, [Lines(seconds=3600)])
    assert [r.getMessage().split("  ")[0] for r in caplog.records if r.name == "gentrain"] == [
        "step 6/6"
    ]


def test_headlines_are_the_first_of_each_group() -> None:
    latest = {
        "critic/adversarial": -3.214,
        "critic/gp": 1.0,
        "images_per_second": 5.0,
        "quality/n": 500.0,
        "quality/fid": 12.0,
    }
    module = SimpleNamespace(latest=latest, log_every=50, global_step=100)
    module.logged_at = dict.fromkeys(latest, 100)
    assert headlines(module) == ["critic/adversarial -3.21", "quality/fid 12"]


def test_an_old_score_has_its_step() -> None:
    latest = {"critic/adversarial": 1.0, "quality/fid": 12.0, "test/fid": 13.0}
    module = SimpleNamespace(latest=latest, log_every=50, global_step=750)
    module.logged_at = {"critic/adversarial": 700, "quality/fid": 500}  # test/fid: before a resume
    assert headlines(module) == [
        "critic/adversarial 1", "quality/fid 12 (step 500)", "test/fid 13 (earlier)",
    ]  # fmt: skip


def test_a_log_file_has_lines_beside_a_bar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    screen, file = Terminal(), tmp_path / "train.log"
    handler = logging.FileHandler(file)
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler])
    train(tmp_path, 6, [progress(seconds=0)], log_every=3)
    handler.close()
    said = [line for line in file.read_text().splitlines() if line.startswith("step")]
    assert [line.split("  ")[0] for line in said] == ["step 3/6", "step 6/6"]
    assert "step 3/6" not in screen.getvalue()


def test_the_first_line_waits_neither_for_scalars_nor_for_its_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("GENTRAIN_PATIENCE", "0")
    with caplog.at_level(logging.INFO, "gentrain"):
        train(tmp_path, 6, [Lines(seconds=3600)], log_every=100)
    said = [r.getMessage() for r in caplog.records if r.getMessage().startswith("step")]
    assert re.fullmatch(r"step 1/6  [\d,]+ images/s  \d\d:\d\d left", said[0]), said
    assert [line.split("  ")[0] for line in said] == ["step 1/6", "step 6/6"]
