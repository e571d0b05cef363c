"""The layer between Hydra's sweeper and its launcher.

The sweeper says what to try; the launcher says where and when. `SweepLauncher` enters every job of
the sweeper into the ledger, gives those that are not done to the launcher, and reads in the ledger
how they ended. So nothing is lost when a worker of the launcher, or this process itself, is killed.
"""

from __future__ import annotations

import getpass
import logging
import os
import re
import secrets
import shlex
import signal
import subprocess
import time
from abc import ABC
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import QuotedString
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from gentrain.config.experiments import refuse_other_model
from gentrain.config.overrides import as_typed, last_value, without
from gentrain.config.schema import resolved
from gentrain.config.validate import check_run
from gentrain.errors import Stopped, UserError
from gentrain.files import exclusive
from gentrain.patience import say_if_slow
from gentrain.runs import directory
from gentrain.runs.process import Process
from gentrain.sweeps.budget import announce
from gentrain.sweeps.cell_process import LAUNCHER, STOP, refusal, wants_more_steps
from gentrain.sweeps.ledger import Ledger, Status, alive
from gentrain.sweeps.table import print_sweep
from gentrain.tables import quantity

log = logging.getLogger("gentrain")

SAVE_TIMEOUT = 60.0  # seconds: how long orphaned cells may take to save
POLL = 0.1  # seconds between two looks at cells of other processes

# groups and keys that say how a cell is trained, and not what it is
NOT_OF_CELLS = ("sweep", "cluster", "hydra", "resume", "force", "debug", "probe")

LOST = "its job is gone without a message (cancelled, killed, a node lost?)"
SEED = re.compile(r"seed=(-?\d+|null)")


class CellsFailed(UserError):
    """Some cells of a sweep have not completed.

    Args:
        message: the line for the user.
        status: the exit status of the cells where they agree, else 1.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class DeferredConfigLoader:
    """The config loader given to a launcher; each cell composes its own config.

    A job's configuration is the command's, with the name of the cell and its overrides. The cell's
    process composes the rest; the parent process needs nothing else, and saves a sixth of a second.
    """

    def load_sweep_config(self, config: DictConfig, overrides: list[str]) -> DictConfig:
        """What Hydra's launchers call for each job."""
        cell: DictConfig = OmegaConf.masked_copy(config, ["hydra", "sweep", "cluster"])
        name = last_value(overrides, "sweep.cell") or ""
        with read_write(cell), open_dict(cell):
            cell.hydra.overrides.task, cell.sweep.cell = overrides, name.strip("'")
        return cell


