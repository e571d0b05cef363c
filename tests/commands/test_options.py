"""Every option of `gentrain eval`, `export`, `doctor` and `compare` has an effect or is refused."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from gentrain.commands.doctor import diagnose
from gentrain.config.schema import Compare, Doctor, Evaluate, Export
from gentrain.quality import diagnostics
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
# These say where to read, write or compute, and how many images are in memory at a time; `ais` is
# a metric, and as such in tests/contracts/test_metrics.py.
PLACES = {
    "ais", "run", "images", "against", "checkpoint", "out", "device", "batch_size", "plugins",
    "debug",
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
@pytest.mark.parametrize(
    "name",
    [
        name if name in ("gan", "vae", "rbm") else pytest.param(name, marks=pytest.mark.slow)
        for name in QUICK
    ],
)
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


# --- the other commands for runs ------------------------------------------------------------------

EXPORTED = {"onnx": ("true", "false"), "averaged": ("true", "false")}
COMPARED = {
    "sort": ("name", "wall_seconds"),
    "order": ("ascending", "descending"),
    "page": ("true", "false"),
    "picture_pixels": ("64", "256"),
    "picture_megabytes": ("0", "16"),
    "across": ("[]", "[no_such_part]"),
}


def test_all_options_of_the_others_are_known() -> None:
    places = {"run", "runs", "checkpoint", "out", "plugins", "debug"}
    assert {field.name for field in fields(Export)} == EXPORTED.keys() | places - {"runs"}
    assert {field.name for field in fields(Compare)} == COMPARED.keys() | {"runs", "out", "debug"}
    assert {field.name for field in fields(Doctor)} == {"run", "samples", "plugins", "debug"}


def contents(folder: Path) -> dict[str, bytes]:
    """The files of a folder by name."""
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


@pytest.mark.parametrize("option", EXPORTED)
def test_an_option_changes_what_is_exported(
    option: str, zoo: Zoo, tmp_path: Path, gentrain: Program
) -> None:
    found = []
    for value in EXPORTED[option]:
        out = tmp_path / value
        words = ("export", f"run={zoo('gan')}", f"out={out}", "onnx=false", f"{option}={value}")
        assert gentrain(*words).status == 0
        files = contents(out)
        found.append((files.keys(), files["generator.safetensors"]))
    assert found[0] != found[1]


@pytest.mark.parametrize("option", COMPARED)
def test_an_option_changes_the_comparison(
    option: str, zoo: Zoo, tmp_path: Path, gentrain: Program
) -> None:
    runs = f"runs={zoo('gan')},{zoo('cgan')},{zoo('vae')}"
    found: list[Any] = []
    for value in COMPARED[option]:
        out = tmp_path / value.strip("[]")
        words = () if option == "sort" else ("sort=name",)
        done = gentrain("compare", runs, f"out={out}", *words, f"{option}={value}")
        if done.status:
            refused(done, f"({option}")
            return
        found.append(
            (contents(out), [line for line in done.stdout.split("\n") if "all of" not in line])
        )
    assert found[0] != found[1]


def test_the_doctor_looks_at_so_many_samples(
    zoo: Zoo, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def measured(*args: Any) -> Any:
        asked.append(measure(*args))
        return asked[-1]

    measure = diagnostics.measure
    monkeypatch.setattr("gentrain.commands.doctor.measure", measured)
    for samples in (16, 32):
        diagnose(zoo("gan"), samples)
    assert str(asked[0]) != str(asked[1])
