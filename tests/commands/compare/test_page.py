"""The page: what is in the file, and what a browser makes of it."""

from __future__ import annotations

import base64
import io
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from PIL import Image

from gentrain.commands.compare import page as module
from gentrain.commands.compare.find import find
from gentrain.commands.compare.groups import grouped
from gentrain.commands.compare.page import POINTS, embedded, html_page, thinned
from gentrain.commands.compare.pictures import album
from gentrain.commands.compare.ranking import tables
from tests.support import made_runs as made
from tests.support.browser import CHROMIUM, Page, browser

EVIL = "</script><script>window.evil=1</script><img src=x onerror=window.evil=1>"


def page_of(place: Path, megabytes: float = 16) -> str:
    return html_page(tables(grouped(find([place]))), [place], 256, megabytes)


def data_of(text: str, name: str = "data") -> Any:
    (found,) = re.findall(
        rf'<script type="application/json" id="{name}">(.*?)</script>', text, re.DOTALL
    )
    return json.loads(found)


# --- the file -------------------------------------------------------------------------------------


def test_what_comes_from_runs_is_data(tmp_path: Path) -> None:
    run = made.run(tmp_path / "r" / "a", "gan", more={"model.note": EVIL}, status="failed")
    (run / "status.json").write_text(
        json.dumps(
            {
                "cell": "a",
                "status": "failed",
                "overrides": {"model": EVIL},
                "reason": f"\u2028{EVIL}",
            }
        )
    )
    text = page_of(tmp_path / "r")
    assert (
        "window.evil=1</script>" not in text
        and text.count("</script>") == 4
        and text.count("<img") == 0
    )
    (told,) = data_of(text)["runs"]
    assert (
        told["reason"] == EVIL
        and EVIL in told["overrides"]
        and EVIL in data_of(text)["groups"][0]["label"]
    )
    assert "\u2028" not in embedded("\u2028") and json.loads(embedded(EVIL)) == EVIL


def test_nothing_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made.run(tmp_path / "r", pictures=1)
    monkeypatch.setattr(module, "plotly", lambda: "")
    text = page_of(tmp_path / "r")
    policy = re.search(r'Content-Security-Policy"\s+content="([^"]*)"', text)
    assert (
        policy
        and policy[1].startswith("default-src 'none'")
        and "unsafe-inline" not in policy[1].split("style-src")[0]
    )
    assert (
        not re.findall(r"""(?:src|href)=["'](?!#|data:)""", text)
        and "@import" not in text
        and "url(" not in text
    )
    assert "pip install 'gentrain[compare]'" in data_of(text)["install"]


@pytest.mark.parametrize("name", ["a", "a b, c", "it's", "b=1", "$x"])
def test_the_command_of_a_run_is_one_that_works(tmp_path: Path, name: str) -> None:
    """A shell and Hydra read it back as the directory; without weights there is none."""
    path = made.run(tmp_path / "r" / name)
    assert data_of(page_of(tmp_path / "r"))["runs"][0]["command"] is None
    (path / "checkpoints").mkdir()
    (path / "checkpoints" / "last.ckpt").touch()
    (run,) = data_of(page_of(tmp_path / "r"))["runs"]
    assert run["directory"] == str(path)
    verb, one = shlex.split(run["command"])[1:]
    value = OverridesParser.create().parse_override(one).value()
    assert (verb, str(value)) == ("sample", str(path))


def test_a_spike_survives_thinning() -> None:
    steps, values = list(range(0, 100_000, 10)), [0.0] * 10_000
    values[5_003], values[7_777] = 1e6, -1e6
    kept = thinned(steps, values, POINTS)
    assert (
        {0, 50_030, 77_770, 99_990} <= set(kept)
        and kept == sorted(set(kept))
        and len(kept) <= POINTS
    )
    assert thinned([1, 2, 3], [0.0, 0.0, 0.0], 40) == [1, 2, 3]


