"""What a plugin brings: the options whose YAML files name its classes."""

from __future__ import annotations

import inspect
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from gentrain.commands.list import Composed
from gentrain.config import paths
from gentrain.errors import UserError

Compose = Callable[[str, list[str]], Composed]

# with what the options of a group are tried, in this order, until one fits
GANS = ("model=gan network=mlp", "model=dcgan", "model=wgan_gp network=mlp")
TRIED: dict[str, tuple[str, ...]] = {
    "model": ("",),
    "network": (
        "model=gan", "model=cgan", "model=ebgan", "model=biggan", "model=progan", "model=pix2pix",
        "model=ali", "model=vae", "model=ebm", "model=srresnet",
    ),
    "loss": (*GANS, "model=gan network=autoencoder_mlp"),
    "lipschitz": (*GANS, "model=wgan_gp network=mlp"),
    "tricks": (*GANS, "model=sngan"),
    "data": ("model=gan network=mlp", "model=pix2pix", "model=cyclegan", "model=stargan"),
    "optimizer": ("model=gan network=mlp", "model=vae"),
    "quality": (
        "model=gan network=mlp", "model=vae", "model=rbm data.size=8",
        "model=gan network=mlp data=gaussian_ring", "model=ebm network=energy_mlp data=two_moons",
    ),
    "mode": (
        "model=gan network=mlp", "model=vae", "model=pix2pix", "model=rbm data.size=8",
        "model=gan network=mlp data=gaussian_ring", "model=cyclegan",
    ),
}  # fmt: skip
OTHERS = (
    "model=gan network=mlp", "model=vae", "model=maf data.size=8", "model=ebm data.size=8",
    "model=pix2pix", "model=rbm data.size=8", "model=gated_pixelcnn data.size=8",
)  # fmt: skip


@dataclass(frozen=True)
class Option:
    """An option whose YAML file names classes of a plugin.

    Args:
        group: such as "loss".
        name: such as "my_loss".
        file: the YAML file.
        targets: the dotted names of the plugin that stand in it.
    """

    group: str
    name: str
    file: Path
    targets: tuple[str, ...]

    @property
    def words(self) -> tuple[str, ...]:
        """What chooses it."""
        value = f"[{self.name}]" if self.group == "tricks" else self.name
        return (f"{self.group}={value}",)

    def attempts(self) -> list[list[str]]:
        """With what it is tried: the training in its comment, then what suits its group."""
        own = [self.own_command()] if self.own_command() is not None else []
        suited = [words.split() for words in TRIED.get(self.group, OTHERS)]
        attempts = [[*(words or []), *self.words] for words in (*own, *suited)]
        return [one for i, one in enumerate(attempts) if one not in attempts[:i]]

    def own_command(self) -> list[str] | None:
        """The words of the training in its comment, `gentrain model=...`, beside its own."""
        for line in self.file.read_text(encoding="utf-8").splitlines():
            found = re.match(r"#\s+gentrain (.*)", line)
            words = shlex.split(found[1]) if found else []
            if words and "=" in words[0] and self.words[0] in words:
                kept = [word for word in words if re.match(r"[\w./@+-]+=", word)]
                named = ("plugins=", "steps=", "--", self.words[0])
                return [word for word in kept if not word.startswith(named)]
        return None


def options_of(plugin: str, none_will_do: bool = False) -> list[Option]:
    """The options of --config-dir whose files name classes of a plugin, sorted by their groups.

    Raises:
        UserError: where there are none, unless that will do.
    """
    found = [
        Option(file.parent.name, file.stem, file, targets)
        for place in paths.overlays
        for file in sorted(place.glob("*/*.yaml"))
        if (targets := tuple(dict.fromkeys(targets_in(read(file), plugin))))
    ]
    if not found and not none_will_do:
        raise UserError(nothing_found(plugin))
    return found


def nothing_found(plugin: str) -> str:
    """Why there is nothing to check, and where there would be."""
    if paths.overlays:
        return (
            f"no YAML file in {paths.overlays[0]} names a class of {plugin} (--config-dir); write "
            f"one, such as loss/NAME.yaml with the line _target_: {plugin}.MyLoss"
        )
    here = [
        file.parents[1]
        for file in sorted(Path().glob("*/*/*.yaml"))
        if any(targets_in(read(file), plugin))
    ]
    remedy = f"--config-dir {here[0]}" if here else "--config-dir DIR"
    return f"no YAML files to check {plugin} with (--config-dir); add {remedy}"


def read(file: Path) -> Any:
    """The content of a YAML file; None where it is broken, see `broken_files`."""
    try:
        return yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        return None


def broken_files() -> Iterator[tuple[Path, str]]:
    """The files of --config-dir that cannot be read, and why."""
    for place in paths.overlays:
        for file in sorted(place.rglob("*.yaml")):
            try:
                yaml.safe_load(file.read_text(encoding="utf-8"))
            except (yaml.YAMLError, UnicodeDecodeError) as error:
                yield file, "; ".join(paths.why_broken(error, file))


def targets_in(node: Any, plugin: str) -> Iterator[str]:
    """Every `_target_` of a plugin in a YAML file."""
    match node:
        case dict():
            if str(node.get("_target_", "")).startswith(f"{plugin}."):
                yield node["_target_"]
            for value in node.values():
                yield from targets_in(value, plugin)
        case list():
            for value in node:
                yield from targets_in(value, plugin)


def unnamed_classes(plugin: str) -> list[str]:
    """The public classes of a plugin that are of one of gentrain's kinds, and in no YAML file."""
    from gentrain.adversarial.losses import AdversarialLoss
    from gentrain.adversarial.regularizer import Regularizer
    from gentrain.commands.sample.mode import Mode
    from gentrain.data.base import Data
    from gentrain.models.base import GenerativeModel
    from gentrain.networks.base import Critic, ImageMaker
    from gentrain.quality.base import Metric

    kinds = (AdversarialLoss, Regularizer, Mode, Data, GenerativeModel, Critic, ImageMaker, Metric)
    named = {target for option in options_of(plugin, True) for target in option.targets}
    return [
        f"{plugin}.{name}"
        for name, each in vars(sys.modules[plugin]).items()
        if inspect.isclass(each)
        and each.__module__ == plugin
        and issubclass(each, kinds)
        and not inspect.isabstract(each)
        and not name.startswith("_")
        and f"{plugin}.{name}" not in named
    ]
