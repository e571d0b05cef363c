"""Compiled updates: every loss with every Lipschitz method, and runs that are resumed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gentrain.errors import UserError
from tests.support.paths import CONF
from tests.support.program import in_process
from tests.training.test_fast_paths import (
    NARROW,
    assert_close,
    backend,
    batch,
    compiled,
    eagerly,
    scheme,
)

__all__ = ["backend"]
LOSSES = sorted(path.stem for path in (CONF / "loss").glob("*.yaml"))
METHODS = sorted(path.stem for path in (CONF / "lipschitz").glob("*.yaml"))
WORDS = (
    "model=wgan_gp", "network=mlp", *NARROW, "data.batch_size=8", "trainer=cpu", "quality=none",
    "logger=csv", "samples.every=0", "checkpoint.every=2", "scheme.log_every=1", "compile=true",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("lipschitz", METHODS)
@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_and_lipschitz_method(loss: str, lipschitz: str, backend: object) -> None:
    """Values and gradients of both players, compiled and eager, with the same draws."""
    words = ("model=gan", "network=mlp", *NARROW, f"loss={loss}", f"lipschitz={lipschitz}")
    try:
        scheme(*words)
    except UserError as error:
        pytest.skip(str(error))
    for player in ("critic", "generator"):
        found = []
        for way in (eagerly, compiled):
            model = scheme(*words).model
            torch.manual_seed(7)
            model.init_from_batch(batch())
            torch.manual_seed(8)
            found.append(way(model, player, batch()))
        (want, gradients), (got, ours) = found
        assert want.losses.keys() == got.losses.keys()
        for name, value in want.losses.items():
            torch.testing.assert_close(got.losses[name], value.detach(), rtol=1e-5, atol=1e-5)
        assert_close(ours, gradients, 1e-5)


@pytest.mark.slow
def test_a_compiled_run_resumes_bit_for_bit(
    tmp_path: Path,
    env: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With inductor, in processes whose graphs are built anew."""
    program = in_process(tmp_path, env, monkeypatch, capsys)
    ends = {}
    for name, parts in {"whole": [5], "parts": [3, 5]}.items():
        for steps in parts:
            torch._dynamo.reset()
            done = program(*WORDS, f"steps={steps}", "resume=auto", f"hydra.run.dir={name}")
            assert done.status == 0, done.stderr
        ends[name] = torch.load(tmp_path / name / "checkpoints" / "last.ckpt", weights_only=True)
    assert ends["whole"]["compiled"]["chosen"] == {"critic": True, "generator": True}
    assert ends["parts"]["compiled"] == ends["whole"]["compiled"]
    one, other = (end["state_dict"] for end in ends.values())
    assert one.keys() == other.keys()
    for key, value in one.items():
        same = torch.equal(value, other[key]) if torch.is_tensor(value) else value == other[key]
        assert same, key
