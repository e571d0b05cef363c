"""Write docs/scaling.md: what a step of every preset costs, and what bounds it on many GPUs.

    python scripts/scaling.py                # count every preset, and write the page (minutes)
    python scripts/scaling.py --check        # exit status 1 where a count is not up to date
    python scripts/scaling.py --check vae    # of these presets alone
    python scripts/scaling.py --experiments  # count those of conf/experiment, and write their table
    python scripts/scaling.py --experiments pix2pix_facades  # these alone; other rows stay

One training step of each preset in conf/model is made on a CPU, with few images, and its arithmetic
is counted where torch dispatches it, by the formulas of torch.utils.flop_counter. Nothing is timed.
"""

from __future__ import annotations

import argparse
import functools
import logging
import math
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from unittest.mock import patch

from gentrain.tables import markdown_row

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "scaling.md"

# An H200: what large products and streams reach of the data sheet's 67, 989 TFLOP/s and 4.8 TB/s
FP32, BF16, MEMORY = 67e12, 790e12, 4.3e12
LAUNCH = 5e-6  # seconds of the host for an operation
ADAM = 28  # bytes read and written for a weight: itself, its gradient, and two moments
NVLINK, NETWORK, PER_NODE = 450e9, 50e9, 8  # bytes a second of a GPU in one direction; GPUs
GPUS = (8, 64, 512)
IMAGES = (8, 16)  # of two counted batches
STEPS = 3  # of which the last is counted
# what only the beginning of a training has
STEADY = {
    "wgan": ("scheme.critic_warmup=null",),
    "iaf_distilled": ("model.teacher_steps=1",),
    "progan": ("model.growth.fade=1", "model.growth.stable=1"),
}
QUIET = (
    "trainer=cpu",
    "logger=csv",
    "quality=none",
    "samples.every=0",
    "checkpoint.every=0",
    "data.workers=0",
)


@dataclass(frozen=True)
class Count:
    """What an update of all players of a preset takes.

    Args:
        preset: its name.
        images: real images of a step.
        flop: multiplications and additions of a step.
        operations: that torch dispatches in a step.
        weights: of all players.
        updated: weights that are updated in a step; a critic's of 5 updates count 5 times.
    """

    preset: str
    images: int
    flop: float
    operations: int
    weights: int
    updated: int

    columns: ClassVar = (
        "preset", "images", "MFLOP/image", "weights", "operations", "fp32 ms", "bf16 ms",
        "Adam ms", "host ms", "bound by", "eager", "graph",
    )  # fmt: skip

    @property
    def floors(self) -> dict[str, float]:
        """Seconds that a step takes at least, for each reason."""
        return {
            "arithmetic": self.flop / BF16,
            "memory": ADAM * self.updated / MEMORY,
            "the host": self.operations * LAUNCH,
        }

    @property
    def reduced(self) -> int:
        """Bytes of the gradients of a step, float32."""
        return 4 * self.updated

    def cells(self) -> list[str]:
        floors = self.floors
        bound = max(floors, key=lambda reason: floors[reason])
        times = (self.flop / FP32, *floors.values())
        without_host = max(floors["arithmetic"], floors["memory"])
        return [
            self.preset,
            f"{self.images:,}",
            short(self.flop / self.images / 1e6),
            f"{self.weights:,}",
            f"{self.operations:,}",
            *(short(seconds * 1e3) for seconds in times),
            bound,
            short(self.images / max(floors.values())),
            short(self.images / without_host) if self.flop else "",
        ]


def short(value: float) -> str:
    """Two digits: 0.0034, 12, 4,500."""
    if not value:
        return "0"
    digits = max(0, 1 - math.floor(math.log10(abs(value))))
    return f"{float(f'{value:.2g}'):,.{digits}f}"


# --- counting -----------------------------------------------------------------------------------


def presets() -> list[str]:
    files = (ROOT / "conf" / "model").glob("*.yaml")
    return sorted(file.stem for file in files if not file.name.startswith("_"))


def count(preset: str) -> Count:
    """Count a step of a preset. What it costs is a constant and a part for each image."""
    small, large = (counted(preset, n) for n in IMAGES)
    own = configuration(preset)
    step = own["scheme"].get("critic_steps", 1) * own["scheme"]["accumulate"]
    batch = own["data"]["batch_size"]
    slope = (large[0] - small[0]) / (IMAGES[1] - IMAGES[0])
    flop = small[0] + slope * (batch - IMAGES[0])
    return Count(preset, batch * step, flop, *small[1:])


def configuration(preset: str, *overrides: str) -> dict[str, Any]:
    return composed(f"model={preset}", *STEADY.get(preset, ()), *overrides)


