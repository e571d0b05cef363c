"""On a GPU: every preset trains, is scored, and is sampled."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from tests.support.program import Program, fine
from tests.support.shell import presets, summary

WORDS = (
    "trainer=gpu",
    "logger=csv",
    "steps=2",
    "scheme.log_every=1",
    "samples.every=1",
    "samples.n=4",
    "data.batch_size=16",
    "checkpoint.every=0",
)


@pytest.mark.gpu
@pytest.mark.parametrize("model", sorted(presets()))
def test_every_preset_trains_on_a_gpu(model: str, tmp_path: Path, program: Program) -> None:
    teacher = () if model != "iaf_distilled" else ("quality=none",)
    done = program(f"model={model}", *WORDS, *teacher, "hydra.run.dir=run")
    assert done.status == 0, done.stderr[-3000:]
    end = summary(tmp_path / "run")
    assert end["status"] == "completed"
    assert not end["device"].startswith("CPU")
    curves = {name: value for name, value in end["metrics"].items() if "/" in name}
    assert any("quality/" not in name for name in curves)
    broken = [n for n, v in curves.items() if v is not None and not math.isfinite(v)]
    assert not broken
    fine(program("sample", "run=run", "device=cuda", "out=made"))
    assert any((tmp_path / "made").iterdir())