def test_pictures_are_small_and_few_enough(tmp_path: Path) -> None:
    for i in range(3):
        made.run(tmp_path / "r" / str(i), seed=i, pictures=8, pixels=600)
    (tmp_path / "r" / "0" / "samples" / "step-000125.png").write_bytes(b"no picture")
    runs = find([tmp_path / "r"])
    everything, note = album(runs, 200, 100)
    assert (
        [len(pictures) for pictures in everything["runs"]] == [8, 9, 9]
        and note.startswith("26 of 27 ")
        and len(everything["real"]) == 1
    )
    step, uri = everything["runs"][1][-1]
    picture = Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/png;base64,"))))
    assert step == 1000 and picture.size == (200, 200) and picture.format == "PNG"
    total = sum(len(uri) for pictures in everything["runs"] for _, uri in pictures)
    some, note = album(runs, 200, total / 2e6)
    counts = [len(pictures) for pictures in some["runs"]]
    assert sum(
        len(uri) for pictures in some["runs"] for _, uri in pictures
    ) <= total / 2 and note.startswith(f"{sum(counts)} of 27 ")
    # the last of each come first
    assert all(pictures[-1][0] == 1000 and len(pictures) > 2 for pictures in some["runs"])
    assert album(runs, 200, 0)[0] == {"runs": [[], [], []], "real": []}


def test_real_pictures_of_each_size(tmp_path: Path) -> None:
    for i, size in enumerate((32, [32, 48], [32, 48])):
        made.run(tmp_path / "r" / str(i), pictures=1, more={"data.size": size})
    real = album(find([tmp_path / "r"]), 200, 100)[0]["real"]
    assert [name for name, _ in real] == ["mnist, 32 px", "mnist, 32 x 48 px"]


# --- in a browser ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models of two seeds, one diverged, one with another protocol, one that failed, one that
    is going; names that are HTML.
    """
    place = tmp_path_factory.mktemp("page") / "runs"
    for seed in (0, 1):
        loss = {"critic/adversarial": [4.0 + seed, 2.0 + seed, 1.0 + seed, 3.0 + seed]}
        run = made.run(
            place / f"a{seed}",
            "gan",
            seed,
            fid=(300.0, 40.0 + seed, 60.0 + seed),
            pictures=4,
            columns=loss,
        )
        (run / "checkpoints").mkdir()
        (run / "checkpoints" / "last.ckpt").touch()
        more = {"scheme.critic_steps": 5}
        made.run(
            place / f"b{seed}",
            "wgan",
            seed,
            fid=(300.0, 50.0),
            pictures=2,
            status=("completed", "diverged")[seed],
            more=more,
        )
    made.run(
        place / "c",
        "sngan",
        fid=(200.0, 9.0),
        protocol=made.PROTOCOL | {"samples": 100},
        more={"model.note": EVIL},
    )
    made.run(place / "d", "dcgan", fid=(250.0,), status=None, pictures=1)
    (place / "e").mkdir()
    (place / "e" / "status.json").write_text(
        json.dumps(
            {
                "cell": "e",
                "status": "failed",
                "overrides": {"model": "vae"},
                "reason": f"out of {EVIL}",
                "log": "train.log",
            }
        )
    )
    (place / "e" / "train.log").touch()
    (place / "compare.html").write_text(page_of(place))
    return place / "compare.html"


@pytest.fixture(scope="module")
def tab(file: Path) -> Iterator[Page]:
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine (apt-get install chromium)")
    pytest.importorskip("plotly", reason="no plotly (pip install 'gentrain[compare]')")
    with browser() as page:
        page.open(file)
        yield page


@pytest.fixture(autouse=True)
def _quiet(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever a test does with the page, its console stays empty, nothing is asked of the network,
    no markup of a name's is alive.
    """
    yield
    if "tab" in request.fixturenames:
        page = request.getfixturevalue("tab")
        assert page.run("window.evil === undefined && !document.querySelector('img[src=x]')")
        assert page.complaints == []