def composed(*overrides: str) -> dict[str, Any]:
    """The configuration of a training that writes nothing beside its curves."""
    from hydra import compose, initialize_config_dir
    from omegaconf import open_dict

    from gentrain.cli.compose import register
    from gentrain.config import paths, schema

    register()
    words = [*QUIET, *overrides]
    with initialize_config_dir(str(paths.conf_dir()), version_base="1.3"):
        found = compose("train", overrides=words)
    with open_dict(found):
        found.pop("sweep", None)
    return schema.resolved(found)


def counted(preset: str, images: int) -> tuple[int, int, int, int]:
    """FLOP, operations, weights and updated weights of the last of some steps."""
    from gentrain.training.job import Job

    words = (f"data.batch_size={images}", f"steps={STEPS}")
    with tempfile.TemporaryDirectory() as folder:
        job = Job(configuration(preset, *words), {"model": preset, "data": "any"}, Path(folder))
        meter = meter_of_last_step()
        job.trainer.callbacks.append(meter)  # type: ignore[attr-defined]
        job.fit()
    return meter.found


def meter_of_last_step(steps: int = STEPS) -> Any:
    """A callback that counts the last step of a training."""
    import lightning as L
    from torch.optim import Optimizer
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils.flop_counter import flop_registry

    class Operations(TorchDispatchMode):
        """Counts as torch's FlopCounterMode does, which does not allow inner gradients."""

        number, flop = 0, 0

        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            out = func(*args, **(kwargs or {}))
            self.number += not func.is_view
            if (formula := flop_registry.get(func._overloadpacket)) is not None:
                self.flop += formula(*args, **(kwargs or {}), out_val=out)
            return out

    class Meter(L.Callback):
        found: tuple[int, int, int, int]
        stack: ExitStack | None = None

        def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
            if trainer.global_step == steps - 1 and self.stack is None:
                self.stack, self.updated, self.saved = ExitStack(), 0, Saved()
                self.stack.enter_context(self.saved.hooks())
                self.operations = self.stack.enter_context(Operations())
                for optimizer in trainer.optimizers:
                    optimizer.register_step_post_hook(self.count_update)

        def count_update(self, optimizer: Optimizer, *_: Any) -> None:
            self.updated += weights_of(optimizer)

        def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
            if self.stack is None or trainer.global_step < steps:
                return
            self.stack.close()
            weights = sum(map(weights_of, trainer.optimizers))
            self.found = self.operations.flop, self.operations.number, weights, self.updated

    return Meter()


def weights_of(optimizer: Any) -> int:
    """The weights with a gradient."""
    groups = optimizer.param_groups
    return sum(p.numel() for group in groups for p in group["params"] if p.grad is not None)


# --- experiments --------------------------------------------------------------------------------

BYTES = 16  # of a weight: itself, its gradient, and two moments
FEW = (2, 3)  # images of two counted batches; the models are large
GENERATIVE = re.compile(r"\w+_\w+")  # experiments with a paper's settings have two words


@dataclass(frozen=True)
class Experiment:
    """What an experiment takes on one GPU.

    Args:
        count: an update of all players, of batches that are not split.
        steps: of the whole training.
        accumulate: batches of an update.
        saved: bytes that the passes of one batch keep for the gradients, at most.
    """

    count: Count
    steps: int
    accumulate: int
    saved: float

    columns: ClassVar = (
        "experiment", "steps", "images a step", "TFLOP a step", "weights", "GB", "hours, fp32",
        "hours, bf16", "bound by",
    )  # fmt: skip

    def cells(self) -> list[str]:
        count = self.count
        whole = Count(
            count.preset,
            count.images,
            count.flop * self.accumulate,
            count.operations * self.accumulate,
            count.weights,
            count.updated,
        )
        floors = whole.floors
        bound = max(floors, key=lambda reason: floors[reason])
        slow = max(whole.flop / FP32, floors["memory"], floors["the host"])
        hours = (self.steps * seconds / 3600 for seconds in (slow, floors[bound]))
        return [
            count.preset,
            f"{self.steps:,}",
            f"{count.images * self.accumulate:,}",
            short(whole.flop / 1e12),
            f"{count.weights:,}",
            short((self.saved + BYTES * count.weights) / 1e9),
            *map(short, hours),
            bound,
        ]


@functools.cache
def experiments() -> list[str]:
    """The experiments with a paper's settings, small images first.

    The others are settings of any model.
    """
    files = sorted((ROOT / "conf" / "experiment").glob("*.yaml"))
    names = [file.stem for file in files if GENERATIVE.fullmatch(file.stem)]

    def pixels(name: str) -> int:
        return int(math.prod(composed(f"experiment={name}")["data"]["shape"]))

    return sorted(names, key=pixels)


