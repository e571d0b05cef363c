"""gentrain [VERB] --help, without Hydra where nothing is composed: it takes a third of the time."""

from __future__ import annotations

from argparse import Namespace
from string import Template
from typing import Any

from gentrain.config.paths import conf_dir

FLAGS = ({"--help"}, {"-h"})


def page(verb: str) -> str | None:
    """The help of a verb that shows no configuration; None for any other verb."""
    template = template_of(verb)
    return None if "$CONFIG" in template else Template(template).substitute()


def page_with_configuration(verb: str, args: Namespace) -> str:
    """The help of a verb, with its configuration as its words make it.

    Args:
        verb: the command.
        args: Hydra's arguments.

    Raises:
        UserError, HydraException: for a mistake in the overrides.
    """
    from omegaconf import OmegaConf

    from gentrain.cli.compose import compose_command

    cfg = compose_command(verb, args).cfg
    keys = [str(key) for key in cfg if key != "hydra"]
    shown = OmegaConf.to_yaml(OmegaConf.masked_copy(cfg, keys), resolve=args.resolve)
    return Template(template_of(verb)).substitute(CONFIG=shown)


def template_of(verb: str) -> str:
    """The text of conf/hydra/help, with its own head and foot."""
    import yaml

    name = "gentrain" if verb == "train" else verb
    file = conf_dir() / "hydra" / "help" / f"{name}.yaml"
    found: dict[str, Any] = yaml.safe_load(file.read_text("utf-8"))
    text = str(found["template"])
    for part in ("header", "footer"):
        text = text.replace(f"${{hydra.help.{part}}}", str(found.get(part, "")))
    return text
