"""gentrain sample and gentrain export as a shell runs them, on a small run that is trained once;
tests/sampling has the rest.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tests.support.paths import CONF, ROOT
from tests.support.shell import Done, assert_fine, assert_refused, completed, gentrain
from tests.support.zoo import Zoo

Run = Callable[..., Done]
MODES = {p.stem for p in (CONF / "mode").glob("*.yaml")}


@pytest.fixture
def cgan(zoo: Zoo) -> Path:
    """A finished run."""
    return zoo("cgan")


def test_sample(cgan: Path, tmp_path: Path, env: dict[str, str]) -> None:
    done = gentrain(
        tmp_path, env, "sample", f"run={cgan}", "mode=class_grid", "n=2", f"out={tmp_path / 'out'}"
    )
    assert_fine(done)
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "class_grid.png",
        "images.npz",
        "sample.json",
    }
    assert done.stderr == "" and f"class_grid in {tmp_path / 'out'}" in done.stdout
    assert {p.name for p in tmp_path.iterdir()} == {"out"}


def test_what_does_not_fit(cgan: Path, tmp_path: Path, env: dict[str, str]) -> None:
    done = gentrain(tmp_path, env, "sample", f"run={cgan}", "mode=invert", "out=out")
    assert_refused(done, tmp_path, "reconstructs images", "(mode=")
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_mode(run_light: Run, tmp_path: Path) -> None:
    assert_refused(
        run_light("sample", "run=nowhere", "mode=gird"), tmp_path, "gird", "did you mean grid"
    )


def test_export(cgan: Path, tmp_path: Path, env: dict[str, str]) -> None:
    """The script draws from the ONNX file alone, without torch."""
    done = gentrain(tmp_path, env, "export", f"run={cgan}", f"out={tmp_path / 'out'}")
    assert_fine(done)
    assert "ONNX within" in done.stdout and done.stderr == ""
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "generator.safetensors",
        "config.json",
        "generator.onnx",
    }
    (tmp_path / "light").mkdir()
    (tmp_path / "light" / "torch.py").write_text("raise ImportError('torch is not needed here')")
    words = [
        str(tmp_path / "out" / "generator.onnx"),
        "--n",
        "5",
        "--out",
        str(tmp_path / "grid.png"),
    ]
    script = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "sample_onnx.py"), *words],
        env=env | {"PYTHONPATH": str(tmp_path / "light")},
        capture_output=True,
        text=True,
    )
    assert script.returncode == 0, script.stderr
    assert Image.open(tmp_path / "grid.png").size == (84, 56)


# --- what answers at once -------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["sample", "export", "eval"])
def test_questions_without_torch(run_light: Run, tmp_path: Path, verb: str) -> None:
    shown = run_light(verb, "--help")
    assert (shown.returncode, shown.stderr) == (
        0,
        "",
    ) and f"gentrain {verb} run=PATH" in shown.stdout
    assert verb != "sample" or all(f"mode={mode}" in shown.stdout for mode in MODES - {"grid"})
    job = run_light(verb, "--cfg", "job", "run=x")
    assert (job.returncode, job.stderr) == (0, "") and "run: x" in job.stdout
    assert list(tmp_path.iterdir()) == []


def test_completion(light: dict[str, str], tmp_path: Path) -> None:
    assert completed(tmp_path, light, "gentrain sample mode=") == {f"mode={mode}" for mode in MODES}
    assert completed(tmp_path, light, "gentrain sample run=x mode=interpolate mode.st") == {
        "mode.steps="
    }
    assert completed(tmp_path, light, "gentrain export ave") == {"averaged="}
    assert completed(tmp_path, light, "gentrain eval imp") == {"importance="}
    assert "COMP_LINE" not in os.environ