class SweepLauncher:
    """The launcher given to a sweeper; it passes the cells that are not done to Hydra's launcher.

    Args:
        launcher: Hydra's launcher.
        config: the configuration of the command.
        loader: Hydra's configuration loader.
        swept: the keys that the command sweeps.
    """

    def __init__(
        self, launcher: Any, config: DictConfig, loader: Any, swept: Sequence[str]
    ) -> None:
        self.launcher, self.config, self.loader, self.swept = launcher, config, loader, list(swept)
        self.dir = Path(str(config.hydra.sweep.dir))
        self.ledger = Ledger(self.dir, str(config.sweep.name))
        self.ledger.ablation |= bool(config.sweep.leave_one_out)
        self.known: dict[tuple[str, ...], directory.Composed] = {}  # by overrides
        self.asked: list[str] = []  # cells
        self.stopped_by: int | None = None  # a signal
        self.trials: int | None = None  # of a study, which asks for them batch by batch
        self.without_scores = False  # a study none of whose trials has a score
        self.jobs = jobs_of(launcher, f"gentrain-{config.sweep.name}")

    # --- what a sweeper calls -------------------------------------------------------------------

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> list[JobReturn]:
        """Train the cells of some jobs, as a launcher of Hydra's does.

        Raises:
            Stopped: by a signal, after the cells have saved.
        """
        names = [self.add_cell([override for override in job if override]) for job in job_overrides]
        if not self.asked:
            self.refuse_shared_mistake(names)
        self.asked = list(dict.fromkeys([*self.asked, *names]))
        self.ledger.write(self.swept)
        todo = [name for name in dict.fromkeys(names) if self.needs_training(name)]
        if len(self.asked) == len(set(names)):  # the first launch
            announce(self.ledger, self.asked, todo, self.config, self.trials)
        elsewhere = [name for name in todo if alive(self.dir / name)]
        here = [name for name in todo if name not in elsewhere]
        self.run_until_done(here, initial_job_idx)
        self.take_over(elsewhere, initial_job_idx)
        if self.stopped_by:
            log.warning("stopped; go on with: %s", self.command_to_go_on())
            raise Stopped(128 + self.stopped_by)
        return [self.returned(job, name) for job, name in zip(job_overrides, names, strict=True)]

    def refuse_shared_mistake(self, names: list[str]) -> None:
        """End a sweep all of whose cells have one mistake, before anything of it is written.

        Cells are built and checked in their order, until one can begin, which is most often the
        first, or has another mistake: then each says its own. Cells that differ in their seed alone
        are alike. Another machine may have other data, and a study other trials, so these find out
        by themselves.

        Raises:
            UserError: with that mistake.
        """
        begun = any(self.ledger.status(name)["status"] != "missing" for name in names)
        if begun or self.jobs.outlive_sweep or self.trials is not None:
            return
        kinds: dict[tuple[str, ...], list[str]] = {}
        for name in names:
            command = self.ledger.cells[name]["command"]
            kinds.setdefault(tuple(without(command, "seed")), command)
        main = Process.main if self.config.cluster.warm else None
        shared: str | None = None
        with say_if_slow("checking whether the cells can begin"):
            for command in kinds.values():
                reason = refusal([*self.overlays(), *command], main)
                if reason is None or reason != (shared or reason):
                    return
                shared = reason
        if shared is not None:
            raise UserError(shared)

    def take_over(self, names: list[str], initial_job_idx: int) -> None:
        """Wait for cells that another process trains, and train what that leaves half done.

        Such a process is often that of a sweep which was killed a moment ago: its cells are about
        to save and to leave.
        """
        for name in names:
            log.warning("cell %s is being trained by another process; waiting for that", name)
        while names and not self.stopped_by:
            free = [name for name in names if not alive(self.dir / name)]
            names = [name for name in names if name not in free]
            self.run_until_done(
                [name for name in free if self.is_unfinished(name)], initial_job_idx
            )
            if names:
                time.sleep(POLL)

    def run_until_done(self, todo: list[str], initial_job_idx: int) -> None:
        """Launch cells until each has finished.

        If one worker of a pool is killed, its running and queued cells fail, too. They are launched
        again, but none more than twice. Cells that SLURM has lost (cancelled,
        most often) are left for the next start of the sweep.
        """
        begun_before: Counter[str] = Counter()
        while todo and not self.stopped_by:
            left = self.attempt(todo, initial_job_idx)
            begun = [name for name in left if self.ledger.read_status(name)["status"] == "running"]
            begun_before.update(begun)
            if self.jobs.retries_lost:
                nothing_began = left == todo and not begun
                lost = [name for name in left if nothing_began or begun_before[name] > 1]
            else:
                lost = begun
            for name in lost:
                self.ledger.record(name, status="failed", reason=LOST, exit=None)
            todo = [name for name in left if name not in lost] if self.jobs.retries_lost else []

    def attempt(self, todo: list[str], initial_job_idx: int) -> list[str]:
        """Launch cells once.

        Returns:
            Those that did not finish, and that no process trains any more.

        Raises:
            UserError: where no cell began because of an error of the launcher.
        """
        before = self.attempts(todo)
        jobs = [self.overrides(name) for name in todo]
        try:
            self.launcher.launch(jobs, initial_job_idx=initial_job_idx)
        except Stopped:
            if not self.stopped_by:
                raise
        except Exception as error:
            reason = " ".join(f"{error}".split())[:300] or type(error).__name__
            self.jobs.wait()
            if self.attempts(todo) == before:
                raise UserError(
                    f"the launcher could not begin: {reason} (cluster); "
                    "fix its options, debug=true shows where"
                ) from error
            log.warning("%s: %s", type(error).__name__, reason)
        self.wait_for_saving(todo)
        unfinished = ("missing", "running")
        return [name for name in todo if self.ledger.read_status(name)["status"] in unfinished]

    def attempts(self, names: Iterable[str]) -> list[int]:
        """How often each cell has begun."""
        return [self.ledger.read_status(name)["attempts"] for name in names]

    def wait_for_saving(self, names: list[str]) -> None:
        """Wait, but not for ever, for cells whose parent process is gone to save what they have."""
        until = time.monotonic() + SAVE_TIMEOUT

        def at_work(name: str) -> bool:
            return self.ledger.read_status(name)["status"] == "running" and alive(self.dir / name)

        while time.monotonic() < until and any(map(at_work, names)):
            time.sleep(POLL)

    # --- cells ----------------------------------------------------------------------------------

    def add_cell(self, overrides: list[str]) -> str:
        """Enter a job into the ledger, and return the name of its cell.

        The job is composed, so that a mistake is reported before anything is launched.

        Raises:
            UserError, HydraException: for a mistake.
        """
        self.add_identity_keys(self.swept)
        identity, draws_seed = self.identity(overrides)
        values = {
            each.key_or_group: plain_value(each.value())
            for each in OverridesParser.create().parse_overrides(overrides)
            if each.key_or_group.split(".")[0] not in NOT_OF_CELLS
        }
        if draws_seed:
            same = (cell for cell in self.ledger.cells.values() if cell["identity"] == identity)
            known = next(same, None)
            values["seed"] = known["words"]["seed"] if known else secrets.randbelow(2**32)
            overrides = [*without(overrides, "seed"), f"seed={values['seed']}"]
        return self.ledger.add_cell(identity, values, overrides)

    def add_identity_keys(self, swept: Sequence[str]) -> None:
        """Let swept keys outside the fingerprint (trainer.precision, steps) tell cells apart."""
        operational = {key for key in swept if directory.is_operational(key)}
        extra = sorted(operational.union(self.ledger.extra_identity_keys))
        if extra != self.ledger.extra_identity_keys:
            self.ledger.extra_identity_keys = extra
            for cell in self.ledger.cells.values():
                cell["identity"] = self.identity(cell["command"])[0]

    def identity(self, overrides: Sequence[str]) -> tuple[str, bool]:
        """What a cell is known by, and whether its seed is still to be drawn.

        Raises:
            UserError, HydraException: for a mistake in the overrides.
        """
        others = tuple(each for each in overrides if not SEED.fullmatch(each))
        config, choices = self.composed(others)
        typed = last_value(filter(SEED.fullmatch, overrides), "seed")
        seed = config["seed"] if typed is None else None if typed == "null" else int(typed)
        config = config | {"seed": seed or 0}
        check_run(config)
        if config["resume"] not in (None, "auto"):
            raise UserError(
                "the cells of a sweep cannot all resume one run (resume); "
                "the same sweep.name goes on by itself"
            )
        values = directory.flat(config) | choices
        extra = [f"{key}={values.get(key)}" for key in self.ledger.extra_identity_keys]
        drawn = ["drawn"] if seed is None else []
        return " ".join([directory.fingerprint(config), *drawn, *extra]), seed is None

    def composed(self, overrides: tuple[str, ...]) -> directory.Composed:
        """The configuration of a job without its seed; kept, as Hydra takes 0.12 s for each."""
        if overrides not in self.known:
            refuse_other_model(overrides)
            cfg = self.loader.load_sweep_config(self.config, list(overrides))
            choices = {str(group): str(name) for group, name in cfg.hydra.runtime.choices.items()}
            seed = cfg.seed
            with open_dict(cfg):
                del cfg["hydra"]
                cfg.seed = seed or 0  # null is no value of a resolved configuration
            self.known[overrides] = (resolved(cfg) | {"seed": seed}, choices)
        return self.known[overrides]

    def overrides(self, name: str) -> list[str]:
        """The overrides with which the launcher runs a cell."""
        command = self.ledger.cells[name]["command"]
        return [*command, f"sweep.cell='{name}'", f"sweep.name={self.ledger.name}"]

    def needs_training(self, name: str) -> bool:
        """Whether a cell needs training, or is being trained by another process."""
        status = self.ledger.status(name)["status"]
        return status == "running" or self.is_unfinished(name) or status in self.config.sweep.rerun

    def is_unfinished(self, name: str) -> bool:
        """Whether a cell that nobody trains has steps to make; not where it failed or diverged."""
        status = self.ledger.status(name)["status"]
        if status == "completed":
            return wants_more_steps(self.ledger.cells[name]["command"], self.dir / name)
        return status in ("missing", "interrupted")

    def returned(self, overrides: Sequence[str], name: str) -> JobReturn:
        """What the sweeper learns of a cell: its score, where it has one."""
        value = self.ledger.read_status(name).get("score")
        return JobReturn(list(overrides), status=JobStatus.COMPLETED, _return_value=value)

    # --- the whole ------------------------------------------------------------------------------

    @contextmanager
    def exclusive_driver(self) -> Iterator[None]:
        """Hold the sweep's lock; on a signal, let its cells save.

        Raises:
            UserError: while another process runs the sweep.
        """

        def stop(number: int, frame: Any) -> None:
            for each in (signal.SIGTERM, signal.SIGINT):
                signal.signal(each, before[each])  # a second signal ends this process at once
            if self.jobs.outlive_sweep:
                raise Stopped(128 + number)
            # joblib would kill its workers; they look for the file, and let their cells save
            self.stopped_by = number
            (self.dir / STOP).touch()

        refusal = (
            f"{{owner}} runs the sweep in {self.dir} (sweep.name); "
            "wait for it, or give another name"
        )
        with ExitStack() as stack:
            stack.enter_context(exclusive(self.dir / ".driver", refusal))
            self.jobs.refuse_others(self.dir)
            (self.dir / STOP).unlink(missing_ok=True)
            if not self.jobs.outlive_sweep:
                os.environ[LAUNCHER] = str(os.getpid())
            before = {each: signal.signal(each, stop) for each in (signal.SIGTERM, signal.SIGINT)}
            try:
                yield
            finally:
                for number, handler in before.items():
                    signal.signal(number, handler)
                (self.dir / STOP).unlink(missing_ok=True)
                os.environ.pop(LAUNCHER, None)

    def conclude(self) -> None:
        """Print the table of the sweep.

        Raises:
            CellsFailed: unless every cell that was asked for has completed, and for a study
                without any score.
        """
        print_sweep(self.ledger)
        ended = [self.ledger.status(name) for name in self.asked]
        bad = [status for status in ended if status["status"] != "completed"]
        if bad:
            raise CellsFailed(self.failure_message(bad, len(ended)), shared_status(bad))
        if self.without_scores:
            raise CellsFailed(
                "no trial has a score, so the study learned nothing (quality, checkpoint.monitor); "
                "choose a quality whose score is monitored, such as quality=classifier",
                1,
            )

    def overlays(self) -> list[str]:
        """The directories of the user's own YAML files, as they are typed."""
        return [
            f"--config-dir={source.path}"
            for source in self.config.hydra.runtime.config_sources
            if source.provider == "command-line"
        ]

    def command_to_go_on(self) -> str:
        """The command that trains what is left of the sweep, to be copied into a shell."""
        typed = self.config.hydra.overrides
        ours = ("hydra.output_subdir", "hydra/job_logging", "hydra.mode")
        words = [*self.overlays(), *as_typed(typed.task), *without(typed.hydra, *ours)]
        return shlex.join(["gentrain", "-m", *words])

    def failure_message(self, bad: list[Status], count: int) -> str:
        """The line for cells that have not completed, of `count` in all."""
        first = bad[0]
        if any(status["status"] in ("interrupted", "missing") for status in bad):
            remedy = f"go on with: {self.command_to_go_on()}"
        else:
            remedy = f"see {self.dir / first['cell'] / first['log']}"
        return (
            f"{len(bad)} of {quantity(count, 'cell')} of {self.dir} not completed (sweep.name), "
            f"first {first['cell']}: {first['reason']}; {remedy}"
        )


