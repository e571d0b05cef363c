"""TAB completes verbs and paths; the program is asked as a shell asks it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from gentrain.config.paths import option_files
from tests.support.program import Program
from tests.support.shell import GENTRAIN


@pytest.fixture(autouse=True)
def place(tmp_path: Path) -> Path:
    """A run in outputs/, pictures, and names that a shell would change."""
    for folder in ("outputs/vae/.hydra", "outputs/vae/checkpoints", "pictures/cat", ".hidden"):
        (tmp_path / folder).mkdir(parents=True)
    for file in (
        "outputs/vae/.hydra/config.yaml", "outputs/vae/checkpoints/last.ckpt", "outputs/notes.txt",
        "pictures.zip", "pictures.npz", "table.csv", "pic $(rm).zip", "pic ture.zip",
    ):  # fmt: skip
        (tmp_path / file).touch()
    return tmp_path


OFFERED = {
    "sample run=": {"run=outputs/", "run=pictures/"},
    "sample run=outputs/": {"run=outputs/vae"},
    "sample run=outputs/vae/": {"run=outputs/vae/checkpoints/"},
    "sample run=.": {"run=.hidden/"},
    "sample n=4 run=out": {"run=outputs/"},
    "sample outputs/": {"outputs/vae"},
    "compare outputs/v": {"outputs/vae"},
    "compare runs=a,out": {"runs=a,outputs/"},
    "eval images=pic": {"images=pictures/", "images=pictures.zip", "images=pictures.npz"},
    "eval against=mnist_5": {"against=mnist_5k"},
    "eval against=pictures.n": {"against=pictures.npz"},
    "model=gan data.root=pic": {"data.root=pictures/", "data.root=pictures.zip"},
    "data.file=t": {"data.file=table.csv"},
    "resume=": {"resume=auto", "resume=outputs/", "resume=pictures/"},
    "resume=outputs/vae/checkpoints/": {"resume=outputs/vae/checkpoints/last.ckpt"},
    "hydra.run.dir=outputs/": {"hydra.run.dir=outputs/vae/"},
    "sample run=nowhere/": set(),
    "list los": {"loss", "losses"},
    "list loss=hi": {"loss=hinge"},
    "demo be": {"best_critic"},
    "demo ": {"list", *option_files("demo")},
}


def asked(program: Program, monkeypatch: pytest.MonkeyPatch, line: str, shell: str) -> str:
    monkeypatch.setenv("COMP_LINE", f"gentrain {line}")
    monkeypatch.setenv("COMP_POINT", str(len(line) + 9))
    done = program("-sc", f"query={shell}")
    assert (done.status, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("line", OFFERED)
def test_what_is_offered(program: Program, monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    assert set(asked(program, monkeypatch, line, "bash").split()) == OFFERED[line]


def test_a_shell_with_a_name_a_line(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    offered = asked(program, monkeypatch, "eval images=pic", "fish")
    assert offered.splitlines() == sorted(OFFERED["eval images=pic"])


def test_verbs_and_keys_are_offered_together(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And where a key may stand, so may a path."""
    monkeypatch.setattr("sys.exit", lambda *_: None)
    assert {"sample", "sampler="} <= set(asked(program, monkeypatch, "samp", "bash").split())
    assert {"outputs/", "out="} <= set(asked(program, monkeypatch, "sample out", "bash").split())


def test_paths_in_bash(light: dict[str, str], place: Path) -> None:
    """What bash does on TAB; no name is executed."""
    script = """
        eval "$(gentrain -sc install=bash)"
        COMP_LINE="gentrain eval images=pic" COMP_POINT=24 COMP_WORDS=(gentrain eval images=pic)
        COMP_CWORD=2; hydra_bash_completion; echo "${COMPREPLY[@]}"
    """
    env = light | {"PATH": f"{Path(GENTRAIN).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", script], cwd=place, env=env, text=True, capture_output=True
    )
    assert set(done.stdout.split()) == OFFERED["eval images=pic"], done
