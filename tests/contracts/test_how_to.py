"""Every command and every block of Python in docs/how-to.md, docs/python.md and docs/plugins.md."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import tarfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.paths import ROOT
from tests.support.program import in_process
from tests.support.shell import gentrain, python
from tests.support.zoo import Zoo

PAGES = ("how-to.md", "python.md", "plugins.md")
# what makes a training of the page a short one
SHORT = (
    "steps=1", "trainer=cpu", "quality=none", "samples.n=4", "data.batch_size=8",
    "model.generator.width=4", "model.critic.width=4",
)  # fmt: skip


def commands(page: str) -> list[str]:
    text = (ROOT / "docs" / page).read_text("utf-8")
    return re.findall(r"^ {4,8}gentrain (.*)$", text, re.MULTILINE)


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / "docs" / page).read_text("utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@pytest.fixture
def place(tmp_path: Path, zoo: Zoo) -> Path:
    """A directory with what the page speaks of: pictures, a finished run, code of the user."""
    shutil.copytree(zoo("gan"), tmp_path / "RUN")
    (tmp_path / "pictures").mkdir()
    for i in range(20):
        Image.new("RGB", (70, 64), (i * 10, 99, 0)).save(tmp_path / "pictures" / f"{i}.png")
    (tmp_path / "theirs").mkdir()
    for i, digit in enumerate(np.random.default_rng(0).integers(0, 256, (20, 28, 28), np.uint8)):
        Image.fromarray(digit).save(tmp_path / "theirs" / f"{i}.png")
    digits = np.random.default_rng(0).integers(0, 256, (20, 28, 28, 1), dtype=np.uint8)
    np.savez(tmp_path / "samples.npz", images=digits)
    colours = np.random.default_rng(0).integers(0, 256, (20, 3, 32, 32), dtype=np.uint8)
    np.savez(tmp_path / "arrays.npz", images=colours, labels=np.arange(20) % 2)
    for i, pixels in enumerate(colours.transpose(0, 2, 3, 1)):
        (tmp_path / "copy" / str(i % 2)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).resize((64, 64)).save(tmp_path / "copy" / str(i % 2) / f"{i}.png")
    (tmp_path / "shards").mkdir()
    with tarfile.open(tmp_path / "shards" / "0.tar", "w") as archive:
        for i in range(20):
            (tmp_path / "class").write_text(str(i % 2))
            archive.add(tmp_path / "pictures" / f"{i}.png", f"{i}.png")
            archive.add(tmp_path / "class", f"{i}.cls")
    rows = np.random.default_rng(0).normal(size=(200, 3))
    np.savetxt(tmp_path / "table.csv", rows, delimiter=",", header="a,b,c", comments="")
    modules = [block.partition("\n") for block in blocks("plugins.md", "python")]
    files = {first.removeprefix("# "): text for first, _, text in modules}
    named, pages = r"\bIn `(own/\S+)`:\n\n```yaml\n(.*?)^```$", ("plugins.md", "how-to.md")
    for page in pages:
        text = (ROOT / "docs" / page).read_text("utf-8")
        files |= dict(re.findall(named, text, re.MULTILINE | re.DOTALL))
    assert len(files) == len(modules) + sum(len(blocks(page, "yaml")) for page in pages)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


@pytest.mark.timeout(900)  # a score of commands, on a busy machine
@pytest.mark.slow
@pytest.mark.parametrize("page", ["how-to.md", "plugins.md"])
def test_commands(page: str, place: Path, env: dict[str, str]) -> None:
    assert commands(page)
    for line in commands(page):
        if "data=huggingface" in line:
            if find_spec("datasets") is None:
                continue
            env = env | {"PYTHONPATH": os.environ.get("PYTHONPATH", ""), "HF_HOME": str(place)}
        words = shlex.split(line)
        verb = words[0] if words[0] in ("sample", "eval", "compare", "check", "verify") else "train"
        if verb == "train":
            words += [w for w in SHORT if not ("batch_size=" in line and "batch_size" in w)]
        elif verb == "sample":
            words = [word.replace("n=1000", "n=5") for word in words]
        elif verb == "eval":
            words.append("n=20")
        elif verb == "check":
            words.append("compile=none")
        elif verb == "verify":
            words.append("bands=false")
        done = gentrain(place, env, *words)
        assert done.returncode == 0, (line, done.stderr)
    if page == "how-to.md":
        assert len(list((place / "drawn" / "images").glob("*.png"))) == 5
        assert len(list((place / "outputs" / "sweeps" / "rates").glob("00?"))) == 4


WISHES = (
    "my own folder of images", "my own network, loss or trick", "learning rates and batch sizes",
    "1,000 images of the best run as PNG", "that I stopped with Ctrl-C", "TensorBoard",
    "as a tensor", "images that another program made", "plot the losses", "find the log",
)  # fmt: skip


@pytest.mark.parametrize("wish", WISHES)
def test_a_heading_says_the_wish_and_a_few_lines_fulfil_it(wish: str) -> None:
    text = (ROOT / "docs" / "how-to.md").read_text("utf-8")
    heading, *rest = re.split(r"^\*\*", text[text.index(wish) :], maxsplit=1, flags=re.MULTILINE)
    assert "?**" in heading and rest is not None
    shell = re.findall(r"^ {4}gentrain .*$", heading, re.MULTILINE)
    code = re.findall(r"^```python\n(.*?)^```$", heading, re.MULTILINE | re.DOTALL)
    assert shell or code
    assert len(shell) <= 2 and all(len(block.splitlines()) <= 5 for block in code)


@pytest.mark.slow
def test_commands_that_look_at_runs_and_the_composition_of_the_others(
    place: Path,
    env: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What takes no training; the slow test above runs all of them."""
    program = in_process(place, env, monkeypatch, capsys)
    for name in ("rows", "outputs/sweeps/rates/000"):
        shutil.copytree(place / "RUN", place / name)
    seen = set()
    for line in commands("how-to.md"):
        words = shlex.split(line)
        verb = words[0] if words[0] in ("sample", "eval", "compare") else "train"
        if verb == "sample":
            words = [word.replace("n=1000", "n=5") for word in words]
        elif verb != "compare":
            # of a sweep, its first cell
            words = [re.sub(r"(=[^,[]*),.*", r"\1", word) for word in words if word != "-m"]
            words += ["--cfg", "job"]
        done = program(*words)
        assert done.status == 0, (line, done.stderr)
        seen.add(verb)
    assert seen == {"train", "sample", "eval", "compare"}
    assert len(list((place / "drawn" / "images").glob("*.png"))) == 5
    assert (place / "RUN" / "compare.html").exists() and (place / "RUN" / "train.log").exists()


@pytest.mark.parametrize("page", ["how-to.md", "python.md"])
def test_python(page: str, place: Path, env: dict[str, str]) -> None:
    assert blocks(page, "python")
    code = "\n".join(blocks(page, "python")).replace('"steps=4"', '"steps=1"')
    done = python(place, env, "-c", code)
    assert done.returncode == 0, done.stderr
