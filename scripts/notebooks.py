"""Run the notebooks in examples/, and keep their pictures and printed lines in them.

    python scripts/notebooks.py                      # all of them: some minutes each
    python scripts/notebooks.py examples/gan.ipynb

No Jupyter is needed: the cells run one after another in one namespace, in an empty directory. What
a notebook would display is kept: printed lines, the value of the last expression, figures of
matplotlib. What is logged on stderr is not, since it names times and places.
"""

from __future__ import annotations

import ast
import base64
import io
import json
import os
import sys
import tempfile
from argparse import ArgumentParser
from contextlib import chdir, redirect_stdout
from pathlib import Path
from typing import Any

os.environ["MPLBACKEND"] = "agg"
sys.path.insert(0, str(Path(__file__).parents[1] / "src"))  # a checkout that is not installed

EXAMPLES = Path(__file__).parents[1] / "examples"


def main() -> None:
    """Run notebooks, and write them with their outputs."""
    parser = ArgumentParser(description="Run notebooks, and keep their outputs in them.")
    parser.add_argument("files", nargs="*", type=Path, default=sorted(EXAMPLES.glob("*.ipynb")))
    for file in parser.parse_args().files:
        file = file.absolute()
        notebook = json.loads(file.read_text("utf-8"))
        with tempfile.TemporaryDirectory() as place, chdir(place):
            execute(notebook)
        file.write_text(as_text(notebook), "utf-8")
        print(f"{file}: {file.stat().st_size / 1000:.0f} kB", flush=True)


def as_text(notebook: dict[str, Any]) -> str:
    """A notebook as Jupyter writes it."""
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def execute(notebook: dict[str, Any]) -> dict[str, Any]:
    """Run the code cells of a notebook, and put their outputs into it.

    Returns:
        The namespace of the cells, as they leave it.
    """
    namespace: dict[str, Any] = {"__name__": "__main__"}
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for number, cell in enumerate(cells, 1):
        cell["execution_count"] = number
        cell["outputs"] = run_cell("".join(cell["source"]), namespace, number)
    return namespace


def run_cell(source: str, namespace: dict[str, Any], number: int = 1) -> list[dict[str, Any]]:
    """Run one cell.

    Args:
        source: of the cell.
        namespace: of the notebook.
        number: of the cell, for tracebacks and outputs.

    Returns:
        What is displayed, in the format of notebooks.
    """
    import matplotlib.pyplot as plt

    tree, name = ast.parse(source), f"<cell {number}>"
    last: Any = tree.body.pop() if tree.body and type(tree.body[-1]) is ast.Expr else None
    printed, value = io.StringIO(), None
    with redirect_stdout(printed):
        exec(compile(tree, name, "exec"), namespace)
        if last is not None:
            value = eval(compile(ast.Expression(last.value), name, "eval"), namespace)
    outputs: list[dict[str, Any]] = []
    if printed.getvalue():
        lines = printed.getvalue().splitlines(keepends=True)
        outputs.append({"output_type": "stream", "name": "stdout", "text": lines})
    if value is not None and not source.rstrip().endswith(";"):
        result = {"output_type": "execute_result", "execution_count": number}
        outputs.append(result | {"metadata": {}, "data": displayed(value)})
    for figure in map(plt.figure, plt.get_fignums()):
        content = io.BytesIO()
        figure.savefig(content, format="png", dpi=60, bbox_inches="tight")
        text = "<Figure>"
        outputs.append(
            {"output_type": "display_data", "metadata": {}, "data": png(content.getvalue(), text)}
        )
    plt.close("all")
    return outputs


def displayed(value: Any) -> dict[str, Any]:
    """A value as a notebook displays it: a picture of Pillow as PNG, and anything as text."""
    from PIL.Image import Image

    if isinstance(value, Image):
        content = io.BytesIO()
        value.save(content, format="png", optimize=True)
        return png(content.getvalue(), f"<picture of {value.width} x {value.height}>")
    return {"text/plain": repr(value).splitlines(keepends=True)}


def png(content: bytes, text: str) -> dict[str, Any]:
    """A PNG, and a text for those who do not see it."""
    return {"image/png": base64.b64encode(content).decode() + "\n", "text/plain": [text]}


if __name__ == "__main__":
    main()
