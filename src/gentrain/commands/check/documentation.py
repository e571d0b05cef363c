"""Whether the options of a plugin are explained."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

from gentrain.commands.check.options import Option, read
from gentrain.commands.check.outcome import Fault
from gentrain.config.validate import locate


def check_documentation(option: Option) -> str:
    """Each option in the YAML file is named in a docstring of its class, or in a comment.

    An option whose value comes from elsewhere, such as `shape: ${data.shape}`, is none.

    Raises:
        Fault: naming the first that is not.
    """
    comments = " ".join(re.findall(r"#(.*)", option.file.read_text(encoding="utf-8")))
    names = []
    for target, given in nodes_of(read(option.file), option.targets):
        text = f"{docstrings(locate(target, option.name))} {comments}"
        for name, value in given.items():
            if name.startswith("_") or name == "defaults" or "${" in str(value):
                continue
            if isinstance(value, dict):  # an object with options of its own
                continue
            names.append(name)
            if not re.search(rf"\b{re.escape(name)}\b", text):
                raise Fault(
                    f"{name} of {target} is explained nowhere; add a line '{name}: ...' below "
                    f"Args: in its docstring, or a comment in {option.file.name}"
                )
    return f"explained: {', '.join(dict.fromkeys(names))}" if names else "there are none"


def nodes_of(node: Any, targets: tuple[str, ...]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The nodes of some targets in a YAML file."""
    match node:
        case dict():
            if node.get("_target_") in targets:
                yield node["_target_"], node
            for value in node.values():
                yield from nodes_of(value, targets)
        case list():
            for value in node:
                yield from nodes_of(value, targets)


def docstrings(target: Any) -> str:
    """The docstrings of a class and of the classes that it inherits from, or of a function."""
    if not inspect.isclass(target):
        return inspect.getdoc(target) or ""
    found = [each for kind in target.__mro__ for each in (kind, vars(kind).get("__init__"))]
    texts = [each.__doc__ for each in found if each is not None]
    return " ".join(text for text in texts if text)
