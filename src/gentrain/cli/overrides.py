"""What people type, in Hydra's grammar."""

from __future__ import annotations

import os
import re
import secrets
import sys
import typing
from argparse import Namespace
from dataclasses import is_dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from gentrain.cli import aliases
from gentrain.config.overrides import is_of_sweep, key_of, last_value, quoted, without
from gentrain.config.paths import conf_dir, groups, option_files
from gentrain.config.validate import nearest
from gentrain.errors import UserError

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override
    from omegaconf import DictConfig

# Networks of version 0.1, and the overrides that give the same networks. A network is a backbone
# since version 0.2; the model adds labels, classes and domains.
RENAMED_NETWORKS = {
    "conditional_dcgan": "network=dcgan model.embedding=10",
    "projection_dcgan": "network=dcgan model.embedding=10 model.conditioning=projection",
    "conditional_mlp": "network=mlp_dropout_512",
    "classifier_mlp": "network=mlp_dropout_512 model.embedding=50",
    "classifier_dcgan": "network=dcgan",
    "logits_dcgan": "network=dcgan",
    "bidirectional_dcgan": "network=dcgan",
    "logits_mlp": "network=mlp_noisy",
    "bidirectional_mlp": "network=mlp_1024",
    "conditional_resnet": (
        "network=sagan model.conditioning=projection "
        "model.generator.attention=0 model.critic.attention=0"
    ),
    "cycle_resnet": "network=resnet_translator",
    "cycle_unet": "network=unet model.generator.dropout=0.0",
    "domains_unet": "network=unet",
    "domains_resnet": "network=stargan",
    "coding_mlp": "network=vae_mlp",
    "coding_conv": "network=vae_conv",
    "classifying_coding_conv": "network=vae_conv",
    "classifying_coding_mlp": "network=vae_mlp_300",
}
# their successors have another critic, classifier or generator: the user must choose them
NOT_THE_SAME = {"domains_unet", "classifying_coding_conv", "logits_mlp"}


# the options of the command line itself, which Hydra's parser takes
OPTIONS = {
    "--help", "--hydra-help", "--version", "--cfg", "--resolve", "--package", "--run",
    "--multirun", "--shell-completion", "--config-path", "--config-name", "--config-dir",
    "--experimental-rerun", "--info",
}  # fmt: skip


def normalize_overrides(command: str, argv: list[str]) -> list[str]:
    """Rewrite what Hydra would refuse or misunderstand.

    Args:
        command: "train", "sample", ...
        argv: the words after it.

    Raises:
        UserError: for a word of another program that has no counterpart here.
    """
    refuse_joined(argv)
    # Other programs need the plus; here experiment is in the defaults, and Hydra refuses it.
    argv = [re.sub(r"^\+(?=experiment=)", "", word) for word in argv]
    argv = aliases.with_named_paths(command, aliases.without_dashes(argv, OPTIONS))
    argv = aliases.with_whole_numbers(aliases.with_known_options(argv))
    if command == "compare":
        argv = [as_list(word, "runs") for word in argv]
    argv = aliases.with_quotes(aliases.translate(command, aliases.with_quotes(argv)))
    if command == "sample":
        each = bool({"-m", "--multirun"} & set(argv))
        argv = [as_labels(word, each) for word in argv]
    if command == "check":
        argv = [as_one(word, "plugin") for word in argv]
    argv = [as_list(word, "plugins") for word in argv]
    if command == "verify":
        return with_words_of_training(argv)
    given = {key_of(word) for word in argv}
    if command == "sample" and "source" in given and "mode" not in given:
        return [*argv, "mode=translate"]  # the only mode that takes a source
    return rename_networks(several_loggers(argv)) if command == "train" else argv


OF_VERIFY = {"preset", "bands", "words", "plugins", "debug", "hydra"}  # not of the training


