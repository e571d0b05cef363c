"""Write docs/results/runs.md: a row for each configuration that was trained, from its runs.

    python scripts/results.py outputs [MORE ...]

The runs below the directories are found and grouped as `gentrain compare` does it: those of a group
differ by the seed alone, and were scored in one way. Nothing of a row is typed. Its scores are the
one that chose the best checkpoint, and the same of the test split, at the last step; a score of an
earlier step has it beside it. The pictures lie in a folder beside the page, which is written anew.
"""

from __future__ import annotations

import argparse
import hashlib
import shlex
import shutil
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from run_tables import ROOT, command_line, exit_code, paragraph, shown_words, write_page

from gentrain.commands.compare.find import find
from gentrain.commands.compare.groups import Group, configuration, grouped
from gentrain.protocols import NOT_KNOWN, TEST, of_score, short_hash
from gentrain.runs.directory import typed_words
from gentrain.tables import markdown_table, quantity

PAGE = ROOT / "docs/results/runs.md"
SIDE, COLOURS = 112, 32  # of a picture
MAX_BYTES = 1_000_000  # of the page's pictures
LEFT_OUT = ("seed=", "data.seed=", "samples.", "steps=")  # of a command; steps have a column
HEAD = ("command", "data", "steps", "seeds", "scores", "minutes", "device", "picture")


def command(group: Group) -> str:
    """The command that makes the runs of a group."""
    typed = next(filter(None, (typed_words(run.path) for run in group.runs)), [])
    words = shown_words(typed, *LEFT_OUT)
    numbers = sorted({str(run.seed) for run in group.runs}, key=lambda seed: (len(seed), seed))
    many = ["-m"] if len(numbers) > 1 else []
    lengths = [word for word in typed if word.startswith("steps=")][-1:]
    return shlex.join(["gentrain", *many, *words, *lengths, f"seed={','.join(numbers)}"])


def seeds(group: Group) -> str:
    """How many seeds have completed, and what became of the others."""
    failed = {status: n for status, n in group.statuses.items() if status != "completed"}
    parts = [f"{n} {status}" for status, n in sorted(failed.items())]
    done = len(group.counted) if group.settled else 0
    return ", ".join([str(done), *parts])


def score_names(group: Group) -> list[str]:
    """The score that chose the best checkpoint, and its twin of the test split."""
    main = group.main_score
    twins = [f"{TEST}{main.partition('/')[2]}"] if main else []
    return [name for name in (main, *twins) if name in group.final]


def score(group: Group, name: str) -> str:
    """A score with its spread over seeds, its step if old, the floor, and its protocol's hash."""
    found, floor = group.final[name], group.final.get(f"{name}_floor")
    spread = f" ± {found.sd:.2g}" if found.sd is not None else ""
    least = f", floor {floor.mean:.1f}" if floor else ""
    protocol = short_hash(of_score(group.protocol or {}, name))
    how = "protocol not known" if protocol == NOT_KNOWN else f"`{protocol}`"
    return f"{name} {found.mean:.4g}{spread}{group.told_step(name)}{least} ({how})"


def minutes(group: Group) -> str:
    """The mean of the minutes of its runs."""
    seconds = group.mean_of("wall_seconds")
    return "" if seconds is None else f"{seconds / 60:.1f}"


def picture(group: Group, folder: Path) -> str:
    """A link to the last samples of its first run that has some, small; empty where none has."""
    files = [run.pictures[-1][1] for run in group.counted if run.pictures]
    if not files:
        return ""
    number = hashlib.sha256(configuration(group.runs[0]).encode()).hexdigest()[:8]
    file = folder / f"{group.runs[0].choices.get('model', 'run')}-{number}.png"
    folder.mkdir(parents=True, exist_ok=True)
    shown = Image.open(files[0]).convert("RGB")
    shown.thumbnail((SIDE, SIDE))
    shown.convert("P", palette=Image.Palette.ADAPTIVE, colors=COLOURS).save(file, optimize=True)
    return f"![samples]({folder.name}/{file.name})"


def row(group: Group, folder: Path) -> list[str]:
    """The row of a group."""
    steps = sorted({run.step for run in group.counted})
    devices = sorted({str(run.end["device"]) for run in group.counted if "device" in run.end})
    return [
        f"`{command(group)}`",
        group.runs[0].choices.get("data", ""),
        ", ".join(f"{n:,}" for n in steps),
        seeds(group),
        "<br>".join(score(group, name) for name in score_names(group)) or "not scored",
        minutes(group),
        ", ".join(devices),
        picture(group, folder),
    ]


def about(groups: Sequence[Group]) -> str:
    """What the page's table shows."""
    runs = sum(len(group.runs) for group in groups)
    ended = [run for group in groups for run in group.runs if "wall_seconds" in run.end]
    total = sum(run.end["wall_seconds"] for run in ended) / 60
    each = statistics.median(run.end["wall_seconds"] for run in ended) / 60 if ended else 0
    return paragraph(
        f"{quantity(len(groups), 'configuration')}, {quantity(runs, 'run')}; {total:,.0f} minutes",
        f"in all, {each:.1f} in the median, of a machine that did other work as well. Scores are",
        "of the last step, or of the one beside them, mean and standard deviation over seeds;",
        "quality/ is of the split by which checkpoints are chosen, test/ of the test split at the",
        "end. Behind each is the hash of its protocol: only scores of one hash compare.",
        "`data.root=DATA` stands for a folder of data. [results](../results.md) has older, longer",
        "runs.",
    )


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path, help="directories of runs")
    parser.add_argument("--out", type=Path, default=PAGE)
    args = parser.parse_args(words)
    groups = grouped(find(args.runs))
    groups.sort(key=lambda group: (group.runs[0].choices.get("data", ""), command(group)))
    folder = args.out.with_suffix("")
    shutil.rmtree(folder, ignore_errors=True)
    rows = [row(group, folder) for group in groups]
    write_page(
        args.out,
        "# Runs",
        paragraph(f"Written by `{command_line()}` from the records of runs."),
        about(groups),
        markdown_table(HEAD, rows),
    )
    size = sum(file.stat().st_size for file in folder.glob("*.png"))
    if size > MAX_BYTES:
        print(f"{size / 1e6:.1f} MB of pictures; give fewer runs", file=sys.stderr)
    return int(size > MAX_BYTES)


if __name__ == "__main__":
    sys.exit(exit_code(main))
