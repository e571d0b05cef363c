"""gentrain demo NAME: a claim of the field's lectures, as an experiment.

- `base`: what a demonstration is
- `page`: its page in docs/demos, and its notebook

The demonstrations themselves are in `gentrain.demos`.
"""

from __future__ import annotations

import csv
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gentrain.commands.demo.base import Demo, Shown


def demonstrate(config: dict[str, Any], name: str) -> Path:
    """Make an experiment, print its table and findings, and write its figure.

    Args:
        config: the keys of conf/demo.yaml.
        name: the demonstration, as the user typed it.

    Returns:
        The directory with figure.png, table.csv and page.md.

    Raises:
        UserError: for numbers that it cannot take, and without matplotlib.
    """
    from gentrain.commands.demo.base import refuse_missing_matplotlib
    from gentrain.commands.demo.page import markdown
    from gentrain.files import report_disk_errors

    refuse_missing_matplotlib()
    demo, out, began = build_demo(config), Path(config["out"]), time.monotonic()
    print(demo.claim)
    with report_disk_errors(out, "out"):
        out.mkdir(parents=True, exist_ok=True)
        shown = made(demo)
        shown.figure.savefig(out / "figure.png", dpi=110)
        write_table(out / "table.csv", shown.rows)
        (out / "page.md").write_text(markdown(name, demo, shown, "figure.png"), "utf-8")
    print(f"\n{shown}")
    print(f"{out}/figure.png after {time.monotonic() - began:.0f} s")
    return out


def build_demo(config: dict[str, Any]) -> Demo:
    """The demonstration that a configuration names."""
    from gentrain.commands.demo.base import Demo
    from gentrain.config.build import build
    from gentrain.config.validate import check_seed, checked, refuse_other_kind
    from gentrain.errors import UserError

    numbers, seed = dict(config["demo"]), config["seed"]
    if "seed" in numbers:
        numbers["seed"] = 0 if seed is None else seed
        check_seed(numbers["seed"])
    elif seed is not None:
        raise UserError("this demonstration draws no random numbers (seed); leave it out")
    refuse_other_kind(numbers, Demo, "demo")
    return build(checked(numbers, "demo"), "demo", Demo)


def made(demo: Demo) -> Shown:
    """The experiment, with a directory for its runs that goes afterwards."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)  # the networks are tiny: a second thread costs more than it gives
    try:
        with tempfile.TemporaryDirectory(prefix="gentrain-demo-") as place:
            return demo.show(Path(place))
    finally:
        torch.set_num_threads(before)


def write_table(file: Path, rows: Any) -> None:
    """The table as CSV, with all digits."""
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
