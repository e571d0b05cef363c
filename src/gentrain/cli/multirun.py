"""What people type for a multirun, in Hydra's grammar."""

from __future__ import annotations

import secrets
from argparse import Namespace
from datetime import datetime
from typing import TYPE_CHECKING

from gentrain.config.overrides import key_of, last_value, without
from gentrain.config.paths import conf_dir
from gentrain.errors import UserError

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override
    from omegaconf import DictConfig


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
