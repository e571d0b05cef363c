"""Every notebook of examples/: its form, and each of its cells as it would run."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from gentrain.errors import UserError
from tests.support.paths import ROOT

NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
# what makes their trainings and their estimates short ones
SHORT = {
    "STEPS": 1, "CGAN_STEPS": 1, "TEMPERATURES": 2, "IMAGES": 2, "SIDE": 12,
}  # fmt: skip
NARROW = {
    "network.width=16": "network.width=4", "network.depth=3": "network.depth=1",
    "range(3)": "range(1)",
}  # fmt: skip
PUBLIC = {"gentrain", "matplotlib", "torch", "math"}
FAMILIES = {"gan", "vae", "flow", "autoregressive", "energy"}  # the packages of models


@pytest.fixture(scope="module")
def runner() -> ModuleType:
    spec = importlib.util.spec_from_file_location("notebooks", ROOT / "scripts/notebooks.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text("utf-8"))


def sources(notebook: dict[str, Any], kind: str) -> list[str]:
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == kind]


def shortened(source: str) -> str:
    """A cell with small numbers in the place of those that it sets, and short trainings."""
    for name, number in SHORT.items():
        source = re.sub(rf"^{name} = \d+", f"{name} = {number}", source, flags=re.MULTILINE)
    for wide, narrow in NARROW.items():
        source = source.replace(wide, narrow)
    small = "".join(f'"{word}", ' for word in ("samples.n=4", "trainer=cpu"))
    return source.replace("gentrain.train(", f"gentrain.train({small}")


def test_each_family_has_one() -> None:
    packages = {path.parent.name for path in (ROOT / "src/gentrain/models").glob("*/__init__.py")}
    assert packages == FAMILIES
    assert {file.stem for file in NOTEBOOKS} == FAMILIES | {"translation"}


LONG = ("gan", "vae", "translation")  # to run


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_form(file: Path, runner: ModuleType) -> None:
    notebook = read(file)
    code, prose = sources(notebook, "code"), sources(notebook, "markdown")
    assert file.read_text("utf-8") == runner.as_text(notebook)
    assert file.stat().st_size < 250_000
    assert 8 <= len(notebook["cells"]) <= 18
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
    assert "$$" in prose[0] and re.search(r"(19|20)\d\d", prose[0])  # a formula and a paper
    assert prose[-1].startswith("## Exercise")
    assert re.search(r"^STEPS = \d", code[0], re.MULTILINE)
    lines = "\n".join([*code, *prose]).splitlines()
    assert max(map(len, lines)) <= 100
    for node in ast.walk(ast.parse("\n".join(code))):
        match node:
            case ast.Import(names=names):
                assert {alias.name.partition(".")[0] for alias in names} <= PUBLIC
            case ast.ImportFrom():
                pytest.fail(f"{file.name} imports from {node.module}, and not the public API")


@pytest.mark.parametrize(
    "file",
    [
        pytest.param(file, marks=[pytest.mark.slow] if file.stem in LONG else [], id=file.stem)
        for file in NOTEBOOKS
    ],
)
def test_cells_run(
    file: Path,
    runner: ModuleType,
    tmp_path: Path,
    env: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GENTRAIN_CACHE", env["GENTRAIN_CACHE"])
    notebook = read(file)
    for cell in notebook["cells"]:
        cell["source"] = [shortened("".join(cell["source"]))]
    runner.execute(notebook)
    shown = [out for cell in notebook["cells"] for out in cell.get("outputs", [])]
    assert not any(out["output_type"] == "error" for out in shown)
    assert sum("image/png" in out.get("data", {}) for out in shown) >= 3  # pictures


def test_a_fault_in_a_cell_is_an_error(runner: ModuleType) -> None:
    with pytest.raises(UserError, match="no run"):
        runner.run_cell("import gentrain\ngentrain.load('nowhere')", {})


def test_what_a_cell_displays(runner: ModuleType) -> None:
    picture, text, figure = (
        runner.run_cell(source, {})
        for source in (
            "from PIL import Image\nImage.new('L', (3, 2))",
            "print('a')\n1 + 1",
            "import matplotlib.pyplot as plt\nplt.plot([1, 2]);",
        )
    )
    assert [list(out["data"]) for out in (*picture, *figure)] == [["image/png", "text/plain"]] * 2
    assert text[0]["text"] == ["a\n"] and text[1]["data"] == {"text/plain": ["2"]}


@pytest.mark.slow
def test_the_script_writes_outputs(tmp_path: Path) -> None:
    file = tmp_path / "a.ipynb"
    cell = {"cell_type": "code", "source": ["print(6 * 7)"], "outputs": []}
    file.write_text(json.dumps({"cells": [cell]}), encoding="utf-8")
    command = [sys.executable, str(ROOT / "scripts/notebooks.py"), str(file)]
    subprocess.run(command, check=True)
    assert read(file)["cells"][0]["outputs"][0]["text"] == ["42\n"]
