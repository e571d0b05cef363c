"""Modules of users, whose classes a configuration may name as `_target_`.

`plugins=[my_module]` or GENTRAIN_PLUGINS=my_module names modules that can be imported from the
working directory or from the environment. They are imported only then. A run directory alone never
makes code run: a run with plugins is opened only by a command that names them again.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import re
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from gentrain.errors import UserError

VARIABLE = "GENTRAIN_PLUGINS"  # names of modules, with commas between them

active: dict[str, str] = {}  # the modules that were imported, and digests of their source


def requested(named: Iterable[str]) -> list[str]:
    """The plugins that a command asks for, and those of the environment.

    Args:
        named: the value of the key `plugins`.
    """
    of_environment = os.environ.get(VARIABLE, "").replace(",", " ").split()
    return list(dict.fromkeys([*named, *of_environment]))


def activate(names: Iterable[str]) -> None:
    """Import plugins; from then on their classes may be constructed.

    Args:
        names: dotted names of modules.

    Raises:
        UserError: for a name that is no module's, and for a module that cannot be imported.
    """
    for name in names:
        if name in active:
            continue
        if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", name):
            raise UserError(
                f"{name!r} is no name of a module (plugins); "
                "give plugins=[my_module] for my_module.py"
            )
        active[name] = digest(imported(name))


def imported(name: str) -> ModuleType:
    """Import a module from the working directory or the environment."""
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
        importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise UserError(
                f"{name} imports {error.name}, which is not there (plugins); "
                "install it in the environment of gentrain"
            ) from error
        raise UserError(
            f"no module {name} in {here} or in the environment (plugins); "
            "start gentrain where it lies, or install it"
        ) from error
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise UserError(
            f"{name} cannot be imported: {reason}, in {last.filename}:{last.lineno} (plugins); "
            "mend it there"
        ) from error


def digest(module: ModuleType) -> str:
    """16 hexadecimal digits of the source of a module, or of all modules of a package."""
    file = Path(module.__file__ or "")
    files = sorted(file.parent.rglob("*.py")) if file.name == "__init__.py" else [file]
    content = b"".join(each.read_bytes() for each in files if each.is_file())
    return hashlib.sha256(content).hexdigest()[:16]


def provides(name: str) -> bool:
    """Whether a dotted name lies in a plugin that was imported."""
    return any(f"{name}.".startswith(f"{plugin}.") for plugin in active)


def refuse_missing(names: Iterable[str], what: str) -> None:
    """Refuse a run whose plugins the command has not named.

    Args:
        names: the plugins of the run.
        what: the run, for the message.

    Raises:
        UserError: naming the plugins.
    """
    if missing := [name for name in names if name not in active]:
        raise UserError(
            f"{what} was trained with code of {', '.join(missing)}, which is not run unless you "
            f"name it (plugins); add plugins=[{','.join(missing)}] if you trust it"
        )


def changed(recorded: dict[str, str]) -> list[str]:
    """The plugins whose source is another one than that recorded."""
    return [name for name, old in recorded.items() if active.get(name, old) != old]