def with_words_of_training(argv: list[str]) -> list[str]:
    """The words of `gentrain verify` that are of the training, as one of its own.

    `model` is the preset: Hydra takes a key of that name for a choice among its files.

    >>> with_words_of_training(["model=gan", "loss=ls", "bands=false"])
    ['preset=gan', 'bands=false', "words=['loss=ls']"]
    """
    argv = [re.sub(r"^model=", "preset=", word) for word in argv]
    of_options = aliases.arguments_of_options(argv)
    rest = [
        word
        for i, word in enumerate(argv)
        if i not in of_options
        and not word.startswith("-")
        and key_of(word).partition(".")[0] not in OF_VERIFY
    ]
    if not rest:
        return argv
    ours = [word for word in argv if word not in rest]
    # what names another key is read by the training's own composition
    words = [quoted(w).replace("${", "\\${") for w in normalize_overrides("train", rest)]
    return [*ours, f"words=[{','.join(words)}]"]


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
    """Refuse `model.network.shape=[3]`: the sizes of images in a model are those of the data.

    `model.critic.source_shape=null` stands: a critic that does not look at the source.

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


def several_loggers(argv: list[str]) -> list[str]:
    """`logger=[wandb,tensorboard]` as one choice and the dashboards that come on top of it.

    >>> several_loggers(["logger=[wandb,tensorboard]"])
    ['logger=wandb', 'logger.tensorboard=true']

    Raises:
        UserError: for a dashboard that does not exist, and for two choices of W&B.
    """
    words: list[str] = []
    for word in argv:
        if not word.startswith("logger=["):
            words.append(word)
            continue
        names = [name.strip() for name in word[len("logger=[") :].rstrip("]").split(",")]
        if names == [""]:
            words.append(word)  # no choice, which is refused as in any group
            continue
        extra = [name for name in names if name in ("tensorboard", "mlflow")]
        first = [name for name in names if name not in extra] or ["csv"]
        if len(first) > 1 or first[0] not in ("auto", "csv", "wandb"):
            raise UserError(
                f"cannot log to {' and '.join(first)} at once (logger); give one of auto, csv and "
                "wandb, and tensorboard or mlflow beside it"
            )
        words += [f"logger={first[0]}", *(f"logger.{name}=true" for name in extra)]
    return words


def rename_networks(argv: list[str]) -> list[str]:
    """Replace a network's name of version 0.1 by the overrides that give the same, with a warning.

    >>> rename_networks(["model=cgan", "network=dcgan"])
    ['model=cgan', 'network=dcgan']
    """
    keys = {key_of(word) for word in argv if not word.startswith("network=")}
    renamed: list[str] = []
    for word in argv:
        old = word.removeprefix("network=")
        if old == word or old in NOT_THE_SAME or old not in RENAMED_NETWORKS:
            renamed.append(word)
            continue
        new = RENAMED_NETWORKS[old]
        if "LOCAL_RANK" not in os.environ:
            print(f"gentrain: warning: {word} is now {new} (network)", file=sys.stderr)
        renamed += [part for part in new.split() if key_of(part) not in keys]
    return renamed


def as_list(override: str, name: str) -> str:
    """`runs=a,b`, which Hydra takes for a sweep, as a list.

    >>> as_list("runs=a,b", "runs")
    "runs=['a','b']"
    """
    key, equals, value = override.partition("=")
    if key != name or not value or value.startswith(("[", "'", '"')):
        return override
    return f"{key}{equals}[{','.join(quoted(Path(place)) for place in value.split(',') if place)}]"


def as_labels(override: str, each: bool = False) -> str:
    """`labels=cat,dog` as a list, or each of them as one; a name with a comma has quotes.

    >>> as_labels("labels=cat,dog", each=True)
    "labels=['cat'],['dog']"
    >>> as_labels("labels=cat,dog"), as_labels("labels='a,b'"), as_labels("labels=null")
    ("labels=['cat','dog']", "labels=['a,b']", 'labels=null')
    """
    key, _, value = override.partition("=")
    if key != "labels" or not value or value == "null" or value.startswith(("[", "$")):
        return override
    if value.startswith(("'", '"')):
        return f"{key}=[{value}]"
    names = [quoted(name.strip()) for name in value.split(",") if name.strip()]
    return f"{key}=[{('],[' if each else ',').join(names)}]"


def as_one(override: str, name: str) -> str:
    """`plugin=[a]` as `plugin=a`.

    >>> as_one("plugin=[a]", "plugin")
    'plugin=a'

    Raises:
        UserError: for several.
    """
    key, _, value = override.partition("=")
    if key != name or not re.fullmatch(r"\[.*\]|[\w.]+(,[\w.]+)+", value):
        return override
    found = [each for each in re.split(r"[\s,'\"]+", value.strip("[]")) if each]
    if len(found) != 1:
        raise UserError(
            f"{override} names {len(found)}, and this command takes one ({key}); "
            f"give {key}={found[0] if found else 'NAME'}"
            + (", and then the others" if found else "")
        )
    return f"{key}={found[0]}"


# --- multirun ---------------------------------------------------------------------------------


def expand_seeds(args: Namespace) -> None:
    """Turn `seeds=5` into a multirun over five seeds, from `seed` on.

    Args:
        args: Hydra's arguments, which are changed.

    Raises:
        UserError: for what is not a number of seeds, or a sweep whose trials have one score each.
    """
    count = last_value(args.overrides, "seeds")
    if count in (None, "null"):
        return
    first = last_value(args.overrides, "seed") or "0"
    if not count.isdigit() or count == "0":
        raise UserError(f"{count} seeds (seeds); give a number from 1 on")
    if not first.isdigit():
        raise UserError(
            f"seeds={count} counts from one seed, not from seed={first} (seed); "
            "give one number, or leave it out"
        )
    if any(word in ("sweep=tpe", "sweep=random") for word in args.overrides):
        raise UserError(
            "a trial of a study has one score (seeds); "
            "leave seeds out, and repeat the best values with seeds afterwards"
        )
    seeds = ",".join(str(int(first) + n) for n in range(int(count)))
    args.overrides = [*without(args.overrides, "seed", "seeds"), f"seed={seeds}"]
    args.multirun = True


def sweep_overrides(overrides: list[str]) -> list[str]:
    """What a multirun adds to its command.

    All its processes share one name. The records and the log are those of its cells.
    """
    name = f"{datetime.now():%Y-%m-%d_%H-%M-%S}-{secrets.token_hex(2)}"
    named = [] if last_value(overrides, "sweep.name") else [f"sweep.name={name}"]
    return [*named, "hydra.output_subdir=null", "hydra/job_logging=stderr"]


def defer_job_keys(command: str, overrides: list[str]) -> list[str]:
    """Make keys that only the jobs of a multirun have acceptable to Hydra.

    Before Hydra looks at a job, it looks for every override that is not swept in the defaults of
    the command. In `-m model=vae,maf quality.images=100` that refuses `quality.images`, which
    only the two models' presets have. As a sweep over one value, `quality.images=choice(100)`, it
    is looked for in each job. A key that no job has is left as it is, for Hydra to refuse.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        parsed = OverridesParser.create().parse_overrides(overrides)
        late = keys_of_jobs(command, parsed)
    except HydraException:  # Hydra will report it
        return overrides
    return [
        f"{key_of(word)}=choice({word.partition('=')[2]})" if word in late else word
        for word in overrides
    ]


def keys_of_jobs(command: str, parsed: list[Override]) -> set[str]:
    """The overrides of keys that some job of a multirun has, and the defaults have not."""
    from hydra import compose, initialize_config_dir

    plain = {
        str(each.input_line): each.key_or_group
        for each in parsed
        if "." in each.key_or_group
        and not each.key_or_group.startswith("hydra.")
        and not (each.is_sweep_override() or each.is_add() or each.is_delete())
    }
    if not plain:
        return set()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        defaults = compose(command)
        unknown = {word: key for word, key in plain.items() if not has_key(defaults, key)}
        values = [
            f"{each.key_or_group}={value}"
            for each in parsed
            if each.is_sweep_override() and unknown
            for value in each.sweep_string_iterator()
        ]
        jobs = [compose(command, overrides=[value]) for value in values]
    return {word for word, key in unknown.items() if any(has_key(job, key) for job in jobs)}


def has_key(cfg: DictConfig, key: str) -> bool:
    """Whether a configuration has a dotted key."""
    from omegaconf import OmegaConf

    parent, _, name = key.rpartition(".")
    node = OmegaConf.select(cfg, parent)
    return OmegaConf.is_dict(node) and name in node
