"""Lists of options of one group, `tricks=[ema,replay]`."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

from gentrain.errors import UserError

if TYPE_CHECKING:
    from hydra._internal.config_repository import ConfigRepository


# groups of which several options may be chosen, and what stands for none of them
SEVERAL = {
    "tricks": None,
    "callbacks": "one of them is switched off by callbacks.NAME=null",
    "experiment": "leave it out",
}


def refuse_lists(group: str, options: list[str]) -> None:
    """Refuse a list where one option is chosen, and an empty one where some are needed.

    Raises:
        UserError: with the words to write.
    """
    listed = f"{group}=[{','.join(options)}]"
    if not options and (remedy := SEVERAL.get(group, f"give one, {group}=...")) is not None:
        raise UserError(f"{listed} is no choice ({group}); {remedy}")
    if options and group not in SEVERAL and "/" not in group:
        more = f", or a run of each with -m {group}={','.join(options)}" if options[1:] else ""
        raise UserError(
            f"{listed} is a list, and {group} takes one choice ({group}); "
            f"write {group}={options[0]}{more}"
        )


def refuse_hidden_options(repository: ConfigRepository, overrides: list[str]) -> None:
    """Refuse a list of options of which one would hide the other.

    Hydra merges the files of `group=[a,b]`, and where both set a key the last one typed wins. So it
    is for two variants of one trick. A group whose options are alternatives takes no list at all.

    Args:
        repository: Hydra's configuration files.
        overrides: as typed.

    Raises:
        UserError: naming both options.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser

    for override in OverridesParser.create().parse_overrides(overrides):
        group, options = override.key_or_group, override.value()
        if not isinstance(options, list) or not repository.group_exists(group):
            continue
        refuse_lists(group, [str(option) for option in options])
        keys = {str(option): top_keys(repository, group, str(option)) for option in options}
        for one, other in combinations(sorted(map(str, options)), 2):
            if one == other or keys[one] & keys[other]:
                both = min(keys[one] & keys[other], default=group)
                both = group if both.startswith("_") else both  # a file that both are built on
                raise UserError(
                    f"{group}=[{one},{other}] both set {both}, and only the last would count "
                    f"({group}); choose one of them"
                )


def top_keys(repository: ConfigRepository, group: str, option: str) -> set[str]:
    """What an option's file sets or builds on, by dotted keys; of one object only its own key."""
    from hydra.core.default_element import ConfigDefault, GroupDefault
    from omegaconf import OmegaConf

    from gentrain.runs.directory import flat

    found = repository.load_config(f"{group}/{option}")
    if found is None:  # Hydra will say so
        return set()
    plain = OmegaConf.to_container(found.config)
    keys = {key.partition("._target_")[0] for key in flat(plain)}  # type: ignore[arg-type]
    for default in found.defaults_list or []:
        match default:
            case GroupDefault():
                keys.add(str(default.group).lstrip("/"))
            case ConfigDefault():
                keys.add(str(default.path))
    return {group if key == "_target_" else key for key in keys} - {"_self_"}
