"""Rewrite command-line overrides into those that Hydra understands."""

from __future__ import annotations

import re
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from gentrain.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig

import secrets
from datetime import datetime
from typing import TYPE_CHECKING

from gentrain.config.paths import conf_dir

if TYPE_CHECKING:
    from omegaconf import DictConfig


def normalize_overrides(verb: str, argv: list[str]) -> list[str]:
    """What people write, in Hydra's words."""
    # `+experiment=x` is a habit from elsewhere; here experiment is listed, and so is overridden without the plus
    argv = [re.sub(r"^\+(?=experiment=)", "", word) for word in argv]
    if verb == "compare":
        return [one_list(word) for word in argv]
    given = {word.partition("=")[0] for word in argv}
    # a source to translate is what one mode is for; nobody should have to say so
    return (
        [*argv, "mode=translate"]
        if verb == "sample" and "source" in given and "mode" not in given
        else argv
    )


def append_overrides(argv: list[str], more: list[str]) -> list[str]:
    """More overrides behind the others: argparse takes no second group of them, after an option."""
    last = max(
        (place for place, word in enumerate(argv) if "=" in word and not word.startswith("-")),
        default=len(argv) - 1,
    )
    return [*argv[: last + 1], *more, *argv[last + 1 :]]


def quoted(path: Path) -> str:
    """A path as a value of Hydra's grammar."""
    text = str(path).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{text}'"


def one_list(word: str) -> str:
    """runs=a,b, which Hydra takes for a sweep, as a list of paths."""
    key, equals, value = word.partition("=")
    if key != "runs" or not value or value.startswith(("[", "'", '"')):
        return word
    return f"{key}{equals}[{','.join(quoted(Path(place)) for place in value.split(',') if place)}]"


def several_seeds(argv: list[str], args: Namespace) -> list[str]:
    """`seeds=5` is a multirun over five seeds, from `seed` on."""
    counts = [word.partition("=")[2] for word in args.overrides if word.startswith("seeds=")]
    if not counts or counts[-1] == "null":
        return argv
    first = next(
        (word.partition("=")[2] for word in reversed(args.overrides) if word.startswith("seed=")),
        "0",
    )
    if not counts[-1].isdigit() or counts[-1] == "0":
        raise UserError(f"{counts[-1]} seeds (seeds); give a number from 1 on")
    if not first.isdigit():
        raise UserError(
            f"seeds={counts[-1]} counts from one seed, not from seed={first} (seed); give one number, or leave it out"
        )
    if any(word in ("sweep=tpe", "sweep=random") for word in args.overrides):
        raise UserError(
            "a study has one score a trial (seeds); leave seeds out, and repeat its best values with seeds afterwards"
        )
    args.overrides = [word for word in args.overrides if not word.startswith(("seed=", "seeds="))]
    args.overrides.append(f"seed={','.join(str(int(first) + n) for n in range(int(counts[-1])))}")
    args.multirun = True
    kept = [
        word
        for word in argv
        if not word.startswith(("seed=", "seeds=")) and word not in ("-m", "--multirun")
    ]
    return ["-m", *append_overrides(kept, args.overrides[-1:])]


def of_a_sweep(overrides: list[str]) -> list[str]:
    """What a multirun adds to its command: one name for all its processes; the records and the log are the cells' own."""
    named = any(word.startswith("sweep.name=") for word in overrides)
    name = f"{datetime.now():%Y-%m-%d_%H-%M-%S}-{secrets.token_hex(2)}"
    return [
        *([] if named else [f"sweep.name={name}"]),
        "hydra.output_subdir=null",
        "hydra/job_logging=stderr",
    ]


def deferred(verb: str, argv: list[str], overrides: list[str]) -> list[str]:
    """The words of a multirun, with keys that only its jobs have (-m model=vae,maf quality.images=100) as sweeps of one value.

    Hydra asks every override that is not swept of the defaults, before it looks at any job. A key that no job has is left to it.
    """
    from hydra import compose, initialize_config_dir
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException
    from omegaconf import DictConfig, OmegaConf

    def has(cfg: DictConfig, key: str) -> bool:
        place, _, name = key.rpartition(".")
        return isinstance(node := OmegaConf.select(cfg, place), DictConfig) and name in node

    try:
        parsed = OverridesParser.create().parse_overrides(overrides)
        swept = [
            f"{each.key_or_group}={value}"
            for each in parsed
            if each.is_sweep_override()
            for value in each.sweep_string_iterator()
        ]
        kept = [
            each
            for each in parsed
            if not (each.is_sweep_override() or each.is_add() or each.is_delete())
        ]
        plain = {str(each.input_line): each.key_or_group for each in kept}
        if not any("." in key for key in plain.values()):
            return argv
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            defaults = compose(verb)
            strange = {
                word: key
                for word, key in plain.items()
                if "." in key and not key.startswith("hydra.") and not has(defaults, key)
            }
            jobs = [compose(verb, overrides=[word]) for word in swept] if strange else []
    except HydraException:  # which Hydra itself is about to tell
        return argv
    late = {
        word: f"{key}=choice({word.partition('=')[2]})"
        for word, key in strange.items()
        if any(has(job, key) for job in jobs)
    }
    return [late.get(word, word) for word in argv]
