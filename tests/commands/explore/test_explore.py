"""`gentrain explore`: what the page offers of a run, what it draws, and that it stays local.

Streamlit is not needed but for the last test, which drives the page in headless Chromium.
"""

from __future__ import annotations

import io
import os
import re
import signal
import socket
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hydra.core.utils import setup_globals
from PIL import Image
from torch import Tensor

import gentrain.commands.explore as verb
from gentrain.commands.explore import server
from gentrain.commands.explore.directions import principal_directions
from gentrain.commands.explore.explorer import ALL, WHOLE, Explorer, Panel
from gentrain.commands.explore.page import show
from gentrain.commands.explore.panels import PANELS
from gentrain.commands.sample.session import SampleSession
from gentrain.data.arrays import to_bytes
from gentrain.errors import UserError
from gentrain.runs.reopen import reopen
from tests.support.browser import CHROMIUM, browser
from tests.support.paths import ROOT
from tests.support.program import Program, refused
from tests.support.zoo import Zoo

ALWAYS = ["Samples", "Nearest training images"]
OFFERED = {
    "gan": ["Directions"],
    "cgan": ["Directions"],
    "vae": ["Directions", "Reconstruct"],
    "inpainting": ["Directions", "Reconstruct", "Complete"],
    "maf": ["Directions"],
    "pixelcnn": ["Complete"],
    "rbm": ["Complete", "Denoise"],
    "edges": ["Translate"],
    "larger": ["Translate"],
    "cyclegan": ["Translate"],
    "stargan": ["Translate"],
}


class Page:
    """Takes the place of Streamlit: every widget has its first value, or what a test chooses."""

    def __init__(self, **chosen: Any) -> None:
        self.chosen, self.labels = chosen, list[str]()
        self.images: list[Any] = []
        self.errors: list[str] = []
        self.texts: list[str] = []

    def value(self, label: str, default: Any) -> Any:
        self.labels.append(label)
        return self.chosen.get(label, default)

    def slider(self, label: str, low: Any, high: Any, value: Any, step: Any) -> Any:
        assert {type(each) for each in (low, high, value, step)} in ({int}, {float}), label
        assert low <= value <= high
        return self.value(label, value)

    def number_input(self, label: str, low: int, high: int, value: int, step: int) -> int:
        return self.value(label, value)

    def selectbox(self, label: str, options: list[str]) -> str:
        return self.value(label, options[0])

    def toggle(self, label: str, value: bool) -> bool:
        return self.value(label, value)

    def text_input(self, label: str) -> str:
        return self.value(label, "")

    def file_uploader(self, label: str, endings: list[str]) -> Any:
        assert "png" in endings
        content = self.value(label, None)
        return None if content is None else SimpleNamespace(getvalue=lambda: content)

    def segmented_control(self, label: str, options: list[str], default: str) -> str:
        self.titles = options
        return self.chosen.get(label, default)

    def columns(self, widths: list[int]) -> list[Any]:
        return [self for _ in widths]

    def __enter__(self) -> Page:
        return self

    def __exit__(self, *_: object) -> None: ...

    def set_page_config(self, **_: Any) -> None: ...

    def html(self, text: str) -> None: ...

    def title(self, text: str) -> None: ...

    def caption(self, text: str) -> None: ...

    def write(self, text: str) -> None:
        self.texts.append(text)

    def error(self, text: str) -> None:
        self.errors.append(text)

    def image(self, picture: Any, caption: str) -> None:
        assert caption
        self.images.append(picture)


@pytest.fixture
def opened(zoo: Zoo) -> Any:
    setup_globals()
    return lambda name: Explorer(reopen(zoo(name)), PANELS)


def panel(explorer: Explorer, title: str) -> Panel:
    return next(each for each in explorer.panels if each.title == title)


def values(explorer: Explorer, title: str, **chosen: Any) -> dict[str, Any]:
    found = {
        key: each.ask(Page()) for key, each in panel(explorer, title).controls(explorer).items()
    }
    assert chosen.keys() <= found.keys()
    return found | chosen


def png(image: Tensor) -> bytes:
    """An image (C, H, W) in [-1, 1] as the bytes of a file."""
    pixels = to_bytes(image).permute(1, 2, 0).numpy()
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(file, "png")
    return file.getvalue()


# --- what is offered, and what it draws -----------------------------------------------------------


QUICK = ("vae", "pixelcnn", "rbm", "edges")


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in OFFERED],
)
def test_a_run_has_the_panels_of_its_capabilities(name: str, opened: Any) -> None:
    explorer = opened(name)
    titles = [each.title for each in explorer.panels]
    assert sorted(titles) == sorted([*ALWAYS, *OFFERED[name]])
    for title in titles:
        page = Page(**{"What to look at": title})
        show(page, explorer)
        assert page.errors == [] and page.images, title
        for picture in page.images:
            assert np.asarray(picture).std() > 0 and picture.width <= 1000, title


