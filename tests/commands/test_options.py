"""Every option of `gentrain eval` changes what is printed or is refused."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from gentrain.config.schema import Evaluate
from tests.support.program import Program, refused
from tests.support.zoo import Zoo

# two values of each option
VALUES = {
    "averaged": ("true", "false"),
    "quality": ("none", "classifier"),
    "n": ("10", "20"),
    "importance": ("2", "4"),
    "split": ("test", "train"),
    "seed": ("0", "1"),
    "mean": ("true", "false"),
    "temperature": ("0.5", "1"),
}
# These say where to read, write or compute, and how many images are in memory at a time.
PLACES = {
    "run", "images", "against", "checkpoint", "out", "device", "batch_size", "plugins", "debug",
}  # fmt: skip
# small numbers, so that the test is quick; an option under test comes after these
QUICK = {
    "gan": ("n=20",),
    "vae": ("n=20", "importance=2"),
    "m2": ("n=20", "importance=2"),
    "rbm": ("n=20",),
    "pixelcnn": ("n=4",),
    "edges": ("n=20",),
}


def test_all_options_are_known() -> None:
    assert {field.name for field in fields(Evaluate)} == VALUES.keys() | PLACES


@pytest.mark.parametrize("option", VALUES)
@pytest.mark.parametrize("name", QUICK)
def test_an_option_changes_the_scores_or_is_refused(
    name: str, option: str, zoo: Zoo, tmp_path: Path, gentrain: Program
) -> None:
    out = tmp_path / "eval.json"
    outcomes: list[Any] = []
    kept = [word for word in QUICK[name] if not word.startswith(f"{option}=")]
    for value in VALUES[option]:
        done = gentrain("eval", f"run={zoo(name)}", f"out={out}", *kept, f"{option}={value}")
        if done.status:
            refused(done, f"({option}")
            assert not out.exists()
            return
        outcomes.append(json.loads(out.read_text())["scores"])
        out.unlink()
    assert outcomes[0] != outcomes[1]
