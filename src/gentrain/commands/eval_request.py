"""What `gentrain eval` is asked to score: a run, or images that any program made.

The mistakes that can be seen without reading an image are refused here, before torch is imported.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from gentrain.config.paths import option_files
from gentrain.config.validate import nearest
from gentrain.errors import UserError

# options of the model of a run, which images without a run do not have
OF_RUNS = ("ais", "checkpoint", "averaged", "importance", "mean", "temperature")


def check_request(config: dict[str, Any], typed: Iterable[str]) -> None:
    """Refuse what does not fit together, and what is not there.

    Args:
        config: the keys of conf/eval.yaml.
        typed: the keys on the command line.

    Raises:
        UserError: for neither a run nor images, or both; for options that would have no effect.
    """
    run, images, against = (config[key] for key in ("run", "images", "against"))
    if images is not None and images.isdigit() and not Path(images).exists():
        raise UserError(
            f"images={images} is a path of images, not a number (images); give n={images}"
        )
    if run is not None and images is not None:
        raise UserError(
            "a run and images are scored one at a time (run, images); give one of the two"
        )
    if run is None and images is None:
        raise UserError("no value for run (run); give run=DIR, or images=DIR|ZIP|NPZ against=...")
    if images is None:
        if Path(run).is_file():
            raise UserError(f"{run} is a file, and no run (run); give images={run} against=...")
        if against is not None:
            raise UserError(
                "a run is scored against the data that it was trained on (against); leave it "
                "out, or give images=DIR|ZIP|NPZ in place of run"
            )
        return
    check_images(config, set(typed))


def check_images(config: dict[str, Any], typed: set[str]) -> None:
    """Refuse paths that are not there, and options that images do not have.

    Raises:
        UserError: with the reason and what to choose instead.
    """
    for key in OF_RUNS:
        if key in typed:
            raise UserError(
                f"{key} is of the model of a run, and images have none ({key}); leave it out"
            )
    if "quality.samples" in typed:
        raise UserError(
            "all images are scored, or n of them (quality.samples); give n=N in its place"
        )
    check_place(Path(config["images"]), "images")
    against = config["against"]
    if against is None:
        raise UserError(
            "there is nothing to compare the images with (against); give a data set, such as "
            "against=cifar10, or a folder, zip or .npz of real images"
        )
    if is_data(against):
        return
    if not Path(against).exists():
        raise UserError(
            f"no data set and no file or folder {against} (against)"
            f"{nearest(overrides(against)[0], option_files('data'))}"
        )
    if config["split"] is not None:
        raise UserError(
            f"all images of {against} are compared, since it has no splits (split); leave it out"
        )
    check_place(Path(against), "against")


def is_data(against: str) -> bool:
    """Whether images are compared with a data set of conf/data, whose names come first.

    >>> is_data("mnist"), is_data("mnist data.size=32"), is_data("mnist 2")
    (True, True, False)
    """
    name, *options = overrides(against)
    return name in option_files("data") and all(word.startswith("data.") for word in options)


def overrides(against: str) -> list[str]:
    """The words of `against`: a data set, and options of it.

    >>> overrides("image_folder data.root='my pictures'")
    ['image_folder', 'data.root=my pictures']
    """
    try:
        return shlex.split(against) or [""]
    except ValueError:  # a path with one quotation mark
        return [against]


def check_place(path: Path, key: str) -> None:
    """Refuse a path that is not there, or whose pictures are not those that are meant.

    Raises:
        UserError: with what to give instead.
    """
    if not path.exists():
        raise UserError(f"no such folder or file {path} ({key}); give a folder, a zip or an .npz")
    if (path / ".hydra").is_dir():
        remedy = "give run=DIR" if key == "images" else "give images of it, by gentrain sample"
        raise UserError(f"{path} is a run, whose pictures are grids ({key}); {remedy}")
    if (path / "sample.json").is_file():
        raise UserError(
            f"{path} is what gentrain sample wrote, with a grid ({key}); give the images.npz in "
            "it, or the folder images of save=folder"
        )
