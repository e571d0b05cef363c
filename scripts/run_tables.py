"""What the scripts that write tables of finished runs share: their records, and the pages.

Nothing of a table is typed: a page is written from run directories, by one command that it names.
"""

from __future__ import annotations

import math
import shlex
import statistics
import sys
import textwrap
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from gentrain.commands.compare.find import Run, find, read_run
from gentrain.config.overrides import is_of_sweep, last_value
from gentrain.errors import UserError
from gentrain.protocols import NOT_KNOWN, of_score, short_hash
from gentrain.runs.directory import COLLAPSE, summary, typed_words

ROOT = Path(__file__).parents[1]
# words that only say where a run is, or how it is watched
HIDDEN = ("hydra.", "logger=", "trainer=", "resume=", "plugins=")


class Record:
    """A run as its files tell it, or a cell of a sweep that never began.

    Args:
        run: as `compare` reads it.
    """

    def __init__(self, run: Run) -> None:
        self.run, self.path, self.status, self.summary = run, run.path, run.status, run.end
        swept = [f"{key}={value}" for key, value in run.swept.items()]
        self.typed = typed_words(run.path) or swept

    def word(self, key: str, default: str = "") -> str:
        """The value of an override that was typed."""
        return last_value(self.typed, key) or default

    @property
    def collapsed(self) -> bool:
        return any(verdict in COLLAPSE for verdict in self.summary.get("verdicts", []))

    @property
    def minutes(self) -> float:
        return float(self.summary.get("wall_seconds", math.nan)) / 60

    def score(self, name: str) -> float:
        """A score of the end of the training, not a number where there is none."""
        return float(self.summary.get("metrics", {}).get(name, math.nan))

    def protocol(self, score: str) -> str:
        """The hash of the protocol of a score; "not known" without one."""
        return short_hash(of_score(self.run.protocol_of_score, score))


def records(folder: Path) -> list[Record]:
    """The runs below a folder, and the cells of its sweeps, whatever became of them."""
    return [Record(run) for run in find([folder])]


def record(place: Path) -> Record:
    """The run in a directory."""
    return Record(read_run(place, place.name))


def with_scores(runs: Iterable[Record], name: str) -> list[Record]:
    """The completed runs, each of which must have a score.

    Raises:
        UserError: where there is none, or one has no such score.
    """
    found = [run for run in runs if run.status == "completed"]
    without = next((run for run in found if name not in run.summary["metrics"]), None)
    if without is not None:
        raise UserError(f"{without.path} has no {name} (runs); give runs that were scored")
    if not found:
        raise UserError(
            f"no run has completed, and {name} is of the end (runs); give finished runs"
        )
    return found


def has_ended(place: Path) -> bool:
    """Whether a run came to its end, or diverged; one that was interrupted goes on."""
    return summary(place).get("status") in ("completed", "diverged")


def mean_and_spread(values: Iterable[float], digits: int = 1, percent: bool = False) -> str:
    """Mean and standard deviation, such as "7.3 ± 0.6"; the value alone where there is one."""
    found = [value * (100 if percent else 1) for value in values if math.isfinite(value)]
    if not found:
        return ""
    unit = " %" if percent else ""
    if len(found) == 1:
        return f"{found[0]:.{digits}f}{unit}"
    return f"{statistics.fmean(found):.{digits}f} ± {statistics.stdev(found):.{digits}f}{unit}"


def command_line() -> str:
    """The command that runs now; a path from the root of the machine is its last part."""
    script = Path(sys.argv[0]).name
    words = (Path(word).name if word.startswith("/") else word for word in sys.argv[1:])
    return shlex.join(["python", f"scripts/{script}", *words])


def protocols(runs: Iterable[Record], score: str) -> str:
    """The protocols of a score of some runs."""
    found = sorted({run.protocol(score) for run in runs if run.summary})
    return ", ".join(each if each == NOT_KNOWN else f"`{each}`" for each in found)


def devices(runs: Iterable[Record]) -> str:
    return ", ".join(sorted({str(run.summary["device"]) for run in runs if run.summary}))


def failures(runs: Iterable[Record]) -> str:
    """The runs that have not completed, by their status, such as "1 diverged"."""
    counts = Counter(run.status for run in runs if run.status != "completed")
    return ", ".join(f"{n} {status}" for status, n in sorted(counts.items()))


def shown_words(typed: Iterable[str], *left_out: str) -> list[str]:
    """The words of a command, for a page: without where and how it was run, and paths of a machine.

    Args:
        typed: the words.
        left_out: beginnings of other words that are left out.

    >>> shown_words(["model=vae", "data.root=/my/data", "sweep.name=a", "trainer=cpu"])
    ['model=vae', 'data.root=DATA']
    """
    words: dict[str, str] = {}  # of a key that was typed twice, the last word counts
    for word in typed:
        key, _, value = word.partition("=")
        if is_of_sweep(word) or word.startswith((*HIDDEN, *left_out)):
            continue
        is_path = value.strip("'\"").startswith(("/", "~", "./", "../"))
        place = "DATA" if key.startswith("data.") else "PATH"
        words[key] = f"{key}={place}" if is_path else word
    return list(words.values())


def paragraph(*sentences: str) -> str:
    """Sentences in lines that are no longer than those of other texts."""
    text = " ".join(sentence for sentence in sentences if sentence)
    return textwrap.fill(text, 100, break_long_words=False, break_on_hyphens=False)


def write_page(file: Path, *parts: str) -> None:
    """Write a page of paragraphs, and say so."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n\n".join(parts) + "\n", "utf-8")
    print(file)


def exit_code(main: Callable[[], Any]) -> int:
    """Run the main function of a script: what a user can mend ends it in one line and status 2."""
    try:
        return int(main() or 0)
    except UserError as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return 2
