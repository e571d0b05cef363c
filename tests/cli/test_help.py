"""What answers at once: help, the configuration, completion. None of them imports torch."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from gentrain.cli import main
from gentrain.cli.main import VERBS
from tests.support.shell import GENTRAIN, Done, completed, gentrain, presets, python

Run = Callable[..., Done]


def test_help(light: dict[str, str], tmp_path: Path) -> None:
    done = gentrain(tmp_path, light, "--help", cold=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "gentrain -m model=wgan_gp,sngan seed=0,1" in done.stdout
    assert "gentrain list models" in done.stdout


def test_help_needs_nothing_of_hydra(light: dict[str, str], tmp_path: Path) -> None:
    code = (
        "import sys; from gentrain.cli.main import run; run(sys.argv[1:]); "
        "assert not {'hydra', 'omegaconf'} & sys.modules.keys()"
    )
    for words in (["--help"], ["help"], ["--version"], []):
        done = python(tmp_path, light, "-c", code, *words, cold=True)
        assert done.returncode == 0 and done.stdout, done


# list has no configuration, and that of demo is whole only with a name
@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb not in ("list", "demo")])
def test_help_is_what_hydra_would_show(
    verb: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Our own is faster, and has the same text."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    words = [] if verb == "train" else [verb]
    assert main.run([*words, "--help"]) == 0
    ours = capsys.readouterr().out
    with pytest.raises(SystemExit) as left:  # Hydra answers, and leaves
        main.run([*words, "--help", "hydra.verbose=false"])
    assert left.value.code == 0
    assert ours == capsys.readouterr().out and f"gentrain {' '.join(words)}" in ours


def test_help_refuses_a_mistake(run_light: Run) -> None:
    done = run_light("sample", "--help", "mode=gird")
    assert done.returncode == 2 and "did you mean grid" in done.stderr


def test_configuration(run_light: Run, tmp_path: Path) -> None:
    done = run_light("--cfg", "job", "model=wgan_gp")
    assert (done.returncode, done.stderr) == (0, "")
    assert (
        "critic_steps: 5" in done.stdout and "_target_: gentrain.models.gan.gan.GAN" in done.stdout
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "question",
    [
        ["--cfg", "job", "--resolve"],
        ["--info", "defaults"],
        ["--info", "searchpath"],
        ["--hydra-help"],
        ["--version"],
    ],
)
def test_other_questions(run_light: Run, question: list[str]) -> None:
    done = run_light(*question)
    assert (done.returncode, done.stderr) == (0, "") and done.stdout


def test_completion(light: dict[str, str], tmp_path: Path) -> None:
    offered = {
        word
        for word in completed(tmp_path, light, "gentrain model=")
        if not word.startswith("model=_")
    }
    assert offered == {f"model={name}" for name in presets()}
    assert completed(tmp_path, light, "gentrain model=wgan_gp loss=h") == {"loss=hinge"}
    assert "scheme.critic_steps=" in completed(tmp_path, light, "gentrain scheme.cri")


def test_compare_answers_at_once(light: dict[str, str], tmp_path: Path) -> None:
    done = gentrain(tmp_path, light, "compare", "--help")
    assert (
        (done.returncode, done.stderr) == (0, "")
        and "gentrain compare runs=outputs/sweeps/NAME" in done.stdout
        and "sort: auto" in done.stdout
    )
    assert completed(tmp_path, light, "gentrain compare pic") == {
        "picture_pixels=",
        "picture_megabytes=",
    }


def test_check_answers_at_once(light: dict[str, str], tmp_path: Path) -> None:
    done = gentrain(tmp_path, light, "check", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "gentrain check plugin=my_loss --config-dir own" in done.stdout
    assert "gentrain check plugin=my_loss" in gentrain(tmp_path, light, "--help").stdout
    assert completed(tmp_path, light, "gentrain check comp") == {"compile="}
    nothing = gentrain(tmp_path, light, "check")
    assert nothing.returncode == 2 and "no value for plugin (plugin)" in nothing.stderr


def test_completion_in_bash(light: dict[str, str], tmp_path: Path) -> None:
    """As the quick start says: eval "$(gentrain -sc install=bash)"; then what bash does on TAB."""
    script = """
        eval "$(gentrain -sc install=bash)"; complete -p gentrain
        COMP_LINE="gentrain model=sng" COMP_POINT=18 COMP_WORDS=(gentrain model=sng) COMP_CWORD=1
        hydra_bash_completion; echo "${COMPREPLY[@]}"
    """
    env = light | {"PATH": f"{Path(GENTRAIN).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=env, text=True, capture_output=True
    )
    assert (
        "hydra_bash_completion gentrain" in done.stdout and "sngan" in done.stdout.splitlines()[-1]
    ), done


@pytest.mark.parametrize("question", ["--help", "--cfg job"])
def test_44_a_pipe_that_closes(light: dict[str, str], tmp_path: Path, question: str) -> None:
    script = f"{GENTRAIN} {question} | head -1"
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=light, text=True, capture_output=True
    )
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.count("\n") == 1
