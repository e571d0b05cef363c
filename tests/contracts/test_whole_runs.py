"""Every GAN preset through the program: resumed bit for bit, sampled, exported, in two processes.

The players are narrow, and a run has a few steps; all else is the preset's own, its data included.
All tests are slow. `-k NAME` chooses a preset.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from gentrain.commands.check.equality import difference
from tests.support.compose import unresolved
from tests.support.presets import PRESETS
from tests.support.shell import assert_fine, gentrain
from tests.training.test_devices import TWO, assert_ranks_equal, probed

pytestmark = pytest.mark.slow

SMALL = ("logger=csv", "quality=none", "samples.n=4", "samples.every=0", "data.batch_size=8")
NARROW = 4  # channels
# tricks with a state of their own, by a preset that takes them
TRICKS = {
    "top_k": "dcgan", "unrolled": "gan", "ema": "dcgan", "replay": "dcgan",
    "historical_averaging": "dcgan",
}  # fmt: skip
CASES = {
    **{preset: (f"model={preset}",) for preset in PRESETS},
    **{trick: (f"model={preset}", f"tricks=[{trick}]") for trick, preset in TRICKS.items()},
}
# they make images of noise, and not of images
WITHOUT_NOISE = {
    "pix2pix", "colorization", "inpainting", "cyclegan", "stargan", "srgan",
}  # fmt: skip


def widths(node: Any, path: str) -> Iterator[str]:
    """The words that make each network below a node narrow."""
    if isinstance(node, dict):
        for name, value in node.items():
            if name in ("width", "joint_width") and value is not None:
                yield f"{path}.{name}={NARROW if name == 'width' else 4 * NARROW}"
            else:
                yield from widths(value, f"{path}.{name}")


def words_of(case: str) -> tuple[str, ...]:
    words = CASES[case]
    return (*words, *SMALL, *widths(unresolved(*words)["model"], "model"))


def checkpoint(directory: Path) -> dict[str, Any]:
    path = directory / "checkpoints" / "last.ckpt"
    return torch.load(path, weights_only=True, map_location="cpu")


@pytest.mark.parametrize("case", CASES)
def test_a_resumed_run_is_the_one_that_was_not_stopped(
    case: str, tmp_path: Path, env: dict[str, str]
) -> None:
    """Bit for bit: weights, buffers, optimizers, random numbers; then samples and an export."""
    words = (
        *words_of(case), "trainer=cpu", "seed=3", "checkpoint.every=0",
        "schedule=constant",  # another is of so many steps
    )  # fmt: skip
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for place, more in (
        (whole, ("steps=4",)),
        (parts, ("steps=2",)),
        (parts, ("steps=4", "resume=auto")),
    ):
        assert_fine(gentrain(tmp_path, env, *words, f"hydra.run.dir={place}", *more))
    one, other = checkpoint(whole), checkpoint(parts)
    for key in ("global_step", "state_dict", "optimizer_states", "lr_schedulers", "rng"):
        assert difference(one[key], other[key], key) is None
    if case in WITHOUT_NOISE:
        return
    out = tmp_path / "out"
    assert_fine(gentrain(tmp_path, env, "sample", f"run={parts}", "n=3", f"out={out}"))
    assert (out / "grid.png").exists()
    # which compares what the file gives with the model
    assert_fine(gentrain(tmp_path, env, "export", f"run={parts}", f"out={tmp_path / 'export'}"))
    assert (tmp_path / "export" / "generator.onnx").stat().st_size > 0


@pytest.mark.parametrize("case", CASES)
def test_two_processes_have_the_same_weights(case: str, tmp_path: Path) -> None:
    probed(tmp_path, *words_of(case), *TWO, "steps=2")
    assert_ranks_equal(tmp_path)


def test_what_has_no_noise_is_a_preset() -> None:
    assert set(PRESETS) >= WITHOUT_NOISE
