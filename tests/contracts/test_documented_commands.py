"""Every training that pages, the help and heads of conf/ show composes, with valid options.

What README and the help propose has no part that another part undoes.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from gentrain.config import validate
from gentrain.layers.normalization import layers_before_norms
from tests.support.commands import everything, trainings
from tests.support.compose import build_model, composed, options
from tests.support.paths import CONF

CASES = trainings()
GROUPS = {folder.relative_to(CONF).as_posix() for folder in CONF.rglob("*") if folder.is_dir()} - {
    "hydra"
}
CHOSEN = {*GROUPS, "callbacks", "hydra", "logger", "checkpoint", "samples", "quality", "trainer"}


def merged(cases: dict[str, list[str]]) -> dict[str, list[str]]:
    """Commands of one model whose choices do not contradict each other, as one command.

    Hydra takes a sixth of a second for each, and refuses a wrong word beside others as well. Of two
    numbers for a key the last one counts.
    """
    found: dict[str, list[str]] = {}
    keys: dict[str, dict[str, str]] = {}
    for name, words in cases.items():
        given = {word.partition("=")[0]: word for word in words}
        for other, known in keys.items():
            same = all(known.get(key) == given.get(key) for key in ("model", "experiment"))
            if same and not any(contradict(known.get(key), given[key]) for key in given):
                known |= given
                found[other] = list(known.values())
                break
        else:
            keys[name], found[name] = given, words
    return found


def contradict(one: str | None, other: str) -> bool:
    """Whether two words of one key are different choices, and not two numbers."""
    numbers = all(re.search(r"=[\d.e-]+$", word or "") for word in (one, other))
    return one not in (None, other) and not numbers


def test_there_are_commands() -> None:
    assert len(CASES) > 200
    assert {command.where.partition("/")[0] for command in everything()} >= {
        "README.md", "docs", "help", "model", "loss", "mode", "conf",
    }  # fmt: skip


def test_merged_commands_have_every_word() -> None:
    words = {word for words in CASES.values() for word in words}
    kept = {word for words in merged(CASES).values() for word in words}
    assert {word.partition("=")[0] for word in words - kept} <= {
        word.partition("=")[0] for word in kept if re.search(r"=[\d.e-]+$", word)
    }


FIRST_READ = ("README", "help", "docs/quick", "docs/how-to", "loss", "lipschitz")
MERGED = merged(CASES)


@pytest.mark.parametrize(
    "name",
    [
        name if name.startswith(FIRST_READ) else pytest.param(name, marks=pytest.mark.slow)
        for name in MERGED
    ],
)
def test_documented_commands_compose(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_composes(MERGED[name], tmp_path, monkeypatch)


def test_documented_choices_are_there() -> None:
    """Names of options and first parts of keys, which takes no composition."""
    known = composed("model=gan").keys() | CHOSEN
    for name, words in CASES.items():
        for word in words:
            key, _, value = word.lstrip("+~").partition("=")
            group = key.partition("@")[0].replace(".", "/")
            assert key.partition(".")[0].partition("/")[0] in known, (name, word)
            if group in GROUPS and "=" in word and not re.search(r"[/.{]", value):
                for option in re.findall(r"[^\[\],' ]+", value):
                    assert option in options(group) or option == "null", (name, word)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_documented_command_composes(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_composes(CASES[name], tmp_path, monkeypatch)


def assert_composes(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for table in ("X.csv", "table.csv"):
        Path(table).write_text("a,b\n1,2\n3,4\n", encoding="utf-8")
    np.save("X.npy", np.eye(3))
    for arrays in ("X.npz", "arrays.npz"):
        np.savez(arrays, images=np.zeros((2, 32, 32), np.uint8), labels=np.zeros(2))
    checked = composed(*words)
    checked.pop("callbacks", None)
    validate.check(checked)


SPECTRAL = [
    list(command.words)
    for command in everything()
    if command.where.startswith(("README", "docs/families", "help"))
    and any(word.startswith("lipschitz=spectral_norm") for word in command.words)
]


def test_examples_of_spectral_norm_have_no_norm_that_undoes_it() -> None:
    assert len(SPECTRAL) >= 2
    for words in SPECTRAL:
        critic = build_model(*words, "model.critic.width=4", "model.generator.width=4").critic
        assert layers_before_norms(critic) == [], words
        without = [word for word in words if word != "model.critic.norm=none"]
        narrow = ("model.critic.width=4", "model.generator.width=4")
        assert layers_before_norms(build_model(*without, *narrow).critic), words