def lines(page: Page) -> list[str]:
    """The names of the lines in the chart, bands aside."""
    return page.run(
        "document.querySelector('#chart').data"
        ".filter((line) => line.hoverinfo !== 'skip').map((line) => line.name)"
    )


def text(page: Page, selector: str) -> list[str]:
    return page.run(
        f"[...document.querySelectorAll({selector!r})]"
        ".filter((e) => e.checkVisibility()).map((e) => e.textContent.trim())"
    )


def test_table(tab: Page) -> None:
    assert text(tab, "#counts li") == ["4 completed", "1 diverged", "1 failed", "1 unfinished"]
    # wgan's other seed diverged: the mean is of one
    (first, second) = [[cell.strip() for cell in row] for row in cells(tab, 0)[:2]]
    assert first[:5] == ["1", "model=wgan scheme.critic_steps=5", "50", "50", "1"]
    assert first[5:7] == ["1", "1 completed, 1 diverged"]  # nothing collapsed: no such column
    assert second[:5] == ["2", "model=gan", "60.5 ± 0.71", "40.5 ± 0.71", "2"]
    assert [row[0] for row in cells(tab, 0)] == ["1", "2", "–", "–"][
        : len(cells(tab, 0))
    ] and cells(tab, 1)[0][2] == "9"
    failed = text(tab, "#failed li")
    assert (
        failed[0].startswith("b1 diverged")
        and failed[1].startswith(f"e failed: out of {EVIL}")
        and len(failed) == 2
    )
    tab.run(
        "document.querySelectorAll('#tables table')[0].querySelectorAll('thead button')[1].click()"
    )
    assert [row[1].split()[0] for row in cells(tab, 0)] == sorted(
        row[1].split()[0] for row in cells(tab, 0)
    )
    tab.run(
        "document.querySelectorAll('#tables table')[0].querySelectorAll('thead button')[2].click()"
    )
    tab.run(
        "document.querySelectorAll('#tables table')[0].querySelectorAll('thead button')[2].click()"
    )
    finals = [row[2] for row in cells(tab, 0)]
    # what has no value stays below
    assert finals[:3] == ["250 (step 0)", "60.5 ± 0.71", "50"] and set(finals[3:]) <= {"–"}
    assert (
        tab.run(
            "document.querySelectorAll('#tables table')[0].querySelectorAll('thead th')[2].ariaSort"
        )
        == "descending"
    )


def cells(page: Page, table: int) -> list[list[str]]:
    return page.run(
        f"[...document.querySelectorAll('#tables table')[{table}].tBodies[0].rows]"
        ".map((r) => [...r.cells].map((c) => c.textContent))"
    )


def test_curves(tab: Page) -> None:
    assert lines(tab)[:2] == [
        "model=wgan scheme.critic_steps=5, mean of 2 seeds",
        "model=gan, mean of 2 seeds",
    ]
    low, high, mean = (tab.run(f"document.querySelector('#chart').data[{i}].y") for i in (3, 4, 5))
    assert (low, high, mean) == ([300, 40, 60], [300, 41, 61], [300, 40.5, 60.5])
    tab.choose("#seeds", "each")
    assert [name for name in lines(tab) if "gan, seed" in name] == [
        "model=gan, seed 0",
        "model=gan, seed 1",
    ]
    tab.choose("#axis", "images")
    assert tab.run("document.querySelector('#chart').data[0].x") == [0, 1000 * 64 * 5]
    tab.choose("#axis", "hours")
    assert tab.run("document.querySelector('#chart').data[0].x")[1] == pytest.approx(
        1000 * 64 * 5 / 1000 / 3600, rel=1e-4
    )
    tab.choose("#value", "critic/adversarial")
    assert lines(tab) == ["model=gan, seed 0", "model=gan, seed 1"]
    tab.run("document.querySelector('#log').click()")
    assert tab.run("document.querySelector('#chart').layout.yaxis.type") == "log"
    tab.run("document.querySelector('#log').click()")
    tab.choose("#value", "quality/fid_classifier")
    tab.choose("#axis", "steps")
    tab.choose("#seeds", "band")