def pictures(folder: Path, side: int, width: int) -> Path:
    """40 random pictures, which are enough for a training split and a test split."""
    import numpy as np
    from PIL import Image

    folder.mkdir(parents=True)
    draw = np.random.default_rng(0)
    for number in range(40):
        pixels = draw.integers(256, size=(side, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def stand_in(found: dict[str, Any], folder: Path) -> tuple[str, ...]:
    """Overrides that put random pictures in the place of the data of an experiment."""
    side = found["data"]["shape"][-1]
    match found["data"]["name"]:
        case "unpaired":
            a, b = (pictures(folder / name, side, side) for name in "ab")
            return (f"data.a={a}", f"data.b={b}")
        case "facades":
            return (f"data.root={pictures(folder / 'both', side, 2 * side)}",)
        case "captioned_digits":
            return ("data.digits=mnist_5k", "data.n=100")
        case _:
            for label in range(2):
                pictures(folder / "all" / str(label), side, side)
            classes = "2" if found["data"]["classes"] else "null"
            root = f"data.root={folder / 'all'}"
            return ("data=image_folder", root, f"data.size={side}", f"data.classes={classes}")


def counted_experiment(name: str) -> Experiment:
    """Count a step of an experiment with all its layers, of random pictures."""
    from gentrain.training.job import Job

    words = (f"experiment={name}",)
    own, results = composed(*words), []
    accumulate = own["scheme"]["accumulate"]
    few = (1, 2) if own["data"]["batch_size"] == 1 else FEW
    for images in few:
        steps = whole_at(own, images)
        with quick_initialisation(), tempfile.TemporaryDirectory() as folder:
            data = stand_in(own, Path(folder))
            more = (f"data.batch_size={images}", f"steps={steps}", "scheme.accumulate=1")
            more += ("samples.n=1",)  # of the picture at the end
            more += GROWN * ("growth" in own["model"])
            config = composed(*words, *data, *more)
            job = Job(config, {"model": name, "data": "any"}, Path(folder) / "run")
            meter = meter_of_last_step(steps)
            job.trainer.callbacks.append(meter)  # type: ignore[attr-defined]
            job.fit()
        results.append((*meter.found, meter.saved.most))
    (small, *same, least), (large, *_, most) = results
    batch, critic_steps = own["data"]["batch_size"], own["scheme"].get("critic_steps", 1)
    more_images = (batch - few[0]) / (few[1] - few[0])
    flop, saved = small + more_images * (large - small), least + more_images * (most - least)
    count = Count(name, batch * critic_steps, flop, *same)
    return Experiment(count, own["steps"], accumulate, saved)


GROWN = ("model.growth.fade=1", "model.growth.stable=1")  # a phase is one image


def whole_at(config: dict[str, Any], images: int) -> int:
    """The first step with all layers: of a network that grows from 4 px, after its last phase.

    Args:
        config: of the experiment.
        images: of a step.
    """
    if "growth" not in config["model"]:
        return 1
    phases = 2 * math.log2(config["data"]["shape"][-1] / 4)
    return 1 + math.ceil(phases / images)


@contextmanager
def quick_initialisation() -> Iterator[None]:
    """Normal weights in place of orthogonal ones, whose QR takes minutes and no part of a step."""
    import torch

    def normal(weight: Any, gain: float = 1.0, generator: Any = None) -> Any:
        return torch.nn.init.normal_(weight, 0.0, 0.02)

    with patch.object(torch.nn.init, "orthogonal_", normal):
        yield


class Saved:
    """Bytes that autograd keeps between the passes, as hooks of its saved tensors.

    A storage that several operations keep counts once.
    """

    def __init__(self) -> None:
        self.kept: dict[int, tuple[int, int]] = {}  # by address: bytes, and how many keep it
        self.now, self.most = 0, 0

    def hooks(self) -> Any:
        import torch

        return torch.autograd.graph.saved_tensors_hooks(self.pack, lambda kept: kept.tensor)

    def pack(self, tensor: Any) -> Any:
        return Kept(self, tensor)


class Kept:
    """One saved tensor; its bytes are free once autograd lets it go."""

    def __init__(self, saved: Saved, tensor: Any) -> None:
        storage = tensor.untyped_storage()
        own = 0 if tensor.requires_grad and tensor.is_leaf else storage.nbytes()  # of no weight
        self.saved, self.tensor, self.address = saved, tensor, storage.data_ptr()
        size, number = saved.kept.get(self.address, (own, 0))
        saved.kept[self.address] = size, number + 1
        saved.now += 0 if number else size
        saved.most = max(saved.most, saved.now)

    def __del__(self) -> None:
        size, number = self.saved.kept[self.address]
        if number == 1:
            self.saved.now -= size
            del self.saved.kept[self.address]
        else:
            self.saved.kept[self.address] = size, number - 1


# --- the page -----------------------------------------------------------------------------------


def reduction(count: Count, gpus: int) -> float:
    """Seconds to average the gradients of a step over GPUs, by the slowest link of a ring."""
    link = NVLINK if gpus <= PER_NODE else NETWORK
    return 2 * (gpus - 1) / gpus * count.reduced / link


def tables(counts: list[Count]) -> dict[str, list[str]]:
    """The tables of the page, by their names."""
    floors = [markdown_row(Count.columns), markdown_row("---" for _ in Count.columns)]
    floors += [markdown_row(count.cells()) for count in counts]
    heads = ("preset", "MB a step", "step ms", *(f"ms, {n} GPUs" for n in GPUS), "share, 512")
    traffic = [markdown_row(heads), markdown_row("---" for _ in heads)]
    for count in counts:
        step = max(count.floors.values())
        each = [reduction(count, gpus) for gpus in GPUS]
        ms = (short(1e3 * seconds) for seconds in (step, *each))
        share = f"{each[-1] / (each[-1] + step):.0%}"
        traffic.append(markdown_row((count.preset, short(count.reduced / 1e6), *ms, share)))
    return {"floors": floors, "traffic": traffic}


def between(name: str) -> re.Pattern[str]:
    """A table of the page, between the comments that name it."""
    return re.compile(rf"(?<=<!-- {name} -->\n).*?(?=<!-- end -->)", re.DOTALL)


def written(page: str, counts: list[Count]) -> str:
    for name, lines in tables(counts).items():
        text = "\n".join(("", *lines, "", ""))
        page = between(name).sub(lambda _, text=text: text, page, count=1)  # type: ignore[misc]
    return page


def with_experiments(page: str, chosen: Iterable[str] = ()) -> Iterator[str]:
    """The page with the table of experiments, again after each: a count takes minutes.

    Args:
        page: its text.
        chosen: experiments that are counted, all if there are none; other rows stay.
    """
    names, rows = experiments(), table_rows(page, "experiments")
    if unknown := sorted(set(chosen) - set(names)):
        raise SystemExit(f"no such experiment: {unknown[0]}; one of {', '.join(names)}")
    rows = {name: row for name, row in rows.items() if name in names}
    heads = [markdown_row(Experiment.columns), markdown_row("---" for _ in Experiment.columns)]
    for name in chosen or names:
        rows[name] = markdown_row(counted_experiment(name).cells())
        print(rows[name], file=sys.stderr, flush=True)
        lines = (*heads, *(rows[each] for each in names if each in rows))
        text = "\n".join(("", *lines, "", ""))
        head, _, rest = page.partition("<!-- experiments -->\n")
        yield f"{head}<!-- experiments -->\n{text}<!-- end -->{rest.partition('<!-- end -->')[2]}"


def stale(page: str, counts: list[Count]) -> list[str]:
    """The rows that the page has not."""
    lines = page.splitlines()
    return [line for each in tables(counts).values() for line in each if line not in lines]


def table_rows(page: str, table: str) -> dict[str, str]:
    """The rows of a table of the page, by their presets or experiments."""
    found = between(table).search(page)
    assert found is not None
    return {line.split("|")[1].strip(): line for line in found[0].strip().splitlines()[2:]}


def rows_of(page: str, table: str = "floors") -> list[str]:
    """The presets or experiments that a table of the page has."""
    return list(table_rows(page, table))


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Count the arithmetic of every preset.")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--experiments", action="store_true")
    parser.add_argument("presets", nargs="*", help="with --check or --experiments: these alone")
    args = parser.parse_args(words)
    logging.getLogger("gentrain").setLevel(logging.ERROR)
    page = PAGE.read_text(encoding="utf-8")
    if args.experiments:
        for whole in with_experiments(page, args.presets):
            PAGE.write_text(whole, encoding="utf-8")
        return 0
    counts = []
    for preset in args.presets or presets():
        counts.append(count(preset))
        print(preset, file=sys.stderr, flush=True)
    if not args.check:
        PAGE.write_text(written(page, counts), encoding="utf-8")
        return 0
    wrong = stale(page, counts)
    if not args.presets and rows_of(page) != presets():
        wrong.append("presets that are not there, or that are gone")
    for line in wrong:
        print(f"not in {PAGE.name}: {line}; make docs", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
