"""The doctor's findings as a table, from its own source: name, meaning, and what to try.

Names and remedies are texts in the code of the checks. A remedy may be given by the caller, or have
a part that is chosen before; then each of its values is listed.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import product

from site_links import ROOT
from site_text import cell, code_cell, table

FILE = ROOT / "src" / "gentrain" / "quality" / "diagnostics.py"


def findings() -> str:
    """The table, in the order in which the doctor looks."""
    tree = ast.parse(FILE.read_text("utf-8"))
    rows = []
    for check in checks(tree):
        for call in calls(check, "Finding"):
            name, _, remedy = call.args
            said = (ast.get_docstring(check) or "").split("\n\n")
            remedies = dict.fromkeys(values(remedy, check, tree))
            meaning = " ".join(each for each in said if "\n    " not in each)
            rows.append((str(ast.literal_eval(name)), meaning, list(remedies)))
    return table(
        ("finding", "meaning", "try"),
        [(name, cell(said), "; ".join(map(shown, tried))) for name, said, tried in rows],
    )


def shown(remedy: str) -> str:
    """An override as code; other words as they are."""
    plain = remedy.strip("'")
    return code_cell(plain) if re.fullmatch(r"\S+", plain) else cell(plain)


def checks(tree: ast.Module) -> list[ast.FunctionDef]:
    """The functions that return a finding or None."""
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    return [each for each in functions if each.returns and "Finding |" in ast.unparse(each.returns)]


def calls(node: ast.AST, name: str) -> Iterator[ast.Call]:
    """The calls of a function."""
    for each in ast.walk(node):
        match each:
            case ast.Call(func=ast.Name(id=called)) if called == name:
                yield each


def values(node: ast.AST, scope: ast.FunctionDef, tree: ast.Module) -> Iterator[str]:
    """Every text that an expression may be."""
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.IfExp(body=one, orelse=other):
            yield from values(one, scope, tree)
            yield from values(other, scope, tree)
        case ast.FormattedValue(value=inner):
            yield from values(inner, scope, tree)
        case ast.JoinedStr(values=parts):
            for found in product(*(list(values(part, scope, tree)) for part in parts)):
                yield "".join(found)
        case ast.Name(id=name):
            yield from of_name(name, scope, tree)
        case _:
            raise ValueError(f"{FILE.name}:{node.lineno}: no text")  # type: ignore[attr-defined]


def of_name(name: str, scope: ast.FunctionDef, tree: ast.Module) -> Iterator[str]:
    """The texts of a local variable, or of an argument at every call of the function."""
    for node in ast.walk(scope):
        match node:
            case ast.Assign(targets=[ast.Name(id=assigned)], value=value) if assigned == name:
                yield from values(value, scope, tree)
                return
    place = [argument.arg for argument in scope.args.args].index(name)
    for caller in ast.walk(tree):
        if isinstance(caller, ast.FunctionDef):
            for call in calls(caller, scope.name):
                yield from values(call.args[place], caller, tree)
