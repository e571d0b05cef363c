"""Hydra's errors as one line: what is wrong, which key, what to do."""

from __future__ import annotations

import difflib
import re
from contextlib import suppress
from itertools import islice, product, takewhile
from pathlib import Path

from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.initialize import initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from gentrain.cli.aliases import hydra_reads
from gentrain.cli.overrides import RENAMED_NETWORKS
from gentrain.config.overrides import key_of
from gentrain.config.paths import groups, option_files, overlays
from gentrain.config.validate import nearest

# plugins of Hydra, and the extra of gentrain that brings each
EXTRAS = {"submitit_slurm": "slurm", "submitit_local": "slurm", "ray": "ray", "optuna": "optuna"}

VERBS = (
    "sample", "eval", "explore", "export", "compare", "doctor", "check", "verify", "list", "help"
)  # fmt: skip

# what chooses nothing, in groups without an option `none`
NONE = {
    "tricks": "write tricks=[] for no trick",
    "callbacks": "one of them is switched off by callbacks.NAME=null",
    "logger": "write logger=csv, which keeps metrics.csv alone",
    "experiment": "leave it out",
    "schedule": "write schedule=constant",
}

# names of other programs, in a group that has none of them
SCORES = "give quality=inception, or quality=classifier without a download; both have this score"
OTHER_NAMES = {
    "quality": {"fid": SCORES, "kid": SCORES, "precision": SCORES, "recall": SCORES},
}

QUOTES = ("'", '"')
CLOSING = {")": "(", "]": "[", "}": "{"}
HYDRA_KEYS = (
    "hydra.run.dir",
    "hydra.sweep.dir",
    "hydra.sweep.subdir",
    "hydra.verbose",
    "hydra.searchpath",
)
MOST_JOBS = 20  # of a sweep that are composed for a hint
KINDS = {"Integer": "whole number", "Float": "number", "Boolean": "true or false"}

# how Hydra's parser of overrides complains
UNREADABLE = (
    "LexerNoViableAlt",
    "parsing",
    "mismatched input",
    "extraneous input",
    "no viable alternative",
)


def one_line(error: Exception, argv: list[str], conf: Path, verb: str = "train") -> str:
    """Hydra's error in one line.

    Args:
        error: Hydra's or OmegaConf's.
        argv: the words of the command.
        conf: the directory of the YAML files.
        verb: the command.
    """
    text = " ".join(str(error).split())
    if found := re.search(r"Missing mandatory value: (\S+)", text):
        return f"no value for {found[1]} ({found[1]}); give it on the command line, {found[1]}=..."
    if "Ambiguous value" in text:
        key, value = re.findall(r"argument '([^=']*)=([^']*)'", text)[0]
        return (
            f"{key}={value} is a list of values ({key}); "
            "give one, or sweep over them with -m (--multirun)"
        )
    if found := re.search(r"Could not (?:find|load) '([^']*)/([^'/]*)'", text):
        return unknown_option(found[1], found[2], argv)
    if found := re.search(r"Could not override '([^']+)'", text) or re.search(
        r"[Kk]ey '([^']+)' is not in struct", text
    ):
        return unknown_key(found[1], text, argv, conf, verb)
    if found := re.search(r"Error merging override (\S+?)=", text):
        problem = str(error.__cause__ or error).splitlines()[0]
        if kind := re.match(r"Value '(.*)' of type '\w+' could not be converted to (\w+)", problem):
            wanted = KINDS.get(kind[2], kind[2])
            return f"{kind[1]!r} is no {wanted} ({found[1]}); give one, {found[1]}=..."
        return f"{problem} ({found[1]}); mend the value"
    if "missing EQUAL" in text:
        word = next((word for word in argv if "=" not in word), argv[0])
        close = difflib.get_close_matches(word, VERBS, n=1)
        hint = f"did you mean gentrain {close[0]}?" if close else "such as model=wgan_gp"
        return f"{word!r} is no option (command line); write key=value, {hint}"
    if any(sign in text for sign in UNREADABLE):
        bad = (word for word in argv if "=" in word and not hydra_reads(word))
        word = next(bad, " ".join(argv))
        reason, remedy = trouble(word, text)
        return f"cannot read the override {word!r}: {reason} (command line); {remedy}"
    return f"{text[:300]} (command line); gentrain --help lists the options"


def trouble(word: str, text: str) -> tuple[str, str]:
    """What is wrong with an override, and what to do.

    Args:
        word: the override.
        text: what Hydra's parser says.

    >>> trouble("seed=[1,2", "")
    ('the [ stays open', 'balance brackets and quotes')
    >>> trouble("a b=3", "")
    ("a key has no ' '", 'write key=value')
    """
    key, _, value = word.partition("=")
    if bad := re.search(r"[^\w./@:+~-]", key):
        return f"a key has no {bad[0]!r}", "write key=value"
    left: list[str] = []  # what is open
    for character in re.sub(r"\\.", "", value):
        if left and left[-1] in QUOTES:
            if character == left[-1]:
                left.pop()
        elif character in QUOTES or character in CLOSING.values():
            left.append(character)
        elif character in CLOSING and (not left or left.pop() != CLOSING[character]):
            return f"the {character} closes nothing", "take it away, or quote the value"
    if left:
        return f"the {left[-1]} stays open", "balance brackets and quotes"
    reason = text.split("See https")[0].strip()
    found = re.search(r"at input '(.*)'", reason)
    where = f"near {found[1]!r}" if found else "Hydra's grammar has no such value"
    return where, f"""quote the value, {key}="'...'\""""


