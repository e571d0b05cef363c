"""A training in a process that is somebody else's: a script, or the kernel of a notebook.

A command may change its process as it likes, because the process ends with it. Here the process
goes on, so whatever a training changes is restored.
"""

from __future__ import annotations

import io
import logging
import os
import random
import signal
import sys
import threading
import warnings
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr

from gentrain.config import paths
from gentrain.errors import UserError
from gentrain.runs.process import embedded

CAUGHT = ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGCHLD")  # as far as the system has them
NO_ANSWERS = (
    "gentrain.train trains, and answers no questions such as --help, --cfg or --version (words); "
    "ask them in a shell"
)
LIBRARIES = ("gentrain", "lightning")  # whose loggers a training sets


def parse(words: Sequence[str]) -> Namespace:
    """Hydra's arguments of a training.

    Raises:
        UserError: for a word that is no override, and for a question such as --help.
    """
    from hydra._internal.utils import get_args_parser

    from gentrain.cli.overrides import normalize_overrides

    for word in words:
        if not isinstance(word, str):
            raise UserError(
                f'{word!r} is no word of a command (words); give strings, such as "steps=1000"'
            )
    if "--version" in words:  # argparse would answer with Hydra's
        raise UserError(NO_ANSWERS)
    errors = io.StringIO()
    try:
        with redirect_stderr(errors):  # argparse prints its usage, and ends the process
            args = get_args_parser().parse_intermixed_args(normalize_overrides("train", [*words]))
    except SystemExit as error:
        reason = errors.getvalue().strip().splitlines()[-1:] or ["a question, not a training"]
        raise UserError(
            f"{reason[0].partition(': error: ')[2] or reason[0]} (words); "
            'give words such as "model=wgan_gp"'
        ) from error
    if args.help or args.hydra_help or args.cfg or args.info or args.shell_completion:
        raise UserError(NO_ANSWERS)
    if args.multirun or any(word.startswith(("seeds=", "trainer=ddp")) for word in words):
        raise UserError(
            "gentrain.train trains one model in this process (words); use the command gentrain "
            "for a sweep, seeds= or trainer=ddp"
        )
    return args


@contextmanager
def restored() -> Iterator[None]:
    """Around a training: restore what it changes in its process.

    Those are Hydra's state, the directories of `--config-dir`, `sys.argv`, `sys.excepthook`, the
    environment, loggers, warnings, handlers of signals, settings of torch, and the random numbers
    of Python, numpy and torch.
    """
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        stack.enter_context(embedded())
        parts = (
            hydra_state,
            overlays,
            interpreter,
            handlers_of_signals,
            loggers,
            torch_settings,
            numbers,
        )
        for part in parts:
            stack.enter_context(part())
        yield


@contextmanager
def hydra_state() -> Iterator[None]:
    """Restore the configuration of a caller that uses Hydra itself."""
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.version import VersionBase

    main, config, version = GlobalHydra.instance(), HydraConfig.instance(), VersionBase.instance()
    before = main.hydra, config.cfg, version.version_base
    main.clear()
    try:
        yield
    finally:
        main.hydra, config.cfg, version.version_base = before


@contextmanager
def overlays() -> Iterator[None]:
    """Restore the directories of the user's YAML files: later mistakes are not compared to them."""
    before = paths.overlays[:]
    paths.overlays.clear()
    try:
        yield
    finally:
        paths.overlays[:] = before


@contextmanager
def interpreter() -> Iterator[None]:
    """Restore `sys.argv`, `sys.excepthook` and the environment."""
    argv, hook, environment = sys.argv[:], sys.excepthook, dict(os.environ)
    try:
        yield
    finally:
        sys.argv[:], sys.excepthook = argv, hook
        for name in os.environ.keys() - environment.keys():
            del os.environ[name]
        os.environ.update(environment)


@contextmanager
def handlers_of_signals() -> Iterator[None]:
    """Restore what the process does on signals. Lightning leaves SIGINT ignored after a Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set them
        return
    numbers = [getattr(signal, name) for name in CAUGHT if name in vars(signal)]
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:  # None: it was not installed from Python
                signal.signal(number, handler)


@contextmanager
def loggers() -> Iterator[None]:
    """Restore the levels and handlers of loggers."""
    before = {name: settings(logger) for name, logger in known_loggers()}
    try:
        yield
    finally:
        for name, logger in known_loggers():
            if name in before:
                level, handlers, logger.propagate, logger.disabled = before[name]
                for handler in [each for each in logger.handlers if each not in handlers]:
                    handler.close()
                logger.handlers[:] = handlers
                logger.setLevel(level)
            elif name.startswith(LIBRARIES):
                logger.setLevel(logging.NOTSET)


def settings(logger: logging.Logger) -> tuple[int, list[logging.Handler], bool, bool]:
    """What a logger does."""
    return logger.level, logger.handlers[:], logger.propagate, logger.disabled


def known_loggers() -> list[tuple[str, logging.Logger]]:
    """All loggers by their names; the root's is empty."""
    found = sorted(logging.root.manager.loggerDict.items())
    return [("", logging.root), *((n, one) for n, one in found if isinstance(one, logging.Logger))]


@contextmanager
def torch_settings() -> Iterator[None]:
    """Restore torch's threads, its type of new tensors, and what Lightning's trainer sets."""
    import torch

    cudnn = torch.backends.cudnn
    threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    exact = torch.are_deterministic_algorithms_enabled()
    only_warn = torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark, deterministic = cudnn.benchmark, cudnn.deterministic
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_default_dtype(dtype)
        torch.use_deterministic_algorithms(exact, warn_only=only_warn)
        cudnn.benchmark, cudnn.deterministic = benchmark, deterministic


@contextmanager
def numbers() -> Iterator[None]:
    """Restore the random numbers of Python, numpy and torch, which a training seeds."""
    import numpy as np
    import torch

    python, of_numpy = random.getstate(), np.random.get_state()
    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else []
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(of_numpy)