def shared_status(bad: list[Status]) -> int:
    """The exit status of some cells where they agree on one above 0, else 1."""
    codes = {status.get("exit") for status in bad}
    code = codes.pop() if len(codes) == 1 else None
    return code if code is not None and code > 0 else 1


def plain_value(value: Any) -> Any:
    """A value of Hydra's grammar as JSON has it; a list as its items with spaces between."""
    match value:
        case None | bool() | int() | float():
            return value
        case list():
            return " ".join(str(plain_value(item)) for item in value)
        case QuotedString():
            return value.text
        case _:
            return str(value)


# --- other jobs of the sweep ------------------------------------------------------------------


class Jobs(ABC):
    """What the sweep knows of the jobs that a launcher has started."""

    outlive_sweep: ClassVar[bool]  # jobs go on when the process of the sweep ends
    retries_lost: ClassVar[bool] = True  # cells whose job is lost are launched again

    def wait(self) -> None:  # noqa: B027 (few launchers need it)
        """Wait until no job is left."""

    def refuse_others(self, sweep_dir: Path) -> None:  # noqa: B027 (few launchers need it)
        """Raise UserError while an earlier start of the sweep still has jobs."""


class LocalJobs(Jobs):
    """Jobs in this process, or in workers that it has started: they end with it."""

    outlive_sweep = False


