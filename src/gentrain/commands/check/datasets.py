"""The contract of a data set: what is read, and the stream of batches."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch

from gentrain.commands.check.documentation import check_documentation
from gentrain.commands.check.equality import difference
from gentrain.commands.check.options import Compose, Option
from gentrain.commands.check.outcome import Fault, Report
from gentrain.commands.check.subject import first_built
from gentrain.commands.check.training import checkpoint, trains
from gentrain.config.build import build
from gentrain.config.validate import checked
from gentrain.data.base import Data
from gentrain.training.datamodule import DataModule

TYPES = {"images": torch.uint8, "sounds": torch.int16, "points": torch.float32}
Make = Callable[..., Data]  # makes the data set with other options


def check_data(
    option: Option, report: Report, compose: Compose, place: Path, compiler: str
) -> None:
    """Check a data set; see `check_training` for the arguments."""
    subject = first_built(report, option, compose, place)
    if subject is None:
        return

    def make(**options: Any) -> Data:
        return build(checked(subject.config["data"] | options, "data"), "data", Data)

    if report.run("samples", lambda: samples(make())):
        report.run("digest", lambda: digest(make))
        report.run("batches", lambda: batches(make))
        report.run("processes", lambda: ranks(make))
        if report.run("trains", lambda: trains(subject)):
            report.run("checkpoint", lambda: checkpoint(subject))
    report.run("options", lambda: check_documentation(option))


def samples(data: Data) -> str:
    """Samples have the shape and the type that the options say, and labels are classes.

    Raises:
        Fault: naming the split, what is wrong and what is wanted.
    """
    said = []
    for split in ("train", "test"):
        images, labels, _ = data.load(split)
        kind = TYPES[data.things]
        require(tuple(images.shape[1:]) == data.shape, f"{split}: shape {images.shape}")
        require(images.dtype == kind, f"{split}: {images.dtype}, not {kind}")
        require(images.is_contiguous(), f"{split}: not contiguous; end with .contiguous()")
        if data.classes is None:
            require(labels is None, f"{split}: labels, and classes is null")
        else:
            require(labels is not None, f"{split}: no labels, and classes is {data.classes}")
            assert labels is not None
            require(labels.dtype == torch.int64, f"{split}: labels of {labels.dtype}; use .long()")
            require(len(labels) == len(images), f"{split}: {len(labels)} labels")
            one = labels.ndim == 1 or not data.label_kind.one_class
            require(one, f"{split}: labels of shape {tuple(labels.shape)}")
            right = int(labels.min()) >= 0 and int(labels.max()) < data.classes
            require(right, f"{split}: labels from {int(labels.min())} to {int(labels.max())}")
        said.append(f"{split} {tuple(images.shape)}")
    require(data.load("train") is data.load("train"), "a split is read twice")
    return ", ".join(said)


def require(condition: bool, what: str) -> None:
    """Raise Fault where a condition does not hold."""
    if not condition:
        raise Fault(what)


def digest(make: Make) -> str:
    """The digest names the data, and not the run.

    Raises:
        Fault: where it depends on the seed or the batch size, or does not know the splits apart.
    """
    own = make().digest()
    require(own == make(seed=8, batch_size=3).digest(), "another seed reads other samples")
    require(own != make().digest("test"), "train and test have the same samples")
    return own[:16]


def batches(make: Make) -> str:
    """The stream of batches is a function of (seed, position), and takes no random numbers.

    Raises:
        Fault: saying which of these does not hold.
    """
    state = torch.get_rng_state()
    stream = first(make().batches(), 5)
    require(bool(stream) and len(stream) == 5, "the stream ends")
    for images, *_ in stream:
        require(images.dtype == torch.float32, f"batches of {images.dtype}")
        require(images.is_contiguous(), "batches are not contiguous")
        inside = -1 <= float(images.min()) < float(images.max()) <= 1
        require(inside, "a batch has values beyond [-1, 1], or one value alone")
    require(difference(stream, first(make().batches(), 5)) is None, "equal seeds, other batches")
    other = first(make(seed=8).batches(), 5)
    require(difference(stream, other) is not None, "other seeds, equal batches")
    module = DataModule(make())
    module.load_state_dict({"position": 2})
    resumed = first(module.train_dataloader(), 3)
    require(difference(stream[2:], resumed) is None, "a resumed stream has other batches")
    require(torch.equal(state, torch.get_rng_state()), "reading takes random numbers of the run")
    return "the same for the same seed and position"


def first(stream: Iterable[Any], count: int) -> list[list[torch.Tensor]]:
    """The first batches of a stream."""
    return [list(batch) for batch in itertools.islice(stream, count)]


def ranks(make: Make, world: int = 2) -> str:
    """The batches of several processes make up the batch of one.

    Raises:
        Fault: where they do not.
    """
    size = make().batch_size // world * world
    whole = first(make(batch_size=size).batches(), 4)
    parts = [
        first(make(batch_size=size // world).batches(rank=rank, world=world), 4)
        for rank in range(world)
    ]
    joined = [
        [torch.cat(each) for each in zip(*several, strict=True)]
        for several in zip(*parts, strict=True)
    ]
    require(difference(whole, joined) is None, f"{world} processes see other images than one")
    return f"{world} processes share each batch"
