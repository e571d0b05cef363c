"""The contract of a sample mode: pictures of a run, the same for the same seed."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

from omegaconf import OmegaConf

from gentrain.commands.check.documentation import check_documentation
from gentrain.commands.check.options import TRIED, Compose, Option
from gentrain.commands.check.outcome import Fault, Report
from gentrain.commands.check.subject import Subject, prepared
from gentrain.commands.sample import sample
from gentrain.config import schema

FIRST = "drawn"  # the directory of what is drawn first


def check_mode(
    option: Option, report: Report, compose: Compose, place: Path, compiler: str
) -> None:
    """Check a sample mode; see `check_training` for the arguments."""
    found: list[Subject] = []

    def draws() -> str:
        def accept(subject: Subject) -> None:
            draw(option, compose, subject.trained.run_dir, FIRST)

        runs = [words.split() for words in TRIED["mode"]]
        found.append(prepared(option, compose, place, "steps=1", attempts=runs, accept=accept))
        files = contents(found[0].trained.run_dir / FIRST)
        if len(files) < 2:
            raise Fault("it leaves neither pictures nor images beside sample.json")
        return f"from a run of {' '.join(found[0].words)}: {', '.join(sorted(files))}"

    if report.run("draws", draws):
        report.run("seed", lambda: repeatable(option, compose, found[0].trained.run_dir))
    report.run("options", lambda: check_documentation(option))


def draw(option: Option, compose: Compose, run_dir: Path, name: str) -> Path:
    """What `gentrain sample` leaves in a directory beside a run."""
    out = run_dir / name
    words = [f"run='{run_dir}'", f"out='{out}'", f"mode={option.name}", "device=cpu"]
    config = schema.resolved(OmegaConf.create(compose("sample", words).values))
    with contextlib.redirect_stdout(io.StringIO()):
        return sample(config, option.name)


def contents(out: Path) -> dict[str, bytes]:
    """The files of a directory."""
    return {
        str(file.relative_to(out)): file.read_bytes() for file in out.rglob("*") if file.is_file()
    }


def repeatable(option: Option, compose: Compose, run_dir: Path) -> str:
    """The same seed gives the same files.

    Raises:
        Fault: naming a file that differs.
    """
    one, two = contents(run_dir / FIRST), contents(draw(option, compose, run_dir, "again"))
    if different := sorted(name for name in one | two if one.get(name) != two.get(name)):
        raise Fault(
            f"{different[0]} is another the second time; take random numbers from the session's "
            "noise and from torch alone"
        )
    return "the same files for the same seed"
