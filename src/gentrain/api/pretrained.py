"""Models in a folder of their own: weights that run no code, configuration and model card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gentrain.errors import Unavailable, UserError
from gentrain.files import report_disk_errors, write_text
from gentrain.protocols import by_score, of_score, short_hash
from gentrain.tables import quantity

if TYPE_CHECKING:
    from gentrain.runs.reopen import OpenedRun

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
FORMAT = "gentrain model 1"
KEYS = {"model", "data", "choices", "numbers", "step", "version"}  # that CONFIG must have


def save(run: OpenedRun, folder: Path) -> Path:
    """Write the model of a run; see `Run.save_pretrained`."""
    from gentrain.files import to_json
    from gentrain.runs.tensors import (
        refuse_missing_safetensors,
        tensors_of,
        write_tensors,
    )
    from gentrain.version import __version__

    refuse_missing_safetensors("folder")
    state = run.model.state_dict()
    about = {
        "format": FORMAT,
        "model": run.config["model"],
        "data": run.config["data"],
        "choices": run.choices,
        "class_names": run.class_names,
        "plugins": run.config.get("plugins", []),
        "numbers": {name: state[name] for name in state.keys() - tensors_of(state).keys()},
        "step": run.step,
        "seed": run.config["seed"],
        "version": __version__,
    }
    with report_disk_errors(folder, "folder", "choose another folder"):
        folder.mkdir(parents=True, exist_ok=True)
        write_tensors(folder / WEIGHTS, state)
        write_text(folder / CONFIG, to_json(about, indent=2) + "\n")
        write_text(folder / CARD, card(run, about))
    return folder


def card(run: OpenedRun, about: dict[str, Any]) -> str:
    """The model card: what it is, how it was trained, and how it is used."""
    model, data = about["choices"].get("model"), run.data.name
    protocols = by_score(run.protocols, run.measured_by)
    scores = "\n".join(
        f"| {name} | {value:.5g} | {short_hash(of_score(protocols, name))} |"
        for name, value in run.latest.items()
        if name.startswith("quality/")
    )
    return (
        f"---\nlibrary_name: gentrain\ntags: [gentrain, {model}]\n---\n\n"
        f"# {model} on {data}\n\n"
        f"Trained with gentrain {about['version']} for {quantity(run.step, 'step')}, seed "
        f"{about['seed']}.\n\n"
        f"    import gentrain\n    run = gentrain.from_pretrained(PATH)\n"
        f"    images = run.sample(64, seed=0)\n\n"
        f"| score | value | protocol |\n|---|---|---|\n{scores}\n"
    )


def read_config(folder: Path) -> dict[str, Any]:
    """What `save` wrote beside the weights.

    Raises:
        UserError: where it is missing, or of another format.
    """
    if not (folder / CONFIG).is_file():
        raise UserError(f"no {CONFIG} in {folder} (path); give a directory made by save_pretrained")
    try:
        about = json.loads((folder / CONFIG).read_text("utf-8"))
    except (ValueError, OSError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{folder / CONFIG} cannot be read: {reason} (path); save the model again"
        ) from error
    match about:
        case {"format": str(found), **rest} if found == FORMAT and rest.keys() >= KEYS:
            return dict(about)
    raise UserError(f"{folder / CONFIG} is not of the format {FORMAT!r} (path); save it again")


def opened(folder: Path, about: dict[str, Any], device: str) -> OpenedRun:
    """Build the model of a folder on a device, with its weights."""
    import torch

    from gentrain.config.build import build
    from gentrain.config.validate import checked
    from gentrain.data.base import Data
    from gentrain.models.base import GenerativeModel
    from gentrain.runs.reopen import OpenedRun, fill

    data = build(checked(about["data"], "data"), "data", Data)
    with torch.random.fork_rng(devices=[]):
        model = build(checked(about["model"], "model"), "model", GenerativeModel)
    model.to(memory_format=model.memory_format)  # another one rounds in another way
    what = f"{folder / WEIGHTS} has the weights of another model"
    fill(model, weights_of(folder) | about["numbers"], what, "path", "save it again")
    return OpenedRun(
        run_dir=folder,
        config=about,
        choices=about["choices"],
        model=model.to(device),
        data=data,
        device=torch.device(device),
        step=about["step"],
        version=about["version"],
        latest={},
        protocols={},
        class_names=about.get("class_names", []),
    )


def weights_of(folder: Path) -> dict[str, Any]:
    """The tensors that `save` wrote.

    Raises:
        UserError: where the file is missing or damaged.
    """
    from safetensors import SafetensorError

    from gentrain.runs.tensors import read_tensors

    try:
        return dict(read_tensors(folder / WEIGHTS))
    except FileNotFoundError as error:
        raise UserError(
            f"no {WEIGHTS} in {folder} (path); give a directory made by save_pretrained"
        ) from error
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"{folder / WEIGHTS} is damaged: {error} (path); save or copy it again"
        ) from error


def downloaded(name: str) -> Path:
    """The local copy of a repository on the Hugging Face Hub."""
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise UserError(
            f"no directory {name} (path); to download it from the Hugging Face Hub, "
            "pip install 'gentrain[hub]'"
        ) from error
    try:
        return Path(snapshot_download(name))
    except ValueError as error:  # HFValidationError: no name of a repository
        raise UserError(
            f"{name!r} is neither a directory nor a repository, user/model (path); give one"
        ) from error
    except OSError as error:  # all that goes wrong on the way, and a repository that is not there
        reason = str(error).partition("\n")[0]
        raise Unavailable(
            f"{name} was not downloaded: {reason} (path); check the name and the network"
        ) from error
