"""What is refused by the words that were typed, before anything is composed."""

from __future__ import annotations

import re
import typing
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, NoReturn

from gentrain.cli import aliases
from gentrain.config.overrides import is_of_sweep, key_of
from gentrain.config.paths import groups, option_files
from gentrain.config.validate import nearest
from gentrain.errors import UserError

# the options of the command line itself, which Hydra's parser takes
OPTIONS = {
    "--help", "--hydra-help", "--version", "--cfg", "--resolve", "--package", "--run",
    "--multirun", "--shell-completion", "--config-path", "--config-name", "--config-dir",
    "--experimental-rerun", "--info",
}  # fmt: skip


def refuse_joined(argv: list[str]) -> None:
    """Refuse several words that a pair of quotes has made one, such as "--config-dir own".

    Raises:
        UserError: with the words as they should be typed.
    """
    for word in argv:
        key, _, rest = word.partition("=")
        option = re.match(r"(--?[a-z-]+)\s+\S", word)
        several = re.fullmatch(r"[^\s'\"\[{]+(\s+[+~]*[\w./@]+=[^\s'\"\[{]*)+", rest)
        if option or (several and not aliases.PATHS.fullmatch(key)):
            raise UserError(
                f"{word!r} is one word to a shell that keeps its spaces (command line); "
                f"leave out the quotes around it: {' '.join(word.split())}"
            )


def refuse_keys_of_sweeps(overrides: list[str]) -> None:
    """Refuse what a single run does not read, such as `cluster=slurm` where -m was forgotten.

    Args:
        overrides: as typed, of a training without -m.

    Raises:
        UserError: naming the first.
    """
    for word in filter(is_of_sweep, overrides):
        key = key_of(word.lstrip("+~"))
        raise UserError(f"{key} has an effect in a sweep alone ({key}); add -m, or leave it out")


NO_NAME = re.compile(r"null|true|false|[-+]?\d+(\.\d*)?", re.IGNORECASE)  # of an option


def refuse_new_keys(command: str, overrides: list[str]) -> None:
    """Refuse `+key=value` and `~key` where all keys are known, and all are needed.

    That is at the top, and below keys such as `sweep`, whose own keys the schema has.

    Args:
        command: "train", "sample", ...
        overrides: as typed.

    Raises:
        UserError: for a key that would have no effect, or without which nothing works.
    """
    for word in overrides:
        key = key_of(word.lstrip("+~"))
        if not word.startswith(("+", "~")) or re.search(r"[/@]", key) or key in groups():
            continue
        parent, name, known = where_known(command, key)
        if word.startswith("~") and name in known:
            raise UserError(f"{key} cannot be taken away ({key}); give it a value, {key}=...")
        if word.startswith("+") and known and name not in known:
            near = nearest(f"{parent}{name}", [f"{parent}{each}" for each in known])
            raise UserError(f"no option {key} ({key}){near}")


def refuse_shapes(command: str, overrides: list[str]) -> None:
    """Refuse `model.network.shape=[3]` and `model.classes=5`: both are those of the data.

    `model.critic.source_shape=null` stands: a critic that does not look at the source. So does
    `model.classes=null`, a model that does not look at labels.

    Args:
        command: "train", "sample", ...
        overrides: as typed.

    Raises:
        UserError: before anything is built, which would fail or take no notice.
    """
    for word in overrides if command == "train" else ():
        key, _, value = word.lstrip("+~").partition("=")
        found = re.match(r"model(\.\w+)*?\.(source_)?shape\b", key)
        if found and not (found[2] and value == "null"):
            raise UserError(
                f"{found[0]} comes from the data ({found[0]}); leave it out, and set data.size "
                "for images of another size"
            )
        if re.fullmatch(r"model(\.\w+)*\.classes", key) and re.fullmatch(r"0*[1-9]\d*", value):
            raise UserError(f"{key} comes from the data ({key}); leave it out")


def refuse_typed(command: str, overrides: list[str]) -> None:
    """Refuse what can be refused by its words alone.

    Args:
        command: "train", "sample", ...
        overrides: as typed.

    Raises:
        UserError: see `refuse_shapes`, `refuse_new_keys`, `refuse_null`, `refuse_data_paths`.
    """
    refuse_shapes(command, overrides)
    refuse_new_keys(command, overrides)
    refuse_null(command, overrides)
    refuse_data_paths(command, overrides)