def test_two_curves_share_their_steps(tab: Page) -> None:
    one = lines(tab)
    tab.choose("#second", "critic/adversarial")
    made = tab.run("document.querySelector('#chart').data.map((d) => [d.yaxis, d.xaxis])")
    assert {tuple(pair) for pair in made} == {("y", None), ("y2", None)}
    assert lines(tab) == [*one, "model=gan, mean of 2 seeds"]
    domains = tab.run("['yaxis', 'yaxis2'].map((a) => document.querySelector('#chart').layout[a])")
    assert [axis["title"]["text"] for axis in domains] == [
        "quality/fid_classifier",
        "critic/adversarial",
    ]
    assert domains[1]["domain"][1] < domains[0]["domain"][0]  # below, not over it
    tab.choose("#second", "quality/fid_classifier")  # the same again is one chart
    assert lines(tab) == one
    tab.choose("#second", "")
    assert lines(tab) == one and not tab.run("'yaxis2' in document.querySelector('#chart').layout")


def slide(page: Page, element: str, value: float) -> None:
    """A slider, as a hand moves it."""
    page.run(
        f"{{const element = document.querySelector({element!r}); element.value = {value}; "
        "element.dispatchEvent(new Event('input', {bubbles: true}));}"
    )


def test_smoothing_is_an_unbiased_moving_average(tab: Page) -> None:
    """Beside a loop of sums: the weight of a value k points ago is w^k."""
    tab.choose("#value", "critic/adversarial")
    tab.choose("#seeds", "each")
    (raw, _) = tab.run("document.querySelector('#chart').data.map((line) => line.y)")
    slide(tab, "#smoothing", 0.6)
    (smooth, _) = tab.run("document.querySelector('#chart').data.map((line) => line.y)")
    for i, value in enumerate(smooth):
        weights = [0.6 ** (i - j) for j in range(i + 1)]
        mean = sum(w * y for w, y in zip(weights, raw, strict=False)) / sum(weights)
        assert value == pytest.approx(mean)
    assert raw == [4, 2, 1, 3] and text(tab, "#weight") == ["0.6"]
    slide(tab, "#smoothing", 0)
    assert tab.run("document.querySelector('#chart').data[0].y") == raw
    tab.choose("#value", "quality/fid_classifier")
    tab.choose("#seeds", "band")


def points(page: Page, chart: str) -> list[list[Any]]:
    return page.run(f"document.querySelector({chart!r}).data.map((d) => [d.name, d.x, d.y])")


def test_a_score_against_a_hyperparameter(tab: Page) -> None:
    keys = tab.run("[...document.querySelector('#key').options].map((option) => option.value)")
    assert keys[:3] == ["model", "scheme.critic_steps", "model.note"]
    names = {name: (x, y) for name, x, y in points(tab, "#scatter")}
    assert names["model=gan"] == (["gan"], [60.5])
    tab.choose("#key", "scheme.critic_steps")
    tab.choose("#which", "best")
    names = {name: (x, y) for name, x, y in points(tab, "#scatter")}
    assert names["model=gan"] == ([1], [40.5])
    assert names["model=wgan scheme.critic_steps=5"] == ([5], [50])
    bars = tab.run("document.querySelector('#scatter').data.map((d) => d.error_y.array[0])")
    assert sorted(bars)[-1] == pytest.approx(0.71, abs=0.01)  # of 40 and 41
    tab.run("document.querySelector('#log-key').click()")
    assert tab.run("document.querySelector('#scatter').layout.xaxis.type") == "log"
    tab.run("document.querySelector('#log-key').click()")
    # a value that is HTML is a name of an axis like any other
    tab.choose("#key", "model.note")
    assert tab.run("document.querySelector('#scatter').layout.xaxis.type") == "category"
    assert tab.run("document.querySelector('#scatter .xaxislayer-above').textContent.length") > 20
    tab.choose("#which", "final")


