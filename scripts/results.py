"""A Markdown table of finished runs, from their own records, with a small copy of every last grid.

python scripts/results.py DIR --out docs/results.md     # DIR holds run directories; adds their rows between the markers, or replaces them
"""

from __future__ import annotations

import argparse
import csv
import json
import shlex
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from PIL import Image

BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"
COLUMNS = (
    "command",
    "device",
    "images/s",
    "minutes",
    "classifier-FID at step 0",
    "at the end",
    "floor",
    "classes of confident fakes",
    "grid",
)
HEAD = "\n".join(("| " + " | ".join(COLUMNS) + " |", "|---" * len(COLUMNS) + "|"))


def rows_of(run: Path) -> list[dict[str, str]]:
    with open(run / "metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


def command(run: Path) -> str:
    """As typed, without what only says where things are."""
    typed = OmegaConf.to_container(OmegaConf.load(run / ".hydra" / "overrides.yaml"))
    aside = ("hydra.run.dir", "logger=", "trainer=", "resume=", "data.root=", "samples.")
    return shlex.join(["gentrain", *(word for word in typed if not word.startswith(aside))])  # type: ignore[union-attr]


def line(run: Path, pictures: Path) -> str:
    summary: dict[str, Any] = json.loads((run / "summary.json").read_text())
    metrics, scored = (
        summary["metrics"],
        [row for row in rows_of(run) if row.get("quality/fid_classifier")],
    )
    start = next(float(row["quality/fid_classifier"]) for row in scored if row["step"] == "0")
    picture = pictures / f"{run.name}.png"
    picture.parent.mkdir(parents=True, exist_ok=True)
    Image.open(run / "samples" / "final.png").save(picture, optimize=True)
    cells = [
        f"`{command(run)}`",
        summary["device"],
        f"{summary['images_per_second']:,.0f}",
        f"{summary['wall_seconds'] / 60:.1f}",
        f"{start:,.0f}",
        f"{metrics['quality/fid_classifier']:.1f}",
        f"{metrics['quality/fid_classifier_floor']:.1f}",
        f"{metrics['quality/classes_covered']:.0f}",
        f"[picture]({picture.relative_to(pictures.parent)})",
    ]
    return "| " + " | ".join(cells) + " |"


def picture_of(row: str) -> str:
    """Which run a row is of."""
    return row.rpartition("](")[2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, help="a directory of run directories")
    parser.add_argument("--out", type=Path, default=Path("docs/results.md"))
    args = parser.parse_args()
    runs = sorted(path.parent for path in args.runs.glob("*/summary.json"))
    finished = [
        run
        for run in runs
        if json.loads((run / "summary.json").read_text())["status"] == "completed"
    ]
    text = args.out.read_text() if args.out.exists() else f"{BEGIN}\n{END}\n"
    before, _, rest = text.partition(BEGIN)
    old, _, after = rest.partition(END)
    rows = {picture_of(row): row for row in old.splitlines() if "[picture]" in row}
    rows |= {
        picture_of(row): row for row in (line(run, args.out.parent / "grids") for run in finished)
    }
    table = "\n".join([HEAD, *rows.values()])
    args.out.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}")
    print(table)


if __name__ == "__main__":
    main()
