"""The option reference of the site: every group, option and key, from YAML and signatures."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Iterator
from dataclasses import MISSING
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import yaml
from site_links import ROOT
from site_text import Doc, cell, code_cell, comments, doc_of, escaped, prose, table

from gentrain.cli.help import template_of
from gentrain.cli.main import VERBS
from gentrain.cli.option_lists import SEVERAL
from gentrain.commands.list import PLURALS, groups, head, options
from gentrain.config import paths, types
from gentrain.config.schema import SCHEMAS, Cluster, Sweep
from gentrain.config.validate import locate

CONF = ROOT / "conf"
HEAD = ("key", "default", "type", "meaning")
INSIDE = ("callbacks", "scheme", "visible")  # groups of which presets choose
PACKAGED = re.compile(r"^# @package (\S+)", re.MULTILINE)
NESTED: dict[str, type] = {"sweep": Sweep, "cluster": Cluster}


def reference(homes: dict[str, str]) -> Iterator[tuple[str, str]]:
    """The pages of the reference, and their texts, as if they lay in docs/options.

    Args:
        homes: the page of each preset.
    """
    yield "options/index.md", index()
    yield "options/commands.md", commands_page()
    for group in (*groups(), *INSIDE):
        yield f"options/{group}.md", model_page(homes) if group == "model" else group_page(group)


def index() -> str:
    """A line for each group, and what the types of the tables mean."""
    lines = ["# Option reference", "", "Made from the files of `conf/` and from the signatures"]
    lines += ["and docstrings of the classes that they name. A key is given on the command line as"]
    lines += ["`KEY=VALUE`. In the terminal, `gentrain list GROUP` names the options.", ""]
    rows = []
    for group in (*groups(), *INSIDE):
        names = options(group)
        shown = ", ".join(f"`{name}`" for name in names)
        rows.append((f"[{group}](../../conf/{group})", str(len(names)), shown))
    lines += [table(("group", "options", "names"), rows), "", "The keys of the commands are those"]
    lines += ["of [commands](commands.md).", "", "## Types", ""]
    lines += ["Types are those of the constructors. `null` stands for None.", ""]
    named = [(f"`{name}`", cell(meaning)) for name, meaning in type_names().items()]
    return "\n".join((*lines, table(("type", "values"), named), ""))


def type_names() -> dict[str, str]:
    """The types of `gentrain.config.types`, in words."""
    found = {}
    for name, kind in vars(types).items():
        arguments = get_args(kind)
        if len(arguments) == 2 and hasattr(arguments[1], "metadata"):
            limits = [str(each) for each in arguments[1].metadata]
            said = arguments[1].description or ", ".join(limits)
            found[name] = f"{getattr(arguments[0], '__name__', arguments[0])}: {said}"
    return found


def group_page(group: str) -> str:
    """The options of a group, each with its keys."""
    several = group in SEVERAL
    how = f"'{group}=[NAME,NAME]'" if several else f"{group}=NAME"
    plural = {name: plural for plural, name in reversed(PLURALS.items())}.get(group, group)
    title = plural.replace("_", " ").capitalize()
    lines = [f"# {title}: `{group}=`", ""]
    if group in INSIDE:
        lines += ["Presets choose of this group.", ""]
    else:
        lines += [f"{'Several are' if several else 'One is'} chosen with `{how}`.", ""]
    for name in options(group):
        lines += [f"## {name}", "", option(group, name), ""]
    return "\n".join(lines)


def option(group: str, name: str) -> str:
    """Comment, files, docstrings and keys of an option."""
    file = paths.option_files(group)[name]
    parts = [head_text(head(group, name))]
    links = [f"[conf/{group}/{name}.yaml](../../conf/{group}/{name}.yaml)"]
    for prefix, given in targets(file, group):
        thing = locate(given["_target_"], group)
        links += link(thing)
        doc = doc_of(thing)
        said = prose(doc.prose) if thing.__module__.startswith("gentrain") else ""
        inner = f"**`{prefix}`** is `{thing.__name__}`:" if "." in prefix and said else ""
        keys = keys_table(thing, doc, prefix, given, comments_of(file))
        parts += [inner, said, keys]
    if rest := plain_keys(file, group):
        parts.append(table(HEAD, rest))
    parts.insert(1, f"In {', '.join(dict.fromkeys(links))}.")
    return "\n\n".join(filter(None, parts))


def head_text(lines: list[str]) -> str:
    """The comment at the top of a file, without its list of departures."""
    cut = next((i for i, line in enumerate(lines) if line.startswith("Departures:")), len(lines))
    title, _, command = lines[0].partition("      ")
    text = [title, *([f"  {command.strip()}"] if command else []), *lines[1:cut]]
    return prose("\n".join(text))


def link(thing: Any) -> list[str]:
    """A link to the file of a class or of a function of ours."""
    try:
        file = Path(inspect.getsourcefile(inspect.unwrap(thing)) or "").resolve()
    except TypeError:  # a partial function
        return []
    if not file.is_relative_to(ROOT / "src"):
        return []
    return [f"[`{thing.__name__}`](../../{os.fspath(file.relative_to(ROOT))})"]


def targets(file: Path, group: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every node of an option's file that names a class, by its key on the command line."""
    node = included(file)
    yield from walk(node, package(file, group))