def test_parallel_coordinates(tab: Page) -> None:
    found = {name: (x, y) for name, x, y in points(tab, "#parallel")}
    keys = tab.run("document.querySelector('#parallel').layout.xaxis.ticktext")
    assert keys[:2] == ["model", "scheme.critic_steps"] and keys[-1] == "quality/fid_classifier"
    # less is better, and the better is above; one critic step is below five
    heights = {name: (y[1], y[-1]) for name, (_, y) in found.items()}
    assert heights["model=gan"] == (0, pytest.approx((250 - 60.5) / (250 - 9)))
    assert heights["model=wgan scheme.critic_steps=5"] == (1, pytest.approx(200 / 241))
    wide = tab.run("document.querySelector('#parallel').data.filter((d) => d.line.width > 2)")
    assert [line["y"][-1] for line in wide] == [1]
    tab.run("document.querySelector('#none').click()")
    assert points(tab, "#parallel") == points(tab, "#scatter") == []
    tab.run("document.querySelector('#all').click()")


def test_a_click_enlarges_a_grid(tab: Page) -> None:
    opened = "document.querySelector('#viewer').open"
    picture = (
        "document.querySelector('button[aria-label=\"enlarge samples of model=gan, seed 0\"]')"
    )
    tab.run(f"{picture}.focus(), {picture}.click()")
    assert tab.run(opened) and text(tab, "#viewer-title") == ["model=gan, seed 0: a0, step 1,000"]
    newest = tab.run("document.querySelector('#enlarged img').src")
    assert newest == tab.run(f"{picture}.firstChild.src")
    assert tab.run("document.querySelector('#enlarged img').clientWidth") > tab.run(
        f"2 * {picture}.clientWidth"
    )
    tab.press("ArrowLeft", 37)
    assert text(tab, "#viewer-title") == ["model=gan, seed 0: a0, step 750"]
    assert tab.run("document.querySelector('#enlarged img').src") != newest
    for _ in range(9):
        tab.press("ArrowLeft", 37)
    assert text(tab, "#viewer-title") == ["model=gan, seed 0: a0, step 0"]
    tab.press("Escape", 27)
    assert not tab.run(opened) and tab.run(f"document.activeElement === {picture}")
    tab.press("Enter", 13)  # and by the keyboard
    assert tab.run(opened)
    tab.run("document.querySelector('#viewer').click()")  # beside the picture
    assert not tab.run(opened)


def test_where_runs_are_and_how_to_draw_from_them(tab: Page, file: Path) -> None:
    names = text(tab, "#places tbody th")
    assert sorted(names) == ["a0", "a1", "b0", "b1", "c", "d", "e"]
    row = names.index("a0")
    (directory, command) = tab.run(
        f"[...document.querySelectorAll('#places tbody tr')[{row}].querySelectorAll('code')]"
        ".map((code) => code.textContent)"
    )
    assert directory == str(file.parent / "a0")
    assert command == f"gentrain sample run={file.parent / 'a0'}"
    # without weights there is nothing to draw from
    assert text(tab, "#places tbody tr")[names.index("d")].endswith("–")
    button = "document.querySelector('[aria-label=\"copy the command of a0\"]')"
    for broken in ("false", "true"):  # the clipboard is refused: as by hand
        tab.run(
            "window.copied = []; document.addEventListener('copy', () => "
            "window.copied.push(document.activeElement.value ?? String(getSelection())));"
            "Object.defineProperty(navigator, 'clipboard', {configurable: true, value: "
            f"{{writeText: (text) => {broken} ? Promise.reject(Error('refused')) : "
            "(window.copied.push(text), Promise.resolve())}});"
        )
        tab.run(f"{button}.click()")
        tab.run("new Promise((done) => setTimeout(done, 50))")
        assert tab.run("window.copied[0]") == command, broken
        assert text(tab, "#copied") == ["Copied the command of a0."]


