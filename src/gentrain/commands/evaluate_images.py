"""gentrain eval images=PATH against=DATA: the scores of images that any program made.

The images stand in for the samples of a model, so every metric of samples scores them as it scores
a run. They are printed as a small table and written as JSON beside the images.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import Tensor

from gentrain.commands.eval_request import is_data, overrides
from gentrain.commands.evaluate import given_options, override, print_table, write_record
from gentrain.commands.sample import device
from gentrain.config.build import build
from gentrain.config.overrides import key_of
from gentrain.config.schema import SHARE, resolved
from gentrain.config.validate import checked, nearest
from gentrain.data.arrays import ArrayDataset, random_rows, sha256_of, to_float
from gentrain.data.base import Data
from gentrain.data.loose_images import LEAST, LooseImages, is_grey, read_images
from gentrain.errors import UserError
from gentrain.models.base import Batch, GenerativeModel
from gentrain.protocols import lines
from gentrain.quality.base import Metric, measure, metrics_of, prepare_metric
from gentrain.quality.classifier import Classifier
from gentrain.runs import directory
from gentrain.tables import quantity

# composes the configuration of a command: its name and overrides -> values, not resolved
Compose = Callable[[str, list[str]], Any]


class GivenImages(GenerativeModel):
    """A model whose samples are given images, in their order, and then again from the first.

    Args:
        images: uint8 (N, C, H, W).
        about: what the protocol says of them.
    """

    ema_generator = None

    def __init__(self, images: Tensor, about: dict[str, Any]) -> None:
        super().__init__()
        self.images, self.about, self.position = images, about, 0

    def sample(self, batch: Batch, noise: Tensor | None = None) -> Tensor:
        count = len(batch[0])
        rows = torch.arange(self.position, self.position + count) % len(self.images)
        self.position = (self.position + count) % len(self.images)
        return to_float(self.images[rows]).to(batch[0].device)

    def sample_protocol(self) -> dict[str, Any]:
        return {
            "images": self.about,
            # what metrics say of a model's own samples
            "rounding": "none: the images are uint8",
            "ema": None,
            "batch_norm": None,
        }


def evaluate_images(config: dict[str, Any], compose: Compose) -> Path:
    """Score images.

    Args:
        config: the keys of conf/eval.yaml, after `check_request`.
        compose: composes a data set and a metric by their names.

    Returns:
        The file with the record.

    Raises:
        UserError: for images that cannot be read or compared.
    """
    given = given_options(config)
    path = Path(config["images"])
    place = torch.device(device(config["device"].name))
    file = Path(config["out"]) if config["out"] else beside(path)
    data = reference(config["against"], compose)
    metric = chosen_metric(config["quality"], data, compose)
    images, as_grey = comparable(read_images(path, "images"), path, data)
    model = chosen_images(images, path, given, as_grey)
    metric.split = given.get("split", "test")
    override({"quality": metric}, given | {"n": len(model.images)}, data, model)
    metric.check(data, model)
    protocol = prepare_metric(metric, data, model, place, metric.split)
    scores = measure(metric, data, model, place)
    measured_by = dict.fromkeys(scores, "quality")
    record = {
        "images": str(path.resolve()),
        "against": config["against"],
        "scores": scores,
        "protocols": {"quality": protocol},
        "measured_by": measured_by,
        "protocol_lines": lines({"quality": protocol}),
        "device": str(place),
        "versions": directory.versions(),
    }
    write_record(file, record)
    print(
        f"{path}, {quantity(len(model.images), 'image')}, against {data.name}; all of it in {file}"
    )
    print_table(scores, {"quality": protocol}, measured_by)
    return file


def beside(path: Path) -> Path:
    """The record of images, in the folder that holds their folder or file.

    >>> beside(Path("made/samples.npz"))
    PosixPath('made/samples-eval.json')
    """
    place = path if path.name not in ("", "..") else path.resolve()
    name = place.name if place.is_dir() else place.stem
    return place.with_name(f"{name}-eval.json")


# --- the two sets of images -----------------------------------------------------------------------


def reference(against: str, compose: Compose) -> Data:
    """The data that images are compared with.

    Raises:
        UserError: for data that need a folder, or whose images belong to sources.
    """
    if not is_data(against):
        images = read_images(Path(against), "against")
        return LooseImages(name=against, shape=tuple(images.shape[1:]), images=images)
    name, *options = overrides(against)
    values = compose("train", [f"data={name}"]).values
    for key in (key_of(option) for option in options):
        option = key.removeprefix("data.")
        if option.partition(".")[0] not in values["data"]:
            raise UserError(f"no option {key} ({key}, against){nearest(option, values['data'])}")
    composed = OmegaConf.create({key: values[key] for key in ("data", "seed")})
    composed.merge_with_dotlist([f"data.validation={SHARE}", *options])  # as of runs with scores
    node = resolved(composed)["data"]
    try:
        data: Data = build(checked(node, "data"), "data", Data)
    except UserError as error:  # a data set whose folder is to be given
        raise UserError(f"{error}, in against='{name} KEY=VALUE'") from None
    if data.source_shape is not None:
        raise UserError(
            f"data={data.name} is of pairs or of two domains, and images have no sources "
            "(against); give its images as a folder, zip or .npz"
        )
    return data


def comparable(images: Tensor, path: Path, data: Data) -> tuple[Tensor, bool]:
    """The images in the channels of the data, and whether they were saved in colour.

    Grey images that were saved in colour, with red, green and blue alike, are grey again where the
    data are.

    Raises:
        UserError: for images of another size, or with other channels.
    """
    shape = tuple(images.shape[1:])
    if shape == data.shape:
        return images, False
    if (1, *shape[1:]) == data.shape and is_grey(images):
        return images[:, :1].contiguous(), True
    if shape[0] != data.shape[0]:
        colours = "grey" if data.shape[0] == 1 else "RGB"
        raise UserError(
            f"images of {path} have {described(shape)} and those of {data.name} "
            f"{described(data.shape)} (images, against); save yours as {colours} pictures"
            f"{'' if shape[1:] == data.shape[1:] else ' of that size'}, or give another against: "
            "a data set, folder, zip or .npz of such images as yours"
        )
    height, width = shape[1:]
    size = height if height == width else f"[{height},{width}]"
    raise UserError(
        f"images of {path} are {shape} and those of {data.name} {data.shape} (images, against); "
        f"give others, or a data set at their size, against='{data.name} data.size={size}'"
    )


def described(shape: tuple[int, ...]) -> str:
    """The channels of images, and their size.

    >>> described((3, 28, 32)), described((1, 8, 8))
    ('3 channels (RGB) at 28 x 32', '1 channel (grey) at 8 x 8')
    """
    channels, height, width = shape
    colours = {1: " (grey)", 3: " (RGB)"}.get(channels, "")
    return f"{channels} channel{'s' * (channels != 1)}{colours} at {height} x {width}"


def chosen_images(images: Tensor, path: Path, given: dict[str, Any], as_grey: bool) -> GivenImages:
    """All images, or `n` of them that are drawn by the seed.

    Args:
        images: uint8 (N, C, H, W).
        path: where they were read.
        given: the options that the user gave.
        as_grey: whether they were saved in colour and are grey.

    Raises:
        UserError: for more images than there are, or fewer than have a score.
    """
    total, seed = len(images), given.get("seed", 0)
    count = given.get("n", total)
    if not LEAST <= count <= total:
        raise UserError(f"{path} has {total} images (n); give {LEAST} to {total}, or leave it out")
    if count < total:
        images = images[random_rows(total, count, seed).sort().values]
    about = {
        "file": str(path.resolve()),
        "found": total,
        "drawn": None if count == total else f"{count} by seed {seed}",
        "digest": sha256_of(ArrayDataset(images, None)),
        "order": "as in the array, or by the names of the files",
        "resized": "never: other sizes are refused",
        "colour": "red, green and blue were equal: grey" if as_grey else "as it was read",
    }
    return GivenImages(images, about)


# --- the metric -----------------------------------------------------------------------------------


def chosen_metric(node: dict[str, Any] | None, data: Data, compose: Compose) -> Metric:
    """The metric that was asked for, or the default: by labels where the data have any.

    Args:
        node: of conf/quality, or None for the default.
        data: what the images are compared with.
        compose: composes the default.

    Raises:
        UserError: for none, and for a metric of more than samples.
    """
    if node is None:
        name = "classifier" if learns_classes(data) else "rotation"
        values = compose("eval", [f"quality={name}"]).values
        node = resolved(OmegaConf.create({"quality": values["quality"]}))["quality"]
    found = metrics_of({"quality": node, "callbacks": {}})
    if not found:
        raise UserError(
            "quality=none scores nothing (quality); choose quality=classifier, rotation or "
            "inception"
        )
    metric = found["quality"]
    if not metric.from_samples or metric.requires is not None:
        raise UserError(
            f"{metric.key} is of a model, and images have none (quality); choose "
            "quality=classifier, rotation or inception, or give a run=DIR"
        )
    return metric


def learns_classes(data: Data) -> bool:
    """Whether a classifier can learn the labels of the data."""
    try:
        Classifier().check(data)
    except UserError:
        return False
    return True
