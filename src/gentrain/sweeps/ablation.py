"""Leave-one-out: all of the tricks together, then all but one, for each of them, with the same seeds."""

from __future__ import annotations

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

from ..errors import UserError


def leave_one_out(arguments: list[str], config: DictConfig | None) -> list[str]:
    """The command's words, of which tricks=[a,b,c] has become tricks=[a,b,c],[b,c],[a,c],[a,b] where `sweep.leave_one_out` says so."""
    if config is None or not config.sweep.leave_one_out:
        return arguments
    parsed = OverridesParser.create().parse_overrides(arguments)
    tricks = [each for each in parsed if each.key_or_group == "tricks"]
    value = tricks[-1].value() if tricks else None
    if not isinstance(value, list) or len(value) < 1:
        raise UserError("sweep=ablate leaves out one trick after another (tricks); name them: 'tricks=[ema,label_smoothing]'")
    names = [str(name) for name in value]
    kept = [names, *([name for name in names if name != out] for out in names)]
    others = [word for word, each in zip(arguments, parsed, strict=True) if each.key_or_group != "tricks"]
    return [*others, "tricks=" + ",".join(f"[{','.join(few)}]" for few in kept)]