@pytest.mark.slow
def test_more_than_twenty_groups_have_pages(tab: Page, file: Path, tmp_path: Path) -> None:
    place = made.many(tmp_path / "r", groups=23, seeds=1, rows=20, values=4, pictures=1, pixels=30)
    (place / "compare.html").write_text(page_of(place))
    tab.open(place / "compare.html")
    try:
        assert len(lines(tab)) == 20 and text(tab, "#how-many") == ["20 of 23 groups"]
        assert len(cells(tab, 0)) == 20 and len(text(tab, "#places tbody tr")) == 20
        assert len(text(tab, "#settings thead th")) == 20
        assert text(tab, ".pager output") == ["1–20 of 23"] * 3  # the pictures are of those shown
        tab.run("document.querySelector('#all').click()")
        assert len(lines(tab)) == 23 and len(text(tab, "#grids figcaption")) == 21  # and real ones
        for place_of in ("#tables", "#places", "#settings", "#sample-pages"):
            tab.run(f"document.querySelector('{place_of} .pager button:last-child').click()")
        assert len(cells(tab, 0)) == 3 and len(text(tab, "#places tbody tr")) == 3
        assert len(text(tab, "#settings thead th")) == 3
        assert len(text(tab, "#grids figcaption")) == 4
        assert [row[0] for row in cells(tab, 0)] == ["21", "22", "23"]
        assert tab.run(
            "[...document.querySelectorAll('.pager button:last-child')].every((b) => b.disabled)"
        )
        # a heading sorts all rows, not those of the page
        tab.run("document.querySelectorAll('#tables thead button')[1].click()")
        assert cells(tab, 0)[0][1].startswith("model=model_00") and len(cells(tab, 0)) == 20
    finally:
        tab.open(file)


def test_which_groups_are_shown(tab: Page) -> None:
    everything, pictures = lines(tab), text(tab, "#grids figcaption")
    tab.run("document.querySelector('#none').click()")
    assert (
        lines(tab) == []
        and text(tab, "#nothing")
        and text(tab, "#grids figcaption") == ["real imagesmnist"]
    )
    tab.run("document.querySelectorAll('#groups input')[1].focus()")
    tab.press(" ", 32)
    assert lines(tab) == ["model=gan, mean of 2 seeds"] and text(tab, "#how-many") == [
        "1 of 5 groups"
    ]
    assert len(text(tab, "#grids figcaption")) == 3
    tab.run("document.querySelector('#all').focus()")
    tab.press("Enter", 13)
    assert lines(tab) == everything and text(tab, "#grids figcaption") == pictures


def test_the_slider_goes_through_time(tab: Page) -> None:
    assert text(tab, "#moment") == ["newest of each"]
    assert "model=ganseed 0, step 1,000" in text(tab, "#grids figcaption")
    final = tab.run("document.querySelector('#grids img[alt^=\"samples of model=gan\"]').src")
    tab.run("document.querySelector('#time').focus()")
    tab.press("Home", 36)
    assert text(tab, "#moment") == ["step 0"] and "model=ganseed 0, step 0" in text(
        tab, "#grids figcaption"
    )
    assert (
        tab.run("document.querySelector('#grids img[alt^=\"samples of model=gan\"]').src") != final
    )
    tab.press("ArrowRight", 39)
    # wgan has a picture at 0, 500 and 1000 only: it shows its newest
    assert text(tab, "#moment") == ["step 250"] and "model=ganseed 0, step 250" in text(
        tab, "#grids figcaption"
    )
    assert "model=wgan scheme.critic_steps=5seed 0, step 0" in text(tab, "#grids figcaption")
    tab.press("End", 35)
    assert (
        tab.run("document.querySelector('#grids img[alt^=\"samples of model=gan\"]').src") == final
    )
    assert tab.run(
        "[...document.querySelectorAll('#grids img')].every((i) => i.hidden || i.naturalWidth > 0)"
    )


