"""Every demonstration: a tiny one runs, and its page and notebook are what they should be."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from gentrain.commands.demo import build_demo, made
from gentrain.commands.demo.base import Demo, Shown
from gentrain.commands.demo.page import PACKAGE, markdown, notebook
from gentrain.config.paths import conf_dir
from gentrain.errors import UserError

PRESETS = sorted((conf_dir() / "demo").glob("*.yaml"))
NAMES = [preset.stem for preset in PRESETS]
PAGES = Path(__file__).parents[2] / "docs/demos"


def build(name: str, tiny: bool = True) -> Demo:
    preset = yaml.safe_load((conf_dir() / "demo" / f"{name}.yaml").read_text("utf-8"))
    demo = build_demo({"seed": None, "demo": preset})
    if tiny:
        demo = build_demo({"seed": None, "demo": preset | dict(demo.tiny)})
    return demo


@pytest.fixture(scope="module", params=NAMES)
def one(request: pytest.FixtureRequest) -> tuple[str, Demo, Shown]:
    demo = build(request.param)
    return request.param, demo, made(demo)


def test_a_tiny_one_gives_a_table_and_a_titled_figure(one: tuple[str, Demo, Shown]) -> None:
    name, demo, shown = one
    assert demo.name == name  # the class is called like its preset
    assert shown.rows and len({tuple(row) for row in shown.rows}) == 1
    assert shown.findings and all(str(found) for found in shown.findings)
    suptitle = shown.figure.get_suptitle()
    assert suptitle
    for axes in shown.figure.axes:
        named = axes.get_xlabel() and axes.get_ylabel()
        assert named or not axes.axison or axes.get_title() or axes.get_label() == "<colorbar>"


def test_its_page_links_to_code_of_this_project(one: tuple[str, Demo, Shown]) -> None:
    name, demo, shown = one
    page = markdown(name, demo, shown, "figure.png")
    links = re.findall(r"\]\(\.\./\.\./src/gentrain/([^)]+)\)", page)
    assert len(links) == len(demo.code) + 1  # and its own file
    assert all((PACKAGE / link).is_file() for link in links)
    flat = " ".join(page.split())
    for words in (demo.claim, demo.formula, demo.exercise, f"gentrain demo {name}"):
        assert words in flat


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_says_what_it_shows(name: str) -> None:
    head = (conf_dir() / "demo" / f"{name}.yaml").read_text("utf-8").splitlines()
    assert head[0].startswith("# ") and f"gentrain demo {name}" in head[1]


@pytest.mark.parametrize("name", NAMES)
def test_the_pages_and_notebooks_are_there(name: str) -> None:
    """`make demos` writes them; a change of a demonstration's texts needs it again."""
    page, demo = (PAGES / f"{name}.md").read_text("utf-8"), build(name)
    assert page.startswith(f"# {demo.title}\n")
    assert all(words in " ".join(page.split()) for words in (demo.claim, demo.exercise))
    last = page.strip().splitlines()[-1]
    assert re.fullmatch(r"Seed 0; less than two minutes of one processor, \w+\.", last)
    assert not re.search(r"/(work|root|home|tmp)/", page)  # no path of whoever made it
    assert (PAGES / f"{name}.png").stat().st_size < 300_000
    kept = PAGES.parents[1] / "examples/demos" / f"{name}.ipynb"
    assert kept.read_text("utf-8").strip() == notebook(name, demo)
    assert f"]({name}.md)" in (PAGES / "README.md").read_text("utf-8")


@pytest.mark.parametrize("name", NAMES[:1])
def test_a_notebook_runs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import gentrain

    demo = build(name)
    monkeypatch.setattr(gentrain, "demo", lambda word: gentrain.api.demo(word, **demo.tiny))
    cells = json.loads(notebook(name, demo))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    namespace: dict[str, object] = {}
    for source in code:
        exec(source, namespace)
    assert isinstance(namespace["shown"], Shown)


def test_an_unknown_demonstration_is_refused() -> None:
    import gentrain

    with pytest.raises(UserError, match="did you mean best_critic"):
        gentrain.demo("best_critik")
    with pytest.raises(gentrain.UserError, match=r"\(name\); give one of .*best_critic, "):
        gentrain.demo("list")
    with pytest.raises(UserError, match=r"demo\.steps"):
        gentrain.demo("best_critic", steps=0)
    with pytest.raises(UserError, match=r"no random numbers \(seed\)"):
        gentrain.demo("bilinear_game", seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_real_ones_find_what_their_pages_say(name: str) -> None:
    shown = made(build(name, tiny=False))
    page = (PAGES / f"{name}.md").read_text("utf-8")
    assert shown.holds == ("\n- NOT shown" not in page)
