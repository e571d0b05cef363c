"""What TAB offers beside the keys and options of Hydra's own completion: verbs, and paths.

The shell asks by `gentrain -sc query=SHELL`, with the line in COMP_LINE.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from gentrain.cli.aliases import CHOICE, PATHS, POSITIONAL
from gentrain.commands.list import PLURALS, groups
from gentrain.config.paths import option_files

# A shell expands what completion prints: names that it would change are left to its own completion.
SAFE = re.compile(r"[\w./+@%:,=-]+")
OF_RUNS = ("run", "runs", "resume")  # keys whose values are runs, not what lies in them
ALSO = {"resume": ["auto"]}
BESIDE = {"demo": "list", "verify": "all"}  # the options of a group, as a first word
IMAGES = (".zip", ".npz", ".npy")
# endings of files that a key takes; any other key of a path takes all
ENDINGS = {
    "run": (), "runs": (), "resume": (".ckpt",), "out": (), "hydra.run.dir": (),
    "hydra.sweep.dir": (), "images": IMAGES, "against": IMAGES, "data.root": IMAGES[:1],
    "data.a": IMAGES[:1], "data.b": IMAGES[:1], "data.file": (".csv", ".npy", ".npz", ".parquet"),
}  # fmt: skip


def question(argv: list[str]) -> str | None:
    """The shell that asks, such as "bash"; None where none does."""
    match argv:
        case ["-sc" | "--shell-completion", word] if word.startswith("query="):
            return word.removeprefix("query=")
    return None


def answers(verb: str, verbs: Iterable[str]) -> tuple[list[str], bool]:
    """What completes the last word of the line, and whether Hydra may know more.

    Args:
        verb: the command; it is not in COMP_LINE any more, unless that has nothing else.
        verbs: all commands.
    """
    words = os.environ.get("COMP_LINE", "").split(" ")
    word, first = words[-1], len(words) == 2
    if verb == "list":
        return sorted(of_list(word)), False
    if verb in CHOICE and first and "=" not in word and not word.startswith("-"):
        named = [
            each for each in (BESIDE[verb], *option_files(CHOICE[verb])) if each.startswith(word)
        ]
        return safe(named), not named
    key, equals, value = word.partition("=")
    if equals and PATHS.fullmatch(key):
        found = [f"{key}={each}" for each in values(key, value)]
        return safe(found), False
    if equals or word.startswith("-"):
        return [], True
    if verb == "train":
        return [each for each in verbs if first and word and each.startswith(word)], True
    named = list(paths(word, OF_RUNS[0])) if word and verb in POSITIONAL else []
    return safe(named), "/" not in word


def safe(found: Iterable[str]) -> list[str]:
    """Those of some words that no shell changes."""
    return sorted(word for word in found if SAFE.fullmatch(word))


def of_list(word: str) -> list[str]:
    """What `gentrain list` shows."""
    group, equals, _ = word.partition("=")
    known = [f"{group}={each}" for each in option_files(group)] if equals else {*PLURALS, *groups()}
    return [each for each in known if each.startswith(word)]


def values(key: str, typed: str) -> Iterator[str]:
    """Values of a key that begin with what is typed; of `runs=a,b` the last one is completed."""
    before, comma, last = typed.rpartition(",") if key == "runs" else ("", "", typed)
    names = option_files("data") if key == "against" else ALSO.get(key, [])
    yield from (name for name in names if name.startswith(last))
    yield from (f"{before}{comma}{each}" for each in paths(last, key))


def paths(typed: str, key: str) -> Iterator[str]:
    """Paths that begin with what is typed and fit a key; folders end with a slash, runs do not."""
    folder, slash, start = typed.rpartition("/")
    endings = ENDINGS.get(key)
    try:
        found = list(os.scandir(f"{folder}{slash}" or "."))
    except OSError:
        return
    for each in found:
        if not each.name.startswith(start) or (each.name.startswith(".") and not start):
            continue
        name = f"{folder}{slash}{each.name}"
        if each.is_dir():
            a_run = key in OF_RUNS and Path(each.path, ".hydra", "config.yaml").is_file()
            yield name if a_run else f"{name}/"
        elif each.is_file() and (endings is None or each.name.lower().endswith(endings)):
            yield name