def package(file: Path, group: str) -> str:
    """Where the keys of a file go; "" for the top."""
    found = PACKAGED.search(file.read_text("utf-8"))
    return (found[1] if found else group).removeprefix("_global_")


def included(file: Path) -> dict[str, Any]:
    """The content of a YAML file, with that of the files of its group that it builds on."""
    node: dict[str, Any] = yaml.safe_load(file.read_text("utf-8")) or {}
    found: dict[str, Any] = {}
    for default in node.pop("defaults", []):
        if isinstance(default, str) and (base := file.with_name(f"{default}.yaml")).exists():
            found |= included(base)
    return found | node


def comments_of(file: Path) -> dict[str, str]:
    """The comments of a YAML file and of those that it builds on."""
    node = yaml.safe_load(file.read_text("utf-8")) or {}
    found: dict[str, str] = {}
    for default in node.get("defaults", []):
        if isinstance(default, str) and (base := file.with_name(f"{default}.yaml")).exists():
            found |= comments_of(base)
    return found | comments(file)


def walk(node: dict[str, Any], key: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Nodes with a `_target_`, the outer ones first."""
    if "_target_" in node:
        yield key, node
    for name, value in node.items():
        if isinstance(value, dict) and name != "hydra":
            yield from walk(value, f"{key}.{name}".lstrip("."))


def keys_table(
    thing: Any, doc: Doc, prefix: str, given: dict[str, Any], notes: dict[str, str]
) -> str:
    """The keys of one class: those of the YAML file."""
    rows = []
    signature = parameters(thing)
    for name, value in given.items():
        if name.startswith("_") or (isinstance(value, dict) and value):
            continue
        said = notes.get(name) or next(
            (text for key, text in notes.items() if key.endswith(f".{name}")), ""
        )
        meaning = doc.args.get(name, said)
        key = f"{prefix}.{name}".lstrip(".")
        rows.append(
            (code_cell(key), code_cell(written(value)), kind(signature, name), cell(meaning))
        )
    return table(HEAD, rows) if rows else ""


def parameters(thing: Any) -> dict[str, inspect.Parameter]:
    """The parameters of a constructor; none where there is no signature."""
    try:
        return dict(inspect.signature(thing).parameters)
    except (TypeError, ValueError):
        return {}


def kind(signature: dict[str, inspect.Parameter], name: str) -> str:
    """The type of a parameter, as its signature has it."""
    if name not in signature or signature[name].annotation is inspect.Parameter.empty:
        return ""
    found = signature[name].annotation
    return code_cell(found if isinstance(found, str) else words_of(found))


def words_of(kind: Any) -> str:
    """A type as Python writes it today: `int | str` for a union of any spelling.

    >>> words_of(Union[int, str, list[int], None])
    'int | str | list[int] | null'
    """
    match get_origin(kind):
        case origin if origin in (Union, UnionType):
            return " | ".join(dict.fromkeys(map(words_of, get_args(kind))))
        case origin if origin is Literal:  # the YAML says which of them gentrain takes
            return " | ".join(sorted({type(value).__name__ for value in get_args(kind)}))
        case None:
            return "null" if kind is NoneType else getattr(kind, "__name__", str(kind))
        case origin:
            inner = ", ".join(map(words_of, get_args(kind)))
            return f"{getattr(origin, '__name__', origin)}[{inner}]"


def written(value: Any) -> str:
    """A value as the command line takes it."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case list():
            return f"[{','.join(map(written, value))}]"
        case dict():
            return "{" + ",".join(f"{key}:{written(each)}" for key, each in value.items()) + "}"
        case float():
            return f"{value:g}"
    return str(value)


def plain_keys(file: Path, group: str) -> list[tuple[str, ...]]:
    """The keys of an option that belong to no class."""
    node, notes = included(file), comments_of(file)
    prefix = package(file, group)
    return [
        (
            code_cell(f"{prefix}.{key}".lstrip(".")),
            code_cell(written(value)),
            "",
            cell(notes.get(key, "")),
        )
        for key, value in leaves(node, "")
        if not key.startswith("hydra.")
    ]


def leaves(node: dict[str, Any], key: str) -> Iterator[tuple[str, Any]]:
    """Dotted keys with plain values, outside of classes."""
    if "_target_" in node:
        return
    for name, value in node.items():
        dotted = f"{key}.{name}".lstrip(".")
        if isinstance(value, dict):
            yield from leaves(value, dotted)
        else:
            yield dotted, value


def model_page(homes: dict[str, str]) -> str:
    """A line for each preset, and the classes with their arguments."""
    lines = [
        "# Models: `model=`",
        "",
        "A model is chosen with `model=NAME`. Its choices and numbers",
    ]
    lines += ["are in the page of its family.", ""]
    rows, classes = [], {}
    for name in options("model"):
        title = re.split(r"\s{2,}", head("model", name)[0])[0]
        rows.append((f"[{name}](../{homes[name]}#{name})", escaped(title)))
        for _, given in targets(paths.option_files("model")[name], "model"):
            classes[given["_target_"]] = given
        base = CONF / "model" / f"{name}.yaml"
        for found in inherited(base):
            classes[found["_target_"]] = found
    lines += [table(("preset", "paper"), rows), ""]
    for target in sorted(classes):
        thing = locate(target, "model")
        if target.startswith("gentrain"):
            lines += [f"## {thing.__name__}", "", class_text(thing), ""]
    return "\n".join(lines)


def inherited(file: Path) -> Iterator[dict[str, Any]]:
    """The nodes with classes of a preset and of the presets that it builds on."""
    node: dict[str, Any] = yaml.safe_load(file.read_text("utf-8")) or {}
    yield from (given for _, given in walk(node, ""))
    for default in node.get("defaults", []):
        if isinstance(default, str) and (base := file.with_name(f"{default}.yaml")).exists():
            yield from inherited(base)


def class_text(thing: Any) -> str:
    """The docstring of a class and its arguments, with types and defaults."""
    doc, rows = doc_of(thing), []
    for name, parameter in parameters(thing).items():
        empty = parameter.default is inspect.Parameter.empty
        value = "" if empty else code_cell(written(parameter.default))
        rows.append(
            (code_cell(name), value, kind({name: parameter}, name), cell(doc.args.get(name, "")))
        )
    parts = [prose(doc.prose), f"In {', '.join(link(thing))}."]
    return "\n\n".join((*parts, table(("argument", *HEAD[1:]), rows)))


def commands_page() -> str:
    """What each command says of itself, and its keys."""
    lines = ["# Commands", "", "`gentrain VERB --help` prints these texts."]
    for verb in VERBS:
        if verb == "list":
            continue
        text = template_of(verb).split("Everything can be overridden")[0]
        name = "gentrain" if verb == "train" else f"gentrain {verb}"
        text = re.sub(r"\$\{[^}]*\}|\$CONFIG", "", text).rstrip()
        lines += ["", f"## {name}", "", "```text", text, "```", "", command_keys(verb)]
    return "\n".join(lines) + "\n"


def command_keys(verb: str) -> str:
    """The keys at the top of a command's configuration, by its schema and its YAML file."""
    file = CONF / f"{verb}.yaml"
    node, notes = yaml.safe_load(file.read_text("utf-8")), comments(file)
    schema = SCHEMAS["schema" if verb == "train" else f"{verb}_schema"]
    rows = list(schema_rows(schema, node, notes, ""))
    return table(HEAD, rows)


def schema_rows(
    schema: type, node: dict[str, Any], notes: dict[str, str], prefix: str
) -> Iterator[tuple[str, ...]]:
    """A row for each field; a group of conf/ has a page of its own, and no row."""
    said = schema_notes(schema)
    for name, each in schema.__dataclass_fields__.items():  # type: ignore[attr-defined]
        key = f"{prefix}{name}"
        if name in NESTED and not prefix:
            yield from schema_rows(NESTED[name], {}, {}, f"{name}.")
        elif prefix or name not in paths.groups():
            factory = each.default_factory
            value = node.get(name, each.default if factory is MISSING else factory())
            meaning = cell(notes.get(name) or said.get(name, ""))
            yield code_cell(key), code_cell(written(plain(value))), code_cell(each.type), meaning


def plain(value: Any) -> Any:
    """A default as YAML has it."""
    return value.name if isinstance(value, Enum) else value


def schema_notes(schema: type) -> dict[str, str]:
    """What the comments of a schema say of its fields."""
    found: dict[str, str] = {}
    above: list[str] = []
    for kind in reversed(schema.__mro__[:-1]):
        for line in inspect.getsource(kind).splitlines():
            if note := re.match(r"    # (.*)", line):
                above.append(note[1])
            elif match := re.match(r"    (\w+):[^#]*(?:#\s*(.*))?$", line):
                said = [*above, *([match[2]] if match[2] and "type: ignore" not in line else [])]
                found |= {match[1]: " ".join(said)} if said else {}
                above = []
    return found
