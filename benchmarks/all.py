"""Run every benchmark for its share of the time, and make one page of all ratios.

    python benchmarks/all.py [--minutes 15] [--only loop-nf16 flows] [--page] [--folder DIR]

Each part is a process of its own and writes NAME-cpu.md and NAME-cpu.json. A part that fails, or
takes three times its share, is reported; the others go on, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import html
import io
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent


class Part(NamedTuple):
    """A benchmark: its script and options, and about how long it takes on two quiet cores."""

    command: str
    seconds: int


PARTS = {
    "loop-tiny": Part("loop.py --work tiny --rounds 9 --seconds 0.3", 20),
    "loop-mlp": Part("loop.py --work mlp --rounds 9 --seconds 0.4", 25),
    "loop-nf16": Part("loop.py --work nf16 --rounds 9 --seconds 0.5", 30),
    "loop-nf64": Part("loop.py --work nf64 --rounds 7 --seconds 0.9", 45),
    "variants": Part("variants.py --work nf16 --rounds 5 --seconds 1.5 --patience 200", 115),
    "vae": Part("families.py --work vae --rounds 7 --seconds 0.3", 30),
    "maf": Part("families.py --work maf --rounds 5 --seconds 0.4", 60),
    "realnvp": Part("families.py --work realnvp --rounds 5 --seconds 0.4", 50),
    "points": Part("families.py --work points --rounds 7 --seconds 0.3", 30),
    "gated_pixelcnn": Part("families.py --work gated_pixelcnn --rounds 5 --seconds 0.4", 40),
    "rbm": Part("families.py --work rbm --rounds 7 --seconds 0.3", 15),
    "flows": Part("flows.py --rounds 5", 25),
    "samplers": Part("samplers.py --models gated_pixelcnn --n 4 --rounds 1", 30),
    "gibbs": Part("gibbs.py --rounds 11 --epochs 3", 25),
    "scores": Part("scores.py --rounds 2", 50),
    "ddp": Part("ddp.py --rounds 2", 70),
    "company": Part("company.py --busy 0 4 --rounds 3 --seconds 1.5 --settle 15", 105),
    "safety": Part("safety.py --rounds 9", 25),
    "shards": Part("shards.py --images 5000 --batches 100 --rounds 3", 25),
    "sweeps": Part("sweeps.py --cells 8 --rows 1000", 40),
    "compare": Part("compare.py --rounds 3", 20),
}
SLACK = 3  # shares of its time after which a part is stopped


def run(name: str, folder: Path, left: float) -> str | None:
    """Run a part; returns why it failed, or None."""
    script, *words = PARTS[name].command.split()
    if left <= 0:
        return f"no time was left; run it alone, with --only {name}"
    out = (folder / f"{name}-cpu").resolve()
    if out.is_relative_to(ROOT):  # the command stands in the result: no path of this machine
        out = out.relative_to(ROOT)
    command = [sys.executable, str(HERE / script), *words, "--out", str(out)]
    limit = min(left, SLACK * PARTS[name].seconds)
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return f"stopped after {limit:.0f} s"
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        return said[-1][:300] if said else f"exit status {done.returncode}"
    return None


def run_all(names: list[str], folder: Path, minutes: float) -> dict[str, str]:
    """Run parts one after the other; returns the failures."""
    began, failures = time.monotonic(), {}
    for name in names:
        start = time.monotonic()
        why = run(name, folder, 60 * minutes - (start - began))
        seconds = time.monotonic() - start
        print(f"{name:<11} {seconds:4.0f} s  {'done' if why is None else 'FAILED: ' + why}")
        sys.stdout.flush()
        if why is not None:
            failures[name] = why
    done, minutes = len(names) - len(failures), (time.monotonic() - began) / 60
    print(f"{done} of {len(names)} in {minutes:.1f} min")
    return failures


# --- the page -------------------------------------------------------------------------------------


def figure(ratios: dict[str, list[float]], base: str) -> str:
    """Medians, with the range over the rounds, as an SVG."""
    from matplotlib.figure import Figure

    names = [name for name, each in ratios.items() if each and name != base][::-1]
    drawing = Figure((8, 0.7 + 0.35 * len(names)), layout="constrained")
    axes = drawing.subplots()
    for row, name in enumerate(names):
        least, middle, most = min(ratios[name]), statistics.median(ratios[name]), max(ratios[name])
        axes.plot([least, most], [row, row], color="tab:blue")
        axes.plot([middle], [row], "o", color="tab:blue")
        axes.annotate(f" {middle:.3g}", (most, row), va="center", fontsize=8)
    axes.axvline(1, color="grey", linewidth=1)
    if max(max(ratios[name]) for name in names) > 10 * min(min(ratios[name]) for name in names):
        axes.set_xscale("log")
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.margins(x=0.12)
    axes.set_xlabel(f"ratio to: {base}")
    text = io.StringIO()
    drawing.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue().split("?>", 1)[1].split(">", 1)[1]  # without the two lines of XML


def section(found: dict[str, Any]) -> Iterator[str]:
    """One benchmark's part of the page."""
    where = found["environment"]
    packages = ", ".join(f"{name} {number}" for name, number in where["versions"].items())
    yield f"<h2>{html.escape(found['title'])}</h2>"
    yield f"<p><code>{html.escape(where['command'])}</code><br>"
    yield html.escape(
        f"{where['day']}, {where['device']}, {where['cores']} cores, {where['threads']} thread(s), "
        f"load {where['load']} at the start, {where['rounds']} round(s). {packages}"
    )
    yield "</p>"
    for table in found["tables"]:
        yield f"<h3>{html.escape(table['title'])}</h3>"
        for base, ratios in table["ratios"].items():
            if any(each for name, each in ratios.items() if name != base):
                yield figure(ratios, base)


def page(folder: Path) -> str:
    """All results of a folder. Ratios alone are shown: times of another machine say little."""
    import matplotlib

    matplotlib.rcParams["svg.fonttype"] = "none"  # text stays text
    matplotlib.rcParams["svg.hashsalt"] = "gentrain"  # the same page from the same numbers
    results = sorted(folder.glob("*-cpu.json"))
    parts = ("\n".join(section(json.loads(file.read_text()))) for file in results)
    return "\n".join(
        [
            "<!doctype html><meta charset='utf-8'><title>gentrain: benchmarks</title>",
            "<style>body{font:15px sans-serif;max-width:60em;margin:2em auto}</style>",
            "<h1>Benchmarks</h1>",
            "<p>Points are medians over rounds, lines go from the least to the greatest. Ratios of "
            "times are better the smaller they are, ratios of images a second the greater.</p>",
            *parts,
        ]
    )


def main() -> int:
    parser = argparse.ArgumentParser(description="Run every benchmark, and make one page.")
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--page", action="store_true", help="make the page alone")
    parser.add_argument("--folder", type=Path, default=HERE / "results")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    failures = {} if args.page else run_all(args.only, args.folder, args.minutes)
    (args.folder / "page.html").write_text(page(args.folder) + "\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
