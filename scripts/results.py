"""Write a Markdown table of finished runs from their own records, and copy their last grids.

    python scripts/results.py DIR --out docs/results.md

DIR holds run directories; those without a classifier-FID are left out. The table is between two
markers of the file: rows of these runs are added, or replaced, and all others stay.
"""

from __future__ import annotations

import argparse
import csv
import shlex
from pathlib import Path
from typing import Any

from PIL import Image

from gentrain.protocols import short_hash
from gentrain.runs.directory import summary, typed_words
from gentrain.tables import markdown_row

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
    "protocol",
    "grid",
)
HEAD = "\n".join(("| " + " | ".join(COLUMNS) + " |", "|---" * len(COLUMNS) + "|"))
# options that only say where things are, or how a run is watched
LEFT_OUT = ("hydra.run.dir", "logger=", "trainer=", "resume=", "data.root=", "samples.")


def metric_rows(run: Path) -> list[dict[str, str]]:
    with open(run / "metrics.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def has_result(end: dict[str, Any]) -> bool:
    """Whether a run has come to its end, and has the score of the table."""
    return end["status"] == "completed" and "quality/fid_classifier" in end["metrics"]


def command(run: Path) -> str:
    """The command as typed, without LEFT_OUT."""
    words = (word for word in typed_words(run) if not word.startswith(LEFT_OUT))
    return shlex.join(["gentrain", *words])


def table_row(run: Path, pictures: Path) -> str:
    """The row of one run; its last grid is copied to `pictures`."""
    end = summary(run)
    metrics = end["metrics"]
    scored = [row for row in metric_rows(run) if row.get("quality/fid_classifier")]
    start = next(float(row["quality/fid_classifier"]) for row in scored if row["step"] == "0")
    picture = pictures / f"{run.name}.png"
    picture.parent.mkdir(parents=True, exist_ok=True)
    Image.open(run / "samples" / "final.png").save(picture, optimize=True)
    cells = [
        f"`{command(run)}`",
        end["device"],
        f"{end['images_per_second']:,.0f}",
        f"{end['wall_seconds'] / 60:.1f}",
        f"{start:,.0f}",
        f"{metrics['quality/fid_classifier']:.1f}",
        f"{metrics['quality/fid_classifier_floor']:.1f}",
        f"{metrics['quality/classes_covered']:.0f}",
        short_hash(end["protocols"]["quality"]),
        f"[picture]({picture.relative_to(pictures.parent)})",
    ]
    return markdown_row(cells)


def picture_of(row: str) -> str:
    """The picture that a row links to: it tells which run the row is of."""
    return row.rpartition("](")[2]


def with_rows(text: str, new: list[str]) -> tuple[str, str]:
    """Put rows into the table between the markers of a text.

    Returns:
        The new text, and its table.
    """
    before, _, rest = text.partition(BEGIN)
    old, _, after = rest.partition(END)
    rows = {picture_of(row): row for row in old.splitlines() if "[picture]" in row}
    rows |= {picture_of(row): row for row in new}
    table = "\n".join([HEAD, *rows.values()])
    return f"{before}{BEGIN}\n{table}\n{END}{after}", table


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, help="a directory of run directories")
    parser.add_argument("--out", type=Path, default=Path("docs/results.md"))
    args = parser.parse_args()
    runs = sorted(path.parent for path in args.runs.glob("*/summary.json"))
    finished = [run for run in runs if has_result(summary(run))]
    text = args.out.read_text() if args.out.exists() else f"{BEGIN}\n{END}\n"
    new = [table_row(run, args.out.parent / "grids") for run in finished]
    text, table = with_rows(text, new)
    args.out.write_text(text)
    print(table)


if __name__ == "__main__":
    main()
