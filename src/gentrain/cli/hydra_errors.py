"""Hydra's errors as one line: what, which key, what to do."""

from __future__ import annotations

import re
from pathlib import Path

from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.initialize import initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from gentrain.config.validate import nearest

# plugins of Hydra that come with extras
EXTRAS = {"submitit_slurm": "slurm", "submitit_local": "slurm", "ray": "ray", "optuna": "optuna"}
# how Hydra's parser complains
UNREADABLE = (
    "LexerNoViableAlt",
    "parsing",
    "mismatched input",
    "extraneous input",
    "no viable alternative",
)


def one_line(error: Exception, argv: list[str], conf: Path, verb: str = "train") -> str:
    text = " ".join(str(error).split())
    if found := re.search(r"Missing mandatory value: (\S+)", text):
        return f"no value for {found[1]} ({found[1]}); give it on the command line, {found[1]}=..."
    if "Ambiguous value" in text:
        key, value = re.findall(r"argument '([^=']*)=([^']*)'", text)[0]
        return f"{key}={value} is a list of values ({key}); give one, or sweep over them with -m (--multirun)"
    if (found := re.search(r"Could not find '([^']*)/([^'/]*)'", text)) and (
        extra := EXTRAS.get(found[2])
    ):
        return f"{found[2]} is not installed (cluster, sweep); pip install 'gentrain[{extra}]'"
    if found:
        return f"no option {found[2]} ({found[1]}){nearest(found[2], options(conf, found[1]))}"
    if found := re.search(r"Could not override '([^']+)'", text) or re.search(
        r"[Kk]ey '([^']+)' is not in struct", text
    ):
        return unknown_key(found[1], text, argv, conf, verb)
    if found := re.search(r"Error merging override (\S+?)=", text):
        return f"{str(error.__cause__ or error).splitlines()[0]} ({found[1]}); mend the value"
    if any(sign in text for sign in UNREADABLE):
        word = next((w for w in argv if w in str(error)), " ".join(argv))
        return f"cannot read the override {word!r}: {reason(text)} (command line); balance its brackets and quotes"
    return f"{text[:300]} (command line); gentrain --help lists the options"


def reason(text: str) -> str:
    """The parser's own words, without its picture of the place and its link."""
    return re.sub(
        r"^\w+Exception: .*", "a quote or bracket stays open", text.split("See https")[0].strip()
    )[:160]


def unknown_key(key: str, text: str, argv: list[str], conf: Path, verb: str) -> str:
    full = re.search(r"full_key: (\S+)", text)
    key = full[1] if full else key
    bare = key.split("@")[0]
    if (conf / bare).is_dir():
        model = next((word for word in argv if word.startswith("model=")), "this model")
        return f"{model} leaves no choice of {bare} ({bare}); leave it out, or choose another model"
    return f"no option {bare} ({bare}){nearest(bare, keys(argv, bare, conf, verb))}"


def options(conf: Path, group: str) -> list[str]:
    return [p.stem for p in sorted((conf / group).glob("*.yaml")) if not p.stem.startswith("_")]


def keys(argv: list[str], bad: str, conf: Path, verb: str) -> list[str]:
    """The keys that the command would have had without the bad override, and the groups."""
    groups = (
        [p.name for p in conf.iterdir() if p.is_dir() and p.name not in ("hydra", "mode")]
        if verb == "train"
        else []
    )
    good = [word for word in argv if "=" in word and word.lstrip("+~").split("=")[0] != bad]
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(conf), version_base="1.3"):
            found = list(flat(compose(verb, overrides=good)))
    except HydraException:
        found = []
    parent = bad.rpartition(".")[0]
    siblings = [key for key in found if parent and key.rpartition(".")[0] == parent]
    return siblings or [*groups, *(key for key in found if key.count(".") == bad.count("."))]


def flat(cfg: DictConfig, prefix: str = "") -> list[str]:
    found = []
    for key in cfg:
        name, node = f"{prefix}{key!s}", cfg._get_node(key)
        found += (
            flat(node, f"{name}.")
            if isinstance(node, DictConfig) and is_branch(cfg, str(key))
            else [name]
        )
    return found


def is_branch(cfg: DictConfig, key: str) -> bool:
    node = cfg._get_node(key)
    return isinstance(node, DictConfig) and not (
        OmegaConf.is_missing(cfg, key) or node._is_interpolation() or node._is_none()
    )
