"""Every command in a header of conf/ composes, and its options are valid.

What README and the help propose has no part that another part undoes.
"""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest

from gentrain.config import validate
from gentrain.layers.normalization import layers_before_norms
from tests.support.compose import build_model, composed
from tests.support.paths import CONF, ROOT

PLACEHOLDERS = {"model.start=RUN", "resume=auto"}


def commands(file: Path) -> list[list[str]]:
    """Lines of a header that begin with `gentrain`, with what continues them."""
    found: list[str] = []
    goes_on = False  # lines that continue a command follow it at once
    for line in file.read_text().splitlines():
        if line.startswith("# Departures"):  # whose lines are continued in the same way
            break
        goes_on = goes_on and line.startswith("#     ")
        if line.startswith("#   gentrain "):
            found.append(line.removeprefix("#   gentrain "))
            goes_on = True
        elif goes_on:
            found[-1] += line.removeprefix("#    ")
    return [shlex.split(line) for line in found]


CASES = {
    f"{file.parent.name}/{file.stem}-{i}": words
    for file in sorted(CONF.rglob("*.yaml"))
    for i, words in enumerate(commands(file))
    if words[0] not in ("sample", "eval", "export", "compare", "doctor", "demo", "verify", "-m")
}


def merged(cases: dict[str, list[str]]) -> dict[str, list[str]]:
    """Commands of one model whose words do not contradict each other, as one command.

    Hydra takes a sixth of a second for each, and refuses a wrong word beside others as well.
    """
    found: dict[str, list[str]] = {}
    keys: dict[str, dict[str, str]] = {}
    for name, words in cases.items():
        given = {word.partition("=")[0]: word for word in words}
        for other, known in keys.items():
            same_model = known.get("model") == given.get("model")
            if same_model and all(known.get(key, word) == word for key, word in given.items()):
                known |= given
                found[other] = list(known.values())
                break
        else:
            keys[name], found[name] = given, words
    return found


def test_headers_have_commands() -> None:
    assert len(CASES) > 60


def test_merged_commands_have_every_word() -> None:
    words = {word for words in CASES.values() for word in words}
    assert {word for words in merged(CASES).values() for word in words} == words


@pytest.mark.parametrize("name", merged(CASES))
def test_documented_commands_compose(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_composes(merged(CASES)[name], tmp_path, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_documented_command_composes(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_composes(CASES[name], tmp_path, monkeypatch)


def assert_composes(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("X.csv").write_text("a,b\n1,2\n3,4\n", encoding="utf-8")
    np.save("X.npy", np.eye(3))
    np.savez("X.npz", images=np.zeros((2, 32, 32), np.uint8))
    checked = composed(*(word for word in words if word not in PLACEHOLDERS))
    checked.pop("callbacks", None)
    validate.check(checked)


def examples(file: Path) -> list[list[str]]:
    """Indented lines that begin with `gentrain`, with what continues them after a backslash."""
    text = file.read_text().replace("\\\n", " ")
    lines = (line.strip() for line in text.splitlines() if line.startswith("    gentrain "))
    return [shlex.split(line.partition("     ")[0])[1:] for line in lines]


SPECTRAL = [
    words
    for file in (ROOT / "README.md", CONF / "hydra" / "help" / "gentrain.yaml")
    for words in examples(file)
    if any(word.startswith("lipschitz=spectral_norm") for word in words)
]


def test_examples_of_spectral_norm_have_no_norm_that_undoes_it() -> None:
    assert len(SPECTRAL) >= 2
    for words in SPECTRAL:
        critic = build_model(*words, "model.critic.width=4", "model.generator.width=4").critic
        assert layers_before_norms(critic) == [], words
        without = [word for word in words if word != "model.critic.norm=none"]
        narrow = ("model.critic.width=4", "model.generator.width=4")
        assert layers_before_norms(build_model(*without, *narrow).critic), words
