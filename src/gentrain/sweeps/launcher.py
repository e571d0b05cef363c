"""What stands between one of Hydra's sweepers, which says what is to be tried, and one of its launchers, which says where and when.

The driver enters every job that the sweeper asks for into the ledger, hands on to the launcher those that are not done, and looks at the
ledger for how they ended: a launcher of which a worker was killed, or a driver that was killed itself, loses nothing.
"""

from __future__ import annotations

import getpass
import logging
import os
import re
import secrets
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from gentrain.config.schema import resolved
from gentrain.config.validate import check_run
from gentrain.errors import Stopped, UserError
from gentrain.runs import directory
from gentrain.sweeps.budget import announce
from gentrain.sweeps.cell_process import DRIVER, STOP
from gentrain.sweeps.ledger import Ledger, Status, alive, held
from gentrain.sweeps.table import print_sweep

log = logging.getLogger("gentrain")
PATIENCE = 60.0  # seconds that a stopped driver waits for its cells to save
MINE = (
    "sweep",
    "cluster",
    "hydra",
    "resume",
    "force",
    "debug",
    "probe",
)  # words that say how, and not what, a cell trains


class Failed(UserError):
    """Not every cell of a sweep has come to a good end. `status` is theirs, where they agree, else 1."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def operational(key: str) -> bool:
    return any(key == name or key.startswith(name + ".") for name in directory.OPERATIONAL)


class Uncomposed:
    """Stands in for Hydra's loader before a launcher: a cell's configuration is the command's, under the cell's name and words.

    The cell's process composes what its words mean. Its keeper reads nothing else, and is spared that (a sixth of a second a cell).
    """

    def load_sweep_config(self, config: DictConfig, words: list[str]) -> DictConfig:
        cell: DictConfig = OmegaConf.masked_copy(config, ["hydra", "sweep", "cluster"])
        name = next(
            word.partition("=")[2].strip("'") for word in words if word.startswith("sweep.cell=")
        )
        with read_write(cell), open_dict(cell):
            cell.hydra.overrides.task, cell.sweep.cell = words, name
        return cell


class SweepLauncher:
    """Stands in for the launcher before a sweeper. `swept` are the keys of the command's sweep."""

    def __init__(
        self, launcher: Any, config: DictConfig, loader: Any, swept: Sequence[str]
    ) -> None:
        self.launcher, self.config, self.loader, self.swept = launcher, config, loader, list(swept)
        self.dir = Path(str(config.hydra.sweep.dir))
        self.ledger = Ledger(self.dir, str(config.sweep.name))
        self.ledger.ablation |= bool(config.sweep.leave_one_out)
        self.known: dict[tuple[str, ...], directory.Made] = {}  # what words mean
        self.asked: list[str] = []
        self.stopped_by: int | None = None
        self.trials: int | None = None  # that a study will ask for, one batch after another
        self.cluster = place_of(launcher, f"gentrain-{config.sweep.name}")

    # --- what a sweeper calls -----------------------------------------------------------------------------------------

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> list[JobReturn]:
        names = [self.add_cell([word for word in words if word]) for words in job_overrides]
        self.asked = list(dict.fromkeys([*self.asked, *names]))
        self.ledger.write(self.swept)
        todo = [name for name in dict.fromkeys(names) if self.to_run(name)]
        if len(self.asked) == len(set(names)):  # the first launch
            announce(self.ledger, self.asked, todo, self.config, self.trials)
        self.run_until_done(todo, initial_job_idx)
        if self.stopped_by:
            log.warning("stopped; the same command goes on with it")
            raise Stopped(128 + self.stopped_by)
        return [
            self.returned(words, name) for words, name in zip(job_overrides, names, strict=True)
        ]

    def run_until_done(self, todo: list[str], initial_job_idx: int) -> None:
        """Launch cells until each has come to an end. A pool of which a worker was killed takes others with it, and those that wait.

        What SLURM has lost (cancelled, most often) is left for the next start.
        """
        lost: Counter[str] = Counter()
        while todo and not self.stopped_by:
            left = self.attempt(todo, initial_job_idx)
            lost.update(
                begun := [
                    name for name in left if self.ledger.read_status(name)["status"] == "running"
                ]
            )
            hopeless = (
                left if left == todo and not begun else [name for name in left if lost[name] > 1]
            )
            for name in begun if isinstance(self.cluster, Slurm) else hopeless:
                reason = "its job is gone without a word (cancelled, killed, a node lost?)"
                self.ledger.record(name, status="failed", reason=reason, exit=None)
            todo = (
                []
                if isinstance(self.cluster, Slurm)
                else [name for name in left if name not in hopeless]
            )

    def attempt(self, todo: list[str], initial_job_idx: int) -> list[str]:
        """Launch cells; those that came to no end and are nobody's any more."""
        before = {name: self.ledger.read_status(name)["attempts"] for name in todo}
        try:
            self.launcher.launch(
                [self.overrides(name) for name in todo], initial_job_idx=initial_job_idx
            )
        except Stopped:
            if not self.stopped_by:
                raise
        except Exception as error:
            said = " ".join(f"{error}".split())[:300] or type(error).__name__
            self.cluster.wait()
            if all(self.ledger.read_status(name)["attempts"] == before[name] for name in todo):
                raise UserError(
                    f"the launcher could not begin: {said} (cluster); mend its options, debug=true shows where"
                ) from error
            log.warning("%s: %s", type(error).__name__, said)
        self.settle(todo)
        return [
            name
            for name in todo
            if self.ledger.read_status(name)["status"] in ("missing", "running")
        ]

    def settle(self, names: list[str]) -> None:
        """Wait for cells whose keeper is gone to save what they have."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until and any(
            self.ledger.read_status(name)["status"] == "running" and alive(self.dir / name)
            for name in names
        ):
            time.sleep(0.1)

    # --- cells ----------------------------------------------------------------------------------------------------------

    def add_cell(self, words: list[str]) -> str:
        """The cell of a job's overrides. Composes it, so that a mistake is told before anything is submitted."""
        self.look_at(self.swept)
        identity, drawn = self.identity(words)
        parsed = OverridesParser.create().parse_overrides(words)
        told = {
            each.key_or_group: plain_value(each.value())
            for each in parsed
            if each.key_or_group.split(".")[0] not in MINE
        }
        if drawn:
            known = next(
                (cell for cell in self.ledger.cells.values() if cell["identity"] == identity), None
            )
            told["seed"] = known["words"]["seed"] if known else secrets.randbelow(2**32)
            words = [
                *(word for word in words if not word.startswith("seed=")),
                f"seed={told['seed']}",
            ]
        return self.ledger.add_cell(identity, told, words)

    def look_at(self, swept: Sequence[str]) -> None:
        """Which keys that do not change what a run computes (trainer.precision, steps) tell cells of this sweep apart: those swept."""
        aside = sorted({*self.ledger.excluded_keys, *(key for key in swept if operational(key))})
        if aside != self.ledger.excluded_keys:
            self.ledger.excluded_keys = aside
            for cell in self.ledger.cells.values():
                cell["identity"] = self.identity(cell["command"])[0]

    def identity(self, words: Sequence[str]) -> tuple[str, bool]:
        """(what a cell is known by, whether its seed is to be drawn). Raises UserError or Hydra's error for a mistake."""
        numbers = [
            word.partition("=")[2] for word in words if re.fullmatch(r"seed=(-?\d+|null)", word)
        ]
        plain, names = self.composed(
            tuple(word for word in words if not re.fullmatch(r"seed=(-?\d+|null)", word))
        )
        seed = plain["seed"] if not numbers else None if numbers[-1] == "null" else int(numbers[-1])
        plain = plain | {"seed": seed or 0}
        check_run(plain)
        if plain["resume"] not in (None, "auto"):
            raise UserError(
                "the cells of a sweep cannot all resume one run (resume); the same sweep.name goes on by itself"
            )
        values = directory.flat(plain) | names
        aside = [f"{key}={values.get(key)}" for key in self.ledger.excluded_keys]
        return " ".join(
            [directory.fingerprint(plain), *(["drawn"] if seed is None else []), *aside]
        ), seed is None

    def composed(self, words: tuple[str, ...]) -> directory.Made:
        """Once for all seeds: Hydra takes an eighth of a second for each."""
        if words not in self.known:
            cfg = self.loader.load_sweep_config(self.config, list(words))
            names = {str(group): str(name) for group, name in cfg.hydra.runtime.choices.items()}
            with open_dict(cfg):
                del cfg["hydra"]
                unknown = cfg.seed is None
                cfg.seed = 0 if unknown else cfg.seed
            self.known[words] = (resolved(cfg) | ({"seed": None} if unknown else {}), names)
        return self.known[words]

    def overrides(self, name: str) -> list[str]:
        return [
            *self.ledger.cells[name]["command"],
            f"sweep.cell='{name}'",
            f"sweep.name={self.ledger.name}",
        ]

    def to_run(self, name: str) -> bool:
        status = self.ledger.status(name)
        if status["status"] == "running":
            log.warning("cell %s is being trained by another process; it is left to that", name)
            return False
        if status["status"] == "completed":
            asked = [
                word.partition("=")[2]
                for word in self.ledger.cells[name]["command"]
                if word.startswith("steps=")
            ]
            return bool(asked) and int(asked[-1]) > directory.summary(self.dir / name).get(
                "steps", 0
            )
        return (
            status["status"] in ("missing", "interrupted")
            or status["status"] in self.config.sweep.rerun
        )

    def returned(self, words: Sequence[str], name: str) -> JobReturn:
        """What the sweeper learns of a cell: its score if it has one, which is then a finite number."""
        return JobReturn(
            overrides=list(words),
            status=JobStatus.COMPLETED,
            _return_value=self.ledger.read_status(name).get("score"),
        )

    # --- the whole ------------------------------------------------------------------------------------------------------

    @contextmanager
    def driving(self) -> Iterator[None]:
        """One driver a sweep; its workers know it; a signal lets its cells save before it leaves."""

        def stop(number: int, frame: Any) -> None:
            for each in (signal.SIGTERM, signal.SIGINT):
                signal.signal(each, before[each])  # a second one is obeyed at once
            if self.cluster.outlives:
                raise Stopped(128 + number)
            self.stopped_by = number  # joblib would kill whatever runs; its workers look for the file, and let their cells save
            (self.dir / STOP).touch()

        with ExitStack() as stack:
            refusal = f"{{owner}} drives the sweep in {self.dir} (sweep.name); wait for it, or give another name"
            stack.enter_context(held(self.dir / ".driver", refusal))
            self.cluster.refuse_others(self.dir)
            (self.dir / STOP).unlink(missing_ok=True)
            if not self.cluster.outlives:
                os.environ[DRIVER] = str(os.getpid())
            before = {
                number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)
            }
            try:
                yield
            finally:
                for number, handler in before.items():
                    signal.signal(number, handler)
                (self.dir / STOP).unlink(missing_ok=True)
                os.environ.pop(DRIVER, None)

    def conclude(self) -> None:
        """The table, and an error if not all that was asked for is done."""
        print_sweep(self.ledger)
        ended = [self.ledger.status(name) for name in self.asked]
        bad = [status for status in ended if status["status"] != "completed"]
        if bad:
            raise Failed(self.complaint(bad, len(ended)), shared_status(bad))

    def complaint(self, bad: list[Status], count: int) -> str:
        first = bad[0]
        where = self.dir / first["cell"] / first["log"]
        again = (
            "start the same command again to go on"
            if any(s["status"] in ("interrupted", "missing") for s in bad)
            else f"see {where}"
        )
        return f"{len(bad)} of {count} cells of {self.dir} have not completed (sweep.name), first {first['cell']}: {first['reason']}; {again}"


