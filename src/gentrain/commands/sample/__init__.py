"""gentrain sample run=PATH: what a finished run draws, in one of several modes, into a directory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gentrain.commands.sample.mode import Mode


def sample(config: dict[str, Any], mode_name: str) -> Path:
    """Draw as `config` (conf/sample.yaml) says; the directory with the pictures, the images and the record sample.json.

    Raises UserError for a run that is none and for a mode that does not fit it, before anything is written.
    """
    from gentrain.commands.sample.session import SampleSession
    from gentrain.commands.sample.writer import Output, remove_if_empty
    from gentrain.files import report_disk_errors
    from gentrain.runs import directory
    from gentrain.runs.reopen import reopen

    run_dir, mode = Path(config["run"]), made(config)
    out = Path(config["out"]) if config["out"] else run_dir / f"samples-{mode_name}"
    opened = reopen(run_dir, config["checkpoint"].name, device(config["device"].name))
    studio = SampleSession(
        opened, config["averaged"], config["seed"], config["labels"], config["domain"]
    )
    mode.check(studio)
    record = {
        "run": str(run_dir.resolve()),
        "checkpoint": config["checkpoint"].name,
        "step": opened.step,
        "averaged": studio.averaged,
        "mode": mode_name,
        "options": {key: value for key, value in config["mode"].items() if key != "_target_"},
        "seed": config["seed"],
        "labels": studio.classes,
        "domain": studio.domain,
        "device": str(studio.device),
        "versions": directory.versions(),
    }
    with report_disk_errors(out, "out"):
        try:
            writer = Output(out, config["save"].name)
            results = mode.draw(studio, writer)
            writer.record(record | {"results": results})
        finally:
            remove_if_empty(out)
    weights = "averaged weights" if studio.averaged else "the last weights"
    print(f"{run_dir} at step {opened.step}, {weights}: {mode_name} in {out}")
    return out


def made(config: dict[str, Any]) -> Mode:
    """The mode, after the numbers at the top were checked under the names that were typed."""
    from gentrain.config.build import build
    from gentrain.config.types import Count
    from gentrain.config.validate import checked, coerced
    from gentrain.errors import UserError

    if not 0 <= config["seed"] < 2**32:
        raise UserError(f"seed {config['seed']} is out of range (seed); give 0 to 4294967295")
    if config["n"] is not None:
        coerced(config["n"], Count, "n")
        if "n" not in config["mode"]:
            raise UserError("this mode draws a number of images of its own (n); leave it out")
    return build(checked(config["mode"], "mode"), "mode")


def device(name: str) -> str:
    """auto is the GPU where there is one."""
    import torch

    from gentrain.errors import UserError

    if name == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "this machine has no GPU that torch can use (device); give device=cpu, or auto"
        )
    return "cuda" if name != "cpu" and torch.cuda.is_available() else "cpu"
