"""Processes that start in a moment: forked from one that has imported torch and Lightning once.

A cold process needs five seconds for these imports. A forked one is as real: it has its own pid,
exit status, signals, files and environment. What it does not repeat is the imports themselves, so
about ten tests still start a cold process.

Each pytest worker has one server for each of `SETTINGS`, started when it is first needed. A server
runs one thread, and does nothing but import modules and fork. Whatever a command sets up (Hydra's
singletons, W&B, random numbers, handlers of signals) is set up in the child.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import pkgutil
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
import types
from contextlib import suppress
from typing import Any, NoReturn

from tests.support.paths import LIGHT, ROOT

# variables that an interpreter or a library reads once, at its start
AT_START = ("PYTHON", "LC_", "LANG", "LD_", "OMP_", "MKL_")
SETTINGS = {
    "heavy": {"OMP_NUM_THREADS": "1"},
    "light": {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(LIGHT)},
}
# pandas imports pyarrow where an extra has brought it, and its allocator starts a thread
ONE_THREAD = {"JE_ARROW_MALLOC_CONF": "background_thread:false"}
TESTS = {"PYTHONPATH": str(ROOT)}  # what `-m tests...` needs, and no import is changed by
AVAILABLE = hasattr(os, "pidfd_open")  # Linux


def at_start(env: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in env.items() if key.startswith(AT_START)}


def suitable(env: dict[str, str]) -> str | None:
    """The server whose processes have such an environment; None where a cold start is needed."""
    if not AVAILABLE:
        return None
    asked = at_start(env)
    return next((n for n, own in SETTINGS.items() if asked in (own, own | TESTS)), None)


# --- in the tests ---------------------------------------------------------------------------------


class Forked:
    """A process that a server has started; it is used like a `subprocess.Popen`."""

    def __init__(self, pid: int, status: int) -> None:
        self.pid, self.status = pid, status
        self.returncode: int | None = None
        self.stdout: Any = None
        self.stderr: Any = None

    def poll(self) -> int | None:
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not readable(self.status, timeout):
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
            text = os.read(self.status, 100)
            os.close(self.status)
            if not text:
                raise RuntimeError("the fork server has gone")
            self.returncode = int(text)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)


def readable(file: int, timeout: float | None) -> bool:
    with selectors.DefaultSelector() as selector:
        selector.register(file, selectors.EVENT_READ)
        return bool(selector.select(timeout))


class Server:
    """The tests' end of a server."""

    def __init__(self, name: str) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        start = f"import sys; sys.path[0] = {str(ROOT)!r}; from tests.support import fork_server"
        code = f"{start}; fork_server.main({theirs.fileno()}, {name!r})"
        kept = {key: value for key, value in os.environ.items() if not key.startswith(AT_START)}
        self.process = subprocess.Popen(
            [sys.executable, "-c", code],
            env=kept | SETTINGS[name] | ONE_THREAD | {"CUDA_VISIBLE_DEVICES": ""},
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        theirs.close()
        self.channel = ours

    def start(
        self,
        command: list[str],
        cwd: str,
        env: dict[str, str],
        stdin: int,
        stdout: int,
        stderr: int,
    ) -> Forked:
        """`command` is what follows `python`: a script, `-m module` or `-c code`, and arguments."""
        status, write = os.pipe()
        request = json.dumps({"command": command, "cwd": cwd, "env": env}).encode()
        socket.send_fds(self.channel, [request], [stdin, stdout, stderr, write])
        os.close(write)
        pid = os.read(status, 8)
        if len(pid) != 8:
            raise RuntimeError("the fork server has gone")
        return Forked(int.from_bytes(pid, "little"), status)

    def close(self) -> None:
        self.channel.close()
        self.process.wait(30)


servers: dict[str, Server] = {}


def server(name: str) -> Server:
    """This worker's server of a name."""
    if name not in servers:
        servers[name] = Server(name)
        atexit.register(servers[name].close)
    return servers[name]


# --- in the server --------------------------------------------------------------------------------


def main(channel: int, name: str) -> None:
    before = dict(os.environ)
    preload_heavy() if name == "heavy" else preload_light()
    assert len(os.listdir("/proc/self/task")) == 1, "a fork would copy one thread only"
    ours = {key: value for key, value in os.environ.items() if before.get(key) != value}
    gc.collect()
    gc.freeze()  # else the first collection in a child would copy every page that it shares
    run(*serve(socket.socket(fileno=channel)), ours)


def preload_heavy() -> None:
    preload_light()
    import lightning
    import torch
    import torch._dynamo
    import torchmetrics
    import torchvision
    import wandb.sdk
    from PIL import Image

    import gentrain

    for module in pkgutil.walk_packages(gentrain.__path__, "gentrain."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    Image.preinit()
    torch.set_num_threads(1)
    assert lightning and torchmetrics and torchvision and wandb


def preload_light() -> None:
    import hydra
    import hydra._internal.hydra
    import hydra._internal.utils

    import hydra_plugins
    from gentrain.cli import hydra_errors, main
    from gentrain.config import schema
    from gentrain.runs import directory

    for module in pkgutil.walk_packages(hydra_plugins.__path__, "hydra_plugins."):
        with suppress(ImportError):
            importlib.import_module(module.name)
    assert hydra and main and hydra_errors and schema and directory


def serve(channel: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Fork a child for each request, and tell how each ended. Returns in the children alone."""
    selector = selectors.DefaultSelector()
    selector.register(channel, selectors.EVENT_READ)
    children: dict[int, tuple[int, int]] = {}  # by a file descriptor of the process: pid, status
    while True:
        for key, _ in selector.select():
            if key.fileobj is not channel:
                pid, status = children.pop(key.fd)
                selector.unregister(key.fd)
                os.close(key.fd)
                code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                with suppress(BrokenPipeError):
                    os.write(status, str(code).encode())
                os.close(status)
                continue
            message, files, *_ = socket.recv_fds(channel, 1 << 20, 4)
            if not message:
                leave([pid for pid, _ in children.values()])
            pid = os.fork()
            if pid == 0:
                selector.close()
                channel.close()
                for other, (_, status) in children.items():
                    os.close(other)
                    os.close(status)
                os.close(files.pop())
                return json.loads(message), files
            status = files.pop()
            with suppress(BrokenPipeError):
                os.write(status, pid.to_bytes(8, "little"))
            for file in files:
                os.close(file)
            process = os.pidfd_open(pid)
            children[process] = pid, status
            selector.register(process, selectors.EVENT_READ)


def leave(pids: list[int]) -> NoReturn:
    """The tests have ended: so does whatever they have left running."""
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    os._exit(0)


def run(request: dict[str, Any], files: list[int], imported: dict[str, str]) -> NoReturn:
    """In the child: what `python command...` does, from its first line to its last.

    The interpreter is not taken down. That would touch every page that the child shares with the
    server, and take two seconds.
    """
    for file, standard in zip(files, range(3), strict=True):
        os.dup2(file, standard)
        os.close(file)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"] | imported)
    time.tzset()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
    if "torch" in sys.modules:  # Python's own random numbers are seeded anew by the fork
        sys.modules["torch"].default_generator.seed()
        sys.modules["numpy"].random.seed()
    status = 1
    try:
        execute(request["command"])
        status = 0
    except SystemExit as left:
        status = left.code if isinstance(left.code, int) else int(left.code is not None)
        if isinstance(left.code, str):
            print(left.code, file=sys.stderr)
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
        status = 130 if isinstance(error, KeyboardInterrupt) else 1
    finally:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):
                stream.flush()
        os._exit(status & 0xFF)


def execute(command: list[str]) -> None:
    first, *rest = command
    if first == "-c":
        sys.argv, sys.path[0] = ["-c", *rest[1:]], ""
        sys.modules["__main__"] = main = types.ModuleType("__main__")
        exec(compile(rest[0], "<string>", "exec"), main.__dict__)
    elif first == "-m":
        sys.argv, sys.path[0] = rest, os.getcwd()
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv, sys.path[0] = [first, *rest], os.path.dirname(first)
        runpy.run_path(first, run_name="__main__")