def shared_status(bad: list[Status]) -> int:
    codes = {status.get("exit") for status in bad}
    only = codes.pop() if len(codes) == 1 else 1
    return only if isinstance(only, int) and only > 0 else 1


def plain_value(value: Any) -> Any:
    """A value of Hydra's grammar as JSON has it."""
    if isinstance(value, list):
        return " ".join(str(plain_value(item)) for item in value)
    return (
        value
        if isinstance(value, int | float | bool | None)
        else getattr(value, "text", str(value))
    )


# --- who else may be at work ------------------------------------------------------------------------------------------


class LocalJobs:
    """Jobs in this process, or in workers that it has started: they end with it."""

    outlives = False

    def wait(self) -> None: ...

    def refuse_others(self, sweep_dir: Path) -> None: ...


class RemoteJobs(LocalJobs):
    """Jobs of which nothing is known but what they write, such as Ray's."""

    outlives = True


class Slurm(RemoteJobs):
    """Jobs in a queue outlive the driver that submitted them."""

    def __init__(self, name: str) -> None:
        self.name = name

    def queued(self) -> int:
        with suppress(FileNotFoundError, subprocess.TimeoutExpired):
            asked = [
                "squeue",
                "--noheader",
                "--array",
                f"--user={getpass.getuser()}",
                f"--name={self.name}",
                "--format=%i",
            ]
            return len(
                subprocess.run(asked, capture_output=True, text=True, timeout=60).stdout.split()
            )
        return 0

    def wait(self) -> None:
        """submitit stops waiting at the first job that it cannot get the result of."""
        while self.queued():
            time.sleep(2)

    def refuse_others(self, sweep_dir: Path) -> None:
        if count := self.queued():
            raise UserError(
                f"SLURM still has {count} jobs of {sweep_dir} (sweep.name); wait for them, or scancel --name={self.name}"
            )


def place_of(launcher: Any, name: str) -> LocalJobs:
    """Where a launcher of Hydra's puts its jobs."""
    if getattr(launcher, "_EXECUTOR", None) == "slurm":
        return Slurm(name)
    return (
        LocalJobs()
        if type(launcher).__name__ in ("BasicLauncher", "JoblibLauncher")
        else RemoteJobs()
    )