def test_controls_are_those_that_change_the_samples(opened: Any) -> None:
    def keys(name: str) -> set[str]:
        explorer = opened(name)
        return set(explorer.controls_of_samples()) - {"seed"}

    assert keys("gan") == {"truncation"}
    assert keys("cgan") == {"label", "truncation"}
    assert keys("vae") == {"mean", "temperature", "truncation"}
    assert keys("pixelcnn") == {"label", "temperature"}
    assert keys("rbm") == {"mean"}
    assert keys("edges") == set()
    explorer = opened("vae")
    found = panel(explorer, "Reconstruct").controls(explorer)  # means, whatever is chosen
    assert set(found) == {"picture", "number", "seed"}


def test_samples_are_those_of_gentrain_sample(opened: Any) -> None:
    explorer = opened("cgan")
    for label, words in ((ALL, None), ("3", ["3"])):
        chosen = values(explorer, "Samples", seed=5, label=label)
        ours = explorer.samples(explorer.session(chosen), 12, chosen)
        session = SampleSession(explorer.run, seed=5, labels=words)
        assert torch.equal(ours, next(session.stream(12))[0])


def test_truncation_bounds_the_noise(opened: Any) -> None:
    explorer = opened("gan")
    session = explorer.session({"seed": 1})
    whole = explorer.noise(session, 50, {"truncation": WHOLE})
    assert torch.equal(whole, session.noise(50))
    cut = explorer.noise(session, 50, {"truncation": 0.5})
    assert cut.abs().max() <= 0.5 < whole.abs().max()
    assert torch.equal(cut, explorer.noise(session, 50, {"truncation": 0.5}))


def test_a_value_of_one_drawing_does_not_stay(opened: Any) -> None:
    explorer = opened("vae")
    before = torch.get_rng_state()
    first, other = (values(explorer, "Samples", temperature=t, n=4) for t in (1.0, 0.1))
    drawn = [explorer.draw(panel(explorer, "Samples"), each) for each in (first, other, first)]
    (a,), (b,), (c,) = ([picture for _, picture in each.pictures] for each in drawn)
    assert torch.equal(a, c) and not torch.equal(a, b)
    assert torch.equal(before, torch.get_rng_state())


# --- directions -----------------------------------------------------------------------------------


class Linear:
    """A session whose images are A z."""

    seed = 0

    def __init__(self, a: Tensor, draws: int) -> None:
        self.a, self.draws, self.model = a, draws, SimpleNamespace(sequential=False)

    def noise(self, n: int) -> Tensor:
        return torch.randn(n, self.a.shape[1], generator=torch.Generator().manual_seed(0))

    def labels(self, n: int) -> None:
        return None

    def images(self, z: Tensor, labels: None) -> Tensor:
        return (z @ self.a.T).view(len(z), 1, 2, -1)


def test_directions_of_a_linear_generator_are_its_singular_vectors() -> None:
    """x = A z with A = U S V^T has the principal components U, and their noise is V."""
    u, v = (torch.linalg.qr(torch.randn(n, n, generator=rng(n)))[0] for n in (8, 5))
    a = u[:, :5] @ torch.diag(torch.tensor([9.0, 5.0, 3.0, 0.5, 0.1])) @ v.T
    found = principal_directions(Linear(a, 600), 3, draws=600)  # type: ignore[arg-type]
    assert (found * v.T[:3]).sum(1).abs() == pytest.approx([1.0] * 3, abs=0.05)
    assert found.norm(dim=1) == pytest.approx([1.0] * 3, abs=1e-5)
    assert (found.gather(1, found.abs().argmax(1, keepdim=True)) > 0).all()


def rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_sliders_move_the_sample(opened: Any) -> None:
    explorer = opened("gan")
    chosen = values(explorer, "Directions")
    session, one = explorer.session(chosen), panel(explorer, "Directions")
    z, points = session.noise(1), torch.zeros(2, 6)
    points[1, 0] = 3.0
    same, moved = one.moved(explorer, session, z, points, chosen)  # type: ignore[attr-defined]
    torch.testing.assert_close(same, z[0])
    assert float((moved - z[0]).norm()) == pytest.approx(3.0, rel=1e-4)
    still, other = (
        explorer.draw(one, chosen | {"along_0": value}).pictures[0][1] for value in (0.0, 3.0)
    )
    assert not torch.equal(still, other) and len(explorer.kept) == 1


# --- pictures of the user -------------------------------------------------------------------------


def test_an_uploaded_picture_is_what_the_model_gets(opened: Any) -> None:
    """The file of a held-out image is reconstructed as that image is."""
    explorer = opened("vae")
    held_out = values(explorer, "Reconstruct", number=3)
    ours = explorer.draw(panel(explorer, "Reconstruct"), held_out)
    one: Any = panel(explorer, "Reconstruct")
    batch = one.batch(explorer.session(held_out), held_out)
    upload = held_out | {"picture": png(batch[0][0])}
    theirs = explorer.draw(panel(explorer, "Reconstruct"), upload)
    assert theirs.text == ours.text and re.search(r"They are \d+\.\d apart", ours.text)
    torch.testing.assert_close(theirs.pictures[0][1], ours.pictures[0][1], atol=0.01, rtol=0)


