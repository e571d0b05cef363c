"""gentrain sample run=PATH: draw images from a finished run, in one of several modes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gentrain.commands.sample.mode import Mode
    from gentrain.commands.sample.session import SampleSession
    from gentrain.runs.reopen import OpenedRun


# options that all modes share, and that a mode may not read; null where the user gave none
SHARED = ("seed", "labels", "text", "domain", "mean", "temperature", "source", "save")


def sample(config: dict[str, Any], mode_name: str) -> Path:
    """Draw images from a finished run.

    Args:
        config: the keys of conf/sample.yaml.
        mode_name: the mode, as the user typed it.

    Returns:
        The directory with the pictures, the images and the record sample.json.

    Raises:
        UserError: where there is no run, or where the mode does not fit it; nothing is written.
    """
    from gentrain.commands.sample.session import SampleSession
    from gentrain.commands.sample.writer import Output, remove_if_empty
    from gentrain.files import report_disk_errors
    from gentrain.patience import say_if_slow
    from gentrain.runs.reopen import reopen

    run_dir, mode = Path(config["run"]), build_mode(config)
    out = Path(config["out"]) if config["out"] else run_dir / f"samples-{mode_name}"
    typed = [key for key in SHARED if config[key] is not None]
    with say_if_slow(f"opening {run_dir}"):
        run = reopen(run_dir, config["checkpoint"].name, device(config["device"].name))
    config = with_defaults(config, run.data.kept_as)
    session = SampleSession(
        run,
        config["averaged"],
        config["seed"],
        config["labels"],
        config["domain"],
        config["mean"],
        config["temperature"],
    )
    mode.check(session)
    mode.refuse_unread(session, typed)
    with report_disk_errors(out, "out"):
        try:
            writer = Output(out, config["save"].name, session.data)
            with say_if_slow(f"drawing, mode={mode_name}"):
                results = mode.draw(session, writer)
            writer.record(record(config, mode_name, session) | {"results": results})
        finally:
            remove_if_empty(out)
    print(f"{run_dir} at step {run.step}, {weights(session)}: {mode_name} in {out}")
    if said := writer.said():
        print(said)
    return out


def with_defaults(config: dict[str, Any], kept_as: str = "npz") -> dict[str, Any]:
    """The same keys, with a seed and a way to keep samples where the user gave none."""
    from gentrain.config.schema import Keep

    defaults = {"seed": 0, "save": Keep[kept_as]}
    return config | {key: value for key, value in defaults.items() if config[key] is None}


def build_mode(config: dict[str, Any]) -> Mode:
    """Build the mode, after the numbers beside it were checked under the names that were typed."""
    from gentrain.commands.sample.mode import Mode
    from gentrain.config.build import build
    from gentrain.config.types import Count
    from gentrain.config.validate import check_seed, checked, coerced, refuse_other_kind
    from gentrain.errors import UserError

    if config["seed"] is not None:
        check_seed(config["seed"])
    if config["n"] is not None:
        coerced(config["n"], Count, "n")
        if "n" not in config["mode"]:
            raise UserError("this mode draws a number of images of its own (n); leave it out")
    refuse_other_kind(config["mode"], Mode, "mode")
    return build(checked(config["mode"], "mode"), "mode", Mode)


def device(name: str) -> str:
    """The device to use: "auto" is the GPU where there is one.

    Raises:
        UserError: for "cuda" without a GPU.
    """
    import torch

    from gentrain.errors import UserError

    if name == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "this machine has no GPU that torch can use (device); give device=cpu, or auto"
        )
    return "cuda" if name != "cpu" and torch.cuda.is_available() else "cpu"


def record(config: dict[str, Any], mode_name: str, session: SampleSession) -> dict[str, Any]:
    """What sample.json says of how the images were drawn."""
    from gentrain.runs import directory

    run: OpenedRun = session.run
    return {
        "run": str(run.run_dir.resolve()),
        "checkpoint": config["checkpoint"].name,
        "step": run.step,
        "averaged": session.averaged,
        "mode": mode_name,
        "options": {key: value for key, value in config["mode"].items() if key != "_target_"},
        "seed": config["seed"],
        "labels": session.classes if session.captions is None else session.captions.tolist(),
        "class_names": session.class_names,
        "domain": None if session.domain is None else session.domain.tolist(),
        **session.model.sample_protocol(),
        **({"units": units} if (units := session.data.units_protocol()) else {}),
        "device": str(session.device),
        "versions": directory.versions(),
    }


def weights(session: SampleSession) -> str:
    """Which weights the images were drawn with."""
    return "averaged weights" if session.averaged else "the last weights"
