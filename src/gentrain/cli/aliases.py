"""What people type who know other programs, as gentrain's own words.

`aliases.yaml` has the words. A word that is rewritten is said on stderr, once a command.
"""

from __future__ import annotations

import os
import re
import sys
from fnmatch import fnmatchcase
from functools import cache, partial
from pathlib import Path
from typing import Any

from gentrain.config.overrides import key_of, quoted, without
from gentrain.config.paths import groups, option_files
from gentrain.errors import UserError

PLAIN = re.compile(r"[\w.,/:+-]*", re.ASCII)  # values that Hydra can read
TABLE = Path(__file__).with_name("aliases.yaml")
POSITIONAL = {
    "eval": "run", "sample": "run", "explore": "run", "export": "run", "doctor": "run",
    "compare": "runs",
}  # fmt: skip
CHOICE = {"demo": "demo", "verify": "model"}  # of a group, by the first word
# keys whose values are paths; a path may have characters that Hydra's grammar has not
PATHS = re.compile(
    r"(data\.(root|a|b|file)|run|runs|out|source|resume|images|against|hydra\.(run|sweep)\.dir"
    r"|.*\.(cache|weights|file|root|dir))"
)


@cache
def table() -> dict[str, dict[str, dict[str, str]]]:
    """The words of other programs, by command."""
    import yaml

    loaded: dict[str, dict[str, dict[str, str]]] = yaml.safe_load(TABLE.read_text("utf-8"))
    return loaded


# --- words that need no table ---------------------------------------------------------------------


def without_dashes(argv: list[str], options: set[str]) -> list[str]:
    """`--key=value`, as agents of W&B write it, as `key=value`.

    Args:
        argv: the words of a command.
        options: the options of the command line itself, such as "--config-dir".

    >>> without_dashes(["--seed=1", "--cfg=job", "-m"], {"--cfg"})
    ['seed=1', '--cfg=job', '-m']
    """
    return [
        word[2:] if re.match(r"--[\w.@/]+=", word) and key_of(word) not in options else word
        for word in argv
    ]


def with_named_paths(verb: str, argv: list[str]) -> list[str]:
    """`gentrain sample outputs/x` as `gentrain sample run=outputs/x`.

    >>> with_named_paths("sample", ["outputs/x", "n=4"])
    ["run='outputs/x'", 'n=4']
    >>> with_named_paths("compare", ["a", "b"])
    ["runs=['a','b']"]
    >>> with_named_paths("demo", ["best_critic", "demo.steps=5"])
    ['demo=best_critic', 'demo.steps=5']
    """
    if verb in CHOICE and argv and "=" not in argv[0] and not argv[0].startswith("-"):
        return [f"{CHOICE[verb]}={argv[0]}", *argv[1:]]
    if verb not in POSITIONAL:
        return argv
    values = arguments_of_options(argv)
    places = [
        word
        for i, word in enumerate(argv)
        if i not in values and not word.startswith("-") and is_place(word)
    ]
    if not places:
        return argv
    rest = [word for i, word in enumerate(argv) if i in values or word not in places]
    key = POSITIONAL[verb]
    if key == "run" and len(places) > 1:
        raise UserError(
            f"{len(places)} runs, and gentrain {verb} takes one (run); "
            f"give one, or -m run={','.join(places)}"
        )
    paths = ",".join(quoted(Path(place)) for place in places)
    return [f"{key}=[{paths}]" if key == "runs" else f"{key}={paths}", *rest]


def is_place(word: str) -> bool:
    """Whether a word is a path and no `key=value`."""
    return "=" not in word or Path(word).is_dir()


def arguments_of_options(argv: list[str]) -> set[int]:
    """The places of words that belong to the option before them, as in `--config-dir DIR`."""
    taking = {"--cfg", "-c", "--config-dir", "-cd", "--package", "-p", "--info", "-i"}
    return {i + 1 for i, word in enumerate(argv) if word in taking}


def with_whole_numbers(argv: list[str]) -> list[str]:
    """`steps=1e3` as `steps=1000`, where it is a whole number.

    >>> with_whole_numbers(["steps=1e3", "scheme.optimizers.critic.lr=1e-3", "steps=1.5e0"])
    ['steps=1000', 'scheme.optimizers.critic.lr=1e-3', 'steps=1.5e0']
    """

    def whole(match: re.Match[str]) -> str:
        number = float(match[0])
        return str(int(number)) if number.is_integer() and number < 2**63 else match[0]

    pattern = re.compile(r"(?<=[=,])\d+(\.\d+)?[eE]\+?\d+(?=,|$)")
    return [pattern.sub(whole, word) if "=" in word else word for word in argv]


