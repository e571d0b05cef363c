"""A wheel carries conf/ and trains anywhere."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tests.support.shell import TINY, assert_fine, only_run, summary

REPOSITORY = ROOT
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
UNPINNED = {"ray"}  # its launcher needs cloudpickle<3, so it gets an environment of its own


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel installed in a folder of its own, beside the dependencies of this environment."""
    here = tmp_path_factory.mktemp("wheel")
    build = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(here),
        str(REPOSITORY),
    ]
    subprocess.run(build, check=True, capture_output=True, cwd=here)
    (wheel,) = here.glob("*.whl")
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--no-deps",
        "--no-index",
        "--target",
        str(here / "site"),
        str(wheel),
    ]
    subprocess.run(install, check=True, capture_output=True)
    return here / "site"


def installed(
    site: Path, cwd: Path, env: dict[str, str], *words: str
) -> subprocess.CompletedProcess[str]:
    """The wheel's script; its package hides the one that is installed for development."""
    script = [sys.executable, str(site / "bin" / "gentrain"), *words]
    return subprocess.run(
        script,
        cwd=cwd,
        env=env | {"PYTHONPATH": str(site)},
        text=True,
        capture_output=True,
        timeout=200,
    )


def test_the_configuration_is_inside(site: Path, env: dict[str, str], tmp_path: Path) -> None:
    shown = installed(site, tmp_path, env, "--info", "searchpath")
    assert (
        shown.returncode == 0
        and str(site / "gentrain" / "conf") in shown.stdout
        and str(REPOSITORY) not in shown.stdout
    )
    assert (
        "critic_steps: 5" in installed(site, tmp_path, env, "--cfg", "job", "model=wgan_gp").stdout
    )


def test_the_page_of_compare_is_inside(site: Path) -> None:
    parts = {file.suffix for file in (site / "gentrain" / "commands" / "compare").glob("page.*")}
    assert parts == {".py", ".html", ".css", ".js"}


@pytest.mark.slow
def test_it_trains(site: Path, env: dict[str, str], tmp_path: Path) -> None:
    assert_fine(installed(site, tmp_path, env, "model=sngan", "steps=2", *TINY))
    assert summary(only_run(tmp_path))["status"] == "completed"


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("extra", PROJECT["optional-dependencies"])
def test_an_extra_resolves_with_the_pins(extra: str) -> None:
    """In an empty environment; nothing is installed."""
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"]
    pins = [] if extra in UNPINNED else ["-c", str(ROOT / "constraints.txt")]
    packages = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"][extra]]
    done = subprocess.run([*command, *pins, *packages], text=True, capture_output=True)
    if "Failed to establish a new connection" in done.stderr:
        pytest.skip("needs a package index")
    assert done.returncode == 0, done.stderr


def test_what_extras_name_is_pinned() -> None:
    text = (ROOT / "constraints.txt").read_text("utf-8").lower().replace("_", "-")
    pinned = {line.partition("==")[0] for line in text.splitlines()}
    for word in ("streamlit", "plotly", "safetensors", "onnx", "mkdocs-material", "tensorboard"):
        assert word in pinned, word