class RemoteJobs(Jobs):
    """Jobs of which nothing is known but what they write, such as Ray's."""

    outlive_sweep = True


class SlurmJobs(RemoteJobs):
    """Jobs in SLURM's queue.

    Args:
        name: the name of the jobs in the queue.
    """

    retries_lost = False

    def __init__(self, name: str) -> None:
        self.name = name

    def queued(self) -> int:
        """How many jobs are waiting or running."""
        user = f"--user={getpass.getuser()}"
        command = ["squeue", "--noheader", "--array", user, f"--name={self.name}", "--format=%i"]
        with suppress(FileNotFoundError, subprocess.TimeoutExpired):
            done = subprocess.run(command, capture_output=True, text=True, timeout=60)
            return len(done.stdout.split())
        return 0

    def wait(self) -> None:
        """Wait until no job is left.

        submitit stops waiting at the first job whose result it cannot get.
        """
        while self.queued():
            time.sleep(2)

    def refuse_others(self, sweep_dir: Path) -> None:
        """Raise UserError while an earlier start of the sweep still has jobs in the queue."""
        if count := self.queued():
            raise UserError(
                f"SLURM still has {count} jobs of {sweep_dir} (sweep.name); "
                f"wait for them, or scancel --name={self.name}"
            )


def jobs_of(launcher: Any, name: str) -> Jobs:
    """What is known of the jobs of one of Hydra's launchers.

    Args:
        launcher: the launcher.
        name: the name of the jobs in a queue.
    """
    match type(launcher).__name__:
        case "BasicLauncher" | "JoblibLauncher":
            return LocalJobs()
        case "SlurmLauncher":
            return SlurmJobs(name)
        case _:
            return RemoteJobs()