def with_known_options(argv: list[str]) -> list[str]:
    """`model=WGAN-GP` as `model=wgan_gp`: an option whose letters and digits are those typed.

    >>> with_known_options(["model=WGAN-GP,dcgan", "tricks=[EMA, replay]", "model=none_such"])
    ['model=wgan_gp,dcgan', 'tricks=[ema, replay]', 'model=none_such']
    """
    words = []
    for word in argv:
        group, equals, value = word.partition("=")
        named = re.fullmatch(r"[a-z_]+", group) and re.fullmatch(r"[\w\-, ]+|\[[\w\-, ]*\]", value)
        if named and group in groups():
            value = re.sub(r"\w[\w-]*", partial(known_option_at, group), value)
        words.append(f"{group}{equals}{value}")
    return words


def known_option_at(group: str, match: re.Match[str]) -> str:
    """The option of a group that a matched word means."""
    return known_option(group, match[0])


def known_option(group: str, option: str) -> str:
    """The option of a group that a word means; the word itself where there is none."""
    names = option_files(group)
    if option in names:
        return option
    same = [name for name in names if squashed(name) == squashed(option)]
    return same[0] if len(same) == 1 else option


def squashed(name: str) -> str:
    """The letters and digits of a name, in lower case."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def hydra_reads(word: str) -> bool:
    """Whether a word is in Hydra's grammar."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        OverridesParser.create().parse_override(word)
    except HydraException:
        return False
    return True


def with_quotes(argv: list[str]) -> list[str]:
    """`data.root=a&b` with quotes around a value that Hydra cannot read.

    A value with brackets or quotes of its own is quoted only where it is a path.
    """
    words = []
    for word in argv:
        key, equals, value = word.partition("=")
        path = PATHS.fullmatch(key.lstrip("+~"))
        special = equals and value and not word.startswith("-") and not PLAIN.fullmatch(value)
        marked = re.search(r"""[][{}()'"$,\\]""", value)
        if special and (path or not marked) and not hydra_reads(word):
            word = f"{key}={quoted(Path(value) if path else value)}"
        words.append(word)
    return words


# --- the table ------------------------------------------------------------------------------------


def translate(verb: str, argv: list[str]) -> list[str]:
    """Replace the words of other programs, and say so.

    Args:
        verb: the command.
        argv: its words.

    Raises:
        UserError: for a word that has an answer and no key, or that could mean several things.
    """
    words = table().get(verb, {})
    keys, answers = words.get("keys", {}), words.get("answers", {})
    translated: list[str] = []
    for word in argv:
        key, equals, value = word.partition("=")
        if not equals or word.startswith("-"):
            translated.append(word)
        elif key in answers:
            raise UserError(f"no option {key} ({key}); {answers[key]}")
        elif key in keys:
            translated += said(word, replacements(verb, key, value, keys[key], argv))
        else:
            translated.append(word)
    return translated


def said(word: str, replacing: list[str]) -> list[str]:
    """Say what a word is rewritten to; returns that."""
    if "LOCAL_RANK" not in os.environ:
        print(f"gentrain: {word} is {' '.join(replacing)}", file=sys.stderr)
    return replacing


def replacements(verb: str, key: str, value: str, pattern: str, argv: list[str]) -> list[str]:
    """The overrides that a word stands for.

    The first of several keys takes the value, and the others follow it, so that a sweep over the
    value has one cell a value.

    Raises:
        UserError: where the pattern matches no key, or keys of different values.
    """
    if "*" not in pattern:
        return [f"{pattern}={value}"]
    from gentrain.cli.compose import composed

    found = matching(composed(verb, without(argv, *table()[verb]["keys"])).values, pattern)
    if not found:
        raise UserError(f"this model has no {pattern} ({key}); leave it out")
    if len(set(map(str, found.values()))) > 1:
        values = " and ".join(f"{name}={each}" for name, each in found.items())
        raise UserError(f"{key} could be any of {values} ({key}); give those")
    first, *others = found
    return [f"{first}={value}", *(f"{other}=${{{first}}}" for other in others)]


def matching(config: dict[str, Any], pattern: str, prefix: str = "") -> dict[str, Any]:
    """The keys of a configuration that match a pattern, with their values.

    >>> matching({"a": {"critic": {"lr": 1}, "generator": {"lr": 1}}}, "a.*.lr")
    {'a.critic.lr': 1, 'a.generator.lr': 1}
    """
    found: dict[str, Any] = {}
    for name, value in config.items():
        key = f"{prefix}{name}"
        if key.count(".") == pattern.count(".") and fnmatchcase(key, pattern):
            found[key] = value
        elif isinstance(value, dict):
            found |= matching(value, pattern, f"{key}.")
    return found
