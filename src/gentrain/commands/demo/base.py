"""What a demonstration is: one claim of the field's lectures, as an experiment.

A preset in `conf/demo/` names the class and sets its numbers. The page in docs/demos and the
notebook are made from the same class.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from gentrain.errors import UserError
from gentrain.tables import text_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Row = Mapping[str, Any]
STYLE = "tableau-colorblind10"  # ten colours that colour-blind readers can tell apart


@dataclass(frozen=True)
class Finding:
    """One sentence that an experiment can bear out, and whether this one does.

    Args:
        sentence: what was looked for, with the numbers that were measured.
        holds: whether they show it.
    """

    sentence: str
    holds: bool

    def __str__(self) -> str:
        return f"{'shown' if self.holds else 'NOT shown'}: {self.sentence}"


@dataclass
class Shown:
    """What a demonstration gives.

    Args:
        figure: of matplotlib, with a title and named axes.
        rows: a table; each row has the same columns.
        findings: what of the claim this run shows.
    """

    figure: Figure
    rows: Sequence[Row]
    findings: Sequence[Finding]

    def __str__(self) -> str:
        table = text_table(*columns_of(self.rows))
        return "\n".join([table, "", *map(str, self.findings)])

    @property
    def holds(self) -> bool:
        """Whether all of the claim is shown."""
        return all(finding.holds for finding in self.findings)


def columns_of(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """The head and the cells of a table, as text."""
    head = list(rows[0])
    return head, [[text(row[name]) for name in head] for row in rows]


def text(value: Any) -> str:
    """A cell: numbers with four digits.

    >>> text(0.69314718), text(12), text("js"), text(None)
    ('0.6931', '12', 'js', '-')
    """
    match value:
        case None:
            return "-"
        case float():
            return f"{value:.4g}"
        case _:
            return str(value)


class Demo(ABC):
    """One claim, and the experiment that shows it or fails to.

    The arguments of a subclass are the numbers of the experiment; `seed` is one of them wherever
    chance plays. A subclass declares the texts of its page.
    """

    title: ClassVar[str]  # of the page
    claim: ClassVar[str]  # as the lectures make it, in one or two sentences
    formula: ClassVar[str]  # LaTeX, without dollars
    papers: ClassVar[tuple[str, ...]]  # authors, title, year
    code: ClassVar[tuple[object, ...]]  # the functions and classes of this project that do it
    exercise: ClassVar[str]
    notes: ClassVar[str] = ""  # what to look at, and where the claim ends
    tiny: ClassVar[Mapping[str, Any]] = {}  # numbers that make it as quick as a test needs

    @property
    def name(self) -> str:
        """The name after "gentrain demo": BestCritic is best_critic."""
        return re.sub(r"(?<!^)(?=[A-Z])", "_", type(self).__name__).lower()

    @abstractmethod
    def show(self, place: Path) -> Shown:
        """Make the experiment.

        Args:
            place: an empty directory for the runs that it trains.
        """


def figure(title: str, rows: int = 1, columns: int = 1, size: float = 3.4) -> tuple[Figure, Any]:
    """An empty figure, and its axes in an array (rows, columns).

    Args:
        title: above all panels.
        rows: of panels.
        columns: of panels.
        size: the height of a panel, in inches.
    """
    from matplotlib import pyplot, style

    with style.context(STYLE):
        made, axes = pyplot.subplots(
            rows,
            columns,
            figsize=(1.25 * size * columns, size * rows),
            squeeze=False,
            layout="constrained",
        )
    pyplot.close(made)  # it is the caller's: pyplot would keep it for ever
    made.suptitle(title, fontsize="medium", wrap=True)
    return made, axes


def colour(number: int) -> str:
    """One of the ten colours, where lines that belong together share one."""
    from matplotlib import style

    colours: list[str] = style.library[STYLE]["axes.prop_cycle"].by_key()["color"]
    return colours[number % len(colours)]


def name_ticks(axes: Any, values: Sequence[float]) -> None:
    """Name some values on a logarithmic x axis, and no others."""
    axes.set_xscale("log")
    axes.minorticks_off()
    axes.set_xticks(values, [f"{value:g}" for value in values])


def generator(seed: int) -> torch.Generator:
    """The random numbers of an experiment."""
    return torch.Generator().manual_seed(seed)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw the random numbers inside from a seed, and leave those of the caller alone."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def refuse_missing_matplotlib() -> None:
    """Refuse to begin where figures cannot be drawn.

    Raises:
        UserError: saying how to install it.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise UserError(
            "figures are drawn by matplotlib, which is not installed (demo); "
            "pip install 'gentrain[demo]'"
        ) from error
    matplotlib.use("agg")
