"""What people type, in Hydra's grammar."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from gentrain.cli import aliases
from gentrain.cli.refusals import OPTIONS, refuse_joined
from gentrain.config.overrides import key_of, quoted
from gentrain.errors import UserError

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