def where_known(command: str, key: str) -> tuple[str, str, list[str]]:
    """The first part of a dotted key that the schema may lack.

    Returns:
        The key above it with a dot at its end, its name, and the names that the schema has there:
        none where any may be added.

    >>> where_known("train", "sweep.nme")[:2], where_known("train", "data.x.y")[2]
    (('sweep.', 'nme'), [])
    """
    from hydra.conf import HydraConf

    from gentrain.config.schema import SCHEMAS

    kind: Any = SCHEMAS["schema" if command == "train" else f"{command}_schema"]
    above, parts = "", key.split(".")
    while is_dataclass(kind):
        known = typing.get_type_hints(kind)
        if not above:
            chosen = groups() if command == "train" else ()
            known = dict.fromkeys(chosen) | known | {"hydra": HydraConf}
        name = parts.pop(0)
        if name not in known or not parts:
            return above, name, [each for each in known if each not in ("hydra", "mode") or above]
        kind, above = known[name], f"{above}{name}."
    return above, ".".join(parts), []


def refuse_null(command: str, overrides: list[str]) -> None:
    """Refuse `quality=null`, `quality=false` and their like: parts that are always there.

    Args:
        command: "train", "sample", ...
        overrides: as typed.

    Raises:
        UserError: with what switches the part off, or what else can be chosen.
    """
    off = {
        "experiment": "leave it out",
        "callbacks": "one is switched off by callbacks.NAME=null",
    }
    for word in overrides if command == "train" else ():
        key, _, value = word.partition("=")
        if key in ("samples", "checkpoint") and not value.startswith(("{", "$")):
            raise UserError(f"{key}={value} is no choice ({key}); {schedule_of(key, value)}")
        if not NO_NAME.fullmatch(value) or key not in groups():
            continue
        options = option_files(key)
        another = f"write {key}=none" if "none" in options else f"choose {' or '.join(options)}"
        raise UserError(f"{key}={value} is no choice ({key}); {off.get(key, another)}")


def schedule_of(key: str, value: str) -> str:
    """What to write in place of `samples=VALUE` or `checkpoint=VALUE`.

    >>> schedule_of("samples", "false"), schedule_of("checkpoint", "500")
    ('write samples.every=0', 'write checkpoint.every=500')
    """
    if value.lower() in ("null", "false", "none", "no", "off"):
        return f"write {key}.every=0"
    if value.isdigit():
        return f"write {key}.every={value}"
    if value.lower() in ("true", "yes", "on"):
        return f"leave it out, or write {key}.every=N"
    if key == "checkpoint":
        return "give resume=DIR of a run, or resume=FILE, to go on from it"
    return "write samples.every=N or samples.n=N"


def refuse_data_paths(command: str, overrides: list[str]) -> None:
    """Refuse `data=pictures.zip`: data takes the name of a data set.

    Args:
        command: "train", "sample", ...
        overrides: as typed.

    Raises:
        UserError: with the words for such a file or folder.
    """
    for word in overrides if command == "train" else ():
        key, _, value = word.partition("=")
        place = value.strip("'\"")
        if key != "data" or not place or place in option_files("data"):
            continue
        match Path(place).suffix.lower():
            case ".npz" | ".npy" | ".safetensors":
                instead = f"data=tensors data.file={place}"
            case ".csv" | ".parquet":
                instead = f"data=points data.file={place}"
            case _:
                instead = f"data=image_folder data.root={place}"
        if Path(place).exists():
            raise UserError(f"data={place} is a path, and data takes a name (data); give {instead}")
        if "/" in place or place.endswith(".zip"):
            raise UserError(
                f"no data set and no file {place} (data); give {instead} with a path that exists"
            )


def refuse_option(message: str) -> NoReturn:
    """What the parser of options does with a mistake: one line in place of its usage.

    Raises:
        UserError: always.
    """
    if found := re.match(r"unrecognized arguments: (\S+)", message):
        raise UserError(f"no option {found[1]} (command line){nearest(found[1], OPTIONS)}")
    raise UserError(f"{message} (command line); gentrain --help shows the options")
