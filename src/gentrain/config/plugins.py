"""Modules of users, whose classes a configuration may name as `_target_`.

`plugins=[my_module]` or GENTRAIN_PLUGINS=my_module names modules that can be imported from the
working directory or from the environment. They are imported only then. A run directory alone never
makes code run: a run with plugins is opened only by a command that names them again.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.machinery
import os
import re
import sys
import sysconfig
import traceback
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from gentrain.errors import UserError
from gentrain.patience import announce_torch, say_if_slow

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
        announce_torch()  # which hardly a plugin does without
        with say_if_slow(f"importing {name} (plugins)"):
            active[name] = digest(imported(name))


def imported(name: str) -> ModuleType:
    """Import a module from the working directory or the environment."""
    here = os.getcwd()
    refuse_taken(name, here)
    if here not in sys.path:
        sys.path.insert(after_standard_library(), here)
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
    except SyntaxError as error:
        raise UserError(
            f"{name} cannot be imported: {error.msg}, in {error.filename}:{error.lineno} "
            "(plugins); mend it there"
        ) from error
    except SystemExit as error:
        raise UserError(
            f"{name} cannot be imported: it ends the program, in {own_line(error, here)} "
            '(plugins); put what it runs below if __name__ == "__main__":'
        ) from error
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise UserError(
            f"{name} cannot be imported: {reason}, in {own_line(error, here)} (plugins); "
            "mend it there"
        ) from error


def refuse_taken(name: str, here: str) -> None:
    """Refuse a name that Python or gentrain has already given to a module of its own."""
    top = name.partition(".")[0]
    owner = {"gentrain": "gentrain itself"} | dict.fromkeys(sys.stdlib_module_names, "Python")
    if top in owner:
        raise UserError(
            f"{top} is the name of a module of {owner[top]} (plugins); rename yours, such as "
            f"my_{top}.py with plugins=[my_{top}]"
        )
    places = [place for place in sys.path if place not in ("", here)]
    other = importlib.machinery.PathFinder.find_spec(top, places)
    yours = next((f for f in (Path(here, f"{top}.py"), Path(here, top)) if f.exists()), None)
    if yours is None or other is None or other.origin is None:
        return
    if not Path(other.origin).resolve().is_relative_to(yours.resolve()):
        raise UserError(
            f"{yours} has the name of the installed {other.origin} (plugins); rename yours, such "
            f"as my_{top}.py with plugins=[my_{top}]"
        )


def after_standard_library() -> int:
    """The place in `sys.path` at which a file statistics.py hides no module of Python."""
    own = {str(Path(sysconfig.get_path(each))) for each in ("stdlib", "platstdlib")}
    last = [i for i, place in enumerate(sys.path) if place in own or "lib-dynload" in place]
    return max(last, default=-1) + 1


def own_line(error: BaseException, here: str) -> str:
    """The last line of the user's own files in a traceback, as FILE:LINE; else the last of all."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename.startswith(here)]
    frame = (own or list(frames))[-1]
    return f"{frame.filename}:{frame.lineno}"


def place_in(error: BaseException) -> str | None:
    """The last line of a plugin in a traceback, as FILE:LINE; None where no plugin is in it."""
    frames = traceback.walk_tb(error.__traceback__)
    own = [
        f"{frame.f_code.co_filename}:{line}"
        for frame, line in frames
        if provides(frame.f_globals.get("__name__", ""))
    ]
    return own[-1] if own else None


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
