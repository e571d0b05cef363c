"""Every command that the documentation shows: in pages, in the first comments of YAML files, in the
help of the commands.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from gentrain.cli.main import VERBS
from tests.support.paths import CONF, ROOT

PAGES = ("README.md", "docs/**/*.md")
# a comment behind a command, or two commands on one line of the help
END = re.compile(r" {2,}|\s+#\s| \| source$|\.\.\.$")
INLINE = re.compile(r"`gentrain ([^`]*[=/][^`]*)`")


@dataclass(frozen=True)
class Command:
    """A command as a reader would type it."""

    where: str
    words: tuple[str, ...]

    @property
    def verb(self) -> str:
        return self.words[0] if self.words[0] in VERBS else "train"

    @property
    def text(self) -> str:
        return shlex.join(self.words)


def of_pages() -> Iterator[Command]:
    """Indented lines that begin with `gentrain`, with what continues them, and commands in code."""
    for pattern in PAGES:
        for file in sorted(ROOT.glob(pattern)):
            text = re.sub(r" *\\\n *", " ", file.read_text("utf-8"))
            where = file.relative_to(ROOT).as_posix()
            for line in re.findall(r"^ {4,8}gentrain (.*)$", text, re.MULTILINE):
                yield from parsed(where, line)
            for line in INLINE.findall(re.sub(r"^( {4}.*|\s*```.*?```)$", "", text, flags=re.M)):
                yield from parsed(where, " ".join(line.split()))


def of_heads() -> Iterator[Command]:
    """Commands in the first comment of a file, with what continues them."""
    for file in sorted(CONF.rglob("*.yaml")):
        where = f"{file.parent.name}/{file.stem}"
        for line in head_commands(file):
            yield from parsed(where, line)


def head_commands(file: Path) -> list[str]:
    """Lines of a head that begin with `gentrain` or end with such a command."""
    found: list[str] = []
    goes_on = False  # lines that continue a command follow it at once
    for line in file.read_text("utf-8").splitlines():
        if line.startswith("# Departures"):  # whose lines are continued in the same way
            break
        goes_on = goes_on and line.startswith("#     ")
        if line.startswith("#   gentrain ") or re.match(r"#.* {5,}gentrain ", line):
            found.append(line.partition("gentrain ")[2])
            goes_on = True
        elif goes_on:
            found[-1] = " ".join((found[-1].rstrip("\\ "), line.removeprefix("#").strip()))
    return found


def of_help() -> Iterator[Command]:
    """The commands that `--help` shows."""
    for file in sorted((CONF / "hydra" / "help").glob("*.yaml")):
        for line in re.findall(r"^    (gentrain .*)$", file.read_text("utf-8"), re.MULTILINE):
            for part in line.split("gentrain ")[1:]:
                yield from parsed(f"help/{file.stem}", part)


def parsed(where: str, line: str) -> Iterator[Command]:
    """A command without what stands behind it; nothing where its words are no command."""
    words = shlex.split(END.split(line)[0].replace("seed=SEED", "seed=0"))
    if words and (words[0] in VERBS or "=" in words[0] or words[0].startswith("-")):
        yield Command(where, tuple(words))


@cache
def everything() -> tuple[Command, ...]:
    """Each command once, at the first place that shows it."""
    found: dict[str, Command] = {}
    for command in (*of_heads(), *of_pages(), *of_help()):
        found.setdefault(command.text, command)
    return tuple(found.values())


def trainings() -> dict[str, list[str]]:
    """The words of all trainings, by the place that shows them; of a sweep, its first cell."""
    found: dict[str, list[str]] = {}
    for command in everything():
        words = first_cell(command.words)
        if command.verb == "train" and words is not None:
            found[f"{command.where}-{len(found)}"] = words
    return found


NO_WORDS = {"model.start=RUN", "resume=auto", "model.teacher=RUN"}  # a run that is not there
TRANSLATED = ("lr=", "batch_size=", "logger=[")  # before Hydra sees them
# of the command itself; of code that is not there (tests/contracts/test_how_to.py); of experiments,
# each of which test_experiments.py composes and steps
OTHERS = ("plugins=", "--", "-sc", "model=NAME", "data=NAME", "loss=my_loss")


def first_cell(words: tuple[str, ...]) -> list[str] | None:
    """What composes: the first value of each list that a sweep varies; None for other commands."""
    if any(w.startswith(OTHERS) for w in words) or words[0].startswith("experiment="):
        return None
    words = tuple(w for w in words if w not in NO_WORDS and not w.startswith(TRANSLATED))
    if words[0] != "-m":
        return [word for word in words if not word.startswith("seeds=")]
    cell = [re.sub(r"^([\w.]+=[^,\[(]+),.*", r"\1", word) for word in words[1:]]
    cell = [re.sub(r"=tag\(log,interval\((.*?),.*", r"=\1", word) for word in cell]
    return [word for word in cell if not word.startswith(("sweep", "cluster", "seeds="))]
