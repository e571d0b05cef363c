"""Runs of Python: trained, or opened from their directories."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING

from gentrain.api import pretrained
from gentrain.api.arguments import checked
from gentrain.api.run import Run
from gentrain.config import plugins as plugin_modules
from gentrain.errors import AlreadyFinished, Interrupted, UserError

if TYPE_CHECKING:
    from gentrain.api.types import Device, Flag, Modules, Place, Word


def train(*words: str) -> Run:
    """Train a model in this process.

    Args:
        words: those of the command line, such as "model=wgan_gp" and "steps=1000".

    Returns:
        The finished run; with "resume=" also one that has no steps left to make.

    Raises:
        UserError: for a mistake in the words.
        Diverged: when the training diverges.
        KeyboardInterrupt: after Ctrl-C, or the stop button of a notebook. The run is saved at the
            end of its step, and the same words with "resume=auto" go on. A second one stops it at
            once, without saving.
        Interrupted: after another signal, such as SIGTERM; the run is saved as well.

    It leaves the process as it was: random numbers, loggers, warnings, handlers of signals, the
    environment, settings of torch and of Hydra. A sweep (`-m`) and `trainer=ddp` start processes of
    their own: use the command for them.
    """
    from gentrain.cli import compose, embedded, main, overlay
    from gentrain.cli.refusals import refuse_typed

    args = embedded.parse(words)
    with embedded.restored():
        compose.refuse_other_config(args)
        refuse_typed("train", args.overrides)
        overlay.refuse_misplaced(args.overrides)
        compose.register()
        try:
            run_dir = main.train(args)
        except UserError:
            raise
        except AlreadyFinished as finished:
            run_dir = Path(str(finished))
        except Interrupted as stop:
            if stop.signal != signal.SIGINT:
                raise
            raise KeyboardInterrupt(f"{stop}; the same words and resume=auto go on") from None
        except Exception as error:
            if (explained := main.explain(error, list(words))) is None:
                raise
            raise UserError(explained[0]) from error
    return load(run_dir, plugins=plugin_modules.active)


@checked
def load(
    path: Place,
    checkpoint: Word = "last",
    averaged: Flag | None = None,
    device: Device = "cpu",
    plugins: Modules | None = None,
) -> Run:
    """Open a finished run.

    Args:
        path: a run directory.
        checkpoint: "last" or "best".
        averaged: use the moving average of the weights (true) or the last ones (false); None for
            the average where the run keeps one.
        device: "cpu" or "cuda"; "auto" is the GPU where there is one.
        plugins: the modules of your own code that the run needs, such as ["my_module"].

    Raises:
        UserError: where there is no run, or code of plugins that are not named.
    """
    import torch

    from gentrain.cli import compose
    from gentrain.runs import directory
    from gentrain.runs.reopen import reopen

    if checkpoint not in ("last", "best"):
        raise UserError(f"no checkpoint {checkpoint!r} (checkpoint); give last or best")
    plugin_modules.activate(plugin_modules.requested(plugins or ()))
    compose.register()
    directory.checkpoint_file(Path(path), checkpoint, "path")
    device = usable(device)
    with torch.random.fork_rng(devices=[device] if device != "cpu" else []):
        return Run(reopen(Path(path), checkpoint, device), averaged)


def usable(device: str) -> str:
    """A device that this machine has.

    Raises:
        UserError: for another one.
    """
    from gentrain.commands import sample

    if device not in ("cpu", "cuda", "auto"):
        raise UserError(f"no device {device!r} (device); give cpu, cuda or auto")
    return sample.device(device)


@checked
def from_pretrained(path: Place, device: Device = "cpu", plugins: Modules | None = None) -> Run:
    """Open a model that `Run.save_pretrained` has saved.

    Args:
        path: a directory, or the name of a repository on the Hugging Face Hub, "user/model", with
            the extra `hub`.
        device: "cpu" or "cuda"; "auto" is the GPU where there is one.
        plugins: the modules of your own code that the model needs.

    Raises:
        UserError: where there is no such model, and without the package safetensors.
    """
    from gentrain.runs.tensors import refuse_missing_safetensors

    refuse_missing_safetensors("path")
    device = usable(device)
    folder = Path(path) if Path(path).is_dir() else pretrained.downloaded(str(path))
    about = pretrained.read_config(folder)
    plugin_modules.activate(plugin_modules.requested(plugins or ()))
    plugin_modules.refuse_missing(about.get("plugins", []), str(folder))
    return Run(pretrained.opened(folder, about, device))