def test_configuration_and_protocols(tab: Page) -> None:
    assert text(tab, "#settings > .scroll th[scope=row]") == ["model.name", "scheme.critic_steps"]
    assert text(tab, "#settings > details summary") == ["1 key that only some groups have"]
    tab.run("document.querySelector('#settings > details').open = true")
    tab.run("new Promise((done) => setTimeout(done, 50))")
    assert text(tab, "#settings > details th[scope=row]") == ["model.note"] and EVIL in text(
        tab, "#settings > details td"
    )
    assert len(text(tab, "#how summary")) == 2


def test_every_control_has_a_name(tab: Page) -> None:
    nodes = tab.ask("Accessibility.getFullAXTree")["nodes"]
    roles = ("button", "checkbox", "combobox", "slider", "link")
    named = [
        (node["role"]["value"], node["name"]["value"])
        for node in nodes
        if node.get("role", {}).get("value") in roles
    ]
    assert len(named) > 20 and not [role for role, name in named if not name]
    assert {"slider", "combobox", "checkbox", "button"} <= {role for role, _ in named}
    assert tab.run(
        "[...document.querySelectorAll('img')].every((image) => image.alt)"
        " && document.querySelector('#chart').ariaLabel !== ''"
    )


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1280, 390])
def test_it_fits(tab: Page, file: Path, width: int, dark: bool) -> None:
    tab.open(file, width, 844, dark)
    assert tab.run("document.documentElement.scrollWidth") <= width
    paper, ink = (
        tab.run(f"getComputedStyle(document.body).{name}") for name in ("backgroundColor", "color")
    )
    assert (
        (brightness(paper) < 60 < 200 < brightness(ink))
        if dark
        else (brightness(ink) < 60 < 200 < brightness(paper))
    )
    assert brightness(tab.run("document.querySelector('#chart').layout.font.color")) == brightness(
        ink
    )
    chart = tab.run(
        "(({width, height}) => [width, height])"
        "(document.querySelector('#chart .main-svg').getBoundingClientRect())"
    )
    assert (
        chart[0] <= width
        and abs(chart[1] - tab.run("document.querySelector('#chart').clientHeight")) < 1
    )


def brightness(color: str) -> float:
    parts = (
        [int(part, 16) for part in re.findall("..", color[1:])]
        if color.startswith("#")
        else list(map(int, re.findall(r"\d+", color)[:3]))
    )
    return sum(parts) / 3


def test_without_plotly(tab: Page, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "plotly", lambda: "")
    other = file.with_name("plain.html")
    other.write_text(page_of(file.parent))
    tab.open(other)
    assert (
        text(tab, "#install") == [module.INSTALL]
        and text(tab, "#chart") == []
        and len(text(tab, "#tables tbody tr")) > 2
    )
    tab.run("document.querySelector('#none').click()")
    assert len(text(tab, "#grids figcaption")) == 1


@pytest.mark.slow
def test_sixty_runs(tab: Page, tmp_path: Path) -> None:
    """How long it takes is measured by benchmarks/compare.py."""
    place = made.many(tmp_path / "r", rows=20, values=4, pictures=1, pixels=62)
    (place / "compare.html").write_text(page_of(place))
    tab.open(place / "compare.html")
    assert (
        len(lines(tab)) == 20
        and len(text(tab, "#tables tbody tr")) == 20
        and len(text(tab, "#grids figure")) == 61
    )
    tab.choose("#seeds", "each")
    assert len(lines(tab)) == 60