def test_known_pixels_stay(opened: Any) -> None:
    explorer = opened("pixelcnn")
    chosen = values(explorer, "Complete", known="left")
    one: Any = panel(explorer, "Complete")
    columns, _ = one.columns(explorer.session(chosen), chosen)
    x, half = columns["picture"], columns["picture"].shape[3] // 2
    for i in range(4):
        torch.testing.assert_close(columns[f"completed {i + 1}"][..., :half], x[..., :half])


def test_what_is_no_picture_is_said_on_the_page(opened: Any) -> None:
    for name, title in (("vae", "Reconstruct"), ("edges", "Translate")):
        page = Page(**{"What to look at": title, "A picture of yours": b"no picture"})
        show(page, opened(name))
        assert page.images == [] and "cannot read the picture" in page.errors[0]


# --- the verb, and the server ---------------------------------------------------------------------


def test_a_missing_extra_is_one_line(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verb, "find_spec", lambda name: None)
    refused(program("explore", "run=nowhere"), "pip install 'gentrain[explore]'")
    monkeypatch.setattr(verb, "find_spec", lambda name: name)
    refused(program("explore", "run=nowhere"), "no run in nowhere")


def test_a_port_that_is_taken() -> None:
    with socket.socket() as other:
        other.bind((server.HOST, 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(UserError, match=rf"port {port} is taken \(port\); give another"):
            server.free_port(port)
    assert server.free_port(None) in server.PORTS


def test_the_server_is_for_this_machine_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given: dict[str, Any] = {}
    bootstrap = ModuleType("bootstrap")
    bootstrap.load_config_options = given.update  # type: ignore[attr-defined]
    bootstrap.run = lambda file, *_: given.update(file=file)  # type: ignore[attr-defined]
    web = ModuleType("streamlit.web")
    web.bootstrap = bootstrap  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "streamlit", ModuleType("streamlit"))
    monkeypatch.setitem(sys.modules, "streamlit.web", web)
    monkeypatch.setattr(server.Served, "explorer", None)
    explorer: Any = SimpleNamespace(about="a run")
    server.serve(explorer, 8600, browser=False)
    assert server.Served.explorer is explorer and Path(given["file"]).is_file()
    assert given["server_address"] == "127.0.0.1" and given["server_port"] == 8600
    assert given["browser_gatherUsageStats"] is False and given["server_headless"] is True
    assert "http://127.0.0.1:8600" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
@pytest.mark.skipif(find_spec("streamlit") is None, reason="needs the extra `explore`")
def test_the_page_in_a_browser(zoo: Zoo, env: dict[str, str], tmp_path: Path) -> None:
    """A seed and a panel are chosen, pictures change; nothing is asked of any other machine."""
    port = server.free_port(None)
    words = ["explore", f"run={zoo('vae')}", f"port={port}", "browser=false", "device=cpu"]
    code = "import sys; from gentrain.cli.main import run; sys.exit(run(sys.argv[1:]))"
    paths = os.pathsep.join([str(ROOT / "src"), *filter(None, sys.path)])
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words],
        env=env | {"PYTHONPATH": paths, "HOME": str(tmp_path)},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        while f"http://127.0.0.1:{port}" not in (line := process.stdout.readline()):
            assert line, "the server ended"
        wait_for_port(port)
        listening = re.findall(rf"\s(\w+):{port:04X}\s", Path("/proc/net/tcp").read_text())
        assert listening and set(listening) <= {"0100007F"}  # 127.0.0.1
        with browser() as tab:
            for width in (1280, 390):
                drive(tab, f"http://127.0.0.1:{port}/", width)
            asked = [each for each in tab.complaints if f"127.0.0.1:{port}" not in each]
            assert asked == []
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0


def wait_for_port(port: int) -> None:
    deadline = time.monotonic() + 60
    while True:
        with socket.socket() as other:
            if other.connect_ex((server.HOST, port)) == 0:
                return
        assert time.monotonic() < deadline
        time.sleep(0.1)


IMAGES = "[...document.querySelectorAll('[data-testid=stImage] img')].map(i => i.src).join()"


def drive(tab: Any, address: str, width: int) -> None:
    tab.open(address, width, ready=IMAGES)
    first = tab.run(IMAGES)
    assert tab.run("document.documentElement.scrollWidth <= innerWidth")
    tab.run("document.querySelector('[data-testid=stNumberInputStepUp]').click()")
    second = until_changed(tab, first)
    titles = "[...document.querySelectorAll('button')].filter(b => b.innerText.trim() ==="
    for title in ("Directions", "Reconstruct"):
        tab.run(f"{titles} {title!r})[0].click()")
        second = until_changed(tab, second)
    # its script is fetched after the pictures, which takes a moment on a busy machine
    until(tab, "document.querySelectorAll('[data-testid=stFileUploader]').length === 1")


def until(tab: Any, condition: str) -> None:
    deadline = time.monotonic() + 30
    while not tab.run(condition):
        assert time.monotonic() < deadline, condition
        time.sleep(0.1)


def until_changed(tab: Any, former: str) -> str:
    until(tab, f"![{''!r}, {former!r}].includes({IMAGES})")
    return tab.run(IMAGES)