def unknown_option(group: str, option: str, argv: list[str]) -> str:
    """For `group=option` without a file of that name."""
    if extra := EXTRAS.get(option):
        return f"{option} is not installed (cluster, sweep); pip install 'gentrain[{extra}]'"
    if group == "network" and (instead := RENAMED_NETWORKS.get(option)):
        return f"{group}={option} has another name now ({group}); give {instead}"
    if option == "none" and group in NONE:
        return f"no option none ({group}); {NONE[group]}"
    if instead := OTHER_NAMES.get(group, {}).get(option.lower()):
        return f"no option {option} ({group}); {instead}"
    if not overlays and any(key_of(word) == "plugins" for word in argv):
        return (
            f"no option {option} ({group}); the YAML files of plugins are found with "
            "--config-dir=DIR"
        )
    return f"no option {option} ({group}){nearest(option, option_files(group))}"


def unknown_key(key: str, text: str, argv: list[str], conf: Path, verb: str) -> str:
    """For `key=value` where the configuration has no such key."""
    full = re.search(r"full_key: (\S+)", text)
    bare = (full[1] if full else key).split("@")[0]
    if bare in groups():
        model = next((word for word in argv if word.startswith("model=")), "this model")
        return f"{model} leaves no choice of {bare} ({bare}); leave it out, or choose another model"
    group, _, option = bare.partition(".")
    trick = option.partition(".")[0]
    known = similar_keys(argv, bare, conf, verb)
    chosen_trick = any(each.startswith(f"tricks.{trick}.") for each in known)
    if group == "tricks" and trick in option_files(group) and not chosen_trick:
        return f"tricks=[{trick}] is not chosen ({bare}); add it to tricks=[...], or leave this out"
    owners = options_with(group, option)
    if owners and not difflib.get_close_matches(bare, known, n=1, cutoff=0.85):
        chosen = " or ".join(f"{group}={owner}" for owner in owners[:4])
        return f"no option {bare} here ({bare}); {chosen} would have one"
    return f"no option {bare} ({bare}){nearest_below(bare, known)}"


def nearest_below(bad: str, known: list[str]) -> str:
    """As `nearest`, of what follows the dotted beginning that all keys share.

    >>> nearest_below("model.flow.blok", ["model.flow.blocks", "model.flow.width"])
    '; did you mean model.flow.blocks?'
    """
    levels = zip(*(key.split(".")[:-1] for key in (bad, *known)), strict=False)
    shared = takewhile(lambda names: len(set(names)) == 1, levels)
    start = sum(len(names[0]) + 1 for names in shared)
    close = difflib.get_close_matches(bad[start:], [key[start:] for key in known], cutoff=0.5)
    if close:
        return f"; did you mean {' or '.join(bad[:start] + key for key in close)}?"
    return nearest("", known)


def options_with(group: str, key: str) -> list[str]:
    """The options of a group whose files set a key; of data those of the user's own come first."""
    if group not in groups() or not key or group == "model":
        return []
    pattern = re.compile(rf"(?m)^{re.escape(key.partition('.')[0])}:")
    found = [
        name
        for name, file in option_files(group).items()
        if pattern.search(file.read_text("utf-8"))
    ]
    return sorted(found, key=lambda name: name != "image_folder")


def similar_keys(argv: list[str], bad: str, conf: Path, verb: str) -> list[str]:
    """The keys that stand where an unknown key was looked for.

    The command is composed without the unknown key; of a sweep, with each option that it chooses
    between. These are the keys under the same parent, or below the nearest one that there is. At
    the top they are the keys there, and the groups.
    """
    if bad.startswith("hydra."):
        return list(HYDRA_KEYS)
    good = [word for word in argv if "=" in word and key_of(word.lstrip("+~")) != bad]
    found: list[str] = []
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(conf), version_base="1.3"):
        for words in jobs(good):
            with suppress(HydraException):
                found += flat_keys(compose(verb, overrides=words))
    found = list(dict.fromkeys(key for key in found if key != bad))  # some jobs may have it
    parent = bad.rpartition(".")[0]
    if parent and (siblings := [key for key in found if key.rpartition(".")[0] == parent]):
        return siblings
    while parent:
        if below := [key for key in found if key.startswith(f"{parent}.")]:
            return below
        parent = parent.rpartition(".")[0]
    groups = [p.name for p in conf.iterdir() if p.is_dir() and p.name not in ("hydra", "mode")]
    level = [key for key in found if key.count(".") == bad.count(".")]
    return [*groups, *level] if verb == "train" else level


def jobs(words: list[str]) -> list[list[str]]:
    """The words of a command, one value each; a list for each option of a group that is swept.

    >>> jobs(["model=gan,vae", "seed=0,1", "steps=5"])
    [['model=gan', 'seed=0', 'steps=5'], ['model=vae', 'seed=0', 'steps=5']]
    """
    try:
        parsed = OverridesParser.create().parse_overrides(words)
    except HydraException:
        return [words]
    columns = []
    for word, each in zip(words, parsed, strict=True):
        if each.is_sweep_override():
            values = [f"{key_of(word)}={value}" for value in each.sweep_string_iterator()]
            columns.append(values if key_of(word) in groups() else values[:1])
        else:
            columns.append([word])
    return [list(job) for job in islice(product(*columns), MOST_JOBS)]


def flat_keys(cfg: DictConfig, prefix: str = "") -> list[str]:
    """The dotted keys of a configuration whose values are not resolved."""
    found: list[str] = []
    for key in map(str, cfg):
        resolved = not (OmegaConf.is_missing(cfg, key) or OmegaConf.is_interpolation(cfg, key))
        if key.startswith("_"):  # `_target_` and its like are not options
            continue
        branch = resolved and OmegaConf.is_dict(cfg[key])
        found += flat_keys(cfg[key], f"{prefix}{key}.") if branch else [f"{prefix}{key}"]
    return found
