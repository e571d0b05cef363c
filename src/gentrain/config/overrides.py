"""Words of a command line, `key=value`."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

UNQUOTED = re.compile(r"[A-Za-z0-9_./+-]+")


def quoted(path: Path | str) -> str:
    r"""A path as a value of Hydra's grammar.

    >>> quoted(Path("it's here"))
    "'it\\'s here'"
    """
    text = str(path).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{text}'"


def command(verb: str, run_dir: Path) -> str:
    """The command of a verb for a run, as a shell takes it.

    >>> print(command("sample", Path("outputs/gan")), command("sample", Path("a, b")), sep=chr(10))
    gentrain sample run=outputs/gan
    gentrain sample "run='a, b'"
    """
    if UNQUOTED.fullmatch(str(run_dir)):
        return f"gentrain {verb} run={run_dir}"
    word = f"run={quoted(run_dir)}"
    # easier to read than what shlex makes of single quotes
    return f"gentrain {verb} " + (shlex.quote(word) if set(word) & set('"$`\\!') else f'"{word}"')


def key_of(override: str) -> str:
    """The key of an override.

    >>> key_of("data.root=/x=y")
    'data.root'
    """
    return override.partition("=")[0]


def last_value(overrides: Iterable[str], key: str) -> str | None:
    """The value of a key, which is that of its last override; None where there is none.

    >>> last_value(["seed=1", "steps=9", "seed=2"], "seed")
    '2'
    """
    found = [value for name, _, value in (word.partition("=") for word in overrides) if name == key]
    return found[-1] if found else None


def is_of_sweep(word: str) -> bool:
    """Whether an override is read by a sweep alone, and not by a single run.

    >>> is_of_sweep("sweep.name=first"), is_of_sweep("+cluster=slurm"), is_of_sweep("steps=1")
    (True, True, False)
    """
    return key_of(word.lstrip("+~")).partition(".")[0] in ("sweep", "cluster", "probe")


def without(overrides: Iterable[str], *keys: str) -> list[str]:
    """The overrides of all other keys."""
    return [word for word in as_typed(overrides) if key_of(word) not in keys]


def as_typed(words: Iterable[str]) -> list[str]:
    """Words of a command; those that Hydra keeps still have their `${...}`.

    An item of a ListConfig is resolved when it is read, so that `b.lr=${a.lr}` would become one
    value of it.

    >>> from omegaconf import OmegaConf
    >>> as_typed(OmegaConf.create({"words": ["a=1", "b=${other}"], "other": 2}).words)
    ['a=1', 'b=${other}']
    """
    from omegaconf import ListConfig, OmegaConf  # --help does without

    match words:
        case ListConfig():
            kept: Any = OmegaConf.to_container(words, resolve=False)
            return [str(word) for word in kept]
    return list(words)
